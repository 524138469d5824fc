"""The layers at the front of every model: digital numbers in, network input out.

Bands arrive as the archive stores them: groups of one sensor and resolution, planar
(batch, bands, height, width), in their native dtype. The layers standardise them,
resample them to one size and stack them in the order the network was trained with.

Standardising comes before resampling: every kernel's weights sum to one, so the two
commute, and at native resolution there are fewer pixels to touch. All of it runs in
float32 whatever the mixed-precision policy: bfloat16 holds no more than three digits
of a uint16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from bigearthnet_tf import resampling

PACKAGE = "bigearthnet_tf"


@keras.saving.register_keras_serializable(package=PACKAGE)
class Standardize(keras.layers.Layer):
    """Subtracts each band's mean and divides by its standard deviation.

    Input (batch, bands, height, width) of any real dtype, output the same shape in
    float32.

    Args:
        mean: one number a band, in the unit of the input.
        std: one positive number a band, likewise.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: the two have different lengths, or a number is not finite, or a
            deviation is not positive; when called, another number of bands.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], **kwargs: Any
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.mean = [float(value) for value in mean]
        self.std = [float(value) for value in std]
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"expected a mean and a deviation for each band, got "
                f"{len(self.mean)} means and {len(self.std)} deviations"
            )
        if not np.isfinite(self.mean).all():
            raise ValueError(f"expected finite means, got {self.mean}")
        if not all(0 < value < np.inf for value in self.std):
            raise ValueError(f"expected positive finite deviations, got {self.std}")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Checks the number of bands."""
        if len(input_shape) != 4 or input_shape[1] != len(self.mean):
            raise ValueError(
                f"{self.name}: expected (batch, {len(self.mean)}, height, width), "
                f"got {tuple(input_shape)}"
            )

    def call(self, inputs: Any) -> Any:
        """Returns the standardised bands."""
        mean = np.asarray(self.mean, "float32")[:, None, None]
        std = np.asarray(self.std, "float32")[:, None, None]
        return (ops.cast(inputs, "float32") - mean) / std

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """Returns shape and dtype of the output."""
        return keras.KerasTensor(inputs.shape, "float32")

    def get_config(self) -> dict[str, Any]:
        """Returns what the layer is built from."""
        return {**super().get_config(), "mean": self.mean, "std": self.std}


@keras.saving.register_keras_serializable(package=PACKAGE)
class Resample(keras.layers.Layer):
    """Resamples square planar images by a constant linear map.

    Input (batch, bands, pixels, pixels) float32, output (batch, bands, size, size).
    The map is separable: one product with a (size, pixels) matrix along the rows and
    one along the columns. It has a gradient, a GPU kernel and an XLA kernel for every
    method, which `tf.image.resize` has not. `nearest` copies pixels instead, bit for
    bit. A GPU that TensorFlow lets compute products in TF32 (its default; see
    `tf.config.experimental.enable_tensor_float_32_execution`) rounds the standardised
    values to ten bits after the leading one.

    Args:
        size: pixels a side of the output.
        kernel: a name of `resampling.KERNELS`.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: unknown kernel, or a size below one; when called, images that are
            not square.
    """

    def __init__(self, size: int, kernel: str = "nearest", **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        if size < 1:
            raise ValueError(f"expected a size of at least one pixel, got {size}")
        self.size = int(size)
        self.kernel = resampling.KERNELS.resolve(kernel)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Checks that the images are square and of known size."""
        if len(input_shape) != 4 or None in input_shape[1:]:
            raise ValueError(
                f"{self.name}: expected (batch, bands, pixels, pixels) with known "
                f"sizes, got {tuple(input_shape)}"
            )
        if input_shape[2] != input_shape[3]:
            raise ValueError(
                f"{self.name}: expected square images, got "
                f"{input_shape[2]} by {input_shape[3]} pixels"
            )

    def call(self, inputs: Any) -> Any:
        """Returns the resampled images."""
        pixels = inputs.shape[2]
        if pixels == self.size:
            return inputs
        if self.kernel == "nearest":
            return self._copy_nearest(inputs)
        kernel = resampling.KERNELS.get(self.kernel)
        weights = kernel(pixels, self.size).astype("float32")
        # Rows first: twice as fast on a CPU as columns first.
        return ops.matmul(ops.matmul(weights, inputs), weights.T)

    def _copy_nearest(self, inputs: Any) -> Any:
        pixels = inputs.shape[2]
        factor, remainder = divmod(self.size, pixels)
        for axis in (2, 3):
            if remainder:
                sources = resampling.nearest_sources(pixels, self.size)
                inputs = ops.take(inputs, sources, axis=axis)
            else:
                inputs = ops.repeat(inputs, factor, axis=axis)
        return inputs

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns the shape of the output."""
        return (*input_shape[:2], self.size, self.size)

    def get_config(self) -> dict[str, Any]:
        """Returns what the layer is built from."""
        return {**super().get_config(), "size": self.size, "kernel": self.kernel}


@keras.saving.register_keras_serializable(package=PACKAGE)
class StackBands(keras.layers.Layer):
    """Selects bands from planar groups and stacks them as the network wants them.

    Input a list of (batch, bands, height, width) tensors of one size, output
    (batch, height, width, len(order)).

    Args:
        bands: names of the incoming bands, all groups one after another.
        order: names of the bands to keep, in the order of the output.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: `order` names a band that does not come in, or names come twice;
            when called, another number of bands.
    """

    def __init__(
        self, bands: Sequence[str], order: Sequence[str], **kwargs: Any
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.bands = list(bands)
        self.order = list(order)
        for names in (self.bands, self.order):
            if not names or len(set(names)) != len(names):
                raise ValueError(f"expected bands without repetition, got {names}")
        missing = [name for name in self.order if name not in self.bands]
        if missing:
            raise ValueError(
                f"expected all bands of the model's order among the inputs "
                f"{self.bands}, but {missing} are not there"
            )

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Checks the number of bands that come in."""
        incoming = sum(shape[1] or 0 for shape in input_shape)
        if incoming != len(self.bands):
            raise ValueError(
                f"{self.name}: expected {len(self.bands)} bands {self.bands}, "
                f"got {incoming}"
            )

    def call(self, inputs: Sequence[Any]) -> Any:
        """Returns the stacked bands."""
        planes = ops.concatenate(inputs, axis=1) if len(inputs) > 1 else inputs[0]
        if self.order != self.bands:
            sources = [self.bands.index(name) for name in self.order]
            planes = ops.take(planes, np.asarray(sources, "int32"), axis=1)
        return ops.transpose(planes, (0, 2, 3, 1))

    def compute_output_shape(
        self, input_shape: list[tuple[int | None, ...]]
    ) -> tuple[int | None, ...]:
        """Returns the shape of the output."""
        batch, _, height, width = input_shape[0]
        return (batch, height, width, len(self.order))

    def get_config(self) -> dict[str, Any]:
        """Returns what the layer is built from."""
        return {**super().get_config(), "bands": self.bands, "order": self.order}
