"""What the generated landscape looks like to Sentinel-2 and Sentinel-1.

The chain is that of the real thing, each link much simplified: a land-cover class is
a spatial pattern of covers (a vineyard: rows of vines and bare soil), a cover is a
mixture of materials that changes with the month, a material has a reflectance spectrum
and a radar backscatter; then come the slopes' shading, the atmosphere, the point
spread, the resampling to the pixel sizes of the bands, and the noise.

The numbers are in `spectra.json`. They are approximations chosen by hand after
published typical curves, and no measured spectrum is copied:

- reflectance (x 10,000, Sentinel-2 bands): the shapes of the USGS Spectral Library 7
  (Kokaly et al. 2017) and the ECOSTRESS library (Meerdink et al. 2019) for soils,
  rocks, roofs and water, and of PROSAIL simulations (Jacquemoud et al. 2009) for
  canopies;
- backscatter (sigma nought at C band, dB, 35 to 40 degrees): the ranges of Ulaby and
  Dobson, Handbook of Radar Scattering Statistics for Terrain (1989); crops after Veloso
  et al. 2017, forests after Rüetschi et al. 2018;
- phenology: the usual growing seasons of the four climates, a value a month.

Models trained on this learn this, not the Earth: accuracies on it say that a pipeline
works and compare architectures roughly, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from bigearthnet_tf import files
from bigearthnet_tf.archive import bands, landscape, patterns
from bigearthnet_tf.archive.landscape import Scene
from bigearthnet_tf.archive.patterns import PIXELS, Floats, Parcels, Texture

S2_BANDS = tuple(name for name, band in bands.BANDS.items() if band.sensor == "S2")

ADJACENCY = 0.05  # light scattered in from the surroundings, as a share
# Point spread as a Gaussian, standard deviation in pixels of the band: modulation of
# 0.2 at the Nyquist frequency, in the range of the Sentinel-2 data quality reports.
POINT_SPREAD = 0.55
SENSOR_NOISE = 12.0  # reflectance x 10,000
# Sentinel-1 IW GRDH has 4.4 to 4.9 looks (ESA product specification). The speckle is
# drawn finer and smoothed by [1 2 1] / 4 along both axes, which multiplies the looks
# by 1 / 0.1406 and gives neighbours the correlation of the real, resampled pixels.
LOOKS_BEFORE_SMOOTHING = 4.7 * 0.1406
NOISE_FLOOR_DB = -31.0  # noise-equivalent sigma nought, well below the -22 dB specified
# Standard deviations, over patches, of what changes the backscatter in dB.
RADAR_SPREAD_DB = {"": 0.5, "moisture": 1.3, "wind": 2.5}
# ... and of what changes a material's spectrum: the natural logarithm of the whole,
# and of its course over the bands.
SPECTRAL_SPREAD = {"": 0.09, "moisture": 0.12, "wind": 0.30}


@dataclass(frozen=True)
class _Tables:
    """`spectra.json` as arrays, materials and covers in its order.

    Attributes:
        reflectance: float32 (materials, 12), x 10,000, in the order of `S2_BANDS`.
        backscatter: float32 (materials, 2), VV and VH in dB.
        responds: what a material's backscatter depends on, a key of RADAR_SPREAD_DB.
        season_on: float32 (covers, materials), shares at the height of the season.
        season_off: float32 (covers, materials), shares outside it.
        rough: float32 (covers,), spread of the logarithm of brightness among pixels.
        scatter: float32 (covers,), the same of backscatter.
        spread: float32 (covers,), spread of the season's state among parcels.
        curves: name of each cover's seasonal curve.
        classes: CLC code -> what it looks like from nearby.
        phenology: curve -> climate -> state of the season, 0 to 1, of twelve months.
        covers: names of the covers.
    """

    reflectance: Floats
    backscatter: Floats
    responds: tuple[str, ...]
    season_on: Floats
    season_off: Floats
    rough: Floats
    scatter: Floats
    spread: Floats
    curves: tuple[str, ...]
    classes: dict[int, Texture]
    phenology: dict[str, dict[str, list[float]]]
    covers: tuple[str, ...]


@lru_cache(maxsize=1)
def _tables() -> _Tables:
    path = Path(__file__).with_name("spectra.json")
    content: dict[str, Any] = files.read_json(path)
    materials, covers = content["materials"], content["covers"]
    order = [content["bands"].index(name) for name in S2_BANDS]
    cover_names = tuple(covers)

    def column(key: str) -> Floats:
        return np.array([cover[key] for cover in covers.values()], np.float32)

    def mixture(season: str) -> Floats:
        rows = [
            [cover[season].get(material, 0.0) for material in materials]
            for cover in covers.values()
        ]
        return np.array(rows, np.float32)

    classes = {}
    for code, entry in content["classes"].items():
        indices = [cover_names.index(name) for name in entry["covers"]]
        upper = np.cumsum(list(entry["covers"].values()), dtype=np.float32)
        upper[-1] = np.inf
        classes[int(code)] = Texture(
            entry["pattern"], entry["scale"], np.array(indices), upper
        )
    return _Tables(
        reflectance=np.array(
            [[entry["reflectance"][i] for i in order] for entry in materials.values()],
            np.float32,
        ),
        backscatter=np.array(
            [[entry["vv"], entry["vh"]] for entry in materials.values()], np.float32
        ),
        responds=tuple(entry["responds"] for entry in materials.values()),
        season_on=mixture("on"),
        season_off=mixture("off"),
        rough=column("rough"),
        scatter=column("scatter"),
        spread=column("spread"),
        curves=tuple(cover["curve"] for cover in covers.values()),
        classes=classes,
        phenology=content["phenology"],
        covers=cover_names,
    )


def render(
    scene: Scene,
    codes: NDArray[np.uint16],
    parcels: Parcels,
    month: int,
    rng: np.random.Generator,
) -> dict[str, NDArray[np.generic]]:
    """Renders a land-cover map as the two satellites would see it.

    Args:
        scene: where the patch lies; gives the climate and the relief.
        codes: uint16 (120, 120), CLC codes of `landscape.land_cover`.
        parcels: the fields of the patch.
        month: of the acquisition, 1 to 12.
        rng: where all randomness comes from.

    Returns:
        All fourteen bands in native size and dtype: uint16 reflectance x 10,000,
        float32 backscatter in dB.
    """
    cover, tone = _lay_out(codes, parcels, rng)
    _add_tracks_and_farms(cover, codes, rng)
    season = _season(cover, tone, scene.climate, month)
    optical = _optical(cover, tone, season, scene, month, rng)
    rendered: dict[str, NDArray[np.generic]] = dict(_radar(cover, season, rng))
    for name, image in zip(S2_BANDS, optical, strict=True):
        sense = _sensing(bands.BANDS[name].pixels)
        sensed = sense @ image @ sense.T
        sensed += SENSOR_NOISE * rng.standard_normal(sensed.shape, np.float32)
        rendered[name] = np.clip(np.rint(sensed), 1, 20_000).astype(np.uint16)
    return rendered


def _lay_out(
    codes: NDArray[np.uint16],
    parcels: Parcels,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], Floats]:
    """Fills each class with its pattern of covers.

    Returns:
        The index of each pixel's cover, and a standard normal number that varies from
        parcel to parcel, or slowly where there are none; (120, 120) both.
    """
    tables = _tables()
    cover = np.zeros(codes.shape, np.int64)
    tone = np.zeros(codes.shape, np.float32)
    for code in np.unique(codes):
        texture = tables.classes[int(code)]
        place, shade = patterns.PATTERNS[texture.pattern](texture, parcels, rng)
        inside = codes == code
        nth = np.searchsorted(texture.upper, place[inside])
        cover[inside] = texture.covers[nth]
        tone[inside] = shade[inside]
    return cover, tone


def _add_tracks_and_farms(
    cover: NDArray[np.int64], codes: NDArray[np.uint16], rng: np.random.Generator
) -> None:
    """Lays tracks through the land, and farms and hamlets into the fields, in place.

    CORINE maps nothing below 25 ha, so the real patches are full of what their labels
    do not name.
    """
    tables = _tables()
    track = tables.covers.index("field track")
    for _ in range(rng.poisson(0.9)):
        near = patterns.distance_to_line(rng, 5) < 0.6
        cover[near & (codes < 400)] = track
    houses = [tables.covers.index(name) for name in ("tiled houses", "halls")]
    farmed = (codes >= 200) & (codes < 300)
    for _ in range(rng.poisson(1.2)):
        centre = rng.integers(6, PIXELS - 6, 2)
        for _ in range(rng.integers(1, 7)):
            row, column = np.clip(
                centre + np.rint(2.5 * rng.standard_normal(2)), 0, PIXELS - 2
            ).astype(int)
            spot = (slice(row, row + 2), slice(column, column + 2))
            cover[spot] = np.where(
                farmed[spot], houses[int(rng.random() < 0.2)], cover[spot]
            )


def _season(cover: NDArray[np.int64], tone: Floats, climate: str, month: int) -> Floats:
    """State of the season of each pixel, 0 (dormant, bare) to 1 (full growth)."""
    tables = _tables()
    curve = {
        name: by_climate[climate][month - 1]
        for name, by_climate in tables.phenology.items()
    }
    typical = np.array([curve[name] for name in tables.curves], np.float32)
    return np.clip(typical[cover] + tables.spread[cover] * tone, 0, 1)


def _optical(
    cover: NDArray[np.int64],
    tone: Floats,
    season: Floats,
    scene: Scene,
    month: int,
    rng: np.random.Generator,
) -> Floats:
    """Reflectance x 10,000 with shading and haze, sharp, float32 (12, 120, 120)."""
    tables = _tables()
    spread = np.array([SPECTRAL_SPREAD[name] for name in tables.responds], np.float32)
    course = np.cumsum(
        rng.standard_normal(tables.reflectance.shape, np.float32), axis=1
    )
    change = course / 4 + rng.standard_normal((len(spread), 1), np.float32)
    spectra = tables.reflectance * np.exp(spread[:, None] * change)
    on = (tables.season_on @ spectra).T
    off = (tables.season_off @ spectra).T
    image = off[:, cover] + season * (on - off)[:, cover]
    brightness = np.exp(
        tables.rough[cover] * rng.standard_normal(cover.shape, np.float32)
        + np.float32(0.06) * tone
    )
    image *= brightness * _shading(scene, month, rng)
    image += ADJACENCY * (image.mean(axis=(1, 2), keepdims=True) - image)
    return image * rng.lognormal(0, 0.09) + _haze(rng)


def _shading(scene: Scene, month: int, rng: np.random.Generator) -> Floats:
    """Brightness of the slopes: lit from the south-east, harder when the sun is low."""
    height = patterns.smooth_noise(rng, 34, octaves=3)
    slope = np.gradient(height, axis=0) - np.gradient(height, axis=1)
    low_sun = 1.0 + 0.8 * np.cos((month - 0.5) / 6 * np.pi)
    strength = landscape.RELIEF.get(scene.country, 0.03) * low_sun
    return np.exp(-strength / slope.std() * slope).astype(np.float32)


def _haze(rng: np.random.Generator) -> Floats:
    """Path radiance that the atmospheric correction left, float32 (12, 120, 120).

    Falls with the wavelength as that of small particles; one patch in thirty lies
    under a veil of thin cloud that escaped the cloud mask.
    """
    wavelengths = np.array([bands.BANDS[name].wavelength_nm for name in S2_BANDS])
    colour = (wavelengths / 490.0) ** -1.4
    veil = patterns.smooth_noise(rng, 50, octaves=2)
    amount = (rng.exponential(75) - 35) * (1 + 0.25 * veil)
    if rng.random() < 1 / 30:
        colour = 0.3 + 0.7 * colour
        amount = rng.uniform(300, 1500) * ndtr(veil)
    return (colour[:, None, None] * amount).astype(np.float32)


def _radar(
    cover: NDArray[np.int64], season: Floats, rng: np.random.Generator
) -> dict[str, Floats]:
    """VV and VH in dB, float32 (120, 120): mixed, scattered, speckled, noisy."""
    tables = _tables()
    shifts = {
        name: spread * rng.standard_normal() for name, spread in RADAR_SPREAD_DB.items()
    }
    shift = np.array([shifts[name] for name in tables.responds], np.float32)
    power = 10 ** ((tables.backscatter + shift[:, None]) / 10)
    on, off = (tables.season_on @ power).T, (tables.season_off @ power).T
    sigma = off[:, cover] + season * (on - off)[:, cover]
    sigma *= np.exp(
        tables.scatter[cover] * rng.standard_normal(cover.shape, np.float32)
    )
    sigma += np.float32(10 ** (NOISE_FLOOR_DB / 10))
    speckle = rng.standard_gamma(LOOKS_BEFORE_SMOOTHING, sigma.shape, np.float32)
    smooth = _smoothing()
    sigma = smooth @ (sigma * speckle / np.float32(LOOKS_BEFORE_SMOOTHING)) @ smooth.T
    decibels = 10 * np.log10(np.maximum(sigma, np.float32(1e-7)))
    return dict(zip(("VV", "VH"), decibels.astype(np.float32), strict=True))


@lru_cache(maxsize=1)
def _smoothing() -> Floats:
    """[1 2 1] / 4 along an axis as a (120, 120) matrix, the border mirrored."""
    return _kernel_matrix(np.array([0.25, 0.5, 0.25]))


@lru_cache(maxsize=3)
def _sensing(pixels: int) -> Floats:
    """Point spread and resampling along an axis to a band's pixels, (pixels, 120)."""
    factor = PIXELS // pixels
    mean_variance = (factor**2 - 1) / 12  # what the mean over the pixel brings
    variance = (POINT_SPREAD * factor) ** 2 - mean_variance
    offsets = np.arange(-2 * factor, 2 * factor + 1)
    kernel = np.exp(-0.5 * offsets**2 / variance)
    blurred = _kernel_matrix(kernel / kernel.sum())
    return blurred.reshape(pixels, factor, PIXELS).mean(axis=1)


def _kernel_matrix(kernel: NDArray[np.float64]) -> Floats:
    """Convolution along an axis as a (120, 120) matrix, the border mirrored."""
    reach = len(kernel) // 2
    matrix = np.zeros((PIXELS, PIXELS))
    for offset, weight in zip(range(-reach, reach + 1), kernel, strict=True):
        source = np.arange(PIXELS) + offset
        source = np.where(source < 0, -1 - source, source)
        source = np.where(source >= PIXELS, 2 * PIXELS - 1 - source, source)
        np.add.at(matrix, (np.arange(PIXELS), source), weight)
    return matrix.astype(np.float32)
