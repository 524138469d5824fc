"""What the files of a tile don't tell: place, years, names of bands, classes.

It is given by argument, or in `tile.json` in the folder of the tile:

    {"crs": "EPSG:32613", "transform": [10, 0, 300000, 0, -10, 4500000],
     "years": 2021, "bands": "tiles_11"}

All keys may be missing. `transform` is that of rasterio, from (column, row) to map
coordinates: west-east size of a pixel, 0, west edge, 0, minus the north-south size,
north edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydantic
from numpy.typing import NDArray
from rasterio import Affine

from bigearthnet_tf import files
from bigearthnet_tf.archive import ground, pixel_checks
from bigearthnet_tf.archive.band_names import SCENE, canonical, is_auxiliary
from bigearthnet_tf.archive.land_cover import WORLD_COVER
from bigearthnet_tf.archive.pixel_values import Given
from bigearthnet_tf.archive.tile import UNKNOWN_YEAR
from bigearthnet_tf.registry import nearest_names

SIDECAR = "tile.json"
# How to say what nothing else does: whether 1000 was added to digital numbers.
OFFSET_QUESTION = (
    f"give --dn-offset 1000 or 0, or dn_offset in {SIDECAR}, which may have a number "
    "for each date"
)
# Options that say scale and offset.
VALUE_OPTIONS = ("--dn-scale", "--dn-offset")

# Scene classification of Sen2Cor (Sentinel-2 Level-2A Algorithm Theoretical Basis
# Document 2.10, table 3-3). Usable: vegetation, bare soil, water, unclassified, snow.
# Not: no data, saturated, dark, cloud shadow, cloud of medium and of high probability,
# thin cirrus.
USABLE_SCENE_CLASSES = (4, 5, 6, 7, 11)

# Orders of the tiles of btfm, which no file names (its scripts show red, blue, green
# first; the rest is that of its successor, whose ten bands lack B09).
BAND_ORDERS: dict[str, tuple[str, ...]] = {
    "tiles_10": (
        *("B04", "B02", "B03", "B08", "B8A"),
        *("B05", "B06", "B07", "B11", "B12"),
    ),
    "tiles_11": (
        *("B04", "B02", "B03", "B08", "B8A", "B09"),
        *("B05", "B06", "B07", "B11", "B12"),
    ),
}


class TileFacts(pydantic.BaseModel):
    """What is known of a tile beside its files.

    Attributes:
        crs: coordinate system: EPSG code, WKT, or whatever else PROJ reads.
        transform: six numbers, see above.
        years: of all acquisitions, or of each.
        bands: their names, or the name of an order.
        dn_offset: subtracted from the digital numbers, of all dates or of each:
            1000 for products of baseline 04.00 and later, 0 where it is gone.
        dn_scale: what numbers are multiplied by, to reflectance x 10,000.
        usable_scene_classes: classes of the scene classification that count as
            usable observations.
        classes: class codes of the labels with their names.
        generated: whether `bigearthnet-tf sample` drew the tile.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    crs: str | None = None
    transform: tuple[float, float, float, float, float, float] | None = None
    years: int | list[int] | None = None
    bands: str | list[str] | None = None
    dn_offset: int | list[int] | None = None
    dn_scale: float | None = None
    usable_scene_classes: tuple[int, ...] = USABLE_SCENE_CLASSES
    classes: dict[int, str] = {each.code: each.name for each in WORLD_COVER}
    generated: bool = False

    @pydantic.field_validator("classes")
    @classmethod
    def _codes_fit(cls, classes: dict[int, str]) -> dict[int, str]:
        if not classes or not all(0 < code < 255 for code in classes):
            raise ValueError("expected class codes from 1 to 254")
        return dict(sorted(classes.items()))

    @property
    def band_names(self) -> tuple[str, ...] | None:
        """The bands to take, less the scene classification; None for all.

        Raises:
            ValueError: an unknown order, a name that comes twice or that is of no band.
        """
        if self.bands is None:
            return None
        where = f"--bands or {SIDECAR}"
        names = _named(self.bands, where)
        return check_bands(tuple(name for name in names if name != SCENE), where)


def read_facts(folder: Path, given: TileFacts | None = None) -> TileFacts:
    """Returns what `tile.json` says, and what was given in its place.

    Raises:
        ValueError: the file is no JSON, or has a key that is unknown or wrong.
    """
    path = folder / SIDECAR
    found = files.read_checked(path, TileFacts) if path.exists() else TileFacts()
    if given is None:
        return found
    return found.model_copy(update=given.model_dump(exclude_unset=True))


def resolve_crs(crs: str | None, where: str) -> str | None:
    """Returns a coordinate system as WKT.

    Raises:
        ValueError: PROJ does not know it.
    """
    if crs is None:
        return None
    try:
        return str(ground.read_crs(crs).to_wkt())
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def resolve_transform(transform: Sequence[float] | None, where: str) -> Affine | None:
    """Returns a transform.

    Raises:
        ValueError: it maps all pixels onto a line or a point.
    """
    if transform is None:
        return None
    affine = Affine(*transform[:6])
    if affine.is_degenerate or not np.isfinite(affine.determinant):
        raise ValueError(
            f"{where}: expected a transform such as 10 0 300000 0 -10 4500000 (pixel "
            f"width, 0, west, 0, minus pixel height, north), got {tuple(transform)}"
        )
    return affine


def check_ground(
    crs: str | None, transform: Affine | None, shape: tuple[int, int], where: str
) -> None:
    """Refuses a tile whose metres are none on the ground; degrees are another unit.

    Raises:
        ValueError: as `pixel_checks.check_ground_metres`.
    """
    system = None if crs is None else ground.read_crs(crs)
    if system is not None and transform is not None and system.is_projected:
        pixel_checks.check_ground_metres(system, transform, shape, where)


def resolve_years(
    years: int | list[int] | None, num_dates: int, where: str
) -> NDArray[np.int64]:
    """Returns the year of each date, 0 where nobody has told it.

    Raises:
        ValueError: another number of years than of dates, or none of this age.
    """
    if years is None:
        years = UNKNOWN_YEAR
    result = np.asarray([years] * num_dates if isinstance(years, int) else years)
    if len(result) != num_dates:
        raise ValueError(
            f"{where}: expected one year for each of {num_dates} dates, got "
            f"{len(result)}"
        )
    strange = (result != UNKNOWN_YEAR) & ((result < 1900) | (result > 9999))
    if strange.any():
        raise ValueError(f"{where}: expected years, got {result[strange][0]}")
    return result.astype(np.int64)


def resolve_bands(
    bands: str | Sequence[str] | None, count: int, where: str
) -> tuple[str, ...]:
    """Returns the names of the bands; by default an order of btfm.

    Raises:
        ValueError: an unknown order, another number of names than of bands, a name
            that comes twice, or no names for bands that no order fits.
    """
    if bands is None:
        bands = f"tiles_{count}"
        if bands not in BAND_ORDERS:
            raise ValueError(
                f"{where}: no names are known for {count} bands; give them by --bands, "
                f"or as 'bands' in {SIDECAR}"
            )
    names = _named(bands, where)
    if len(names) != count or len(set(names)) != count:
        raise ValueError(
            f"{where}: expected {count} different names of bands, by description, file "
            f"name, --bands or {SIDECAR}, got {len(names)}: {' '.join(names)}"
        )
    return names


def check_bands(names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Returns names of bands that a model may have.

    Raises:
        ValueError: none, a name that comes twice, or a layer that is no band.
    """
    strange = [name for name in names if is_auxiliary(name)]
    if strange:
        raise ValueError(
            f"{where}: expected spectral bands, but {strange[0]} is none: leave it out "
            "of the bands; the mask says which observations are usable"
        )
    if not names or len(set(names)) != len(names):
        raise ValueError(
            f"{where}: expected different names of bands, got {' '.join(names)}"
        )
    return names


def _named(bands: str | Sequence[str], where: str) -> tuple[str, ...]:
    """Returns the names of an order, or those given, as this package writes them."""
    if not isinstance(bands, str):
        return tuple(map(canonical, bands))
    if bands not in BAND_ORDERS:
        raise ValueError(
            f"{where}: unknown order of bands {bands!r}: "
            f"{nearest_names(bands, BAND_ORDERS)}"
        )
    return BAND_ORDERS[bands]


def resolve_offsets(
    offset: int | list[int] | None, num_dates: int, where: str
) -> list[int | None]:
    """Returns what to subtract from the numbers of each date; None if not given.

    Raises:
        ValueError: another number of offsets than of dates, or one below 0.
    """
    if not isinstance(offset, list):
        offsets: list[int | None] = [offset] * num_dates
    else:
        offsets = list(offset)
    if len(offsets) != num_dates:
        raise ValueError(
            f"{where}: expected one offset for each of {num_dates} dates, got "
            f"{len(offsets)}"
        )
    below = [each for each in offsets if each is not None and each < 0]
    if below:
        raise ValueError(
            f"{where}: expected a dn_offset of 0 or more, which is subtracted, got "
            f"{below[0]}"
        )
    return offsets


def given_values(facts: TileFacts, offset: int | None) -> Given:
    """Returns what is given of the numbers of a date in place of what files say."""
    return Given(facts.dn_scale, None if offset is None else -float(offset))
