"""Embeddings, and classes, at points: what a map has there, without making the map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rasterio import CRS
from rasterio.windows import Window

from bigearthnet_tf import console, files, tables
from bigearthnet_tf.archive import ground, tile_facts
from bigearthnet_tf.archive.tile import Block
from bigearthnet_tf.evaluation import generated
from bigearthnet_tf.serving.pixel_model import Encoder, PixelModel
from bigearthnet_tf.serving.tile_source import MapTile, window_of

LONLAT = "EPSG:4326"
# Columns that coordinates may have, and their coordinate system; None: the tile's.
_COORDINATES = (
    ("lon", "lat", LONLAT),
    ("longitude", "latitude", LONLAT),
    ("x", "y", None),
)
# Columns of the result; `embedding_0` and so on come after them.
OWN = ("tile", "row", "column", "num_dates", "class", "class_name", "probability")
EMBEDDING = "embedding_"
# Of `x` and `y`, which in several tiles may be of several systems.
CRS_COLUMN = "crs"
REASON = "reason"  # of those that are skipped
OUTSIDE, NOWHERE = "outside of all tiles", "no coordinates"


@dataclass(frozen=True)
class Points:
    """A table of places.

    Attributes:
        table: as it was read, a row a point.
        x: (points,) first coordinate; NaN where there is none.
        y: likewise.
        crs: of the coordinates; None for that of each tile.
    """

    table: pd.DataFrame
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    crs: str | None


def read(path: Path, crs: str | None = None) -> Points:
    """Reads points from CSV or Parquet.

    Args:
        path: with columns `lon` and `lat` in degrees, or `x` and `y`.
        crs: of `x` and `y`; None for that of the tiles.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no table, no coordinates, `crs` with degrees, or columns with names
            of the result.
    """
    tile_facts.resolve_crs(crs, "--points-crs")
    table = tables.read(path, "a table of points", as_written=True)
    places = {name for names in _COORDINATES for name in names[:2] if name}
    folded = tables.by_plain_names(table, places, path)
    known = [names for names in _COORDINATES if {*names[:2]} <= set(folded)]
    if not known:
        raise ValueError(
            f"{path}: expected columns lon and lat, or x and y, got "
            f"{', '.join(map(str, table.columns))}"
        )
    first, second, system = known[0]
    if system and crs is not None:
        raise ValueError(
            f"{path}: --points-crs is for columns x and y, but {first} and {second}, "
            "which are degrees, are there; leave out one or the other"
        )
    own = (*OWN, REASON, generated.COLUMN, *(() if system else (CRS_COLUMN,)))
    taken = [n for n in table.columns if n in own or str(n).startswith(EMBEDDING)]
    if taken:
        raise ValueError(
            f"{path}: has columns that the result has too: {', '.join(taken)}; rename "
            "them"
        )
    if not len(table):
        raise ValueError(f"{path}: has no points")
    x, y = (tables.numbers(table, folded[name], path) for name in (first, second))
    if system == LONLAT and (np.abs(y) > 90).any():
        raise ValueError(
            f"{path}: latitudes of {np.nanmax(np.abs(y)):g}; are {first} and {second} "
            "swapped, or metres?"
        )
    return Points(table, x, y, system or crs)


class _Found:
    """What is known of the points so far."""

    def __init__(self, model: PixelModel, points: Points) -> None:
        count = len(points.table)
        self.model, self.points = model, points
        self.is_done = np.zeros(count, bool)
        self.reasons = np.full(count, OUTSIDE, object)
        self.reasons[~np.isfinite(points.x + points.y)] = NOWHERE
        self.tiles = np.full(count, "", object)
        self.systems = np.full(count, "", object)
        self.places = np.zeros((count, 3), np.int64)
        self.classes = np.zeros(count, np.int64)
        self.probabilities = np.zeros(count, np.float32)
        self.embeddings = np.zeros((count, model.dimensions), np.float32)

    def look(
        self,
        encoder: Encoder,
        block: Block,
        points: NDArray[np.int64],
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
    ) -> None:
        """Encodes the pixels of points that lie in a block."""
        dates = np.count_nonzero(block.mask[rows, columns], axis=1)
        valid = dates >= encoder.needed
        for point, number in zip(points[~valid], dates[~valid], strict=True):
            self.reasons[point] = (
                f"{number} valid dates, needed are {encoder.needed} or more"
            )
        points, rows, columns = points[valid], rows[valid], columns[valid]
        encoded = encoder.encode(block, rows * block.mask.shape[1] + columns)
        self.is_done[points] = True
        self.tiles[points] = block.tile
        self.places[points] = np.stack(
            [rows + block.row, columns + block.column, dates[valid]], axis=1
        )
        self.embeddings[points] = encoded.embeddings
        if encoded.probabilities is not None:
            self.classes[points] = encoded.probabilities.argmax(axis=1)
            self.probabilities[points] = encoded.probabilities.max(axis=1)

    def table(self) -> pd.DataFrame:
        """Returns the columns of all points."""
        columns: dict[str, Any] = {"tile": self.tiles}
        if self.points.crs != LONLAT:
            columns[CRS_COLUMN] = self.systems
        columns |= dict(zip(("row", "column", "num_dates"), self.places.T, strict=True))
        if self.model.classes:
            each = [self.model.classes[number] for number in self.classes]
            columns["class"] = [c.code for c in each]
            columns["class_name"] = [c.name for c in each]
            columns["probability"] = self.probabilities
        columns |= {
            f"{EMBEDDING}{number}": values
            for number, values in enumerate(self.embeddings.T)
        }
        return pd.DataFrame(columns)


def sample(
    model: PixelModel, tiles: Sequence[tuple[MapTile, Encoder]], points: Points
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Encodes the pixels that points lie in.

    Where tiles overlap, a point is of the first one in which its pixel has dates
    enough. Only blocks with points are read, one at a time.

    Args:
        model: what encodes.
        tiles: with their encoders.
        points: where.

    Returns:
        The points that were found, with what a map has there (`class` is a code of
        WorldCover; `generated` is True where the model is of generated data), and
        those that were skipped, with the `reason`; both in the order that they were
        given in.

    Raises:
        ValueError: a tile without a place, or a point that lies in tiles of several
            coordinate systems and may be of each.
    """
    _check_one_system([tile for tile, _ in tiles], points)
    found = _Found(model, points)
    with console.progress(total=len(points.table), desc="points", unit="point") as bar:
        for tile, encoder in tiles:
            rows, columns = locate(tile, points)
            rows[found.is_done] = -1
            system = CRS.from_user_input(points.crs or tile.georeference()[0])
            for block, within in _blocks(tile, rows, columns):
                found.systems[within] = system.to_string()
                places = rows[within] - block.row, columns[within] - block.column
                found.look(encoder, block, within, *places)
                bar.update(int(found.is_done.sum()) - bar.n)
    table = pd.concat([points.table.reset_index(drop=True), found.table()], axis=1)
    if model.generated:
        table[generated.COLUMN] = True
    left = points.table.reset_index(drop=True).assign(**{REASON: found.reasons})
    return (
        table[found.is_done].reset_index(drop=True),
        left[~found.is_done].reset_index(drop=True),
    )


def _check_one_system(tiles: Sequence[MapTile], points: Points) -> None:
    """Refuses x and y that lie in tiles of several coordinate systems."""
    if points.crs is not None:
        return
    inside: dict[CRS, NDArray[np.bool_]] = {}
    for tile in tiles:
        crs = ground.read_crs(tile.georeference()[0])
        inside[crs] = inside.get(crs, False) | (locate(tile, points)[0] >= 0)
    if not inside:
        return
    found = np.stack(list(inside.values()))
    several = found.sum(axis=0) > 1
    if several.any():
        first = int(several.argmax())
        systems = [c.to_string() for c, own in inside.items() if own[first]]
        raise ValueError(
            f"expected x and y of one coordinate system, but row {first + 1} of the "
            f"points lies in tiles of {' and of '.join(systems)}: give --points-crs, "
            "or lon and lat"
        )


def _blocks(
    tile: MapTile, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> Iterator[tuple[Block, NDArray[np.int64]]]:
    """Yields the blocks that points lie in, with the numbers of these points."""

    def within(window: Window) -> NDArray[np.bool_]:
        return (
            (rows >= window.row_off)
            & (rows < window.row_off + window.height)
            & (columns >= window.col_off)
            & (columns < window.col_off + window.width)
        )

    for block in tile.read(lambda window: bool(within(window).any())):
        yield block, np.flatnonzero(within(window_of(block)))


def locate(
    tile: MapTile, points: Points
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns row and column of each point in a tile, -1 for those outside of it.

    A pixel has its left and upper edge, not the others.

    Raises:
        ValueError: the tile has no place.
    """
    crs, transform = tile.georeference()
    rows, columns = (np.full(len(points.x), -1, np.int64) for _ in range(2))
    placed = np.flatnonzero(np.isfinite(points.x + points.y))
    x, y = points.x[placed], points.y[placed]
    if points.crs is not None and len(placed):
        x, y = ground.reproject(points.crs, crs, x, y)
    inverse = ~transform
    column = np.floor(inverse.a * x + inverse.b * y + inverse.c)
    row = np.floor(inverse.d * x + inverse.e * y + inverse.f)
    # What PROJ can't place is infinite, and not within.
    inside = (row >= 0) & (row < tile.height) & (column >= 0) & (column < tile.width)
    rows[placed[inside]] = row[inside].astype(np.int64)
    columns[placed[inside]] = column[inside].astype(np.int64)
    return rows, columns


def write(table: pd.DataFrame, path: Path) -> None:
    """Writes a table as Parquet or CSV, by its name, atomically.

    Raises:
        ValueError: another ending.
    """
    check_name(path)
    with files.write_atomically(path) as temporary:
        if path.suffix == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            table.to_csv(temporary, index=False)


def check_name(path: Path) -> None:
    """Raises ValueError for a file that is neither Parquet nor CSV."""
    if path.suffix not in (".parquet", ".csv"):
        raise ValueError(f"{path}: expected a name that ends in .parquet or .csv")
