"""What the patches of the generated archive show, where, when, and their names.

Tiles, dates, relative orbits and Sentinel-1 passes are those of the real archive, so
that names, folders and coordinates are of the genuine form; the positions within the
tiles are drawn. The splits follow the rule of v2 (Clasen et al. 2024): the outer ring
of each tile trains, the next one validates, the inner square tests, in areas of 1/2,
1/4 and 1/4.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf import files
from bigearthnet_tf.archive import bands, landscape
from bigearthnet_tf.archive.names import Version

# The order in which patches take turns: shares of 1/2, 1/4 and 1/4 in any number.
SPLIT_CYCLE = ("train", "val", "test", "train")
GRID = 91  # patches along the side of a tile
TILE_METRES = 109_800
TRAIN_RING_METRES = TILE_METRES * (2 - 2**0.5) / 4
VAL_RING_METRES = TRAIN_RING_METRES + TILE_METRES * (2**0.5 - 1) / 4


@dataclass(frozen=True)
class Acquisition:
    """A Sentinel-2 acquisition and the Sentinel-1 pass that goes with it.

    Attributes:
        satellite: `"S2A"` or `"S2B"`.
        time: `YYYYMMDDTHHMMSS`.
        orbit: relative orbit, `"R022"`.
        scene: first five fields of the Sentinel-1 names.
        v1_time: time of day in v1 names, where it is not `time` less leading zeros.
    """

    satellite: str
    time: str
    orbit: str
    scene: str
    v1_time: str | None = None


@dataclass(frozen=True)
class Site:
    """A Sentinel-2 tile.

    Attributes:
        tile: MGRS name without the leading T.
        country: where its patches lie.
        origin: easting and northing of the upper left corner in metres.
        acquisitions: of that tile.
    """

    tile: str
    country: str
    origin: tuple[int, int]
    acquisitions: tuple[Acquisition, ...]

    @property
    def epsg(self) -> int:
        """Code of the tile's coordinate system, WGS 84 / UTM north."""
        return 32_600 + int(self.tile[:2])


@lru_cache(maxsize=1)
def read_sites() -> tuple[Site, ...]:
    """Returns the tiles of `sites.json`, from the names in BigEarthNet v2's metadata.

    94161 in it is the genuine impossible time of a v1 name.
    """
    return tuple(
        Site(
            entry["tile"],
            entry["country"],
            tuple(entry["origin"]),
            tuple(Acquisition(*fields) for fields in entry["acquisitions"]),
        )
        for entry in files.read_json(Path(__file__).with_name("sites.json"))
    )


@dataclass(frozen=True)
class Plan:
    """A patch before it has pixels.

    Attributes:
        index: its number, from which its pixels' randomness comes.
        scene: what it shows.
        site: where.
        acquisition: when.
        column: eastwards in the tile, 0 to 90.
        row: southwards, 0 to 90.
        split: `"train"`, `"val"` or `"test"`.
    """

    index: int
    scene: landscape.Scene
    site: Site
    acquisition: Acquisition
    column: int
    row: int
    split: str

    @property
    def corner(self) -> tuple[int, int]:
        """Easting and northing of the upper left corner in metres."""
        east, north = self.site.origin
        return (
            east + bands.PATCH_METRES * self.column,
            north - bands.PATCH_METRES * self.row,
        )

    @property
    def name_s1(self) -> str:
        """Sentinel-1 name, the same in both versions."""
        return f"{self.acquisition.scene}_{self.site.tile}_{self.column}_{self.row}"

    def name_s2(self, version: Version) -> str:
        """Sentinel-2 name; that of v1 has no padding and one-digit hours."""
        acquisition = self.acquisition
        start = f"{acquisition.satellite}_MSIL2A_{acquisition.time}"
        if version == "v2":
            return (
                f"{start}_N9999_{acquisition.orbit}_T{self.site.tile}"
                f"_{self.column:02}_{self.row:02}"
            )
        time = acquisition.v1_time or acquisition.time[9:].removeprefix("0")
        return f"{start[:-6]}{time}_{self.column}_{self.row}"


def draw_plans(patches: int, seed: int) -> list[Plan]:
    """Draws labels, places and dates, without pixels.

    Args:
        patches: how many.
        seed: of the archive.

    Returns:
        Plans with names that differ from one another in both versions.
    """
    cells = _cells_by_split()
    by_country: dict[str, list[tuple[Site, Acquisition]]] = {}
    for site in read_sites():
        for acquisition in site.acquisitions:
            by_country.setdefault(site.country, []).append((site, acquisition))
    taken = set()
    plans = []
    for index in range(patches):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index, 0)))
        scene = landscape.draw_scene(rng)
        split = SPLIT_CYCLE[index % len(SPLIT_CYCLE)]
        plan = None
        while plan is None or plan.name_s1 in taken:
            choices = by_country[scene.country]
            site, acquisition = choices[rng.integers(len(choices))]
            column, row = cells[split][rng.integers(len(cells[split]))].tolist()
            plan = Plan(index, scene, site, acquisition, column, row, split)
        taken.add(plan.name_s1)
        plans.append(plan)
    return plans


def _cells_by_split() -> dict[str, NDArray[np.int64]]:
    """Columns and rows, int64 (cells, 2), of each split; by the patches' centres."""
    centre = (np.arange(GRID) + 0.5) * bands.PATCH_METRES
    margin = np.minimum(centre, TILE_METRES - centre)
    margin = np.minimum(margin[:, None], margin[None, :])
    return {
        "train": np.argwhere(margin < TRAIN_RING_METRES),
        "val": np.argwhere((margin >= TRAIN_RING_METRES) & (margin < VAL_RING_METRES)),
        "test": np.argwhere(margin >= VAL_RING_METRES),
    }
