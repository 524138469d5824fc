"""Weights under the names and in the layouts that others publish them in.

A family says what each of its variables is called elsewhere (a `Naming`); reading,
writing and every complaint follow from that.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

# Maps the name of a layer and of its variable (`kernel`, `gamma`, ...) to the name of
# the tensor elsewhere, without the prefix that all of them may share.
Naming = Callable[[str, str], str]
Tensors = Mapping[str, NDArray[Any]]

HEAD = "head"
# Layers before the head that only we know; they keep our own names everywhere.
HEAD_HIDDEN = "head_hidden"
DECODER = "head_decoder"
_OURS = (HEAD_HIDDEN, DECODER)
# What torch counts for itself; no weight.
COUNTER = "num_batches_tracked"

# What Keras calls a variable that has no name.
_UNNAMED = re.compile(r"variable(_\d+)?")
# What stands between the parts of a published name.
_SEPARATOR = re.compile(r"[./]")

# Axes of a Keras kernel in torch's order: (height, width, in, out) becomes (out, in,
# height, width), a depthwise one (channels, 1, height, width).
_TORCH_AXES: dict[type[keras.layers.Layer], tuple[int, ...]] = {
    keras.layers.DepthwiseConv2D: (2, 3, 0, 1),
    keras.layers.Conv2D: (3, 2, 0, 1),
    keras.layers.Dense: (1, 0),
}


def batch_norm_name(variable: str) -> str:
    """Returns torch's name of a variable of a normalisation."""
    return {
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }[variable]


def linear_name(variable: str) -> str:
    """Returns torch's name of a variable of a convolution or a linear layer."""
    return {"kernel": "weight", "bias": "bias"}[variable]


def own_name(layer: str, variable: str) -> str:
    """Returns our own name of a variable."""
    return f"{layer}/{variable}"


def load(
    model: keras.Model,
    tensors: Tensors,
    naming: Naming,
    *,
    torch: bool,
    where: str,
    without_head: bool = False,
) -> None:
    """Assigns published weights to a model; either all of them or none.

    Args:
        model: of `build.assemble`.
        tensors: by their published names, which may share a prefix.
        naming: of the model's family.
        torch: whether kernels are in torch's layout; Keras's otherwise.
        where: the file, for error messages.
        without_head: leave the last layer and the hidden ones before it as they are,
            whatever the tensors have for them.

    Raises:
        ValueError: a tensor is missing, left over, of another shape, or holds other
            than finite numbers; the message names the first of each.
    """
    variables = _variables(model, naming)
    named = strip_prefix(model, tensors, naming)
    if without_head:
        variables = {n: v for n, v in variables.items() if not _of_head(n, naming)}
        named = {n: v for n, v in named.items() if not _of_head(n, naming)}
    _check_names(named, variables, where)
    values = {}
    for name, (layer, variable) in variables.items():
        value = np.asarray(named[name])
        expected = _shape_elsewhere(layer, variable, torch)
        if _squeezed(value.shape) != _squeezed(expected):
            raise ValueError(
                f"{where}: {name} has shape {list(value.shape)}, expected "
                f"{list(expected)}: weights of another architecture, or for another "
                "number of bands or labels or another image size"
            )
        _check_numbers(value, name, where)
        values[name] = _from_elsewhere(value.reshape(expected), layer, variable, torch)
    for name, (_, variable) in variables.items():
        variable.assign(values[name].reshape(variable.shape))


def dump(model: keras.Model, naming: Naming, *, torch: bool) -> dict[str, Any]:
    """Returns the weights of a model under their published names.

    Args:
        model: of `build.assemble`.
        naming: of the model's family.
        torch: whether to write torch's layout; Keras's otherwise.

    Returns:
        Arrays in the variables' dtype; with `torch` also the counters of its
        BatchNorms, int64, at 0.
    """
    tensors: dict[str, Any] = {}
    for name, (layer, variable) in _variables(model, naming).items():
        value = np.asarray(variable)
        axes = _axes(layer, variable) if torch else None
        tensors[name] = np.ascontiguousarray(
            value if axes is None else value.transpose(axes)
        )
        if torch and variable.name == "moving_variance":
            tensors[f"{name.rpartition('.')[0]}.{COUNTER}"] = np.array(0, np.int64)
    return tensors


def _variables(
    model: keras.Model, naming: Naming
) -> dict[str, tuple[keras.layers.Layer, Any]]:
    """Returns published name -> (layer, variable) of all that is learnt."""
    found = {}
    for layer in model.layers:
        names = _names_within(layer)
        if len(set(names)) < len(names):
            # Several layers in one, as the backbones of keras-hub.
            names = [f"{number}/{name}" for number, name in enumerate(names)]
        ours = layer.name.startswith(_OURS)
        for name, variable in zip(names, layer.weights, strict=True):
            if "seed" not in variable.name:
                called = own_name if ours else naming
                found[called(layer.name, name)] = layer, variable
    return found


def _names_within(layer: keras.layers.Layer) -> list[str]:
    """Returns the names of a layer's variables.

    Keras calls those that have none `variable_7` and so on, counting all that the
    process has made; here they are counted within the layer.
    """
    return [
        f"variable{number}" if _UNNAMED.fullmatch(variable.name) else variable.name
        for number, variable in enumerate(layer.weights)
    ]


def _of_head(name: str, naming: Naming) -> bool:
    """Tells whether a published name is of the last layer or of what leads to it."""
    head = [naming(HEAD, variable) for variable in ("kernel", "bias")]
    return name in head or name.startswith(_OURS)


def strip_prefix(
    model: keras.Model, tensors: Tensors, naming: Naming
) -> dict[str, NDArray[Any]]:
    """Returns tensors without the prefix that their names share, if any.

    `fc.weight` also ends `other.fc.weight`: the prefix that fits most names counts.

    Args:
        model: that they are for.
        tensors: by their published names; what torch counts is left out.
        naming: of the model's family.
    """
    expected = _variables(model, naming)
    prefixes = Counter(
        name[:begin]
        for name in tensors
        for begin in (0, *(match.end() for match in _SEPARATOR.finditer(name)))
        if name[begin:] in expected
    )
    best = max(prefixes, key=lambda p: (prefixes[p], -len(p)), default="")
    return {
        name.removeprefix(best): value
        for name, value in tensors.items()
        if not name.endswith(COUNTER)
    }


def _check_names(named: Tensors, expected: Iterable[str], where: str) -> None:
    missing = sorted(set(expected) - set(named))
    unexpected = sorted(set(named) - set(expected))
    faults = [
        f"{len(names)} tensors {what}, the first is {names[0]}"
        for names, what in ((missing, "missing"), (unexpected, "left over"))
        if names
    ]
    if faults:
        raise ValueError(
            f"{where}: {'; '.join(faults)}: weights of another architecture?"
        )


def _check_numbers(value: NDArray[Any], name: str, where: str) -> None:
    # NumPy does not know bfloat16 by itself.
    if not (np.issubdtype(value.dtype, np.floating) or value.dtype.name == "bfloat16"):
        raise ValueError(
            f"{where}: {name} is of type {value.dtype}, expected floating point"
        )
    if not np.isfinite(value).all():
        raise ValueError(f"{where}: {name} has values that are NaN or infinite")


def _axes(layer: keras.layers.Layer, variable: Any) -> tuple[int, ...] | None:
    if variable.name != "kernel":
        return None
    return next(
        (axes for kind, axes in _TORCH_AXES.items() if isinstance(layer, kind)), None
    )


def _shape_elsewhere(
    layer: keras.layers.Layer, variable: Any, torch: bool
) -> tuple[int, ...]:
    axes = _axes(layer, variable) if torch else None
    shape = tuple(variable.shape)
    return shape if axes is None else tuple(shape[axis] for axis in axes)


def _from_elsewhere(
    value: NDArray[Any], layer: keras.layers.Layer, variable: Any, torch: bool
) -> NDArray[Any]:
    axes = _axes(layer, variable) if torch else None
    return value if axes is None else value.transpose(np.argsort(axes))


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns a shape without its ones: TF-Slim's heads are 1x1 convolutions."""
    return tuple(side for side in shape if side != 1)
