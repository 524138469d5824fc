"""Rasters that GDAL opens, and what their headers say."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
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

_ALPHA = re.compile(r"alpha|^(data|valid)?[ _]?mask$", re.IGNORECASE)
# Flags of masks that GDAL derives from something else.
_NOT_ITS_OWN = {MaskFlags.all_valid, MaskFlags.nodata, MaskFlags.alpha}


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


def read_mask(
    dataset: DatasetReader, indexes: Sequence[int], **kwargs: Any
) -> NDArray[np.bool_] | bool:
    """Returns where pixels are not masked, (rows, columns).

    By a mask band, a .msk file or an alpha band; not by no-data numbers. What GDAL
    takes for alpha, as the fourth band of a picture, is none if its description names
    it otherwise.

    Args:
        dataset: the raster.
        indexes: of the bands, from 1, each of which may have a mask of its own.
        **kwargs: `window` or `out_shape`, as in rasterio's `read`.

    Returns:
        True for everywhere, where nothing masks.

    Raises:
        RasterioError: the file is damaged.
    """
    if ColorInterp.alpha in dataset.colorinterp:
        alpha = dataset.colorinterp.index(ColorInterp.alpha)
        name = dataset.descriptions[alpha]
        if not name or _ALPHA.search(name):
            return np.asarray(dataset.read(alpha + 1, **kwargs) != 0)
    unmasked: NDArray[np.bool_] | bool = True
    has_common = False
    for index in indexes:
        flags = set(dataset.mask_flag_enums[index - 1])
        if flags & _NOT_ITS_OWN or (MaskFlags.per_dataset in flags and has_common):
            continue
        has_common |= MaskFlags.per_dataset in flags
        unmasked = unmasked & (dataset.read_masks(index, **kwargs) != 0)
    return unmasked
