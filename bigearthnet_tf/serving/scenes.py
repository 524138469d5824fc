"""A scene whose bands have their own resolutions, read region by region.

The grid of a scene is that of its 10 m pixels, from the upper left corner that all
bands share. Regions begin and end at multiples of 60 m, where pixels of 10, 20 and
60 m all do, and may reach out of the scene: there is no data then.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import DatasetReader
from rasterio.windows import Window

from bigearthnet_tf.archive import pairs, pixel_checks, pixel_values, raster_header
from bigearthnet_tf.archive.bands import BANDS
from bigearthnet_tf.serving.band_files import BandFile
from bigearthnet_tf.serving.warp import Warp

logger = logging.getLogger(__name__)

METRES = 10
# Side of the squares that regions are made of, in pixels of 10 m.
STEP = 6
# Pixels that divide, or are divided by, those of 10, 20 and 60 m.
_SIDES = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60)
# Of a pixel: what rounding of corners may make of the same grid.
_TOLERANCE = 0.01
_THREADS = 4


@dataclass(frozen=True, eq=False)
class Region:
    """What a scene has in a rectangle.

    Attributes:
        bands: (rows, columns) at the resolution of the archives, in their dtype.
        valid: (rows, columns) bool of each band: whether there are data.
    """

    bands: dict[str, NDArray[Any]]
    valid: dict[str, NDArray[np.bool_]]

    def valid_pixels(self) -> NDArray[np.bool_]:
        """Returns which pixels of 10 m have data in all bands, (rows, columns)."""
        masks = self.valid.items()
        return np.logical_and.reduce(
            [_repeat(mask, BANDS[name].metres // METRES) for name, mask in masks]
        )


@dataclass(frozen=True)
class _Opened:
    band: BandFile
    dataset: DatasetReader
    metres: int
    warp: Warp | None = None


class Scene:
    """The bands of a scene, opened; a context manager.

    Memory: what a region takes, and GDAL's cache.

    Args:
        files: of the bands that are needed, in that order.
        what: the scene, for messages.

    Raises:
        ValueError: a file is damaged, has no coordinate system or one in degrees, is
            rotated, has pixels that do not fit, another grid than the others, or
            other numbers than the archives.

    Attributes:
        crs: coordinate system.
        transform: from (column, row) of 10 m pixels to coordinates.
        height: rows of 10 m, the last one perhaps in part.
        width: likewise columns.
    """

    def __init__(self, files: Mapping[str, BandFile], what: Path) -> None:
        self.files, self.what = dict(files), what
        self._held = contextlib.ExitStack()
        try:
            self._opened = self._open_all()
            self._compare_days()
            for opened in self._opened.values():
                _check_numbers(opened)
            self._pool = self._held.enter_context(ThreadPoolExecutor(_THREADS))
        except BaseException:
            self._held.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.close()

    def _open_all(self) -> dict[str, _Opened]:
        """Opens a dataset for each band, so that they can be read side by side."""
        datasets: dict[str, DatasetReader] = {}
        for name, file in self.files.items():
            opening = raster_header.open_raster(file.path)
            datasets[name] = self._held.enter_context(opening)
        # The finest band of Sentinel-2 says where the scene ends.
        optical = [name for name in datasets if BANDS[name].sensor == "S2"]
        lead = min(optical or datasets, key=lambda name: datasets[name].res[0])
        _check_coordinates(datasets[lead], self.files[lead].path)
        bounds = datasets[lead].bounds
        self.crs = datasets[lead].crs
        self.transform = Affine(METRES, 0, bounds.left, 0, -METRES, bounds.top)
        self.width = round((bounds.right - bounds.left) / METRES + 0.499)
        self.height = round((bounds.top - bounds.bottom) / METRES + 0.499)
        pixel_checks.check_ground_metres(
            self.crs, datasets[lead].transform, datasets[lead].shape, str(self.what)
        )
        opened = {}
        for name, dataset in datasets.items():
            file = self.files[name]
            if BANDS[name].sensor == "S1" and BANDS[lead].sensor == "S2":
                found = self._warped(dataset, file)
            else:
                if name != lead:
                    self._check_same_grid(dataset, name, lead)
                found = _Opened(file, dataset, _side(dataset, name))
            opened[name] = found
        return opened

    def _compare_days(self) -> None:
        """Warns of sensors whose days are further apart than those of patches."""
        days: dict[str, date] = {}
        for file in self.files.values():
            if file.values.day is not None:
                days.setdefault(file.values.sensor, file.values.day)
        if len(days) == 2 and abs((days["S1"] - days["S2"]).days) > pairs.MAX_DAYS:
            logger.warning(
                "%s: Sentinel-1 is of %s, Sentinel-2 of %s; the patches that models "
                "learn from are of %d days at most apart",
                *(self.what, days["S1"], days["S2"], pairs.MAX_DAYS),
            )

    def _warped(self, dataset: DatasetReader, file: BandFile) -> _Opened:
        """Returns Sentinel-1 with the grid of 10 m, if it lies on another one."""
        if not dataset.crs:
            _check_coordinates(dataset, file.path)
        if dataset.crs == self.crs and dataset.transform == self.transform:
            return _Opened(file, dataset, _side(dataset, file.name))
        shape = self.height, self.width
        return _Opened(file, dataset, METRES, Warp(self.crs, self.transform, shape))

    def _check_same_grid(self, dataset: DatasetReader, name: str, lead: str) -> None:
        other = self.files[lead].path
        remedy = "put all bands onto one grid, with gdalwarp -t_srs, -te and -tap"
        where = f"{self.files[name].path}: band {name}"
        if dataset.crs != self.crs:
            raise ValueError(
                f"{where} is in {_crs_name(dataset)}, but {other} in "
                f"{self.crs.to_string()}: {remedy}"
            )
        _check_coordinates(dataset, self.files[name].path)
        theirs, ours = dataset.bounds, self.bounds
        # Scenes of 10980 pixels are no multiple of 60 m wide in all products.
        limit = (_TOLERANCE * METRES, _TOLERANCE * METRES, 60.0, 60.0)
        apart = [
            abs(theirs.left - ours[0]),
            abs(theirs.top - ours[3]),
            abs(theirs.right - ours[2]),
            abs(theirs.bottom - ours[1]),
        ]
        if any(a > allowed for a, allowed in zip(apart, limit, strict=True)):
            raise ValueError(
                f"{where} covers {_text(theirs)}, but {other} {_text(ours)}: {remedy}"
            )

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top of the 10 m pixels."""
        left, top = self.transform.c, self.transform.f
        return left, top - self.height * METRES, left + self.width * METRES, top

    def read(self, row: int, column: int, height: int, width: int) -> Region:
        """Returns a region of all bands.

        Args:
            row: of 10 m pixels, as are the others; all multiples of 6.
            column: likewise.
            height: likewise.
            width: likewise.

        Raises:
            ValueError: a file is damaged.
        """
        place = np.array([row, column, height, width]) * METRES
        parts = self._pool.map(lambda o: _read(o, place), self._opened.values())
        found = dict(zip(self._opened, parts, strict=True))
        return Region(
            {name: values for name, (values, _) in found.items()},
            {name: valid for name, (_, valid) in found.items()},
        )


def _check_coordinates(dataset: DatasetReader, path: Path) -> None:
    """Refuses what has no pixels in metres, north up."""
    crs, transform = dataset.crs, dataset.transform
    if not crs:
        raise ValueError(
            f"{path}: expected a coordinate system, but the file has none: set it "
            "with gdal_edit.py -a_srs or rio edit-info --crs"
        )
    if crs.is_geographic or abs(crs.linear_units_factor[1] - 1) > 1e-9:
        unit = "degrees" if crs.is_geographic else crs.linear_units
        raise ValueError(
            f"{path}: expected coordinates in metres, but {_crs_name(dataset)} is in "
            f"{unit}: warp it to its UTM zone, with gdalwarp -t_srs EPSG:326ZZ"
        )
    if transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
        raise ValueError(
            f"{path}: expected rows from west to east, the first one in the north, got "
            f"a transform of {tuple(transform)[:6]}: warp it with gdalwarp"
        )


def _side(dataset: DatasetReader, name: str) -> int:
    """Returns the side of a pixel in metres."""
    across, down = dataset.transform.a, -dataset.transform.e
    side, native = round(across), BANDS[name].metres
    fits = side in _SIDES and (side % native == 0 or native % side == 0)
    if not fits or max(abs(across - side), abs(down - side)) > 1e-6 * native:
        raise ValueError(
            f"{dataset.name}: band {name} has pixels of {across:g} x {down:g} m; "
            f"expected {native} m, or a multiple or part of it, such as 10, 20 or 60 "
            "m: warp it with gdalwarp -tr"
        )
    return side


def _check_numbers(opened: _Opened) -> None:
    """Looks at some pixels for numbers that are none of the archives'."""
    band = opened.band
    with raster_header.reading(band.path):
        numbers = pixel_checks.sample(opened.dataset, band.index, band.values)
    where = f"{band.path}: band {band.name}"
    doubt = pixel_checks.judge(numbers, band.values, where, ("--scale", "--offset"))
    if doubt:
        logger.warning("%s", doubt)


def _read(
    opened: _Opened, place: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Returns pixels and validity of a band at the resolution of the archives.

    Args:
        opened: the band.
        place: row, column, height and width in metres.
    """
    band, dataset, side = opened.band, opened.dataset, opened.metres
    row, column, height, width = (int(value) for value in place // side)
    if opened.warp is not None:
        with raster_header.reading(band.path):
            return opened.warp.read(dataset, band, (row, column, height, width))
    numbers = np.zeros((height, width), dataset.dtypes[band.index - 1])
    valid = np.zeros((height, width), bool)
    first, left = max(row, 0), max(column, 0)
    last = min(row + height, dataset.height)
    right = min(column + width, dataset.width)
    if last > first and right > left:
        window = Window(left, first, right - left, last - first)
        with raster_header.reading(band.path):
            part = dataset.read(band.index, window=window)
            unmasked = raster_header.read_mask(dataset, [band.index], window=window)
        inside = (slice(first - row, last - row), slice(left - column, right - column))
        numbers[inside], valid[inside] = part, band.values.has_data(part) & unmasked
    return _to_archive(numbers, valid, band, side)


def _to_archive(
    numbers: NDArray[Any], valid: NDArray[np.bool_], band: BandFile, side: int
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Returns pixels in the unit, the size and the dtype of the archives."""
    facts = BANDS[band.name]
    is_plain = numbers.dtype == facts.dtype and band.values.is_plain
    if is_plain and side == facts.metres:
        return numbers, valid
    values = band.values.to_archive(numbers, valid)
    if side < facts.metres:
        values, valid = _average(values, valid, facts.metres // side)
    elif side > facts.metres:
        values, valid = (_repeat(a, side // facts.metres) for a in (values, valid))
    return pixel_values.store(values, facts.dtype), valid


def _average(
    values: NDArray[np.float64], valid: NDArray[np.bool_], factor: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Returns means of squares over what is valid in them; the rest is 0."""
    rows, columns = (length // factor for length in values.shape)
    shape = (rows, factor, columns, factor)
    count = valid.reshape(shape).sum((1, 3))
    total = values.reshape(shape).sum((1, 3))
    return total / np.maximum(count, 1), count > 0


def _repeat(array: NDArray[Any], factor: int) -> NDArray[Any]:
    if factor == 1:
        return array
    return array.repeat(factor, axis=0).repeat(factor, axis=1)


def _crs_name(dataset: DatasetReader) -> str:
    return dataset.crs.to_string()[:60] if dataset.crs else "no coordinate system"


def _text(bounds: Sequence[float]) -> str:
    return " ".join(f"{value:.10g}" for value in bounds)
