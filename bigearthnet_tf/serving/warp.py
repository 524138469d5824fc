"""A band put onto another grid, without its no-data pixels.

What is no data is taken out before anything is interpolated: -9999 beside -12 gives no
-5005. The grid is warped in fixed squares, so that a pixel does not depend on the
region that is asked for.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.warp import reproject, transform_bounds
from rasterio.windows import Window

from bigearthnet_tf.archive import pixel_values, raster_header
from bigearthnet_tf.archive.bands import BANDS
from bigearthnet_tf.serving.band_files import BandFile

# Side of a square in pixels of the grid, and how many are kept: those of a block.
_SIDE, _KEPT = 300, 36
# Pixels around a square that bilinear interpolation may look at, on either grid.
_MARGIN = 3

Values = NDArray[np.float32]
Place = tuple[int, int, int, int]


@dataclass(frozen=True)
class Warp:
    """The grid that a band is put onto, and the squares that were read last.

    Attributes:
        crs: of the grid.
        transform: of the grid.
        shape: its rows and columns; there is no data outside.
    """

    crs: CRS
    transform: Affine
    shape: tuple[int, int]
    _squares: OrderedDict[tuple[int, int], Values] = field(
        default_factory=OrderedDict, repr=False
    )
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def read(
        self, dataset: DatasetReader, band: BandFile, place: Place
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Returns pixels and validity of a region in the unit of the archives.

        Args:
            dataset: the band's file, opened.
            band: what to read of it.
            place: row, column, height and width on the grid.
        """
        row, column, height, width = place
        values = np.full((height, width), np.nan, np.float32)
        first, left = max(row, 0), max(column, 0)
        last = min(row + height, self.shape[0])
        right = min(column + width, self.shape[1])
        for top in range(first - first % _SIDE, last, _SIDE):
            for west in range(left - left % _SIDE, right, _SIDE):
                square = self._square(dataset, band, top, west)
                rows = max(top, first), min(top + _SIDE, last)
                columns = max(west, left), min(west + _SIDE, right)
                values[
                    rows[0] - row : rows[1] - row,
                    columns[0] - column : columns[1] - column,
                ] = square[
                    rows[0] - top : rows[1] - top, columns[0] - west : columns[1] - west
                ]
        valid = np.isfinite(values)
        values[~valid] = 0
        return pixel_values.store(values, BANDS[band.name].dtype), valid

    def _square(
        self, dataset: DatasetReader, band: BandFile, row: int, column: int
    ) -> Values:
        """Returns a square of the grid, NaN where there are no data."""
        with self._lock:
            if (row, column) in self._squares:
                self._squares.move_to_end((row, column))
                return self._squares[row, column]
        square = self._warped(dataset, band, row, column)
        with self._lock:
            self._squares[row, column] = square
            while len(self._squares) > _KEPT:
                self._squares.popitem(last=False)
        return square

    def _warped(
        self, dataset: DatasetReader, band: BandFile, row: int, column: int
    ) -> Values:
        square = np.full((_SIDE, _SIDE), np.nan, np.float32)
        transform = self.transform @ Affine.translation(column, row)
        window = self._source_window(dataset, transform)
        if window is None:
            return square
        numbers = dataset.read(band.index, window=window)
        valid = band.values.has_data(numbers)
        valid &= raster_header.read_mask(dataset, [band.index], window=window)
        if not valid.any():
            return square
        values = band.values.to_archive(numbers, valid).astype(np.float32)
        values[~valid] = np.nan
        reproject(
            values,
            square,
            src_transform=dataset.transform
            @ Affine.translation(window.col_off, window.row_off),
            src_crs=dataset.crs,
            src_nodata=np.nan,
            dst_transform=transform,
            dst_crs=self.crs,
            dst_nodata=np.nan,
            resampling=Resampling.bilinear,
        )
        return square

    def _source_window(
        self, dataset: DatasetReader, transform: Affine
    ) -> Window | None:
        """Returns the pixels of the file that a square may need; None for none."""
        left, top = transform @ (-_MARGIN, -_MARGIN)
        right, bottom = transform @ (_SIDE + _MARGIN, _SIDE + _MARGIN)
        bounds = transform_bounds(self.crs, dataset.crs, left, bottom, right, top)
        if not all(map(math.isfinite, bounds)):
            return None
        west, south, east, north = bounds
        corners = [(x, y) for x in (west, east) for y in (south, north)]
        columns, rows = zip(*(~dataset.transform @ xy for xy in corners), strict=True)
        first, begin = (
            max(math.floor(min(side)) - _MARGIN, 0) for side in (rows, columns)
        )
        last = min(math.ceil(max(rows)) + _MARGIN, dataset.height)
        end = min(math.ceil(max(columns)) + _MARGIN, dataset.width)
        if last <= first or end <= begin:
            return None
        return Window(begin, first, end - begin, last - first)
