"""A tile: every acquisition of one area over a year or more, pixel by pixel."""

from __future__ import annotations

import calendar
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rasterio import Affine

from bigearthnet_tf.archive.land_cover import NO_DATA, UNLABELLED
from bigearthnet_tf.archive.tile_statistics import MEAN, STD, BandStatistics

# Year of an acquisition of which nobody has written down the year.
UNKNOWN_YEAR = 0


class Window(NamedTuple):
    """Part of a tile: its upper-left pixel, and its size in pixels."""

    row: int
    column: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return (
            slice(self.row, self.row + self.height),
            slice(self.column, self.column + self.width),
        )


@dataclass(frozen=True, eq=False)
class Block:
    """The series of the pixels in a window of a tile.

    Attributes:
        tile: name of the tile.
        row: of the upper-left pixel in the tile.
        column: likewise.
        bands: (height, width, dates, bands) uint16, digital numbers.
        mask: (height, width, dates) uint8, 1 where the observation is usable.
        doys: (dates,) uint16, days of the year, 1 to 366.
        years: (dates,) uint16, 0 where unknown.
        labels: (height, width) uint8 class codes, 255 for none; None for a tile
            without labels.
    """

    tile: str
    row: int
    column: int
    bands: NDArray[np.uint16]
    mask: NDArray[np.uint8]
    doys: NDArray[np.uint16]
    years: NDArray[np.uint16]
    labels: NDArray[np.uint8] | None = None

    @property
    def window(self) -> Window:
        """Where the block lies in its tile."""
        height, width = self.mask.shape[:2]
        return Window(self.row, self.column, height, width)

    def valid(self, min_valid: int) -> NDArray[np.bool_]:
        """Returns the pixels with more than `min_valid` usable dates, (height, width).

        The comparison is strict, as in btfm.
        """
        return self.mask.sum(axis=2, dtype=np.int64) > min_valid


@dataclass(frozen=True, eq=False)
class Tile(ABC):
    """An area with its acquisitions, opened but not read.

    Attributes:
        name: of the tile, such as `MGRS-12TYN`.
        bands: names of the bands, in the order that arrays have them.
        height: rows.
        width: columns.
        doys: (dates,) uint16, days of the year, 1 to 366.
        years: (dates,) uint16, 0 where unknown; (year, day) never falls.
        crs: coordinate system as WKT; None where nobody has told it.
        transform: from (column, row) to map coordinates; likewise.
        has_labels: whether there is a map of classes.
        grain: side in pixels of the squares that its files are stored in: to read a
            part of one takes as long as to read all of it. 1 for mapped arrays.
        generated: whether `bigearthnet-tf sample` drew it.
        assumes_bands: whether nothing names the bands, and their order is assumed.
    """

    name: str
    bands: tuple[str, ...]
    height: int
    width: int
    doys: NDArray[np.uint16]
    years: NDArray[np.uint16]
    crs: str | None
    transform: Affine | None
    has_labels: bool
    grain: int
    generated: bool = field(default=False, kw_only=True)
    assumes_bands: bool = field(default=False, kw_only=True)

    @property
    def affine(self) -> Affine | None:
        """The transform, by the name that manifests have for it."""
        return self.transform

    @property
    def num_dates(self) -> int:
        """Number of acquisitions."""
        return len(self.doys)

    @property
    def meaning(self) -> list[Any] | None:
        """What makes other numbers of those in the files, by date; None if nothing.

        JSON; records and maps of other numbers are other ones.
        """
        return None

    def file_statistics(self) -> BandStatistics:
        """Returns mean and deviation of the bands that files of the tile say.

        Raises:
            FileNotFoundError: a file of them is missing.
            ValueError: there are none for a tile of this kind, or they are wrong.
        """
        raise ValueError(
            f"{self.name}: expected {MEAN} and {STD} (--statistics files), but a tile "
            "of GeoTIFFs has none: use --statistics measured"
        )

    @property
    def bytes_per_pixel(self) -> int:
        """Bytes of one series: bands, mask and label."""
        return self.num_dates * (2 * len(self.bands) + 1) + int(self.has_labels)

    def read(self, row: int, column: int, height: int, width: int) -> Block:
        """Reads a window.

        Args:
            row: of its upper-left pixel.
            column: likewise.
            height: its rows.
            width: its columns.

        Raises:
            ValueError: a window beyond the tile, a damaged file, a mask with other
                values than 0 and 1, or a label outside the table of classes.
            OSError: a file can't be read.
        """
        window = self._inside(row, column, height, width)
        bands, mask = self._read(window)
        labels = self._read_labels(window) if self.has_labels else None
        return Block(
            self.name,
            row,
            column,
            np.ascontiguousarray(bands, dtype=np.uint16),
            np.ascontiguousarray(mask, dtype=np.uint8),
            self.doys,
            self.years,
            labels,
        )

    def read_mask(
        self, row: int, column: int, height: int, width: int
    ) -> NDArray[np.uint8]:
        """Reads the mask of a window alone, (height, width, dates); see `read`."""
        return self._read_mask(self._inside(row, column, height, width))

    def _inside(self, row: int, column: int, height: int, width: int) -> Window:
        inside = min(row, column) >= 0 and min(height, width) > 0
        if not inside or row + height > self.height or column + width > self.width:
            raise ValueError(
                f"{self.name}: {height} x {width} pixels from row {row}, column "
                f"{column} are not within the tile of {self.height} x {self.width}"
            )
        return Window(row, column, height, width)

    def _read_mask(self, window: Window) -> NDArray[np.uint8]:
        return self._read(window)[1]

    @abstractmethod
    def _read(self, window: Window) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        """Returns bands and mask of a window, shaped as those of a block."""

    @abstractmethod
    def _read_labels(self, window: Window) -> NDArray[np.uint8]:
        """Returns the labels of a window, as those of a block."""


def windows(height: int, width: int, side: int) -> Iterator[Window]:
    """Yields the squares that a tile is cut into, row by row; those at edges smaller.

    Args:
        height: of the tile in pixels.
        width: likewise.
        side: of a square.
    """
    for row in range(0, height, side):
        for column in range(0, width, side):
            yield Window(
                row, column, min(side, height - row), min(side, width - column)
            )


def check_mask(mask: NDArray[np.integer], where: str) -> NDArray[np.uint8]:
    """Returns a mask as uint8.

    Raises:
        ValueError: it has other values than 0 and 1.
    """
    strange = (mask != 0) & (mask != 1)
    if strange.any():
        raise ValueError(
            f"{where}: expected 1 (usable) and 0 (not usable) only, got "
            f"{mask[strange].flat[0]}; write the mask again"
        )
    return mask.astype(np.uint8)


def check_labels(
    labels: NDArray[np.integer], codes: Sequence[int], where: str
) -> NDArray[np.uint8]:
    """Returns labels as uint8, with 255 where there is none.

    Args:
        labels: class codes; 0 and 255 say that there is none.
        codes: the classes that there are.
        where: names the file in a message.

    Raises:
        ValueError: a code is not among them.
    """
    strange = ~np.isin(labels, (NO_DATA, UNLABELLED, *codes))
    if strange.any():
        found = np.unique(labels[strange])
        raise ValueError(
            f"{where}: expected class codes {', '.join(map(str, codes))}, or 0 for "
            f"none, got {', '.join(map(str, found[:5]))}; correct the labels, or give "
            "the table of their classes"
        )
    return np.where(labels == NO_DATA, UNLABELLED, labels).astype(np.uint8)


def check_dates(
    doys: NDArray[np.integer], years: NDArray[np.integer], where: str
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Returns days and years as uint16.

    Args:
        doys: (dates,) days of the year.
        years: (dates,), 0 where unknown.
        where: names the file in a message.

    Raises:
        ValueError: no dates, a day beyond its year, or dates that go back in time.
    """
    if not len(doys):
        raise ValueError(f"{where}: expected one day an acquisition, got none")
    longest = np.array(
        [365 + (year == UNKNOWN_YEAR or calendar.isleap(year)) for year in years]
    )
    beyond = (doys < 1) | (doys > longest)
    if beyond.any():
        place = int(beyond.argmax())
        raise ValueError(
            f"{where}: expected days of the year from 1 to {longest[place]}, got "
            f"{doys[place]} at date {place}; correct the file"
        )
    when = years.astype(np.int64) * 1000 + doys
    falls = np.flatnonzero(np.diff(when) < 0)
    if len(falls):
        place = int(falls[0])
        raise ValueError(
            f"{where}: expected acquisitions in order of time, but date {place + 1} "
            f"(day {doys[place + 1]}) comes after date {place} (day {doys[place]}); "
            "sort the dates, or give the year of each if they span several"
        )
    return doys.astype(np.uint16), years.astype(np.uint16)
