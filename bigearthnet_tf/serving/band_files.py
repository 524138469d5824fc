"""Where the bands of a scene lie: a SAFE folder, a GeoTIFF, or a folder of them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from bigearthnet_tf.archive.bands import BANDS
from bigearthnet_tf.serving import safe

_SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt")
# A band as people write it: B2, B02, B8A, b8a, B02_10m, S2_B02; VV, vv_db.
_BAND = re.compile(
    r"(?<![A-Z0-9])(?:B0?(?P<number>[1-9]|1[12])|(?P<other>B8A|VV|VH))(?![A-Z0-9])"
)


@dataclass(frozen=True)
class BandFile:
    """One band of a scene.

    Attributes:
        name: a key of `bands.BANDS`.
        path: the file.
        index: of the band in the file, from 1.
        scale: a number of the archives is VALUE * scale + offset.
        offset: see there.
        nodata: the value in the file that stands for none; None if there is no such.
    """

    name: str
    path: Path
    index: int
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns GDAL's complaint about a file into one line.

    Raises:
        ValueError: it can't be read.
    """
    try:
        yield
    except RasterioError as error:
        raise ValueError(
            f"{path}: expected a raster that GDAL reads, but {error}: the file is "
            "damaged or cut short, get it again"
        ) from error


@contextmanager
def open_raster(path: Path) -> Iterator[DatasetReader]:
    """Yields a raster that is open; that it may have no place is no news yet.

    Raises:
        ValueError: it can't be read.
    """
    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = rasterio.open(path)
    with dataset:
        yield dataset


def find(
    source: Path,
    wanted: Sequence[str],
    *,
    nodata: float | None = None,
    scale: float | None = None,
    offset: float | None = None,
) -> dict[str, BandFile]:
    """Returns the bands of a scene.

    Args:
        source: SAFE folder, raster, or folder of rasters.
        wanted: names of the bands.
        nodata: in place of what the files say; of Sentinel-2 alone, as are scale and
            offset.
        scale: likewise.
        offset: likewise.

    Returns:
        In the order that is asked for; bands that are not there are left out.

    Raises:
        FileNotFoundError: no such file or folder, or no rasters in it.
        ValueError: a file is damaged, or names a band twice.
    """
    if source.is_dir() and safe.is_safe(source):
        found = _in_safe(source)
    else:
        found = _in_rasters(source, wanted)
    overrides = {"nodata": nodata, "scale": scale, "offset": offset}
    given: dict[str, Any] = {
        name: value for name, value in overrides.items() if value is not None
    }
    return {
        name: replace(found[name], **given if BANDS[name].sensor == "S2" else {})
        for name in wanted
        if name in found
    }


def band_name(text: str | None) -> str | None:
    """Returns the band that a description or file name speaks of, if it does."""
    # An underscore parts words here.
    words = re.sub(r"[\W_]+", " ", text or "").upper()
    found = {
        match["other"] or f"B{int(match['number']):02}"
        for match in _BAND.finditer(words)
    }
    return found.pop() if len(found) == 1 else None


def _in_safe(folder: Path) -> dict[str, BandFile]:
    images = safe.find_images(folder)
    calibration = safe.read_calibration(folder)
    # The product specification has 0 for pixels without data.
    return {
        name: BandFile(name, path, 1, *calibration.to_archive(name), nodata=0.0)
        for name, path in images.items()
    }


def _in_rasters(source: Path, wanted: Sequence[str]) -> dict[str, BandFile]:
    paths = list(_rasters(source))
    found: dict[str, BandFile] = {}
    for band in (band for path in paths for band in _described(path)):
        if band.name in found and band.name in wanted:
            raise ValueError(
                f"{source}: band {band.name} is there twice, in "
                f"{found[band.name].path.name} and {band.path.name}: name one file, "
                "or move the other away"
            )
        found[band.name] = band
    if not found:
        raise ValueError(
            f"{source}: expected bands that are named in their descriptions (B02, "
            "B8A, VV ...) or in the names of files (*_B02.tif), found none: describe "
            "them with rio edit-info or gdal_translate, or name the files so"
        )
    return found


def _rasters(source: Path) -> Iterable[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such file or folder")
    found = sorted(p for p in source.iterdir() if p.suffix.lower() in _SUFFIXES)
    if not found:
        raise FileNotFoundError(
            f"{source}: expected a SAFE folder or one with rasters "
            f"({', '.join(_SUFFIXES)}), found none"
        )
    return found


def _described(path: Path) -> Iterator[BandFile]:
    """Yields the bands of a raster, by description, or by name if it has a single."""
    with open_raster(path) as dataset:
        names = [band_name(text) for text in dataset.descriptions]
        if not any(names) and dataset.count == 1:
            names = [band_name(path.stem)]
        for index, name in enumerate(names, 1):
            if name is not None:
                yield _band(dataset, path, index, name)


def _band(dataset: DatasetReader, path: Path, index: int, name: str) -> BandFile:
    nodata = dataset.nodatavals[index - 1]
    scale, offset = dataset.scales[index - 1], dataset.offsets[index - 1]
    if BANDS[name].sensor == "S2" and (scale, offset) != (1.0, 0.0):
        # What such files scale to is reflectance.
        unit = safe.ARCHIVE_QUANTIFICATION
        scale, offset = scale * unit, offset * unit
    return BandFile(name, path, index, scale, offset, nodata)
