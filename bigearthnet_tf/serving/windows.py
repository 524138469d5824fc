"""A scene seen through windows of 1200 m, and what a model says of them blended.

The windows lie on a grid that begins in the upper left corner, a stride apart. Where
the last one would leave a rest, another one ends at the edge of the scene, up to the
60 m that windows are placed by. Overlapping windows are weighted by a Hann window,
which leaves no seams (at strides that divide 600 m the weights add up to one but at
the edges of the scene); windows side by side are not.

What a pixel of the map has is the mean of the windows over its area, by their weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive.bands import BANDS
from bigearthnet_tf.serving.scenes import METRES, STEP, Region

# Side of a window in pixels of 10 m.
SIDE = band_facts.PATCH_METRES // METRES

Groups = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class WindowModel:
    """What is asked of each window.

    Attributes:
        bands: that it needs.
        labels: names of what it scores.
        colours: `#rrggbb` of each label.
        score: from band groups as stored, planar (batch, bands, rows, columns) by name
            of the group, to scores: float32 (batch, labels), or (batch, 120, 120,
            labels) of each pixel of 10 m.
        key: a hash of what the scores follow from.
        title: of the model, for tags and pictures.
        per_pixel: whether it scores pixels.
        fingerprint: of the weights, as `thresholds.json` has it; empty where unknown.
        example_bytes: that a window takes in memory, at least.
    """

    bands: tuple[str, ...]
    labels: tuple[str, ...]
    colours: tuple[str, ...]
    score: Callable[[Groups], NDArray[np.float32]]
    key: str
    title: str
    per_pixel: bool = False
    fingerprint: str = ""
    example_bytes: int = 0


@dataclass(frozen=True)
class Grid:
    """Windows and map pixels of a scene; all lengths in pixels of 10 m.

    Attributes:
        height: of the scene.
        width: of the scene.
        stride: from window to window, a multiple of 6 up to 120.
        pixel: side of a pixel of the map.
        block: side of what is computed at once, a multiple of `pixel`.
    """

    height: int
    width: int
    stride: int
    pixel: int
    block: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the map; the last ones may reach out of the scene."""
        return -(-self.height // self.pixel), -(-self.width // self.pixel)

    def blocks(self) -> Iterator[Block]:
        """Yields the blocks, row by row."""
        for row in range(0, self.height, self.block):
            for column in range(0, self.width, self.block):
                last = min(row + self.block, self.shape[0] * self.pixel)
                right = min(column + self.block, self.shape[1] * self.pixel)
                yield Block(
                    row,
                    column,
                    last - row,
                    right - column,
                    _reaching(offsets(self.height, self.stride), row, last),
                    _reaching(offsets(self.width, self.stride), column, right),
                )


@dataclass(frozen=True)
class Block:
    """A part of the map and the windows that reach into it, in pixels of 10 m.

    Attributes:
        row: of its upper left corner.
        column: likewise.
        height: of it.
        width: of it.
        rows: where the windows begin.
        columns: likewise; there is a window for each pair.
    """

    row: int
    column: int
    height: int
    width: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @property
    def num_windows(self) -> int:
        """Number of windows."""
        return len(self.rows) * len(self.columns)

    @property
    def extent(self) -> tuple[int, int, int, int]:
        """Row, column, height and width that block and windows take together.

        In multiples of 60 m, as regions of a scene have it.
        """
        row = min(self.rows[0], self.row // STEP * STEP)
        column = min(self.columns[0], self.column // STEP * STEP)
        last = max(self.rows[-1] + SIDE, self.row + self.height)
        right = max(self.columns[-1] + SIDE, self.column + self.width)
        height, width = -(-(last - row) // STEP), -(-(right - column) // STEP)
        return row, column, height * STEP, width * STEP


def offsets(length: int, stride: int) -> list[int]:
    """Returns where windows begin along one side of a scene.

    Args:
        length: of the side in pixels of 10 m.
        stride: likewise, a multiple of 6.
    """
    found = list(range(0, max(length - SIDE, 0) + 1, stride))
    rest = length - SIDE - found[-1]
    if rest > 0:
        found.append(found[-1] + -(-rest // STEP) * STEP)
    return found


def _reaching(starts: list[int], first: int, last: int) -> tuple[int, ...]:
    return tuple(start for start in starts if start < last and start + SIDE > first)


def weights(start: int, first: int, count: int, grid: Grid) -> NDArray[np.float64]:
    """Returns the weight of a window in each of some map pixels along one side.

    The integral of the window's weight over what it shares with the pixel, so that it
    is 0 where they do not meet.

    Args:
        start: where the window begins.
        first: where the first pixel begins.
        count: of pixels.
        grid: their side, and the stride.
    """
    edges = first - start + grid.pixel * np.arange(count + 1, dtype=np.float64)
    edges = np.clip(edges, 0, SIDE)
    if grid.stride >= SIDE:
        return np.diff(edges)
    # Of sin^2(pi t / SIDE), the Hann window.
    angle = 2 * np.pi / SIDE
    return np.diff(edges / 2 - np.sin(angle * edges) / (2 * angle))


def blend(
    model: WindowModel,
    region: Region,
    block: Block,
    grid: Grid,
    batch_size: int,
    done: Callable[[int], object] = lambda count: None,
) -> NDArray[np.float32]:
    """Returns the scores of a block.

    Windows without a valid pixel are left out. In the others the pixels without data
    get the mean of those that have some, band by band.

    Args:
        model: that scores windows.
        region: of the block's extent.
        block: what to score.
        grid: of the scene.
        batch_size: windows at once.
        done: called with the number of windows after each batch.

    Returns:
        (labels, rows, columns) of map pixels, NaN where there are no data.
    """
    shape = block.height // grid.pixel, block.width // grid.pixel
    total = np.zeros((len(model.labels), *shape), np.float32)
    weight = np.zeros(shape, np.float32)
    valid = region.valid_pixels()
    top, left = block.extent[:2]
    places = [
        (row, column)
        for row in block.rows
        for column in block.columns
        if valid[
            row - top : row - top + SIDE, column - left : column - left + SIDE
        ].any()
    ]
    done(block.num_windows - len(places))
    down = {r: weights(r, block.row, shape[0], grid) for r in block.rows}
    across = {c: weights(c, block.column, shape[1], grid) for c in block.columns}
    for first in range(0, len(places), batch_size):
        some = places[first : first + batch_size]
        cut = [_cut(region, row - top, column - left) for row, column in some]
        groups = {
            name: np.stack([np.stack([own[band] for band in members]) for own in cut])
            for name, members in band_facts.group_bands(model.bands).items()
        }
        for (row, column), scores in zip(some, model.score(groups), strict=True):
            rows, columns = (np.flatnonzero(w) for w in (down[row], across[column]))
            inside = (
                slice(rows[0], rows[-1] + 1),
                slice(columns[0], columns[-1] + 1),
            )
            own = np.outer(down[row][inside[0]], across[column][inside[1]])
            own = own.astype(np.float32)
            weight[inside] += own
            begin = row - block.row, column - block.column
            total[:, *inside] += own * _spread(scores, inside, begin, grid.pixel)
        done(len(some))
    there = _any(valid, block, grid) & (weight > 0)
    return np.where(there, total / np.where(there, weight, 1), np.float32(np.nan))


def _cut(region: Region, row: int, column: int) -> dict[str, NDArray[np.generic]]:
    """Returns the bands of a window, whose pixels without data are filled."""
    found = {}
    for name, values in region.bands.items():
        scale = BANDS[name].metres // METRES
        side = SIDE // scale
        rows = slice(row // scale, row // scale + side)
        columns = slice(column // scale, column // scale + side)
        cut, valid = values[rows, columns], region.valid[name][rows, columns]
        if not valid.all():
            mean = cut[valid].mean(dtype=np.float64)
            mean = np.rint(mean) if cut.dtype.kind == "u" else mean
            cut = np.where(valid, cut, cut.dtype.type(mean))
        found[name] = cut
    return found


def _spread(
    scores: NDArray[np.float32],
    inside: tuple[slice, slice],
    begin: tuple[int, int],
    pixel: int,
) -> NDArray[np.float32]:
    """Returns the scores of a window for map pixels, (labels, rows, columns).

    Args:
        scores: (labels,), or (120, 120, labels) of pixels of 10 m.
        inside: rows and columns of map pixels that it reaches.
        begin: row and column of the window, from the corner of the first map pixel.
        pixel: side of a map pixel, which divides `begin` where pixels are scored.
    """
    if scores.ndim == 1:
        return scores[:, None, None]
    side = SIDE // pixel
    means = scores.reshape(side, pixel, side, pixel, -1).mean((1, 3))
    rows, columns = (
        slice(part.start - start // pixel, part.stop - start // pixel)
        for part, start in zip(inside, begin, strict=True)
    )
    return np.moveaxis(means[rows, columns], -1, 0)


def _any(valid: NDArray[np.bool_], block: Block, grid: Grid) -> NDArray[np.bool_]:
    """Returns which map pixels have a pixel with data."""
    row, column = block.row - block.extent[0], block.column - block.extent[1]
    inside = valid[row : row + block.height, column : column + block.width]
    shape = (block.height // grid.pixel, grid.pixel, block.width // grid.pixel, -1)
    return np.asarray(inside.reshape(shape).any((1, 3)))
