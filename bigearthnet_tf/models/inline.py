"""Networks that others build as one Keras model, taken apart into layers of ours.

A model inside a model is one layer: switches that walk over the layers, such as
`layers.synchronize_batch_norm`, would not reach what is inside.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import keras

from bigearthnet_tf.models import layers

# Returns what stands in a layer's place: a new layer, or a function of a tensor; None
# where the layer is built anew as it is.
Substitute = Callable[[keras.layers.Layer], Callable[..., Any] | None]


def inline(model: keras.Model, x: Any, substitute: Substitute) -> Any:
    """Applies the layers of a model to a tensor, each as a new layer of its own.

    Its sequential parts are taken apart too. A BatchNorm becomes
    `layers.BatchNormalization`, and layers that were numbered by Keras are numbered
    from the start, so that the names do not depend on what was built before.

    Args:
        model: a functional model of one input, whose last layer gives its output.
        x: symbolic tensor of the shape of that input.
        substitute: called for each layer first.

    Returns:
        The output for `x`. The weights are new ones, initialised as the model's.
    """
    names = _Names()
    made: dict[str, Any] = {}

    def rebuild(layer: Any) -> Callable[..., Any]:
        if isinstance(layer, keras.Sequential):
            return _chain([rebuild(inner) for inner in layer.layers])
        made[layer.name] = substitute(layer) or _anew(layer, names.of(layer))
        return made[layer.name]

    keras.models.clone_model(
        model,
        input_tensors=keras.tree.pack_sequence_as(model.input, [x]),
        clone_function=rebuild,
    )
    return made[model.layers[-1].name].output


class _Names:
    """Numbers layers without a name of their own by class, in order."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()

    def of(self, layer: Any) -> str:
        """Returns the layer's name, or its class with the next number."""
        stem = re.sub(r"_\d+$", "", layer.name)
        if stem.replace("_", "") != type(layer).__name__.lower():
            return str(layer.name)
        self._count[stem] += 1
        return f"{stem}_{self._count[stem]}"


def _anew(layer: Any, name: str) -> Any:
    kind = type(layer)
    if kind is keras.layers.BatchNormalization:
        kind = layers.BatchNormalization
    return kind.from_config({**layer.get_config(), "name": name})


def _chain(functions: list[Callable[..., Any]]) -> Callable[..., Any]:
    def apply(x: Any, **_: Any) -> Any:
        for function in functions:
            x = function(x)
        return x

    return apply
