"""How reflectance of land covers runs through the years, for generated tiles.

Every pixel is a mixture of six materials, whose shares change with the day: leaves come
and go along a double logistic curve (Beck et al. 2006, Remote Sensing of Environment
100), meadows are cut, fields are ploughed, wetlands flooded in spring.
Classes share their materials: what sets trees, shrubs, meadows, fields and wetlands
apart is when they are green, and parcels, tiles and years differ in that, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MATERIALS = ("green", "dry", "soil", "water", "urban", "snow")
GREEN, DRY, SOIL, WATER, URBAN, SNOW = range(len(MATERIALS))

# Approximate surface reflectance of each material in the bands of `tiles_11`, after
# the usual shapes of published spectra: B04 B02 B03 B08 B8A B09 B05 B06 B07 B11 B12.
SPECTRA = np.array(
    [
        [0.04, 0.03, 0.06, 0.36, 0.38, 0.38, 0.10, 0.25, 0.32, 0.20, 0.09],
        [0.15, 0.07, 0.11, 0.27, 0.29, 0.30, 0.19, 0.22, 0.24, 0.34, 0.24],
        [0.15, 0.08, 0.11, 0.23, 0.25, 0.26, 0.18, 0.20, 0.21, 0.33, 0.28],
        [0.03, 0.06, 0.05, 0.02, 0.02, 0.02, 0.03, 0.02, 0.02, 0.01, 0.01],
        [0.17, 0.13, 0.15, 0.22, 0.23, 0.24, 0.18, 0.19, 0.20, 0.26, 0.23],
        [0.83, 0.85, 0.85, 0.78, 0.75, 0.70, 0.83, 0.82, 0.80, 0.15, 0.12],
    ],
    np.float32,
)


@dataclass(frozen=True)
class Season:
    """The course of a land cover through a year.

    Attributes:
        code: of WorldCover.
        base: share of green leaves in winter.
        amplitude: what summer adds to it.
        start: day of the year on which half of it has come.
        end: day on which half has gone.
        pace: days over which it comes and goes.
        rest: material of what is not green.
        fixed: share of `fixed_material` all year round.
        fixed_material: see there.
        cuts: times a year that it is mown.
        flood: share under water at the height of spring.
    """

    code: int
    base: float
    amplitude: float
    start: float
    end: float
    pace: float
    rest: int
    fixed: float = 0.0
    fixed_material: int = SOIL
    cuts: int = 0
    flood: float = 0.0


# Fields are of winter or of summer crops, one class.
SEASONS: tuple[Season, ...] = (
    Season(10, 0.30, 0.50, 118, 292, 11, DRY),
    Season(20, 0.30, 0.36, 106, 282, 18, DRY, fixed=0.10),
    Season(30, 0.32, 0.48, 92, 300, 14, DRY, cuts=2),
    Season(40, 0.08, 0.78, 88, 186, 11, SOIL),
    Season(40, 0.08, 0.78, 158, 258, 11, SOIL),
    Season(50, 0.20, 0.30, 104, 290, 15, DRY, fixed=0.45, fixed_material=URBAN),
    Season(60, 0.06, 0.20, 108, 240, 18, SOIL, fixed=0.45),
    Season(80, 0.02, 0.06, 140, 260, 15, DRY, fixed=0.90, fixed_material=WATER),
    Season(90, 0.28, 0.46, 128, 276, 13, DRY, flood=0.35),
)
# How often each is drawn for a parcel, before a tile has its own mixture.
FREQUENCIES = np.array([0.20, 0.11, 0.18, 0.10, 0.09, 0.10, 0.07, 0.06, 0.09])

_FLOOD_DAY, _FLOOD_DAYS = 95.0, 25.0
_REGROWTH_DAYS = 22.0


@dataclass(frozen=True, eq=False)
class Parcels:
    """What grows where, an array of shape (parcels,) each.

    Attributes:
        season: places in `SEASONS`.
        delay: days by which the season is late.
        vigour: factor of its amplitude.
        stretch: factor of its length.
        share: of the fixed material, factor.
        cuts: (parcels, 3) days of the year of mowing.
        brightness: (parcels, materials) factors of the spectra.
    """

    season: NDArray[np.intp]
    delay: Floats
    vigour: Floats
    stretch: Floats
    share: Floats
    cuts: Floats
    brightness: Floats


def draw_parcels(count: int, frequencies: Floats, rng: np.random.Generator) -> Parcels:
    """Draws parcels.

    Args:
        count: how many.
        frequencies: (count, seasons) with which each is drawn; rows sum to 1.
        rng: where all randomness comes from.
    """
    upper = np.cumsum(frequencies, axis=1)
    season = (rng.random((count, 1)) > upper).sum(axis=1)
    season = np.minimum(season, len(SEASONS) - 1)

    def normal(deviation: float, *shape: int) -> Floats:
        return (deviation * rng.standard_normal((count, *shape))).astype(np.float32)

    return Parcels(
        season=season,
        delay=normal(11),
        vigour=np.clip(1 + normal(0.22), 0.5, 1.4),
        stretch=np.clip(1 + normal(0.09), 0.7, 1.3),
        share=np.clip(1 + normal(0.25), 0.4, 1.6),
        cuts=150 + 45 * np.arange(3, dtype=np.float32) + normal(14, 3),
        brightness=np.exp(normal(0.18, len(MATERIALS))),
    )


def shares(parcels: Parcels, doy: int, delay: float) -> Floats:
    """Returns the shares of the materials of each parcel on a day, snow apart.

    Args:
        parcels: what grows there.
        doy: day of the year.
        delay: days by which the year is late in this tile.

    Returns:
        (parcels, materials) float32; rows sum to 1.
    """
    table = {
        name: np.array([getattr(each, name) for each in SEASONS], np.float32)
        for name in ("base", "amplitude", "start", "end", "pace", "fixed", "flood")
    }
    rest = np.array([each.rest for each in SEASONS])[parcels.season]
    fixed_material = np.array([each.fixed_material for each in SEASONS])
    of = {name: values[parcels.season] for name, values in table.items()}
    middle, half = (of["start"] + of["end"]) / 2, (of["end"] - of["start"]) / 2
    late = parcels.delay + delay
    start = middle - half * parcels.stretch + late
    end = middle + half * parcels.stretch + late
    leaves = _logistic((doy - start) / of["pace"]) * _logistic((end - doy) / of["pace"])
    leaves = leaves * (1 - _cut(parcels, doy, delay))
    green = np.clip(of["base"] + of["amplitude"] * parcels.vigour * leaves, 0, 1)
    fixed = np.clip(of["fixed"] * parcels.share, 0, 0.97)
    wet = np.exp(-0.5 * ((doy - _FLOOD_DAY - delay) / _FLOOD_DAYS) ** 2)
    flood = of["flood"] * np.clip(parcels.share, 0, 1.4) * wet
    rows = np.arange(len(green))
    result = np.zeros((len(green), len(MATERIALS)), np.float32)
    result[:, GREEN] = green
    result[rows, rest] += 1 - green
    result *= (1 - fixed)[:, None]
    result[rows, fixed_material[parcels.season]] += fixed
    result *= (1 - flood)[:, None]
    result[:, WATER] += flood
    return result


def _logistic(x: NDArray[Any]) -> NDArray[Any]:
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


def _cut(parcels: Parcels, doy: int, delay: float) -> NDArray[Any]:
    """Returns the share of leaves that mowing has left missing, (parcels,)."""
    number = np.array([each.cuts for each in SEASONS])[parcels.season]
    since = doy - parcels.cuts - delay
    missing = np.where(since >= 0, 0.8 * np.exp(-since / _REGROWTH_DAYS), 0)
    missing[np.arange(3) >= number[:, None]] = 0
    return np.asarray(missing.max(axis=1))
