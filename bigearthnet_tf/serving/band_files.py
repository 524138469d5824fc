"""Where the bands of a scene lie: a SAFE folder, a GeoTIFF, or a folder of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bigearthnet_tf.archive import pixel_evidence, safe
from bigearthnet_tf.archive.band_names import is_auxiliary, layer_name, one_name
from bigearthnet_tf.archive.bands import BANDS
from bigearthnet_tf.archive.pixel_values import NOTHING_GIVEN, Given, PixelValues
from bigearthnet_tf.archive.raster_header import open_raster, read_header

_SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt")
# The answer to whether 1000 was added to digital numbers.
_OPTION = "give --offset -1000 to take it away, --offset 0 where it is gone already"


@dataclass(frozen=True)
class BandFile:
    """One band of a scene.

    Attributes:
        name: a key of `bands.BANDS`.
        path: the file.
        index: of the band in the file, from 1.
        values: what its numbers mean.
    """

    name: str
    path: Path
    index: int
    values: PixelValues


def find(
    source: Path, wanted: Sequence[str], given: Given = NOTHING_GIVEN
) -> dict[str, BandFile]:
    """Returns the bands of a scene.

    Args:
        source: SAFE folder, raster, or folder of rasters.
        wanted: names of the bands.
        given: what the user says of their numbers.

    Returns:
        In the order that is asked for; bands that are not there are left out.

    Raises:
        FileNotFoundError: no such file or folder, or no rasters in it.
        ValueError: a file is damaged, or names a band twice; numbers whose offset
            nothing tells.
    """
    safe.check_unpacked(source)
    if source.is_dir() and safe.is_safe(source):
        places = {name: (path, 1) for name, path in safe.find_images(source).items()}
    else:
        places = _in_rasters(source, wanted)
    found = {
        name: _band(name, *places[name], given) for name in wanted if name in places
    }
    optical = [
        (band.path.name, band.values)
        for band in found.values()
        if BANDS[band.name].sensor == "S2"
    ]
    pixel_evidence.check_settled(optical, str(source), _OPTION)
    return found


def _band(name: str, path: Path, index: int, given: Given) -> BandFile:
    sensor = BANDS[name].sensor
    if sensor == "S2":
        pixel_evidence.check_is_level_2a(path)
    with open_raster(path) as dataset:
        header = read_header(dataset, path)
    values = pixel_evidence.read(header, index, name, sensor, given)
    return BandFile(name, path, index, values)


def _in_rasters(source: Path, wanted: Sequence[str]) -> dict[str, tuple[Path, int]]:
    """Returns file and number in it of each band."""
    found: dict[str, tuple[Path, int]] = {}
    for path in _rasters(source):
        for index, name in _described(path):
            if name in found and name in wanted:
                raise ValueError(
                    f"{source}: band {name} is there twice, in {found[name][0].name} "
                    f"and {path.name}: name one file, or move the other away"
                )
            found[name] = path, index
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
        packed = [p for p in sorted(source.iterdir()) if p.is_file()]
        for path in packed:
            safe.check_unpacked(path)
        raise FileNotFoundError(
            f"{source}: expected a SAFE folder or one with rasters "
            f"({', '.join(_SUFFIXES)}), found none"
        )
    return found


def _described(path: Path) -> Iterator[tuple[int, str]]:
    """Yields number and name of the bands of a raster.

    By their descriptions; by the name of the file if it has a single band.
    """
    with open_raster(path) as dataset:
        descriptions = dataset.descriptions
    names = [layer_name(text) for text in descriptions]
    if len(names) == 1 and not is_auxiliary(descriptions[0]):
        names = [one_name(descriptions[0], path)]
    for index, name in enumerate(names, 1):
        if name in BANDS:
            yield index, name
