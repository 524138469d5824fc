"""Tiles as GeoTIFFs: one or several files an acquisition, with a scene classification.

All `.tif` and `.tiff` files in the folder and the folders in it belong to the tile.
The date of a file is in its name, in that of its folder, or in its tags; the bands
have their names as descriptions, or a single band has it in the file name:

    2021-05-12_bands.tif  2021-05-12_SCL.tif  2021-05-17_bands.tif ...
    S2A_MSIL2A_20210512T101021_N0500_R022_T32UMA/T32UMA_20210512T101021_B04_10m.tif ...
    labels.tif

Coarser files, such as the classification at 20 m, are read at the pixels of the finest
by nearest neighbour. Since baseline 04.00 products have 1000 added to their digital
numbers (Sentinel-2 Products Specification 14.9, RADIO_ADD_OFFSET); it is subtracted, so
that all dates have one scale. Whether it was added follows from the offset and scale of
the file, from the tag PROCESSING_BASELINE, or from the N0400 of a product's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from bigearthnet_tf.archive import geotiff, tile, tile_facts, tile_labels
from bigearthnet_tf.archive.tile import Tile, Window
from bigearthnet_tf.archive.tile_facts import TileFacts

SCENE = "SCL"
LABELS = ("labels.tif", "labels.tiff")
ADDED_OFFSET = 1000  # to digital numbers, since
OFFSET_BASELINE = 4.0
NO_DATA = 0  # of Sentinel-2 products, where the file does not say

_DATE = re.compile(r"(?<!\d)(\d{4})[-:]?(\d{2})[-:]?(\d{2})(?!\d)")
_BAND = re.compile(r"(?:^|[_.-])(B0\d|B1[0-2]|B8A|SCL)(?=$|[_.-])", re.IGNORECASE)
_BASELINE = re.compile(r"_N(\d{2})(\d{2})_")
_DATE_TAGS = ("TIFFTAG_DATETIME", "ACQUISITION_DATE", "DATETIME", "datetime", "date")
# Files that a process keeps open: all of a year with two files a date, and more.
_OPEN_FILES = 256


class Layer(NamedTuple):
    """One band of one acquisition: file, number in it from 1, no data, added offset."""

    path: Path
    number: int
    nodata: float
    offset: int


@dataclass(frozen=True, eq=False)
class GeoTiffTile(Tile):
    """GeoTIFFs with dates; see the module and `Tile`.

    Attributes:
        layers: for each date the layers of the bands, and that of the classification.
        labels_path: map of classes on the same grid; None if there is none.
        usable: scene classes of usable observations.
        codes: the classes that labels may be of.
    """

    layers: tuple[tuple[Layer, ...], ...]
    labels_path: Path | None
    usable: tuple[int, ...]
    codes: tuple[int, ...]

    def _read(self, window: Window) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        shape = (window.height, window.width, self.num_dates, len(self.bands))
        bands = np.empty(shape, np.uint16)
        mask = np.empty(shape[:3], np.uint8)
        for number, layers in enumerate(self.layers):
            *images, scene = self._read_date(layers, window)
            usable = np.isin(scene, self.usable)
            for band, (layer, image) in enumerate(zip(layers, images, strict=False)):
                usable &= image != layer.nodata
                offset = np.array([layer.offset])
                bands[:, :, number, band] = tile_facts.subtract(
                    image[..., None, None], offset
                )[..., 0, 0]
            mask[:, :, number] = usable
        return bands, mask

    def _read_date(
        self, layers: Sequence[Layer], window: Window
    ) -> list[NDArray[np.uint16]]:
        """Returns the layers of a date at the pixels of a window."""
        images: dict[int, NDArray[np.uint16]] = {}
        numbered = sorted(enumerate(layers), key=lambda item: str(item[1].path))
        for path, of_file in groupby(numbered, key=lambda item: item[1].path):
            places, found = zip(*of_file, strict=True)
            numbers = [layer.number for layer in found]
            stack = self._read_file(path, numbers, window)
            images |= dict(zip(places, stack, strict=True))
        return [images[place] for place in range(len(layers))]

    def _read_labels(self, window: Window) -> NDArray[np.uint8]:
        if self.labels_path is None:
            raise ValueError(f"{self.name}: has no map of classes")
        (labels,) = self._read_file(self.labels_path, [1], window)
        nodata = _opened(self.labels_path).nodata
        labels = tile_labels.without_nodata(labels, nodata)
        return tile.check_labels(labels, self.codes, str(self.labels_path))

    def _read_file(
        self, path: Path, numbers: Sequence[int], window: Window
    ) -> NDArray[Any]:
        """Returns (layers, height, width) of a file, coarse pixels repeated."""
        with _errors(path):
            dataset = _opened(path)
            rows, columns = (
                ((np.arange(first, first + count) + 0.5) * coarse / fine).astype(int)
                for first, count, coarse, fine in (
                    (window.row, window.height, dataset.height, self.height),
                    (window.column, window.width, dataset.width, self.width),
                )
            )
            part = RasterWindow.from_slices(
                (int(rows[0]), int(rows[-1]) + 1),
                (int(columns[0]), int(columns[-1]) + 1),
            )
            image = dataset.read(list(numbers), window=part)
        return image[:, (rows - rows[0])[:, None], columns - columns[0]]


@dataclass(frozen=True)
class _File:
    """What the header of a GeoTIFF says."""

    path: Path
    when: date
    names: tuple[str | None, ...]
    dtypes: tuple[str, ...]
    nodata: float
    offset: int
    crs: str | None
    transform: Affine
    height: int
    width: int
    stored: int

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, north, east, south."""
        right, lower = self.transform @ (self.width, self.height)
        return (self.transform.c, self.transform.f, right, lower)


def is_tile(folder: Path) -> bool:
    """Tells whether a folder holds GeoTIFFs that have a date, or folders of a date.

    Folders without one are tiles of their own, unless `tile.json` is above them.
    """
    return any(
        _date_in(path.stem if path.parent == folder else path.parent.name)
        for path in _list(folder)
    )


def open_folder(folder: Path, facts: TileFacts) -> GeoTiffTile:
    """Opens the GeoTIFFs of a tile and compares their headers.

    Raises:
        FileNotFoundError: an acquisition lacks a band or its scene classification.
        ValueError: a file without date or names of bands, files of different places,
            or facts that do not fit the files.
    """
    where = str(folder)
    files = sorted((_look(path, facts) for path in _list(folder)), key=lambda f: f.when)
    grid = max(files, key=lambda file: file.width)
    for file in files:
        _compare(file, grid)
    dates = sorted({file.when for file in files})
    by_date = [_by_name([f for f in files if f.when == when]) for when in dates]
    bands = _choose_bands(dict(zip(dates, by_date, strict=True)), facts, where)
    layers = tuple(
        tuple(_find(found, name, when, where) for name in (*bands, SCENE))
        for when, found in zip(dates, by_date, strict=True)
    )
    if facts.dn_offset is not None:
        given = tile_facts.resolve_offsets(facts.dn_offset, len(dates), where)
        layers = tuple(
            tuple(layer._replace(offset=int(offset)) for layer in of_date)
            for offset, of_date in zip(given, layers, strict=True)
        )
    doys, years = tile.check_dates(
        np.array([when.timetuple().tm_yday for when in dates]),
        np.array([when.year for when in dates]),
        where,
    )
    labels_path = next((folder / n for n in LABELS if (folder / n).exists()), None)
    if labels_path is not None:
        shape = grid.height, grid.width
        with _errors(labels_path):
            tile_labels.check(labels_path, grid.crs, grid.transform, shape)
    transform = tile_facts.resolve_transform(facts.transform, where)
    return GeoTiffTile(
        name=folder.resolve().name,
        bands=bands,
        height=grid.height,
        width=grid.width,
        doys=doys,
        years=years,
        crs=tile_facts.resolve_crs(facts.crs, where) or grid.crs,
        transform=grid.transform if transform is None else transform,
        has_labels=labels_path is not None,
        grain=max(file.stored * grid.width // file.width for file in files),
        layers=layers,
        labels_path=labels_path,
        usable=facts.usable_scene_classes,
        codes=tuple(facts.classes),
    )


def _list(folder: Path) -> list[Path]:
    """Returns the GeoTIFFs of a tile, but not its labels."""
    found = (
        path
        for pattern in ("*.tif", "*.tiff", "*/*.tif", "*/*.tiff")
        for path in folder.glob(pattern)
    )
    return sorted(path for path in found if path.name not in LABELS)


def _date_in(text: str) -> date | None:
    for year, month, day in _DATE.findall(text):
        try:
            return date(int(year), int(month), int(day))
        except ValueError:
            continue
    return None


def _look(path: Path, facts: TileFacts) -> _File:
    """Reads the header of a file."""
    # Not kept open: there may be more files than a process may hold.
    with _errors(path), rasterio.open(path, driver="GTiff") as dataset:
        tags = dataset.tags()
        texts = (path.stem, path.parent.name, *map(tags.get, _DATE_TAGS))
        when = next((d for d in map(_date_in, filter(None, texts)) if d), None)
        if when is None:
            raise ValueError(
                f"{path}: expected a date in the name or in the tag {_DATE_TAGS[0]}; "
                "rename the file so that it has one, such as 2021-05-12"
            )
        return _File(
            path=path,
            when=when,
            names=_names(path, dataset.descriptions, facts),
            dtypes=dataset.dtypes,
            nodata=NO_DATA if dataset.nodata is None else dataset.nodata,
            offset=_added_offset(path, dataset, tags),
            crs=dataset.crs.to_wkt() if dataset.crs else None,
            transform=dataset.transform,
            height=dataset.height,
            width=dataset.width,
            stored=max(map(max, dataset.block_shapes)),
        )


def _names(
    path: Path, descriptions: Sequence[str | None], facts: TileFacts
) -> tuple[str | None, ...]:
    """Returns the names of a file's bands, as far as they are to be found."""
    if any(descriptions):
        return tuple(
            SCENE if (name or "").upper() == SCENE else name for name in descriptions
        )
    in_name = _BAND.findall(path.stem)
    if len(descriptions) == 1 and in_name:
        return (in_name[-1].upper(),)
    return tile_facts.resolve_bands(
        facts.bands if facts.bands is not None else (), len(descriptions), str(path)
    )


def _added_offset(
    path: Path, dataset: rasterio.io.DatasetReader, tags: dict[str, str]
) -> int:
    """Returns what has been added to the digital numbers of a file."""
    scale, offset = dataset.scales[0], dataset.offsets[0]
    if offset:
        return round(-offset / scale)
    baseline = tags.get("PROCESSING_BASELINE", "")
    for text in (path.stem, path.parent.name):
        match = _BASELINE.search(f"{text}_")
        if match and not baseline:
            baseline = f"{match[1]}.{match[2]}"
    try:
        return ADDED_OFFSET if float(baseline or 0) >= OFFSET_BASELINE else 0
    except ValueError:
        raise ValueError(
            f"{path}: expected a number such as 04.00 as PROCESSING_BASELINE, got "
            f"{baseline!r}; give the offset as dn_offset"
        ) from None


def _by_name(files: Sequence[_File]) -> dict[str, Layer]:
    """Returns the layers of an acquisition by the name of the band."""
    found: dict[str, Layer] = {}
    for file in files:
        for number, (name, dtype) in enumerate(
            zip(file.names, file.dtypes, strict=True), start=1
        ):
            if name is None:
                continue
            if name in found:
                raise ValueError(
                    f"{file.path}: band {name} of {file.when} is in "
                    f"{found[name].path.name} too; keep one acquisition a day"
                )
            if name != SCENE and dtype != "uint16":
                raise ValueError(
                    f"{file.path}: expected uint16 digital numbers in band {name}, got "
                    f"{dtype}; store reflectance x 10,000 as uint16"
                )
            found[name] = Layer(file.path, number, file.nodata, file.offset)
    return found


def _choose_bands(
    by_date: dict[date, dict[str, Layer]], facts: TileFacts, where: str
) -> tuple[str, ...]:
    """Returns the bands that are asked for, or all, which each date must have."""
    if facts.bands is None:
        first, *later = by_date
        bands = tuple(name for name in by_date[first] if name != SCENE)
        for when in later:
            excess = sorted(by_date[when].keys() - {*bands, SCENE})
            if excess:
                raise ValueError(
                    f"{where}: {when} has band {', '.join(excess)}, which {first} "
                    "lacks; say which bands to take with --bands or in tile.json"
                )
        return bands
    count = (
        len(tile_facts.BAND_ORDERS.get(facts.bands, ()))
        if isinstance(facts.bands, str)
        else len(facts.bands)
    )
    return tile_facts.resolve_bands(facts.bands, count, where)


def _find(found: dict[str, Layer], name: str, when: date, where: str) -> Layer:
    if name not in found:
        what = "scene classification (SCL)" if name == SCENE else f"band {name}"
        raise FileNotFoundError(
            f"{where}: {when} has no {what}, got {' '.join(found)}; add the file, or "
            "remove those of this date"
        )
    return found[name]


def _compare(file: _File, grid: _File) -> None:
    """Refuses a file that covers something else than the finest one."""
    tolerance = abs(grid.transform.a) / 2
    apart = max(abs(a - b) for a, b in zip(file.bounds, grid.bounds, strict=True))
    if file.crs != grid.crs or apart > tolerance:
        raise ValueError(
            f"{file.path}: covers {_place(file)}, but {grid.path.name} "
            f"{_place(grid)}; all files of a tile must cover the same area"
        )


def _place(file: _File) -> str:
    bounds = " ".join(f"{value:g}" for value in file.bounds)
    crs = rasterio.CRS.from_wkt(file.crs).to_string() if file.crs else "nowhere"
    return f"{bounds} in {crs if len(crs) < 20 else 'its own coordinate system'}"


@lru_cache(maxsize=_OPEN_FILES)
def _opened(path: Path) -> rasterio.io.DatasetReader:
    """Returns a file, kept open: every block of the tile reads from it."""
    with geotiff.quiet():
        return rasterio.open(path, driver="GTiff")


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Turns every fault of a file into one kind of error."""
    try:
        yield
    except RasterioError as error:
        reason = str(error.__cause__ or error)
        raise ValueError(
            f"{path}: expected a GeoTIFF, but it can't be read ({reason}); copy it "
            "again"
        ) from error
