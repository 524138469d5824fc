"""Tiles as btfm has them: a folder of `.npy` files.

    bands.npy      (dates, rows, columns, bands) uint16   reflectance x 10,000
    masks.npy      (dates, rows, columns) uint8 or int8   1 usable, 0 cloud or no data
    doys.npy       (dates,) integers                      day of year, ascending
    labels.npy     (rows, columns) uint8                  class codes, 0 none; optional
    band_mean.npy, band_std.npy   (bands,)                optional: `tile_statistics`

They are mapped into memory, so that a window costs what lies in it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf import arrays
from bigearthnet_tf.archive import (
    pixel_checks,
    pixel_evidence,
    pixel_values,
    tile,
    tile_facts,
    tile_statistics,
)
from bigearthnet_tf.archive.pixel_values import PixelValues
from bigearthnet_tf.archive.tile import UNKNOWN_YEAR, Tile, Window
from bigearthnet_tf.archive.tile_facts import TileFacts
from bigearthnet_tf.archive.tile_statistics import BandStatistics

logger = logging.getLogger(__name__)

BANDS, MASKS, DOYS, LABELS = "bands.npy", "masks.npy", "doys.npy", "labels.npy"

# Dates of a file that are mapped at once: what lies near the pages that are touched
# counts as memory until it is mapped no more, the more the wider the tile is.
_MAPPED_DATES = 8
# Rows and columns of a date whose numbers are looked at.
_LOOK_SIDE = 32
# Of the pixels that the mask calls usable.
_MOST_ZEROS = 0.01


@dataclass(frozen=True, eq=False)
class NpyTile(Tile):
    """A folder of `.npy` files; see the module and `Tile`.

    Attributes:
        folder: where they lie.
        values: what the numbers of each date mean; the mask says what is no data.
        codes: the classes that labels may be of.
    """

    folder: Path
    values: tuple[PixelValues, ...]
    codes: tuple[int, ...]

    @property
    def meaning(self) -> list[Any] | None:
        """See `Tile`."""
        if all(values.is_plain for values in self.values):
            return None
        return [(values.scale, values.offset) for values in self.values]

    def file_statistics(self) -> BandStatistics:
        """See `Tile`; some pixels are looked at, too."""
        found = tile_statistics.read(self.folder, self.values, len(self.bands))
        looked = [
            values.stored(pixels, np.ones_like(pixels, bool), "uint16")
            for values, pixels in zip(self.values, _look(self.folder), strict=True)
        ]
        tile_statistics.compare(self.folder, found, np.concatenate(looked))
        return found

    def _read(self, window: Window) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        rows, columns = window.slices
        shape = (window.height, window.width, self.num_dates, len(self.bands))
        bands = np.empty(shape, np.uint16)
        for first in range(0, self.num_dates, _MAPPED_DATES):
            dates = slice(first, first + _MAPPED_DATES)
            part = _open(self.folder / BANDS, 4)[dates, rows, columns]
            bands[:, :, dates] = part.transpose(1, 2, 0, 3)
        everywhere = np.ones((window.height, window.width, len(self.bands)), bool)
        for number, values in enumerate(self.values):
            if not values.is_plain:
                bands[:, :, number] = values.stored(
                    bands[:, :, number], everywhere, "uint16"
                )
        return bands, self._read_mask(window)

    def _read_mask(self, window: Window) -> NDArray[np.uint8]:
        rows, columns = window.slices
        path = self.folder / MASKS
        mask = tile.check_mask(_open(path, 3)[:, rows, columns], str(path))
        return mask.transpose(1, 2, 0)

    def _read_labels(self, window: Window) -> NDArray[np.uint8]:
        path = self.folder / LABELS
        labels = np.asarray(_open(path, 2)[window.slices])
        return tile.check_labels(labels, self.codes, str(path))


def is_tile(folder: Path) -> bool:
    """Tells whether a folder looks like such a tile, whole or not."""
    return any((folder / name).exists() for name in (BANDS, MASKS, DOYS))


def open_folder(folder: Path, facts: TileFacts) -> NpyTile:
    """Opens a folder and compares its files.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: shapes or dtypes that do not fit together, days out of order,
            statistics that are not finite, or facts that do not fit the files.
    """
    where = str(folder)
    bands = _open(folder / BANDS, 4)
    num_dates, height, width, count = bands.shape
    if bands.dtype != np.uint16:
        raise ValueError(
            f"{folder / BANDS}: expected uint16 digital numbers, got {bands.dtype}; "
            "store reflectance x 10,000 as uint16"
        )
    if not bands.size:
        raise ValueError(f"{folder / BANDS}: no pixels: shape {bands.shape}")
    _compare(folder / MASKS, _open(folder / MASKS, 3), bands.shape[:3])
    days = np.asarray(_open(folder / DOYS, 1))
    _compare(folder / DOYS, days, (num_dates,))
    has_labels = (folder / LABELS).exists()
    if has_labels:
        _compare(folder / LABELS, _open(folder / LABELS, 2), (height, width))
    tile_statistics.check(folder, count)
    years = tile_facts.resolve_years(facts.years, num_dates, where)
    doys, years_checked = tile.check_dates(
        days.astype(np.int64), years, str(folder / DOYS)
    )
    values = _values(facts, doys, years_checked, where)
    _check_numbers(folder, values)
    crs = tile_facts.resolve_crs(facts.crs, where)
    transform = tile_facts.resolve_transform(facts.transform, where)
    tile_facts.check_ground(crs, transform, (height, width), where)
    return NpyTile(
        name=folder.resolve().name,
        bands=tile_facts.check_bands(
            tile_facts.resolve_bands(facts.bands, count, where), where
        ),
        height=height,
        width=width,
        doys=doys,
        years=years_checked,
        crs=crs,
        transform=transform,
        has_labels=has_labels,
        grain=1,
        folder=folder,
        values=values,
        codes=tuple(facts.classes),
        assumes_bands=facts.bands is None,
    )


def _values(
    facts: TileFacts,
    doys: NDArray[np.uint16],
    years: NDArray[np.uint16],
    where: str,
) -> tuple[PixelValues, ...]:
    """Returns what the numbers of each date mean, of which no file says anything.

    Raises:
        ValueError: a date since 2022 whose offset is not given.
    """
    offsets = tile_facts.resolve_offsets(facts.dn_offset, len(doys), where)
    found = []
    for doy, year, offset in zip(doys.tolist(), years.tolist(), offsets, strict=True):
        day = None
        if year != UNKNOWN_YEAR:
            day = date(year, 1, 1) + timedelta(days=doy - 1)
        given = tile_facts.given_values(facts, offset)
        values = pixel_values.of_reflectance("uint16", given=given, day=day)
        pixel_evidence.check_settled(
            [(BANDS, values)], where, tile_facts.OFFSET_QUESTION
        )
        found.append(values)
    return tuple(found)


def _check_numbers(folder: Path, values: Sequence[PixelValues]) -> None:
    """Looks at usable pixels for numbers that are others than they seem."""
    doubts = []
    for number, (of_date, pixels) in enumerate(zip(values, _look(folder), strict=True)):
        where = f"{folder / BANDS}: date {number}"
        doubt = pixel_checks.judge(pixels, of_date, where, tile_facts.VALUE_OPTIONS)
        zeros = np.mean((pixels == 0).all(axis=-1)) if len(pixels) else 0.0
        if zeros > _MOST_ZEROS:
            doubt = (
                f"{where}: {zeros:.0%} of the usable pixels are 0 in all bands, which "
                f"no ground is: if they are a border make them 0 in {MASKS} too"
            )
        doubts += [doubt] if doubt else []
    if doubts:
        logger.warning("%s (%d of %d dates)", doubts[0], len(doubts), len(values))


def _look(folder: Path) -> Iterator[NDArray[np.uint16]]:
    """Yields some usable pixels of each date, (pixels, bands)."""
    bands, masks = _open(folder / BANDS, 4), _open(folder / MASKS, 3)
    rows, columns = (
        np.unique(np.linspace(0, length - 1, _LOOK_SIDE).astype(int))
        for length in bands.shape[1:3]
    )
    for of_date, mask in zip(bands, masks, strict=True):
        usable = np.asarray(mask[rows][:, columns]) == 1
        yield of_date[rows][:, columns][usable]


def _open(path: Path, dimensions: int) -> NDArray[Any]:
    """Maps an array into memory."""
    try:
        array = arrays.open_npy(path, "a whole .npy file of numbers", "copy it again")
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such file; a tile needs {BANDS}, {MASKS} and {DOYS}, copy it "
            "again"
        ) from None
    if array.ndim != dimensions:
        raise ValueError(
            f"{path}: expected an array of {dimensions} dimensions, got {array.shape}"
        )
    return array


def _compare(path: Path, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Refuses an array that does not fit the bands."""
    if array.shape != shape:
        raise ValueError(
            f"{path}: expected shape {shape} by {BANDS}, got {array.shape}; the files "
            "are of different tiles or dates, copy them again"
        )
    if array.dtype.kind not in "iub":
        raise ValueError(f"{path}: expected whole numbers, got {array.dtype}")
