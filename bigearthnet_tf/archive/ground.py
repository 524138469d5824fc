"""The ground that tiles share: overlaps between them, and squares numbered on it.

Tiles of Sentinel-2 overlap their neighbours by 10 km, in the same UTM zone and across
the border of two. What shows the same ground counts as one place, whatever tile it is
of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rasterio import CRS, Affine, warp
from rasterio.errors import RasterioError

LONLAT = "EPSG:4326"
# Metres of a degree of a great circle, on a sphere of 6371 km.
DEGREE = 111_195.0
# Of a pixel: grids that differ by less are one grid.
_ROUNDING = 1e-3

Floats = NDArray[np.float64]


class Placed(Protocol):
    """A raster with, or without, a place."""

    @property
    def crs(self) -> str | None:
        """Coordinate system as WKT."""

    @property
    def affine(self) -> Affine | None:
        """From (column, row) to map coordinates."""

    @property
    def height(self) -> int:
        """Rows."""

    @property
    def width(self) -> int:
        """Columns."""


def is_placed(tile: Placed) -> bool:
    """Tells whether a tile says where it lies."""
    return tile.crs is not None and tile.affine is not None


@lru_cache(maxsize=256)
def read_crs(text: str) -> CRS:
    """Returns a coordinate system, given in any form that PROJ accepts.

    Raises:
        ValueError: PROJ does not know it.
    """
    try:
        return CRS.from_user_input(text)
    except (RasterioError, ValueError) as error:  # ValueError for EPSG:banana
        raise ValueError(
            f"{text!r} is no coordinate system that PROJ knows ({error}); "
            "give it as EPSG:<code> or as WKT"
        ) from None


def _affine(tile: Placed) -> Affine:
    if tile.affine is None:
        raise ValueError("expected a tile with a transform, got none")
    return tile.affine


def same_system(one: Placed, other: Placed) -> bool:
    """Tells whether two placed tiles have the same coordinate system."""
    return one.crs == other.crs or read_crs(str(one.crs)) == read_crs(str(other.crs))


def grid_shift(one: Placed, other: Placed) -> tuple[int, int] | None:
    """Returns rows and columns from the corner of a tile to that of another one.

    None if the pixels of the two are not those of one grid.
    """
    if not same_system(one, other):
        return None
    between = ~_affine(one) @ _affine(other)
    turn = (between.a - 1, between.b, between.d, between.e - 1)
    far = max(other.height, other.width)
    row, column = round(between.f), round(between.c)
    apart = max(abs(between.f - row), abs(between.c - column))
    if max(map(abs, turn)) * far > _ROUNDING or apart > _ROUNDING:
        return None
    return row, column


def to_pixels(
    source: Placed, columns: ArrayLike, rows: ArrayLike, target: Placed
) -> tuple[Floats, Floats]:
    """Returns columns and rows in one tile of places given in another.

    Args:
        source: a placed tile.
        columns: in it; edges of pixels are whole numbers.
        rows: rows in it, of the same shape.
        target: another placed tile.

    Returns:
        Columns and rows in `target`; infinite for what PROJ can't place there.
    """
    columns, rows = np.asarray(columns, np.float64), np.asarray(rows, np.float64)
    x, y = _affine(source) @ (columns, rows)
    if not same_system(source, target):
        x, y = reproject(str(source.crs), str(target.crs), x, y)
    inverse = ~_affine(target)
    return (
        inverse.a * x + inverse.b * y + inverse.c,
        inverse.d * x + inverse.e * y + inverse.f,
    )


def reproject(source: str, target: str, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Returns coordinates in another system.

    Args:
        source: coordinate system of `x` and `y`.
        target: that of the result.
        x: of any shape, as `y`.
        y: see `x`.

    Returns:
        Infinite for what PROJ can't place there.

    Raises:
        ValueError: PROJ knows no such system.
    """
    systems = read_crs(source), read_crs(target)
    try:
        found = warp.transform(*systems, x.ravel(), y.ravel())
    except Exception:  # rasterio lets GDAL's own classes through
        # One place that can't be had is an error for all of them.
        if x.size == 1:
            nowhere = np.full(x.shape, np.inf)
            return nowhere, nowhere
        pairs = zip(x.ravel(), y.ravel(), strict=True)
        each = [reproject(source, target, *map(np.atleast_1d, xy)) for xy in pairs]
        found = tuple(map(np.concatenate, zip(*each, strict=True)))
    east, north = (np.asarray(values, np.float64).reshape(x.shape) for values in found)
    return east, north


def boxes_in(
    source: Placed, boxes: NDArray[np.int64], target: Placed
) -> NDArray[np.float64]:
    """Returns what encloses windows of a tile in the pixels of another one.

    Args:
        source: a placed tile.
        boxes: (windows, 4): row, column, height, width.
        target: another placed tile.

    Returns:
        (windows, 4): first row, first column, last row, last column, of edges.
    """
    row, column, height, width = boxes.T
    # Edges of large windows are bent: their middles too.
    parts = [(a, b) for a in (0, 0.5, 1) for b in (0, 0.5, 1)]
    columns = np.stack([column + b * width for _, b in parts])
    rows = np.stack([row + a * height for a, _ in parts])
    across, down = to_pixels(source, columns, rows, target)
    return np.stack(
        [down.min(axis=0), across.min(axis=0), down.max(axis=0), across.max(axis=0)],
        axis=1,
    )


def overlap(one: Placed, other: Placed) -> bool:
    """Tells whether two placed tiles share ground."""
    whole = np.array([[0, 0, one.height, one.width]])
    ((top, left, bottom, right),) = boxes_in(one, whole, other)
    return bool(
        min(bottom, other.height) - max(top, 0) > _ROUNDING
        and min(right, other.width) - max(left, 0) > _ROUNDING
    )


@dataclass(frozen=True)
class Anchor:
    """Where the squares of a tile are counted from.

    Attributes:
        group: number of the tiles that share squares.
        row: row of the tile's corner in the common grid.
        column: column of the corner in the common grid.
    """

    group: int
    row: int
    column: int


def anchors(tiles: Sequence[Placed]) -> list[Anchor]:
    """Returns for each tile where its squares are counted from.

    Tiles that share ground and have one grid of pixels, directly or by way of others,
    are counted from the corner of the first of them, so that a square has one number in
    all; others from their own.
    """
    found: dict[int, Anchor] = {}
    for first in range(len(tiles)):
        if first in found:
            continue
        found[first] = Anchor(first, 0, 0)
        waiting = [first]
        while waiting:
            near = waiting.pop()
            for place, tile in enumerate(tiles):
                shift = None if place in found else _shared_shift(tiles[near], tile)
                if shift is not None:
                    row, column = (
                        found[near].row + shift[0],
                        found[near].column + shift[1],
                    )
                    found[place] = Anchor(first, row, column)
                    waiting.append(place)
    return [found[place] for place in range(len(tiles))]


def _shared_shift(one: Placed, other: Placed) -> tuple[int, int] | None:
    """Returns `grid_shift` of tiles that share ground, else None."""
    if not (is_placed(one) and is_placed(other)):
        return None
    shift = grid_shift(one, other)
    return shift if shift is not None and overlap(one, other) else None


def degree_squares(lon: ArrayLike, lat: ArrayLike, side: float) -> NDArray[np.int64]:
    """Returns row and column of the squares of ground that places lie in, (2, places).

    Along a parallel of latitude degrees are counted by its length.

    Args:
        lon: degrees.
        lat: degrees.
        side: of a square in metres.
    """
    rows = np.floor(np.asarray(lat, np.float64) * DEGREE / side)
    # By the latitude of the row's middle, so that a square has one width.
    scale = np.cos(np.radians((rows + 0.5) * side / DEGREE))
    columns = np.floor(np.asarray(lon, np.float64) * DEGREE * scale / side)
    return np.stack([rows, columns]).astype(np.int64)


def block_numbers(
    tiles: Sequence[Placed], places: NDArray[np.integer], side: int
) -> NDArray[np.int64]:
    """Returns the number of the block of ground that each pixel lies in, (pixels,).

    Where tiles overlap, a block is that of all of them: cut on their common grid of
    pixels, or, if they have none, on degrees of longitude and latitude.

    Args:
        tiles: that the pixels are of; those without a place share nothing.
        places: (pixels, 3): number of the tile, row, column.
        side: of a block in pixels.
    """
    tile, row, column = np.asarray(places, np.int64).T
    anchored = anchors(tiles)
    group, first_row, first_column = np.array(
        [(each.group, each.row, each.column) for each in anchored]
    ).T
    keys = np.stack(
        [
            group[tile],
            (row + first_row[tile]) // side,
            (column + first_column[tile]) // side,
        ]
    )
    placed = [number for number, each in enumerate(tiles) if is_placed(each)]
    mixed = {
        number
        for number in placed
        for other in placed
        if group[number] != group[other] and overlap(tiles[number], tiles[other])
    }
    metres = _metres(tiles[min(mixed)]) if mixed else 0.0
    for number in mixed:
        own = tile == number
        lon, lat = _lonlat(tiles[number], column[own] + 0.5, row[own] + 0.5)
        keys[0, own] = -1
        keys[1:, own] = degree_squares(lon, lat, side * metres)
    return np.unique(keys, axis=1, return_inverse=True)[1].ravel().astype(np.int64)


def _lonlat(tile: Placed, columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
    x, y = _affine(tile) @ (columns, rows)
    return reproject(str(tile.crs), LONLAT, x, y)


def is_geographic(crs: str) -> bool:
    """Tells whether coordinates of a system are degrees; not if it is not known.

    Raises:
        ValueError: PROJ knows no such system.
    """
    return bool(crs) and bool(read_crs(crs).is_geographic)


def _metres(tile: Placed) -> float:
    """Returns the side of a pixel in metres."""
    side = abs(_affine(tile).determinant) ** 0.5
    return side * DEGREE if read_crs(str(tile.crs)).is_geographic else side


def to_lonlat(crs: str, x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """Returns longitudes and latitudes of places in a coordinate system."""
    return reproject(crs, LONLAT, np.asarray(x, np.float64), np.asarray(y, np.float64))
