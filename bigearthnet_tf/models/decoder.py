"""From the maps of an encoder to a map of the patch's pixels.

Two forms: `unet` goes from the coarsest map to the finest and puts each beside what
has come so far (Ronneberger et al., arXiv 1505.04597); `fpn` adds them up at one width
(Lin et al., arXiv 1612.03144; Kirillov et al., arXiv 1901.02446, section 3). Where the
encoder has a single scale, both double the map step by step. The last step sees the
standardised bands themselves, whose edges no encoder keeps.

All layers are called `head_decoder_...`, so that what is said of heads (levels of
fine-tuning, slower backbones, a head that starts afresh) holds for the decoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from bigearthnet_tf.models import layers, published
from bigearthnet_tf.models.pyramid import Grid, Level

# Coarser maps get no more channels than this many widths.
_WIDEST = 8
# Of BatchNorm, as timm and torchvision have them in their ResNets.
MOMENTUM, EPSILON = 0.9, 1e-5


@keras.saving.register_keras_serializable(package=layers.PACKAGE)
class Regrid(keras.layers.Layer):
    """Interpolates maps bilinearly from one grid to another.

    Two products with constant matrices, which have a gradient and an XLA kernel
    everywhere. Beyond the outermost centres the outermost pixels are repeated.

    Input (batch, side, side, channels), output the same with the new side.

    Args:
        source: `(side, step, first)` of the incoming grid.
        target: likewise of the outgoing one.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(
        self, source: Sequence[float], target: Sequence[float], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.source, self.target = tuple(source), tuple(target)

    def call(self, inputs: Any) -> Any:
        """Returns the interpolated maps."""
        weights = ops.cast(self._weights(), inputs.dtype)
        # A row of pixels is one vector: the first product needs no transposition.
        side, (height, width, channels) = weights.shape[0], inputs.shape[1:]
        rows = ops.reshape(inputs, (-1, height, width * channels))
        rows = ops.reshape(ops.matmul(weights, rows), (-1, width, channels))
        return ops.reshape(ops.matmul(weights, rows), (-1, side, side, channels))

    def _weights(self) -> NDArray[np.float32]:
        """Returns (pixels out, pixels in), whose rows sum to one."""
        side, step, first = self.source
        new_side, new_step, new_first = self.target
        place = (new_first + new_step * np.arange(new_side) - first) / step
        place = place.clip(0, side - 1)
        distance = np.abs(place[:, None] - np.arange(side))
        return np.maximum(1 - distance, 0).astype(np.float32)

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns the shape of the output."""
        side = int(self.target[0])
        return (input_shape[0], side, side, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        """Returns what the layer is built from."""
        return {**super().get_config(), "source": self.source, "target": self.target}


def unet(levels: Sequence[Level], width: int, patch: int) -> tuple[Any, Grid]:
    """Decodes from the coarsest level to the finest, each beside what came so far.

    Args:
        levels: the finest first.
        width: channels at a step of one pixel; see `channels`.
        patch: pixels a side of the patch.

    Returns:
        (batch, side, side, width) and its grid, that of the finest level.
    """
    x, grid, taken = None, levels[-1].grid, set()
    for level in reversed(levels):
        name = _name(level.grid)
        # Branches may have as many pixels and yet lie apart.
        name += "_apart" if name in taken else ""
        taken.add(name)
        if x is not None:
            x, grid = _descend(x, grid, level.grid, width, patch, name)
        filters = channels(level.grid, width)
        skips = [
            convolved(image, filters, 3 if level is levels[0] else 1, f"{name}_skip{i}")
            for i, image in enumerate(level.maps, start=1)
        ]
        together = [*([] if x is None else [x]), *skips]
        x = _beside(together, name)
        x = convolved(x, filters, 3, f"{name}_part1")
        x = convolved(x, filters, 3, f"{name}_part2")
    return x, grid


def fpn(levels: Sequence[Level], width: int, patch: int) -> tuple[Any, Grid]:
    """Adds up the maps of all levels but the finest, and puts them beside that one.

    Args:
        levels: as for `unet`, as are the others.
        width: of the result; inside it is eight times as wide.
        patch: pixels a side of the patch.

    Returns:
        As `unet` does.
    """
    inner, parts, taken = _WIDEST * width, [], set()
    finest, *coarser = levels
    x, grid = None, coarser[-1].grid
    for level in reversed(coarser):
        name = _name(level.grid)
        name += "_apart" if name in taken else ""
        taken.add(name)
        found = convolved(_beside(level.maps, name), inner, 1, f"{name}_skip")
        if x is not None:
            above = regrid(x, grid, level.grid, f"{name}_regrid")
            found = keras.layers.Add(name=f"{name}_add")([above, found])
        x, grid = found, level.grid
        part = convolved(x, inner // 2, 3, f"{name}_part")
        parts.append(regrid(part, grid, coarser[0].grid, f"{name}_out"))
    name = f"{published.DECODER}_sum"
    x = keras.layers.Add(name=name)(parts) if len(parts) > 1 else parts[0]
    name = _name(finest.grid)
    x, grid = _descend(x, grid, finest.grid, width, patch, name)
    skips = [
        convolved(image, width, 3, f"{name}_skip{number}")
        for number, image in enumerate(finest.maps, start=1)
    ]
    return convolved(_beside([x, *skips], name), width, 3, f"{name}_part1"), grid


DECODERS: dict[str, Callable[[Sequence[Level], int, int], tuple[Any, Grid]]] = {
    "unet": unet,
    "fpn": fpn,
}


def channels(grid: Grid, width: int) -> int:
    """Returns the channels of a map: twice as many with every doubling of its step."""
    doublings = max(math.floor(math.log2(grid.step) + 0.01), 0)
    return width * min(2**doublings, _WIDEST)


def _descend(
    x: Any, grid: Grid, target: Grid, width: int, patch: int, name: str
) -> tuple[Any, Grid]:
    """Interpolates to a finer grid, by no more than about two at a time.

    `name` is that of the target's layers.
    """
    while grid.step / target.step > 2.5:
        finer = grid.halved(patch)
        between = _name(finer)
        x = regrid(x, grid, finer, f"{between}_regrid")
        x = convolved(x, channels(finer, width), 3, f"{between}_part1")
        grid = finer
    return regrid(x, grid, target, f"{name}_regrid"), target


def regrid(x: Any, source: Grid, target: Grid, name: str) -> Any:
    """Interpolates maps from one grid to another; nothing where they are the same."""
    if source == target:
        return x
    numbers = [(grid.side, grid.step, grid.first) for grid in (source, target)]
    return Regrid(*numbers, name=name)(x)


def convolved(x: Any, filters: int, kernel: int, name: str) -> Any:
    """Convolves, normalises and rectifies: `<name>_conv`, `_norm`, `_relu`."""
    x = keras.layers.Conv2D(
        filters,
        kernel,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(
        momentum=MOMENTUM, epsilon=EPSILON, name=f"{name}_norm"
    )(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _beside(images: Sequence[Any], name: str) -> Any:
    if len(images) == 1:
        return images[0]
    return keras.layers.Concatenate(name=f"{name}_concatenate")(list(images))


def _name(grid: Grid) -> str:
    """Names the layers of a grid by its side."""
    return f"{published.DECODER}_{grid.side}"
