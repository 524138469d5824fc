"""The GeoTIFFs of a tile: their dates, the bands in them, and what these hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NamedTuple

from rasterio import Affine

from bigearthnet_tf.archive import (
    pixel_checks,
    pixel_evidence,
    raster_header,
    tile_facts,
)
from bigearthnet_tf.archive.band_names import (
    SCENE,
    is_auxiliary,
    layer_name,
    one_name,
)
from bigearthnet_tf.archive.bands import BANDS
from bigearthnet_tf.archive.pixel_values import PixelValues
from bigearthnet_tf.archive.raster_header import Header
from bigearthnet_tf.archive.tile_facts import TileFacts

LABELS = ("labels.tif", "labels.tiff")
# Of a mask nothing is scaled; its codes say what is no data.
_CODES = PixelValues("S2", nodata=())


class Layer(NamedTuple):
    """One band of one acquisition: file, number in it from 1, type, and meaning."""

    path: Path
    number: int
    dtype: str
    values: PixelValues


@dataclass(frozen=True)
class File:
    """What the header of a GeoTIFF says.

    Attributes:
        path: of the file.
        when: day of the acquisition.
        names: of its bands; None for those that are none of a tile.
        header: what it says of the numbers.
        crs: as WKT; None without.
        transform: from (column, row) to coordinates.
        height: rows.
        width: columns.
        stored: longer side of the blocks that it is stored in.
    """

    path: Path
    when: date
    names: tuple[str | None, ...]
    header: Header
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


def look_at_all(folder: Path, facts: TileFacts) -> list[File]:
    """Reads the headers of a tile's files, in the order of time.

    Files without a band, such as TCI, are left out.

    Raises:
        ValueError: a file without a date or names, or none with a band.
    """
    files = (look(path, facts) for path in list_files(folder))
    found = sorted(
        (file for file in files if any(file.names)), key=lambda file: file.when
    )
    if not found:
        raise ValueError(
            f"{folder}: expected GeoTIFFs with bands of Sentinel-2, found none"
        )
    return found


def list_files(folder: Path) -> list[Path]:
    """Returns the GeoTIFFs of a tile, but not its labels."""
    return sorted(
        path
        for pattern in ("*", "*/*")
        for path in folder.glob(pattern)
        if path.suffix.lower() in (".tif", ".tiff") and path.name not in LABELS
    )


def is_tile(folder: Path) -> bool:
    """Returns whether a folder holds GeoTIFFs that have a date, or folders of a date.

    Folders without one are tiles of their own, unless `tile.json` is above them.
    """
    return any(
        pixel_evidence.day_in(path.stem if path.parent == folder else path.parent.name)
        for path in list_files(folder)
    )


def look(path: Path, facts: TileFacts) -> File:
    """Reads the header of a file.

    Raises:
        ValueError: it can't be read, or has neither a date nor names for its bands.
    """
    # Not kept open: there may be more files than a process may hold.
    with raster_header.open_raster(path, "GTiff") as dataset:
        pixel_checks.check_blocks(dataset)
        header = raster_header.read_header(dataset, path)
        when = pixel_evidence.acquisition_day(path, header.tags)
        if when is None:
            raise ValueError(
                f"{path}: expected a date in the name or in the tag TIFFTAG_DATETIME; "
                "rename the file so that it has one, such as 2021-05-12"
            )
        return File(
            path=path,
            when=when,
            names=_names(path, dataset.descriptions, facts),
            header=header,
            crs=dataset.crs.to_wkt() if dataset.crs else None,
            transform=dataset.transform,
            height=dataset.height,
            width=dataset.width,
            stored=max(map(max, dataset.block_shapes)),
        )


def _names(
    path: Path, descriptions: Sequence[str | None], facts: TileFacts
) -> tuple[str | None, ...]:
    """Returns the names of the bands of a file, None for layers that are no bands."""
    if len(descriptions) == 1 and not is_auxiliary(descriptions[0]):
        name = one_name(descriptions[0], path) or descriptions[0]
        if name:
            return (name,)
    if any(descriptions):
        return tuple(map(_described, descriptions))
    if is_auxiliary(path.stem):
        is_scene = len(descriptions) == 1 and layer_name(path.stem) == SCENE
        return (SCENE if is_scene else None,) * len(descriptions)
    return tile_facts.resolve_bands(
        facts.bands if facts.bands is not None else (), len(descriptions), str(path)
    )


def _described(text: str | None) -> str | None:
    return layer_name(text) or (None if is_auxiliary(text) else text)


def of_date(
    files: Sequence[File], facts: TileFacts, offset: int | None, where: str
) -> dict[str, Layer]:
    """Returns the layers of an acquisition by the name of the band.

    Args:
        files: those of one day.
        facts: which bands to take, and the scale of their numbers.
        offset: what is to be subtracted from them; None for what the files say.
        where: names the tile.

    Raises:
        ValueError: a band that is there twice, is none of Sentinel-2, or whose numbers
            mean nobody knows what.
    """
    given = tile_facts.given_values(facts, offset)
    found: dict[str, tuple[File, int]] = {}
    for file in files:
        for number, name in enumerate(file.names, start=1):
            if name is None:
                continue
            if name in found:
                raise ValueError(
                    f"{file.path}: band {name} of {file.when} is in "
                    f"{found[name][0].path.name} too; keep one acquisition a day"
                )
            found[name] = file, number
    wanted = set(facts.band_names or found)
    layers = {}
    for name, (file, number) in found.items():
        values = _CODES
        if name != SCENE:
            if name not in wanted:
                continue
            if name in BANDS and BANDS[name].sensor == "S1":
                raise ValueError(
                    f"{file.path}: tiles hold Sentinel-2, got band {name} of "
                    "Sentinel-1: name the bands to take with --bands"
                )
            pixel_evidence.check_is_level_2a(file.path)
            values = pixel_evidence.read(file.header, number, name, "S2", given)
        dtype = file.header.dtypes[number - 1]
        layers[name] = Layer(file.path, number, dtype, values)
    pixel_evidence.check_settled(
        [(each.path.name, each.values) for n, each in layers.items() if n != SCENE],
        where,
        tile_facts.OFFSET_QUESTION,
    )
    return layers
