"""Patches with pixels that are NaN or infinite, kept visible past the network.

ReLU, max pooling and other layers turn NaN into ordinary numbers, and a patch with a
broken pixel would get scores like any other. So a mark is computed from the pixels and
added where features and scores come out: 0 for a patch whose pixels are all finite,
NaN for any other. Integer pixels need none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from bigearthnet_tf.models import layers

_LARGEST = float(np.finfo(np.float32).max)


@keras.saving.register_keras_serializable(package=layers.PACKAGE)
class FinitePixels(keras.layers.Layer):
    """Returns a mark for each patch: 0 if all its pixels are finite, else NaN.

    Input one or a list of (batch, bands, height, width) float32 tensors, output
    (batch, 1) float32.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, inputs: Sequence[Any]) -> Any:
        """Returns the marks."""
        # NaN compares false. LiteRT and ONNX have comparisons, but not both have
        # `isfinite`, and x - x, which is NaN too, is simplified away.
        finite = [
            ops.all(ops.abs(x) <= _LARGEST, axis=tuple(range(1, len(x.shape))))
            for x in (inputs if isinstance(inputs, Sequence) else [inputs])
        ]
        every = finite[0]
        for other in finite[1:]:
            every = ops.logical_and(every, other)
        return ops.expand_dims(ops.where(every, 0.0, float("nan")), -1)

    def compute_output_shape(self, input_shape: Sequence[Any]) -> Any:
        """Returns the shape of the marks."""
        # Keras gives the shape alone of a list of one.
        first = input_shape[0]
        return (first[0] if isinstance(first, Sequence) else first, 1)


@keras.saving.register_keras_serializable(package=layers.PACKAGE)
class Marked(keras.layers.Layer):
    """Adds the marks of patches to what a network makes of them.

    Input a list of (batch, ...) and marks (batch, 1), output of the shape and dtype of
    the first: the same numbers, or NaN.
    """

    def call(self, inputs: Sequence[Any]) -> Any:
        """Returns the marked values."""
        x, marks = inputs
        marks = ops.reshape(marks, (-1, *[1] * (len(x.shape) - 1)))
        return x + ops.cast(marks, x.dtype)

    def compute_output_shape(self, input_shape: Sequence[tuple[Any, ...]]) -> Any:
        """Returns the shape of the output."""
        return input_shape[0]


def marks(inputs: Mapping[str, Any], suffix: str = "") -> Any:
    """Returns the marks of patches, or None where all pixels are integers.

    Args:
        inputs: band groups by name, as they enter a model.
        suffix: of the layer's name.
    """
    floating = [x for x in inputs.values() if x.dtype.startswith("float")]
    if not floating:
        return None
    return FinitePixels(name=f"preprocessing_finite{suffix}")(floating)


def marked(x: Any, marks: Any, **options: Any) -> Any:
    """Returns a tensor with the marks of its patches, under the name of a layer.

    Args:
        x: (batch, ...).
        marks: of `marks`.
        **options: of the layer, such as its name.
    """
    if marks is None:
        return keras.layers.Identity(**options)(x)
    return Marked(**options)([x, marks])


def marks_of(model: keras.Model) -> list[Any]:
    """Returns the marks that a model computes, of one sensor or of each."""
    return [x.output for x in model.layers if isinstance(x, FinitePixels)]
