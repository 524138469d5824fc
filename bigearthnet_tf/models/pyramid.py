"""The maps inside of an encoder, and where on the patch their pixels lie.

Strides, padding and kernels move the centres of the pixels: what comes out of TF-Slim's
and of timm's ResNet lies half a pixel apart, and networks that cut patches leave out
the last rows. A decoder that stretched every map over the whole patch would blur and
shift. So the centres are worked out, layer by layer (Araujo et al., "Computing
receptive fields of convolutional neural networks", doi 10.23915/distill.00021).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from bigearthnet_tf.models import zoo


@dataclass(frozen=True)
class Grid:
    """Centres of the pixels of a square map, the same along both axes.

    Attributes:
        side: pixels.
        step: from one to the next, in pixels of the patch.
        first: centre of the first one from the edge of the patch, likewise.
    """

    side: int
    step: float
    first: float

    @classmethod
    def of_patch(cls, patch: int, side: int) -> Grid:
        """Returns the grid of `side` pixels that fill a patch."""
        return cls(side, patch / side, patch / side / 2)

    def halved(self, patch: int) -> Grid:
        """Returns a grid over a patch, of half the step."""
        step = self.step / 2
        return Grid(math.ceil(patch / step), step, step / 2)


@dataclass(frozen=True)
class Level:
    """Maps of one grid.

    Attributes:
        grid: their pixels.
        maps: each (batch, side, side, channels).
    """

    grid: Grid
    maps: tuple[Any, ...]


def check(entry: zoo.ModelEntry) -> None:
    """Refuses an architecture without maps.

    Raises:
        ValueError: names those that have some.
    """
    if entry.maps is None:
        able = [n for n in zoo.list_models() if zoo.get_model(n).maps is not None]
        raise ValueError(
            f"{entry.name} gives no maps to decode into labels of pixels; choose a "
            f"model_name of {', '.join(n for n in able if not n.endswith('_test'))}"
        )


def levels(
    entry: zoo.ModelEntry,
    model: keras.Model,
    entrances: Mapping[int, Grid],
) -> list[Level]:
    """Returns the maps of an encoder that are worth decoding, the finest first.

    Of all layers that the entry's pattern names the last one of each step; where its
    group tells branches apart, the last one of each branch.

    Args:
        entry: of the encoder, which has maps.
        model: from the inputs to the features, each layer used once.
        entrances: `id` of each tensor that enters the encoder, and its grid.
    """
    grids: dict[int, Grid | None] = dict(entrances)
    found: dict[tuple[float, str], tuple[Grid, Any]] = {}
    for operation in model.operations:
        incoming = [
            grid
            for tensor in keras.tree.flatten(operation.input)
            if (grid := grids.get(id(tensor))) is not None
        ]
        output = operation.output
        if id(output) in entrances or not incoming or isinstance(output, list | dict):
            continue
        grid = grids[id(output)] = _behind(operation, incoming[0])
        match = re.fullmatch(str(entry.maps), operation.name)
        if grid is None or match is None or _pads(operation):
            continue
        image = _as_map(output, grid)
        if image is not None:
            found[grid.step, "".join(match.groups())] = grid, image
    by_grid: dict[Grid, list[Any]] = {}
    for grid, image in found.values():
        by_grid.setdefault(grid, []).append(image)
    finest = sorted(by_grid, key=lambda grid: grid.step)
    return [Level(grid, tuple(by_grid[grid])) for grid in finest]


def _pads(operation: Any) -> bool:
    return isinstance(operation, keras.layers.ZeroPadding2D | keras.layers.Cropping2D)


def _behind(operation: Any, grid: Grid) -> Grid | None:
    """Returns the grid of what an operation gives; None where it gives no map."""
    shape = operation.output.shape
    if len(shape) < 3:
        return None
    if len(shape) != 4:
        return grid  # tokens, or pixels sorted into patches for a while
    side = shape[1]
    if _pads(operation):
        inwards = isinstance(operation, keras.layers.Cropping2D)
        moved = operation.padding if not inwards else operation.cropping
        shift = moved[0][0] * (1 if inwards else -1)
        return Grid(side, grid.step, grid.first + shift * grid.step)
    kernel = getattr(operation, "kernel_size", getattr(operation, "pool_size", None))
    if kernel is not None and hasattr(operation, "strides"):
        stride = operation.strides[0]
        padding = 0
        if operation.padding == "same":
            needed = (side - 1) * stride + kernel[0] - grid.side
            padding = max(needed, 0) // 2
        centre = (kernel[0] - 1) / 2 - padding
        return Grid(side, grid.step * stride, grid.first + grid.step * centre)
    if side == grid.side:
        return grid
    if type(operation).__name__ in ("Resize", "Resizing"):
        ratio = grid.side / side
        first = grid.first + grid.step * (ratio - 1) / 2
        return Grid(side, grid.step * ratio, first)
    return None  # pooled to a single pixel


def _as_map(output: Any, grid: Grid) -> Any | None:
    """Returns a tensor as a map; tokens are put back to their places.

    A class token in front of them is left out.
    """
    shape = output.shape
    if len(shape) == 4:
        return output if shape[1] == grid.side else None
    tokens = grid.side**2
    if len(shape) != 3 or shape[1] not in (tokens, tokens + 1):
        return None
    patches = output[:, shape[1] - tokens :]
    return ops.reshape(patches, (-1, grid.side, grid.side, shape[2]))
