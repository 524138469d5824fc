"""Rasters that GDAL opens, and what their headers say."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

# A raster without a place is no error yet. Said once and for all: scenes and patches
# are read in threads, where the end of one `warnings.catch_warnings` undoes another's.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns GDAL's complaint about a file into one line.

    Raises:
        ValueError: it can't be read.
    """
    try:
        yield
    except RasterioError as error:
        reason = str(error.__cause__ or error).split(str(path))[-1].strip("'\": ")
        raise ValueError(
            f"{path}: expected a raster that GDAL reads, but it can't be read "
            f"({reason}): the file is damaged or cut short, get it again"
        ) from error


@contextmanager
def open_raster(path: Path, driver: str | None = None) -> Iterator[DatasetReader]:
    """Yields a raster that is open; one without a place is no error yet.

    Args:
        path: the file.
        driver: of GDAL, if it has to be that one.

    Raises:
        ValueError: it can't be read.
    """
    with reading(path):
        dataset = rasterio.open(path, driver=driver)
    with dataset:
        yield dataset


@dataclass(frozen=True)
class Header:
    """What the header of a raster says of the numbers in it.

    Attributes:
        path: of the file.
        dtypes: of the bands, as the others.
        nodata: numbers that stand for none; None where the file does not say.
        scales: GDAL's: value = number * scale + offset; 1 where there is none.
        offsets: 0 where there is none.
        tags: of the file.
        band_tags: of the bands.
    """

    path: Path
    dtypes: tuple[str, ...]
    nodata: tuple[float | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    tags: Mapping[str, str]
    band_tags: tuple[Mapping[str, str], ...]


def read_header(dataset: DatasetReader, path: Path) -> Header:
    """Returns what the header of an open raster says of its numbers."""
    return Header(
        path=path,
        dtypes=tuple(dataset.dtypes),
        nodata=tuple(dataset.nodatavals),
        scales=tuple(dataset.scales),
        offsets=tuple(dataset.offsets),
        tags=dataset.tags(),
        band_tags=tuple(dataset.tags(index) for index in dataset.indexes),
    )


def read_mask(dataset: DatasetReader, **kwargs: Any) -> NDArray[np.bool_] | bool:
    """Returns where pixels are not masked, (rows, columns).

    By a mask band, a .msk file or an alpha band; not by no-data numbers. What GDAL
    takes for alpha, as the fourth band of a picture, is none if its description names
    it otherwise.

    Args:
        dataset: the raster.
        **kwargs: `window` or `out_shape`, as in rasterio's `read`.

    Returns:
        True for everywhere, where nothing masks.

    Raises:
        RasterioError: the file is damaged.
    """
    if ColorInterp.alpha in dataset.colorinterp:
        alpha = dataset.colorinterp.index(ColorInterp.alpha)
        name = dataset.descriptions[alpha]
        if not name or "alpha" in name.lower():
            return np.asarray(dataset.read(alpha + 1, **kwargs) != 0)
    flags = dataset.mask_flag_enums[0]
    if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
        return np.asarray(dataset.read_masks(1, **kwargs) != 0)
    return True
