"""Labelled points: a table of places, found in tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rasterio import CRS

from bigearthnet_tf import tables
from bigearthnet_tf.archive import ground
from bigearthnet_tf.archive.land_cover import NO_DATA, UNLABELLED
from bigearthnet_tf.archive.tile import Tile

# Columns that coordinates may have, and their coordinate system; None: the tile's.
_COORDINATES = (("lon", "lat", "EPSG:4326"), ("x", "y", None))


@dataclass(frozen=True)
class Point:
    """A labelled place.

    Attributes:
        name: its id, or the number of its row.
        x: map coordinate, as given.
        y: likewise.
        label: class code; 255 for none.
        crs: coordinate system of `x` and `y`; None for that of the tile.
    """

    name: str
    x: float
    y: float
    label: int
    crs: str | None = None


def read_points(path: Path | str, codes: Sequence[int]) -> list[Point]:
    """Reads points from CSV.

    Args:
        path: a table with columns `lon` and `lat`, in degrees, or `x` and `y`, in the
            coordinate system of the tiles; `label`, a class code; and perhaps `id`.
        codes: the classes that there are.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no table, columns that are missing, a place that is no number, or a
            label outside the table of classes.
    """
    table = tables.read_csv(path, "a table of points", as_written=True)
    columns = next((it for it in _COORDINATES if {*it[:2]} <= {*table.columns}), None)
    if columns is None or "label" not in table.columns:
        raise ValueError(
            f"{path}: expected columns lon and lat, or x and y, and label, got "
            f"{', '.join(map(str, table.columns))}"
        )
    x, y, crs = columns
    numbers = pd.DataFrame(
        {name: tables.numbers(table, name, path) for name in (x, y, "label")}
    )
    wrong = ~np.isfinite(numbers.to_numpy(float)).all(axis=1)
    if wrong.any():
        raise ValueError(
            f"{path}: expected numbers as {x}, {y} and label, but line "
            f"{tables.line_of(wrong)} has none"
        )
    if crs is not None and (numbers[y].abs() > 90).any():
        raise ValueError(
            f"{path}: expected latitudes of -90 to 90 degrees, got one of "
            f"{numbers[y].abs().max():g}: are lon and lat swapped, or metres?"
        )
    strange = ~numbers["label"].isin([NO_DATA, UNLABELLED, *codes])
    if strange.any():
        raise ValueError(
            f"{path}: expected class codes {', '.join(map(str, codes))}, got "
            f"{numbers['label'][strange].iloc[0]:g} in line {tables.line_of(strange)}"
        )
    names = table["id"] if "id" in table.columns else pd.Series(range(len(table)))
    labels = numbers["label"].astype(int).replace(NO_DATA, UNLABELLED)
    rows = zip(names.astype(str), numbers[x], numbers[y], labels, strict=True)
    return [Point(name, float(a), float(b), int(c), crs) for name, a, b, c in rows]


def check_one_system(points: Sequence[Point], tiles: Sequence[Tile]) -> None:
    """Refuses points that lie in tiles of several coordinate systems.

    Raises:
        ValueError: one of them, which may be of each; or as `locate`.
    """
    systems: dict[int, CRS] = {}
    for tile in tiles:
        for point, _, _ in locate([p for p in points if p.crs is None], tile):
            crs = ground.read_crs(str(tile.crs))
            first = systems.setdefault(id(point), crs)
            if first != crs:
                raise ValueError(
                    f"point {point.name}: expected x and y of one coordinate system, "
                    f"but they lie in tiles of {first.to_string()} and of "
                    f"{crs.to_string()}: give lon and lat"
                )


def locate(points: Sequence[Point], tile: Tile) -> list[tuple[Point, int, int]]:
    """Returns the points that lie in a tile, with row and column of their pixel.

    Raises:
        ValueError: nobody has told where the tile lies.
    """
    if tile.transform is None or tile.crs is None:
        raise ValueError(
            f"{tile.name}: points are to be found in it, but it has no coordinate "
            "system or transform: give them by --crs and --transform, or in tile.json"
        )
    found = []
    for crs in {point.crs for point in points}:
        of_crs = [point for point in points if point.crs == crs]
        x, y = (np.array([getattr(p, axis) for p in of_crs]) for axis in ("x", "y"))
        if crs is not None:
            x, y = ground.reproject(crs, tile.crs, x, y)
        columns, rows = map(np.floor, ~tile.transform @ (x, y))
        # What PROJ can't place is infinite, and not within.
        inside = (rows >= 0) & (rows < tile.height)
        inside &= (columns >= 0) & (columns < tile.width)
        found += [
            (of_crs[i], int(rows[i]), int(columns[i])) for i in np.flatnonzero(inside)
        ]
    return found
