"""GeoTIFF files of single bands: pixels in bulk, georeferences one by one.

A patch is 14 small files, so what counts is the cost of opening one: 12-band patches
per second on one core are 67 with rasterio and 901 with the decoder of imagecodecs.
Files that it does not take, such as sparse ones, are left to rasterio.
"""

from __future__ import annotations

import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from bigearthnet_tf.archive import patch

_gdal_logger = logging.getLogger("rasterio._env")

_MISSING = (
    "no such file: extract it from the archive, or leave the patch out of the list"
)


def read_tiff(path: Path | str, band_name: str) -> NDArray[Any]:
    """Returns the pixels of one band of one patch, as they are.

    Args:
        path: a GeoTIFF with a single band.
        band_name: the band it holds, a key of `bands.BANDS`.

    Returns:
        Shape (side, side), uint16 digital numbers or float32 decibels. NaN and
        infinity are left in.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a TIFF, cut short, of several bands, or of another shape or
            dtype than the band has; the message names the file.
    """
    array = _decode(path)
    patch.check_band(band_name, array, path)
    return array


def read_reference_map(path: Path | str) -> NDArray[np.uint16]:
    """Returns the CLC codes of a v2 reference map, uint16 of shape (120, 120).

    Raises:
        FileNotFoundError: no such file.
        ValueError: as `read_tiff`.
    """
    array = _decode(path)
    patch.check_raster(array, 120, "uint16", f"{path}: reference map")
    return array


def read_georeference(path: Path | str) -> patch.GeoReference:
    """Returns where the patch of a GeoTIFF lies.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a GeoTIFF, or one without a coordinate system.
    """
    with _open(path) as dataset:
        crs, bounds = dataset.crs, dataset.bounds
    if not crs:
        raise ValueError(
            f"{path}: expected a coordinate system, but the file has none: take it "
            "from the original archive"
        )
    return patch.GeoReference(crs.to_string(), tuple(bounds))


def _decode(path: Path | str) -> NDArray[Any]:
    """Returns the image of a TIFF; every fault becomes one kind of error."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: {_MISSING}") from None
    try:
        # Pages of one shape come stacked and are refused with other wrong shapes.
        index = None if _has_more_pages(data) else 0
        return imagecodecs.tiff_decode(data, index=index)
    except (
        struct.error,
        imagecodecs.TiffError,
        IndexError,
        ValueError,
        MemoryError,
    ) as error:
        return _decode_slowly(path, str(error))


def _has_more_pages(data: bytes) -> bool:
    """Says whether a second page follows, or may follow, the first one.

    A TIFF starts with byte order, 42 and the offset of the first directory: a count,
    entries of 12 bytes, and the offset of the next one or 0 (TIFF 6.0, section 2).
    """
    order = "<" if data[:2] == b"II" else ">"
    magic, directory = struct.unpack_from(f"{order}HI", data, 2)
    if magic != 42:
        return True  # BigTIFF has other widths
    (count,) = struct.unpack_from(f"{order}H", data, directory)
    (following,) = struct.unpack_from(f"{order}I", data, directory + 2 + 12 * count)
    return bool(following)


def _decode_slowly(path: Path | str, fault: str) -> NDArray[Any]:
    """Returns the image by rasterio; `fault` is why the fast decoder gave it up."""
    with _open(path, fault) as dataset:
        image = dataset.read()
    return image[0] if len(image) == 1 else image


@contextmanager
def _open(path: Path | str, fault: str = "") -> Iterator[rasterio.io.DatasetReader]:
    """Opens a GeoTIFF with rasterio; every fault in it becomes one kind of error."""
    try:
        size = Path(path).stat().st_size
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: {_MISSING}") from None
    try:
        with quiet(), rasterio.open(path, driver="GTiff") as dataset:
            yield dataset
    except RasterioError as error:
        found = (
            f"{size} bytes do not decode ({fault or error})" if size else "it is empty"
        )
        raise ValueError(
            f"{path}: expected a GeoTIFF, but {found}: the file is damaged or cut "
            "short, extract it from the archive again"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps GDAL from commenting on a file whose faults are reported anyway."""
    before, _gdal_logger.disabled = _gdal_logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield
    finally:
        _gdal_logger.disabled = before
