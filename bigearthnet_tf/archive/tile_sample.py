"""Writes generated tiles of time series, as btfm has them on disk.

`phenology` says what the ground looks like on a day; here it gets parcels, weather,
clouds that the mask does not always see, and files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from bigearthnet_tf import files
from bigearthnet_tf.archive import phenology, tile_npy, tile_statistics
from bigearthnet_tf.archive.land_cover import NO_DATA
from bigearthnet_tf.archive.tile_facts import SIDECAR

FIRST_YEAR = 2020
CRS, METRES, WEST, NORTH = "EPSG:32632", 10, 600_000, 5_300_000
_PARCEL_PIXELS = 45  # of a parcel, about
_DISTRICT_PIXELS = 900  # where parcels have one mixture of classes
_UNLABELLED = 0.04  # of the parcels
_MAX_TILES = 999
# Reflectance of clouds, flat but for the water that B11 and B12 see, and of haze.
_CLOUD = np.array([0.55] * 9 + [0.40, 0.32], np.float32)
_HAZE = np.array([0.6, 1.0, 0.8, 0.3, 0.3, 0.3, 0.5, 0.4, 0.4, 0.1, 0.1], np.float32)

Floats = NDArray[np.float32]


def write_tiles(
    out: Path | str,
    tiles: int = 6,
    size: int = 96,
    dates: int = 80,
    years: int = 2,
    seed: int = 0,
    progress: Callable[[int], Any] | None = None,
) -> Path:
    """Writes generated tiles: `.npy` files, labels, and `tile.json` with the place.

    The same seed gives the same bytes, and the first tiles of more are those of fewer.
    The folder appears when it is complete, not before.

    Args:
        out: the folder to make; it may exist if it is empty.
        tiles: how many, up to 999.
        size: rows and columns of each, at least 16.
        dates: acquisitions of a tile, more or less by a tenth, at least 4 a year.
        years: over how many they go.
        seed: not negative.
        progress: called with the number of tiles done since the last call.

    Returns:
        The folder.

    Raises:
        ValueError: an argument out of its range, or something lies in the folder.
        OSError: the disk is full or not writable.
    """
    out = Path(out)
    _check(out, tiles, size, dates, years, seed)
    with files.temporary_beside(out) as folder:
        partial_out = folder / out.name
        partial_out.mkdir()
        for number in range(1, tiles + 1):
            rng = np.random.default_rng(
                np.random.SeedSequence(seed, spawn_key=(number,))
            )
            _write_tile(
                partial_out / f"tile_{number:02d}", number, size, dates, years, rng
            )
            if progress is not None:
                progress(1)
        readme = _readme(tiles, size, years, seed)
        (partial_out / "README.txt").write_text(readme, encoding="utf-8")
        if out.exists():
            out.rmdir()
        partial_out.rename(out)
    return out


def _check(out: Path, tiles: int, size: int, dates: int, years: int, seed: int) -> None:
    """Refuses wrong arguments."""
    limits = {
        "tiles": (tiles, 1, _MAX_TILES),
        "pixels a side": (size, 16, 10_980),
        "years": (years, 1, 20),
        "dates": (dates, 4 * max(years, 1), 150 * max(years, 1)),
    }
    for what, (value, least, most) in limits.items():
        if not least <= value <= most:
            raise ValueError(f"expected {least} to {most} {what}, got {value}")
    if seed < 0:
        raise ValueError(f"expected a seed of 0 or more, got {seed}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f"{out}: expected no such folder, or an empty one, but something is there: "
            "choose another folder or remove this one"
        )


def _write_tile(
    folder: Path,
    number: int,
    size: int,
    dates: int,
    years: int,
    rng: np.random.Generator,
) -> None:
    """Draws and writes one tile."""
    days = _draw_dates(round(dates * rng.uniform(0.9, 1.1)), years, rng)
    year_of = np.array([FIRST_YEAR + year for year, _ in days])
    doys = np.array([doy for _, doy in days], np.uint16)
    ids, parcels = _draw_land(size, rng)
    codes = np.array([each.code for each in phenology.SEASONS])[parcels.season]
    codes[rng.random(len(codes)) < _UNLABELLED] = NO_DATA
    scene = _Scene(size, ids, parcels, years, rng)
    shape = (len(days), size, size)
    bands = np.empty((*shape, phenology.SPECTRA.shape[1]), np.uint16)
    masks = np.empty(shape, np.uint8)
    for place, (year, doy) in enumerate(days):
        bands[place], masks[place] = scene.acquire(year, doy)
    usable = bands[masks.astype(bool)].astype(np.float64)
    folder.mkdir()
    np.save(folder / tile_npy.BANDS, bands)
    np.save(folder / tile_npy.MASKS, masks)
    np.save(folder / tile_npy.DOYS, doys)
    np.save(folder / tile_npy.LABELS, codes[ids].reshape(size, size).astype(np.uint8))
    np.save(folder / tile_statistics.MEAN, usable.mean(axis=0))
    np.save(folder / tile_statistics.STD, usable.std(axis=0))
    west = WEST + (number - 1) * (size + 100) * METRES
    files.write_json(
        folder / SIDECAR,
        {
            "crs": CRS,
            "transform": [METRES, 0, west, 0, -METRES, NORTH],
            "years": year_of.tolist(),
            "bands": "tiles_11",
            "generated": True,
            "dn_offset": 0,
        },
    )


def _draw_dates(
    count: int, years: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Returns (year from 0, day of the year), in order: a revisit with gaps."""
    days = np.arange(int(rng.integers(0, 3)), 365 * years, 2)
    chosen = np.sort(rng.choice(days, min(count, len(days)), replace=False))
    return [(int(day) // 365, int(day) % 365 + 1) for day in chosen]


def _draw_land(
    size: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], phenology.Parcels]:
    """Returns the parcel of each pixel (pixels,), and the parcels."""
    axis = np.arange(size, dtype=np.float32)
    pixels = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    warp = [4 * _smooth(size, 5, rng).ravel() for _ in range(2)]
    pixels = pixels + np.stack(warp, axis=-1)
    seeds = rng.uniform(0, size, (max(6, size * size // _PARCEL_PIXELS), 2))
    ids = cKDTree(seeds).query(pixels)[1]
    centres = rng.uniform(0, size, (max(2, size * size // _DISTRICT_PIXELS), 2))
    district = cKDTree(centres).query(seeds)[1]
    mixtures = rng.dirichlet(9 * phenology.FREQUENCIES, len(centres))
    # Every class is to be met with in every tile, if rarely.
    mixtures = 0.8 * mixtures + 0.2 * phenology.FREQUENCIES
    parcels = phenology.draw_parcels(
        len(seeds), mixtures[district].astype(np.float32), rng
    )
    return np.asarray(ids), parcels


class _Scene:
    """A tile's ground and sky.

    Args:
        size: rows and columns.
        ids: (pixels,) parcel of each pixel.
        parcels: what grows there.
        years: how many there are.
        rng: where all randomness comes from.
    """

    def __init__(
        self,
        size: int,
        ids: NDArray[np.intp],
        parcels: phenology.Parcels,
        years: int,
        rng: np.random.Generator,
    ) -> None:
        self.size, self.ids, self.parcels, self.rng = size, ids, parcels, rng
        # The tile's own climate, each year's, and the tile's own light.
        self.delays = rng.normal(0, 10) + rng.normal(0, 7, years)
        self.gain = np.exp(rng.normal(0, 0.05, len(_CLOUD))).astype(np.float32)
        # Pixels differ within a parcel, as mixtures and in light.
        self.mixing = _smooth(size, 1.2, rng).ravel()[:, None]
        self.shade = np.exp(0.06 * _smooth(size, 1.0, rng)).ravel()[:, None]

    def acquire(
        self, year: int, doy: int
    ) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        """Returns digital numbers (size, size, bands) and mask (size, size)."""
        rng = self.rng
        ground = self._ground(year, doy)
        haze = abs(rng.normal(0, 0.035)) * _HAZE
        light = np.float32(np.exp(rng.normal(0, 0.09)))
        ground = ground * light * self.gain + haze
        thickness, shadow = self._clouds(doy)
        ground = ground * (1 - 0.5 * shadow[:, None])
        ground = ground + thickness[:, None] * (_CLOUD - ground)
        noise = rng.standard_normal(ground.shape, np.float32)
        ground = ground * (1 + 0.04 * noise)
        ground += 0.006 * rng.standard_normal(ground.shape, np.float32)
        numbers = np.clip(np.rint(ground * 10_000), 1, 65_535).astype(np.uint16)
        # The mask overlooks thin clouds and shadows, and sees some that are not there.
        seen = (thickness > 0.3) | (shadow > 0.6)
        seen |= rng.random(seen.shape) < 0.02
        shape = (self.size, self.size)
        return numbers.reshape(*shape, -1), (~seen).reshape(shape).astype(np.uint8)

    def _ground(self, year: int, doy: int) -> Floats:
        """Returns reflectance (pixels, bands) under a clear sky."""
        shares = phenology.shares(self.parcels, doy, float(self.delays[year]))
        winter = doy < 60 or doy > 345
        snow = self.rng.random()
        if winter and snow < 0.25:
            depth = np.float32(0.3 + 2 * snow) * (1 - shares[:, phenology.WATER])
            shares = shares * (1 - depth)[:, None]
            shares[:, phenology.SNOW] += depth
        colours = shares[:, :, None] * self.parcels.brightness[:, :, None]
        parcels = (colours * phenology.SPECTRA).sum(axis=1)
        # Towards the mean of the tile, which mixes a pixel with what is around.
        mean = parcels.mean(axis=0)
        ground = parcels[self.ids]
        weight = np.clip(0.12 + 0.10 * self.mixing, 0, 0.5)
        return (ground + weight * (mean - ground)) * self.shade

    def _clouds(self, doy: int) -> tuple[Floats, Floats]:
        """Returns thickness of clouds and depth of shadows, (pixels,), 0 to 1 each."""
        rng = self.rng
        often = 0.40 + 0.10 * np.cos(2 * np.pi * doy / 365)
        cover = rng.beta(0.9 * often, 0.9 * (1 - often))
        field = _smooth(self.size, 7, rng) + 0.35 * _smooth(self.size, 2, rng)
        edge = np.quantile(field, 1 - cover)
        depth = np.clip((field - edge) / 0.5 + 0.12, 0, 1)
        # Shadows lie to the north-west of their clouds.
        cast = np.roll(depth, (-5, -4), axis=(0, 1)) * (depth < 0.1)
        return depth.ravel().astype(np.float32), cast.ravel().astype(np.float32)


def _smooth(size: int, scale: float, rng: np.random.Generator) -> Floats:
    """Random field (size, size) of mean 0 and standard deviation 1."""
    field = gaussian_filter(rng.standard_normal((size, size)), scale, mode="wrap")
    return ((field - field.mean()) / field.std()).astype(np.float32)


def _readme(tiles: int, size: int, years: int, seed: int) -> str:
    return f"""\
GENERATED DATA - these are not satellite images.

{tiles} tiles of {size} x {size} pixels over {years} year(s), written by bigearthnet_tf
with seed {seed}. Every observation and every label is drawn from a random generator
(bigearthnet_tf/archive/phenology.py and tile_sample.py say how): spectra are
approximate, seasons follow typical curves, and masks overlook some clouds. The places
are made up.

For trying out software. Accuracies measured on it say nothing about real tiles.
"""
