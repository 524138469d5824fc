"""Resampling of square images by constant linear maps.

A kernel is a matrix for one axis; both axes are resampled by the same one. The layers
of a model and the statistics of resampled bands share them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bigearthnet_tf import registry

# What ConfigILM calls the statistics of bands at their native size.
NATIVE = "no_interpolation"

# Pixels a side. A single float64 image of that size takes 2 MB.
LARGEST_SIZE = 512

# Fractions between two pixels for which TensorFlow tabulates its cubic kernel
# (`kTableSize` of core/kernels/image/resize_bicubic_op.cc). It rounds to the nearest
# entry, which shows in the third digit of the weights.
CUBIC_TABLE_SIZE = 1024

# A kernel returns the (size, pixels) float64 matrix that resamples one axis.
Kernel = Callable[[int, int], np.ndarray]
KERNELS: registry.Registry[Kernel] = registry.Registry("interpolation")


@dataclass(frozen=True)
class Resampling:
    """To one size by one kernel.

    Attributes:
        size: pixels a side.
        kernel: a name of `KERNELS`.
    """

    size: int
    kernel: str

    def __str__(self) -> str:
        return f"{self.size}_{self.kernel}"

    def repeats(self, pixels: int) -> bool:
        """Tells whether it repeats every one of `pixels` a side equally often."""
        whole = self.kernel == "nearest" and self.size % pixels == 0
        return whole or self.size == pixels

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Resamples images (..., pixels, pixels) to (..., size, size).

        `nearest` keeps the dtype, the other kernels give float64. A pixel that is not
        finite makes those NaN that its kernel reaches, and no others.
        """
        pixels = images.shape[-1]
        if pixels == self.size:
            return images
        if self.kernel == "nearest":
            sources = nearest_sources(pixels, self.size)
            return images[..., sources[:, None], sources]
        weights = KERNELS.get(self.kernel)(pixels, self.size)
        finite = np.isfinite(images)
        if finite.all():
            return weights @ images.astype("float64") @ weights.T
        resampled = weights @ np.where(finite, images, 0.0) @ weights.T
        touched = weights != 0
        return np.where(touched @ ~finite @ touched.T, np.nan, resampled)


def name(resampling: Resampling | None) -> str:
    """Returns what `parse` reads back."""
    return NATIVE if resampling is None else str(resampling)


def parse(text: str) -> Resampling | None:
    """Reads a resampling as published tables name it.

    Args:
        text: `"<size>_<kernel>"` such as `"120_bilinear"`, or `NATIVE`.

    Returns:
        The resampling; None for bands as they are stored.

    Raises:
        ValueError: neither of the two, an unknown kernel, or an impossible size.
    """
    if text == NATIVE:
        return None
    size, _, kernel = text.partition("_")
    if not size.isdecimal() or not kernel:
        raise ValueError(
            f"expected a resampling such as 120_bilinear, or {NATIVE}, got {text!r}"
        )
    if not 1 <= int(size) <= LARGEST_SIZE:
        raise ValueError(
            f"{text}: expected a size of 1 to {LARGEST_SIZE} pixels, got {size}"
        )
    return Resampling(int(size), KERNELS.resolve(kernel))


def nearest_sources(pixels: int, size: int) -> np.ndarray:
    """Returns for each pixel of the output the one it copies: floor(i * pixels / size).

    This is torch's `nearest`, so repetition at whole factors.
    """
    return (np.arange(size, dtype="int32") * pixels) // size


@KERNELS.register("nearest")
def nearest_weights(pixels: int, size: int) -> np.ndarray:
    """Returns the matrix of torch's `nearest`."""
    return np.eye(pixels)[nearest_sources(pixels, size)]


@KERNELS.register("bilinear")
def bilinear_weights(pixels: int, size: int) -> np.ndarray:
    """Returns the matrix of `tf.image.resize(..., "bilinear")`.

    Half-pixel centres, no antialiasing; the outermost pixels are repeated.
    """
    position = _source_positions(pixels, size, half_pixel=True)
    lower = np.floor(position)
    fraction = (position - lower).astype("float64")
    return _weight_matrix(
        np.stack([lower, lower + 1]), np.stack([1 - fraction, fraction]), pixels
    )


@KERNELS.register("bicubic")
def bicubic_weights(pixels: int, size: int) -> np.ndarray:
    """Returns the matrix of `tf.image.resize(..., "bicubic")`.

    Keys' cubic with a = -0.5 at half-pixel centres, no antialiasing. Beyond the
    border there is nothing: those weights are dropped and the rest sums to one.
    """
    position = _source_positions(pixels, size, half_pixel=True)
    taps, weights = _cubic_taps(position, a=-0.5)
    weights = np.where((taps >= 0) & (taps < pixels), weights, 0)
    return _weight_matrix(taps, weights / weights.sum(axis=0), pixels)


@KERNELS.register("tf1_bicubic")
def tf1_bicubic_weights(pixels: int, size: int) -> np.ndarray:
    """Returns the matrix of TensorFlow 1's `tf.image.resize_bicubic`.

    A cubic with a = -0.75; pixel i of the output lies at i * pixels / size, without
    the shift by half a pixel; the outermost pixels are repeated.
    """
    position = _source_positions(pixels, size, half_pixel=False)
    return _weight_matrix(*_cubic_taps(position, a=-0.75), pixels)


def _source_positions(pixels: int, size: int, half_pixel: bool) -> np.ndarray:
    """Returns where the output's pixels lie on the input's axis, (size,) float32.

    In float32, because TensorFlow rounds these positions the same way.
    """
    scale = np.float32(pixels) / np.float32(size)
    shift = np.float32(0.5 if half_pixel else 0)
    return (np.arange(size, dtype="float32") + shift) * scale - shift


def _cubic_taps(position: np.ndarray, a: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices and weights of the four pixels around each position.

    Args:
        position: (size,) float32.
        a: slope parameter of the cubic convolution (Keys 1981, doi
            10.1109/TASSP.1981.1163711).

    Returns:
        Indices, which may lie beyond the border, and weights; both (4, size).
    """
    lower = np.floor(position)
    fraction = np.rint((position - lower) * CUBIC_TABLE_SIZE) / CUBIC_TABLE_SIZE
    offsets = np.arange(-1, 3)[:, None]
    distance = np.abs(offsets - fraction.astype("float64"))
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return lower + offsets, np.where(distance <= 1, near, far)


def _weight_matrix(taps: np.ndarray, weights: np.ndarray, pixels: int) -> np.ndarray:
    """Scatters weights (taps, size) into a matrix, repeating the border pixels.

    Returns:
        (size, pixels) float64.
    """
    columns = np.clip(taps, 0, pixels - 1).astype(int)
    rows = np.broadcast_to(np.arange(taps.shape[1]), taps.shape)
    matrix = np.zeros((taps.shape[1], pixels))
    np.add.at(matrix, (rows, columns), weights)
    return matrix
