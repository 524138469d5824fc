"""What a model costs: parameters, and multiply-adds of one patch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np


@dataclass(frozen=True)
class Cost:
    """What a model costs.

    Attributes:
        trainable: number of parameters that learn.
        parameters: number of all, moving statistics included.
        multiply_adds: of one patch, forwards.
        features: length of the vector before the head.
        uncounted: names of layers whose multiply-adds are not known, and missing above.
    """

    trainable: int
    parameters: int
    multiply_adds: int
    features: int
    uncounted: tuple[str, ...]


def cost_of(model: keras.Model) -> Cost:
    """Counts a model's parameters and multiply-adds.

    A multiplication and the addition behind it count as one, as in the tables of most
    papers. Convolutions, linear layers and the two products of attention count;
    resampling, normalisations, activations, pooling and biases, which are some per
    cent, do not. Runs the model once, on one patch of zeros.

    Args:
        model: of `build.assemble`. A layer of another kind says how many it does by a
            method `multiply_adds(output_shape)`; layers within layers, as of keras-hub,
            do not count.
    """
    counted = [layer for layer in model.layers if _counts(layer)]
    others = [layer for layer in model.layers if not _counts(layer)]
    probe = keras.Model(model.input, [layer.output for layer in counted])
    zeros = {
        name: np.zeros((1, *tensor.shape[1:]), tensor.dtype)
        for name, tensor in model.input.items()
    }
    outputs = probe(zeros)
    if len(counted) == 1 and not isinstance(outputs, list):
        outputs = [outputs]
    return Cost(
        trainable=_number(model.trainable_variables),
        parameters=_number(v for v in model.variables if "seed" not in v.name),
        multiply_adds=sum(map(_multiply_adds, counted, outputs)),
        features=int(model.get_layer("features").output.shape[-1]),
        uncounted=tuple(layer.name for layer in others if _kernels(layer)),
    )


def _counts(layer: keras.layers.Layer) -> bool:
    kinds = (
        keras.layers.Dense,
        keras.layers.Conv2D,
        keras.layers.DepthwiseConv2D,
        keras.layers.SeparableConv2D,
    )
    return isinstance(layer, kinds) or hasattr(layer, "multiply_adds")


def _multiply_adds(layer: Any, output: Any) -> int:
    """Returns the multiply-adds of a layer, from the shape of what it gave."""
    if hasattr(layer, "multiply_adds"):
        return int(layer.multiply_adds(tuple(output.shape)))
    # Every place of the output takes each weight of the kernel once.
    places = int(np.prod(output.shape[:-1]))
    return places * _number(_kernels(layer))


def _kernels(layer: keras.layers.Layer) -> list[Any]:
    return [variable for variable in layer.weights if "kernel" in variable.name]


def _number(variables: Any) -> int:
    return sum(int(np.prod(variable.shape)) for variable in variables)
