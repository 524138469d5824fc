"""The architectures by name, and what each of them asks for."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bigearthnet_tf import registry
from bigearthnet_tf.models import layers, published

# Maps network input to features (batch, features); keyword-only options.
Builder = Callable[..., Any]
# Maps the number of features to the initialisers of the last layer.
HeadInitializers = Callable[[int], dict[str, Any]]


@dataclass(frozen=True)
class ModelEntry:
    """One architecture.

    Attributes:
        name: what a config calls it.
        build: maps the network input to features (batch, features), before dropout
            and head. Its keyword-only parameters are the options of the model.
        inputs: `"stacked"`: one (batch, height, width, bands) tensor;
            `"by_resolution"`: a dictionary from pixels a side to such a tensor, at
            native resolution.
        bands: name of the band set it was published for, if any.
        head: returns `kernel_initializer` and `bias_initializer` of the last layer
            for a number of features.
        timm: names of its weights in timm and on reBEN's hub, if it is there.
        tf1: names of its weights in the checkpoints of the TF project, likewise.
        maps: regular expression of the layers that give maps to decode into labels of
            pixels, see `pyramid`; its groups tell branches apart. None: there are none.
    """

    name: str
    build: Builder
    inputs: Literal["stacked", "by_resolution"]
    bands: str | None
    head: HeadInitializers
    timm: published.Naming | None = None
    tf1: published.Naming | None = None
    maps: str | None = None

    @property
    def keras_name(self) -> str:
        """Name of the Keras model, which may have no slash in it."""
        return self.name.replace("/", "_")

    @property
    def is_own(self) -> bool:
        """Whether the user brought it, rather than this package."""
        return not self.build.__module__.startswith("bigearthnet_tf.")

    def options(self) -> list[str]:
        """Returns the names of the options that `build` takes."""
        parameters = inspect.signature(self.build).parameters.values()
        return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Checks options against the signature of `build`.

        Raises:
            ValueError: an option that the model does not have.
        """
        known = self.options()
        for option in options:
            if option not in known:
                near = registry.nearest_names(option, known) if known else "it has none"
                raise ValueError(
                    f"unknown option {option!r} of model {self.name!r}: {near}"
                )


MODELS: registry.Registry[ModelEntry] = registry.Registry("model")


def register_model(
    name: str,
    *aliases: str,
    inputs: Literal["stacked", "by_resolution"] = "stacked",
    bands: str | None = None,
    head: HeadInitializers = layers.torch_linear,
    timm: published.Naming | None = None,
    tf1: published.Naming | None = None,
    maps: str | None = None,
) -> Callable[[Builder], Builder]:
    """Returns a decorator that registers a builder; for the arguments see `ModelEntry`.

    Raises:
        ValueError: a name is taken, or has other characters than letters, digits and
            `. _ - /`.
    """
    if not re.fullmatch(r"[\w./-]+", name):
        raise ValueError(
            f"model {name!r:.80}: expected a name of letters, digits and . _ - /"
        )

    def decorate(build: Builder) -> Builder:
        entry = ModelEntry(name, build, inputs, bands, head, timm, tf1, maps)
        MODELS.add(name, entry, aliases)
        return build

    return decorate


def list_models(pattern: str = "*") -> list[str]:
    """Returns the names that match a wildcard pattern, sorted, without aliases."""
    return MODELS.names(pattern)


def get_model(name: str) -> ModelEntry:
    """Returns the entry of a model by its name or an alias.

    Raises:
        ValueError: unknown name; the message offers the nearest ones.
    """
    try:
        return MODELS.get(name)
    except ValueError as error:
        raise ValueError(
            f"{error}; a model of your own needs its module (docs/own_modules.md)"
        ) from None
