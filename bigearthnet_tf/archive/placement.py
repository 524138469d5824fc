"""Where the pixels of a GeoTIFF lie, and whether files of one patch lie together.

The plain case, a north-up raster with an EPSG code, is read from the tags of the bytes
at hand, in a hundredth of the time that GDAL takes (GeoTIFF 1.1, OGC 19-008r4).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import rasterio

# Corners of files of one patch are the same to the digit; a quarter of the finest pixel
# absorbs rounding, and is less than the half by which centres and corners differ.
TOLERANCE_METRES = 2.5

_WIDTH, _HEIGHT = 256, 257
_SCALE, _TIE_POINT, _MATRIX, _KEYS = 33550, 33922, 34264, 34735
_PROJECTED, _RASTER_TYPE = 3072, 1025
_IS_AREA, _USER_DEFINED = 1, 32767
_SHORT = 3  # a type of values: 16 bits


class Place(NamedTuple):
    """Outer corners of the first and the last pixel, in map coordinates.

    Attributes:
        crs: EPSG code; WKT where there is none; None for a file without it.
        left: of the first column.
        top: of the first row: north of `bottom`, unless the raster is upside down.
        right: of the last column.
        bottom: of the last row.
        turn: of rotated rasters: what all rows add to x, all columns to y.
    """

    crs: int | str | None
    left: float
    top: float
    right: float
    bottom: float
    turn: tuple[float, float] = (0.0, 0.0)

    def __str__(self) -> str:
        corners = " ".join(f"{number:.10g}" for number in self[1:5])
        corners += ", rotated," if any(self.turn) else ""
        crs = f"EPSG:{self.crs}" if isinstance(self.crs, int) else "an unnamed system"
        return f"{corners} in {crs if self.crs else 'no coordinate system'}"

    def is_at(self, other: Place) -> bool:
        """Tells whether two rasters cover the same ground the same way round."""
        if self.crs and other.crs and self.crs != other.crs:
            return False
        ours, theirs = ((*place[1:5], *place.turn) for place in (self, other))
        apart = (abs(a - b) for a, b in zip(ours, theirs, strict=True))
        return max(apart) <= TOLERANCE_METRES


class UnusualError(ValueError):
    """The tags are beyond the plain case; GDAL has to look."""


def of_tags(data: bytes) -> Place | None:
    """Returns where a TIFF lies, by its first directory; None without a georeference.

    Args:
        data: the file, at least its directory.

    Raises:
        UnusualError: a form that is left to `of_dataset`.
        struct.error: cut short.
    """
    order = "<" if data[:2] == b"II" else ">"
    magic, directory = struct.unpack_from(f"{order}HI", data, 2)
    if magic != 42:
        raise UnusualError("BigTIFF")
    (count,) = struct.unpack_from(f"{order}H", data, directory)
    layout = _layout(order, data[directory + 2 : directory + 2 + 12 * count])
    if layout is None:
        return None
    width, height, scale, tie_point, keys = layout
    epsg = _epsg(order, data[keys])
    across, down = struct.unpack_from(f"{order}2d", data, scale)
    column, row, _, east, north = struct.unpack_from(f"{order}5d", data, tie_point)
    left, top = east - column * across, north + row * down
    return Place(epsg, left, top, left + width * across, top - height * down)


@lru_cache(maxsize=256)
def _layout(order: str, entries: bytes) -> tuple[int, int, int, int, slice] | None:
    """Returns width, height, and where scale, tie point and keys lie in the file.

    Files of one kind have the same directory. None without a georeference.
    """
    tags = {
        tag: (kind, size, value)
        for tag, kind, size, value in struct.iter_unpack(f"{order}HHII", entries)
    }
    if _MATRIX in tags:
        raise UnusualError("rotated or upside down")
    if _SCALE not in tags or _TIE_POINT not in tags:
        return None
    _, size, keys = tags.get(_KEYS, (_SHORT, 0, 0))
    sides = []
    for kind, _, value in (tags[_WIDTH], tags[_HEIGHT]):
        # A short fills the first half of its four bytes.
        sides.append(value >> 16 if kind == _SHORT and order == ">" else value)
    where = slice(keys, keys + 2 * size)
    return sides[0], sides[1], tags[_SCALE][2], tags[_TIE_POINT][2], where


@lru_cache(maxsize=256)
def _epsg(order: str, keys: bytes) -> int:
    """Returns the code of a projected system from a directory of GeoKeys."""
    values = {
        key: value
        for key, location, _, value in struct.iter_unpack(f"{order}4H", keys)
        if not location
    }
    epsg = int(values.get(_PROJECTED, _USER_DEFINED))
    if epsg == _USER_DEFINED or values.get(_RASTER_TYPE, _IS_AREA) != _IS_AREA:
        raise UnusualError("no EPSG code, or points for pixels")
    return epsg


def of_dataset(dataset: rasterio.io.DatasetReader) -> Place | None:
    """Returns where an opened file lies; None without a georeference."""
    crs, transform = dataset.crs, dataset.transform
    if not crs and transform.is_identity:
        return None
    left, top = transform.c, transform.f
    right, bottom = transform @ (dataset.width, dataset.height)
    return Place(
        (crs.to_epsg() or crs.to_wkt()) if crs else None,
        *(left, top, right, bottom),
        turn=(transform.b * dataset.height, transform.d * dataset.width),
    )


def check_together(places: Sequence[tuple[Path, str, Place | None]]) -> None:
    """Refuses files of a patch that lie at different places; others can't be told.

    Args:
        places: folder, ending of the name, and place of each file.

    Raises:
        ValueError: names two files.
    """
    known = [(f, e, place) for f, e, place in places if place is not None]
    for folder, ending, place in known[1:]:
        first_folder, first_ending, first = known[0]
        if place != first and not place.is_at(first):
            raise ValueError(
                f"{folder}/{folder.name}_{ending}: covers {place}, but "
                f"{first_folder.name}_{first_ending} {first}; all files of a patch "
                "cover the same ground: take them from the original archive"
            )
