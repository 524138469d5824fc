"""GeoTIFF files of single bands: pixels in bulk, georeferences one by one.

A patch is 14 small files, so what counts is the cost of opening one: 12-band patches
per second on one core are 67 with rasterio and 901 with the decoder of imagecodecs.
Files that it does not take, such as sparse ones, are left to rasterio.
"""

from __future__ import annotations

import contextvars
import logging
import math
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from bigearthnet_tf import files
from bigearthnet_tf.archive import (
    bands,
    labels,
    patch,
    patch_values,
    pixel_evidence,
    placement,
    raster_header,
    safe,
)
from bigearthnet_tf.archive.pixel_values import PixelValues
from bigearthnet_tf.archive.placement import Place
from bigearthnet_tf.archive.raster_header import Header

# A variable of each thread: threads read files side by side.
_is_quiet = contextvars.ContextVar("is_quiet", default=False)
logging.getLogger("rasterio._env").addFilter(lambda record: not _is_quiet.get())

# Tag Software of generated files.
GENERATED_SOFTWARE = "bigearthnet_tf sample (generated data)"
# Of the tags of a TIFF: width, height, samples of a pixel; and the type of 16 bits.
_SAMPLES = 277
_SIZES, _SHORT = (256, 257, _SAMPLES), 3
# A hundred times what a patch has.
_MOST_VALUES = 100 * 120 * 120
_MOST_PAGES = 1000
# Tags that make a file be read by GDAL: a page that is a mask, a number for no data
# (but the 0 of genuine files, whose zeros are numbers), and metadata that say something
# of the numbers. Only a file with metadata is searched for it, which takes half the
# time of decoding.
_PAGE_KIND, _MASK_PAGE = 254, 4
_GDAL_METADATA, _GDAL_NODATA = 42112, 42113
_TELLING = re.compile(
    rb'role="(?:scale|offset)"|name="(?:%s)"' % "|".join(pixel_evidence.TAGS).encode()
)
# Beside a file these say something of its numbers too.
_SIDECARS = (".aux.xml", ".msk")

_MISSING = (
    "no such file: extract it from the archive, or leave the patch out of the list"
)


def read_tiff(path: Path | str, band_name: str) -> NDArray[Any]:
    """Returns the pixels of one band of one patch, as the archives have them.

    Args:
        path: a GeoTIFF with a single band.
        band_name: the band it holds, a key of `bands.BANDS`.

    Returns:
        Shape (side, side), uint16 digital numbers or float32 decibels. NaN and
        infinity are left in.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a TIFF, cut short, of several bands, of another shape or dtype
            than the band has, or Sentinel-1 that is no decibels; the message names the
            file.
    """
    return read_band(path, band_name)[0]


def read_band(
    path: Path | str, band_name: str, sidecars: bool | None = None
) -> tuple[NDArray[Any], Place | None]:
    """Returns the pixels of one band, and where they lie; see `read_tiff`.

    Args:
        path: a GeoTIFF with a single band.
        band_name: the band it holds.
        sidecars: `has_sidecars` of its folder, where that is known.
    """
    image = _decode(path, sidecars)
    if image.header is not None:
        values = patch_values.of_file(image.header, band_name)
    elif bands.BANDS[band_name].sensor == "S2":
        values = patch_values.of_name(Path(path).parent.name)
    else:
        values = PixelValues("S1")
    where = f"{path}: band {band_name}"
    patch_values.check_unmasked(image.pixels, image.unmasked, where)
    array = patch_values.to_archive(image.pixels, band_name, values, path)
    patch.check_band(band_name, array, path)
    patch_values.check_decibels(array, band_name, path)
    return array, image.place


def has_sidecars(folder: Path | str) -> bool:
    """Tells whether files in a folder say something of the numbers in others.

    Such are masks and metadata beside GeoTIFFs, and the metadata of a product. False
    for a folder that is not there. From a disk it takes a tenth of reading one band.
    """
    try:
        with os.scandir(folder) as found:
            return any(
                entry.name.endswith(_SIDECARS) or entry.name == safe.METADATA
                for entry in found
            )
    except OSError:
        return False


def read_reference_map(path: Path | str) -> NDArray[np.uint16]:
    """Returns the CLC codes of a v2 reference map, uint16 of shape (120, 120).

    Raises:
        FileNotFoundError: no such file.
        ValueError: as `read_tiff`; or codes that CLC does not have.
    """
    return read_map(path)[0]


def read_map(
    path: Path | str, sidecars: bool | None = None
) -> tuple[NDArray[np.uint16], Place | None]:
    """Returns a reference map, and where it lies; see `read_reference_map`."""
    image = _decode(path, sidecars)
    where = f"{path}: reference map"
    patch.check_raster(image.pixels, 120, "uint16", where)
    patch_values.check_unmasked(image.pixels, image.unmasked, where)
    labels.check_codes(image.pixels, where)
    return image.pixels, image.place


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


def is_generated(path: Path | str) -> bool:
    """Tells whether a file comes from `bigearthnet-tf sample`, by its tag Software.

    It survives when patches are copied or re-encoded by GDAL.

    Raises:
        FileNotFoundError: no such file.
    """
    return GENERATED_SOFTWARE.encode() in Path(path).read_bytes()


class _Image(NamedTuple):
    """Pixels, where they lie, and of a file that GDAL has read header and mask."""

    pixels: NDArray[Any]
    place: Place | None
    header: Header | None = None
    unmasked: NDArray[np.bool_] | bool = True


def _decode(path: Path | str, sidecars: bool | None) -> _Image:
    """Returns the image of a TIFF; every fault becomes one error."""
    try:
        # A pipe would be waited for; without a writer it is empty at once.
        with open(path, "rb", opener=_open_at_once) as file:
            data = file.read()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: {_MISSING}") from None
    try:
        pages, values, tells, has_metadata = _declared(data)
        _check_size(values, path)
        if sidecars is None:
            sidecars = has_sidecars(Path(path).parent)
        if sidecars or tells or (has_metadata and _TELLING.search(data)):
            return _decode_slowly(path, "")
        # Pages of one shape come stacked and are refused with other wrong shapes.
        image = imagecodecs.tiff_decode(data, index=None if pages > 1 else 0)
        return _Image(image, placement.of_tags(data))
    except _Huge:
        raise
    except placement.UnusualError:
        with _open(path) as dataset:
            return _Image(image, placement.of_dataset(dataset))
    except (
        struct.error,
        imagecodecs.TiffError,
        IndexError,
        ValueError,
        MemoryError,
    ) as error:
        return _decode_slowly(path, str(error))


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


class _Huge(ValueError):
    """An image that is much larger than that of any patch."""


def _check_size(values: int, path: Path | str) -> None:
    """Refuses an image before memory is taken for it."""
    if values > _MOST_VALUES:
        raise _Huge(
            f"{path}: expected the image of a patch, 120 x 120 pixels at most, but the "
            f"file declares {values:,} values: extract it from the archive again"
        )


def _declared(data: bytes) -> tuple[int, int, bool, bool]:
    """Returns what the directories of a TIFF declare.

    A TIFF starts with byte order, 42 and the offset of the first directory: a count,
    entries of 12 bytes, and the offset of the next one or 0 (TIFF 6.0, section 2).

    Returns:
        Pages, values in them, whether there is a mask or a number for no data other
        than 0, and whether GDAL wrote metadata.

    Raises:
        ValueError: a BigTIFF, which has other widths, or a chain without end.
        struct.error: the data ends before.
    """
    order = "<" if data[:2] == b"II" else ">"
    magic, directory = struct.unpack_from(f"{order}HI", data, 2)
    if magic != 42:
        raise ValueError(f"expected 42 in its head, got {magic}")
    pages = values = 0
    tells = has_metadata = False
    while directory:
        if (pages := pages + 1) > _MOST_PAGES:
            raise ValueError(f"more than {_MOST_PAGES} pages")
        (count,) = struct.unpack_from(f"{order}H", data, directory)
        sizes = {_SAMPLES: 1}
        entries = data[directory + 2 : directory + 2 + 12 * count]
        for tag, kind, length, value in struct.iter_unpack(f"{order}HHII", entries):
            if tag in _SIZES:
                # A short fills the first half of its four bytes.
                short = value >> 16 if order == ">" else value & 0xFFFF
                sizes[tag] = short if kind == _SHORT else value
            elif tag == _PAGE_KIND:
                tells |= bool(value & _MASK_PAGE)
            elif tag == _GDAL_NODATA:
                # Text of up to four bytes, the last one 0, is in place of the value.
                tells |= length > 2 or struct.pack(f"{order}I", value)[:1] != b"0"
            has_metadata |= tag == _GDAL_METADATA
        values += math.prod(sizes.values())
        (directory,) = struct.unpack_from(f"{order}I", data, directory + 2 + 12 * count)
    return pages, values, tells, has_metadata


def _decode_slowly(path: Path | str, fault: str) -> _Image:
    """Returns an image by rasterio.

    Args:
        path: of the file.
        fault: why the fast decoder gave it up.
    """
    with _open(path, fault) as dataset:
        _check_size(dataset.width * dataset.height * dataset.count, path)
        image, place = dataset.read(), placement.of_dataset(dataset)
        header = raster_header.read_header(dataset, Path(path))
        unmasked = raster_header.read_mask(dataset, [1])
    return _Image(image[0] if len(image) == 1 else image, place, header, unmasked)


@contextmanager
def _open(path: Path | str, fault: str = "") -> Iterator[rasterio.io.DatasetReader]:
    """Opens a GeoTIFF with rasterio; every fault in it becomes one kind of error."""
    try:
        files.check_is_file(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: {_MISSING}") from None
    size = Path(path).stat().st_size
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
    token = _is_quiet.set(True)
    try:
        yield
    finally:
        _is_quiet.reset(token)
