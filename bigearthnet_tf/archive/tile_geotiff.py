"""Tiles as GeoTIFFs: one or several files an acquisition, with a scene classification.

All `.tif` and `.tiff` files in the folder and the folders in it belong to the tile.
The date of a file is in its name, in that of its folder, or in its tags; the bands
have their names as descriptions, or a single band has it in the file name:

    2021-05-12_bands.tif  2021-05-12_SCL.tif  2021-05-17_bands.tif ...
    S2A_MSIL2A_20210512T101021_N0500_R022_T32UMA/T32UMA_20210512T101021_B04_10m.tif ...
    labels.tif

Coarser files, such as the classification at 20 m, are read at the pixels of the finest
by nearest neighbour. Numbers become those of the archives as `pixel_values` has it, so
that all dates have one scale; layers that are no bands, such as TCI, are passed over.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.windows import Window as RasterWindow

from bigearthnet_tf.archive import (
    geotiff,
    land_cover,
    pixel_checks,
    tile,
    tile_facts,
    tile_labels,
    tile_layers,
)
from bigearthnet_tf.archive.band_names import SCENE
from bigearthnet_tf.archive.raster_header import open_raster, read_mask, reading
from bigearthnet_tf.archive.tile import Tile, Window
from bigearthnet_tf.archive.tile_facts import TileFacts
from bigearthnet_tf.archive.tile_layers import LABELS, File, Layer

logger = logging.getLogger(__name__)

# Files that a process keeps open: all of a year with two files a date, and more.
_OPEN_FILES = 256
# Side in pixels of a file whose numbers are looked at whole; there may be hundreds.
_LOOK_SIDE = 256


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

    @property
    def meaning(self) -> list[Any] | None:
        """See `Tile`."""
        numbers = [
            [(layer.values.scale, layer.values.offset) for layer in of_date[:-1]]
            for of_date in self.layers
        ]
        is_plain = all(number == (1, 0) for of_date in numbers for number in of_date)
        return None if is_plain else numbers

    def _read(self, window: Window) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        shape = (window.height, window.width, self.num_dates, len(self.bands))
        bands = np.empty(shape, np.uint16)
        mask = np.empty(shape[:3], np.uint8)
        for number, layers in enumerate(self.layers):
            (*images, scene), usable = self._read_date(layers, window)
            usable &= np.isin(scene, self.usable)
            for band, (layer, image) in enumerate(zip(layers, images, strict=False)):
                valid = layer.values.has_data(image)
                usable &= valid
                bands[:, :, number, band] = layer.values.stored(image, valid, "uint16")
            mask[:, :, number] = usable
        return bands, mask

    def _read_date(
        self, layers: Sequence[Layer], window: Window
    ) -> tuple[list[NDArray[Any]], NDArray[np.bool_]]:
        """Returns the layers of a date in a window, and which pixels no file masks."""
        images: dict[int, NDArray[Any]] = {}
        unmasked = np.ones((window.height, window.width), bool)
        numbered = sorted(enumerate(layers), key=lambda item: str(item[1].path))
        for path, of_file in groupby(numbered, key=lambda item: item[1].path):
            places, found = zip(*of_file, strict=True)
            numbers = [layer.number for layer in found]
            stack, of_path = self._read_file(path, numbers, window)
            images |= dict(zip(places, stack, strict=True))
            unmasked &= of_path
        return [images[place] for place in range(len(layers))], unmasked

    def _read_labels(self, window: Window) -> NDArray[np.uint8]:
        if self.labels_path is None:
            raise ValueError(f"{self.name}: has no map of classes")
        (labels,), unmasked = self._read_file(self.labels_path, [1], window)
        nodata = _opened(self.labels_path).nodata
        labels = tile_labels.without_nodata(labels, nodata)
        labels = np.where(unmasked, labels, land_cover.NO_DATA)
        return tile.check_labels(labels, self.codes, str(self.labels_path))

    def _read_file(
        self, path: Path, numbers: Sequence[int], window: Window
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Returns layers of a file, coarse pixels repeated, and what is not masked.

        (layers, height, width) and (height, width).
        """
        with reading(path):
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
            unmasked = read_mask(dataset, numbers, window=part)
            unmasked = np.broadcast_to(unmasked, image.shape[1:])
        chosen = (rows - rows[0])[:, None], columns - columns[0]
        return image[:, *chosen], unmasked[chosen]


def open_folder(folder: Path, facts: TileFacts) -> GeoTiffTile:
    """Opens the GeoTIFFs of a tile and compares their headers.

    Raises:
        FileNotFoundError: an acquisition lacks a band or its scene classification.
        ValueError: a file without date or names of bands, files of different places,
            or facts that do not fit the files.
    """
    where = str(folder)
    files = tile_layers.look_at_all(folder, facts)
    grid = max(files, key=lambda file: file.width)
    for file in files:
        _compare(file, grid)
    dates = sorted({file.when for file in files})
    offsets = tile_facts.resolve_offsets(facts.dn_offset, len(dates), where)
    by_date = {
        when: tile_layers.of_date(
            [file for file in files if file.when == when], facts, offset, where
        )
        for when, offset in zip(dates, offsets, strict=True)
    }
    bands = _choose_bands(by_date, facts, where)
    layers = tuple(
        tuple(_find(found, name, when, where) for name in (*bands, SCENE))
        for when, found in by_date.items()
    )
    _check_numbers(layers, where)
    doys, years = tile.check_dates(
        np.array([when.timetuple().tm_yday for when in dates]),
        np.array([when.year for when in dates]),
        where,
    )
    labels_path = next((folder / n for n in LABELS if (folder / n).exists()), None)
    if labels_path is not None:
        shape = grid.height, grid.width
        with reading(labels_path):
            tile_labels.check(labels_path, grid.crs, grid.transform, shape)
    crs = tile_facts.resolve_crs(facts.crs, where) or grid.crs
    transform = tile_facts.resolve_transform(facts.transform, where) or grid.transform
    tile_facts.check_ground(crs, transform, (grid.height, grid.width), where)
    return GeoTiffTile(
        name=folder.resolve().name,
        bands=bands,
        height=grid.height,
        width=grid.width,
        doys=doys,
        years=years,
        crs=crs,
        transform=transform,
        has_labels=labels_path is not None,
        grain=max(file.stored * grid.width // file.width for file in files),
        layers=layers,
        labels_path=labels_path,
        usable=facts.usable_scene_classes,
        codes=tuple(facts.classes),
    )


def _check_numbers(layers: Sequence[Sequence[Layer]], where: str) -> None:
    """Looks at some pixels of the bands, whose numbers may be others than they seem."""
    doubts = []
    for layer in (layer for of_date in layers for layer in of_date[:-1]):
        with open_raster(layer.path, "GTiff") as dataset, reading(layer.path):
            numbers = pixel_checks.sample(
                dataset, layer.number, layer.values, _LOOK_SIDE
            )
        doubt = pixel_checks.judge(
            numbers,
            layer.values,
            f"{layer.path}: band {layer.number}",
            tile_facts.VALUE_OPTIONS,
        )
        doubts += [doubt] if doubt else []
    if doubts:
        more = f" (and {len(doubts) - 1} more like it)" if len(doubts) > 1 else ""
        logger.warning("%s: %s%s", where, doubts[0], more)


def _choose_bands(
    by_date: Mapping[date, Mapping[str, Layer]], facts: TileFacts, where: str
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
        return tile_facts.check_bands(bands, where)
    return facts.band_names or ()


def _find(found: Mapping[str, Layer], name: str, when: date, where: str) -> Layer:
    if name not in found:
        what = "scene classification (SCL)" if name == SCENE else f"band {name}"
        raise FileNotFoundError(
            f"{where}: {when} has no {what}, got {' '.join(found)}; add the file, or "
            "remove those of this date"
        )
    return found[name]


def _compare(file: File, grid: File) -> None:
    """Refuses a file that covers something else than the finest one."""
    finer = Affine.scale(file.width / grid.width, file.height / grid.height)
    apart = tile_labels.pixels_apart(
        file.transform @ finer, grid.transform, (grid.height, grid.width)
    )
    if file.crs != grid.crs or apart > tile_labels.TOLERANCE:
        raise ValueError(
            f"{file.path}: covers {_place(file)}, but {grid.path.name} "
            f"{_place(grid)}; all files of a tile must cover the same area"
        )


def _place(file: File) -> str:
    bounds = " ".join(f"{value:g}" for value in file.bounds)
    crs = rasterio.CRS.from_wkt(file.crs).to_string() if file.crs else "nowhere"
    return f"{bounds} in {crs if len(crs) < 20 else 'its own coordinate system'}"


@lru_cache(maxsize=_OPEN_FILES)
def _opened(path: Path) -> rasterio.io.DatasetReader:
    """Returns a file, kept open: every block of the tile reads from it."""
    with geotiff.quiet():
        return rasterio.open(path, driver="GTiff")
