"""Shapes of the generated landscape: noise, lines, fields, rows, crowns.

A pattern says where within a class its covers lie; `PATTERNS` names those that
`spectra.json` may ask for. All arrays are (120, 120), one value a pixel of 10 m.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float32]

PIXELS = 120


@dataclass(frozen=True)
class Parcels:
    """A division of the patch into fields.

    Attributes:
        ids: int64 (120, 120), a number below `count` for each pixel's parcel.
        edge: float32 (120, 120), distance to the parcel's edge in pixels, roughly.
        count: parcels, including such as lie outside the patch.
        angle: direction of the parcels in radians.
    """

    ids: NDArray[np.int64]
    edge: Floats
    count: int
    angle: float

    def mean(self, field: Floats) -> Floats:
        """The field with every pixel replaced by the mean over its parcel."""
        ids = self.ids.ravel()
        size = np.bincount(ids, minlength=self.count)
        total = np.bincount(ids, weights=field.ravel(), minlength=self.count)
        return (total / np.maximum(size, 1))[self.ids].astype(np.float32)


@dataclass(frozen=True)
class Texture:
    """How the covers of a class lie among one another.

    Attributes:
        pattern: a key of `PATTERNS`.
        scale: size of the pattern's elements in pixels.
        covers: int64 (covers,), what stands there, as indices.
        upper: float32 (covers,), the covers' shares added up; the last is infinite.
    """

    pattern: str
    scale: float
    covers: NDArray[np.int64]
    upper: Floats


def rotated(angle: float) -> tuple[Floats, Floats]:
    """Pixel coordinates from the centre, turned by `angle` radians, (120, 120) each."""
    axis = np.arange(PIXELS, dtype=np.float32) - (PIXELS - 1) / 2
    x, y = axis[None, :], axis[:, None]
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def distance_to_line(rng: np.random.Generator, bend: float) -> Floats:
    """Distance in pixels, float32 (120, 120), to a line that winds by `bend` pixels."""
    along, across = rotated(rng.uniform(0, np.pi))
    course = smooth_noise(rng, 28, octaves=2)[PIXELS // 2] * bend
    course = course + rng.uniform(-0.3, 0.3) * PIXELS
    place = np.clip(along * 0.7 + PIXELS / 2, 0, PIXELS - 1).astype(np.int64)
    slope = np.gradient(course)[place] * 0.7
    return (np.abs(across - course[place]) / np.hypot(1, slope)).astype(np.float32)


def draw_parcels(rng: np.random.Generator, width: float, angle: float) -> Parcels:
    """Divides the patch into fields: strips across `angle`, cut into lengths.

    Args:
        rng: where all randomness comes from.
        width: of a field in pixels, on average; it is up to three times as long.
        angle: direction of the fields in radians.
    """
    across, along = rotated(angle)
    warp = np.float32(0.15 * width + 1.5)
    across = across + warp * smooth_noise(rng, 45)
    along = along + warp * smooth_noise(rng, 45)
    reach = PIXELS * 0.95
    strips = int(3 * reach / width)
    breaks = -reach + np.cumsum(rng.uniform(0.5, 1.5, strips) * width)
    strip = np.clip(np.searchsorted(breaks, across), 1, strips - 1)
    length = rng.uniform(0.8, 3.0, strips) * width
    place = (along + reach) / length[strip] + rng.random(strips)[strip]
    cell = np.floor(place).astype(np.int64)
    rest = (place - cell) * length[strip]
    edge = np.minimum(
        np.minimum(across - breaks[strip - 1], breaks[strip] - across),
        np.minimum(rest, length[strip] - rest),
    )
    cells = int(cell.max()) + 1
    cell = np.maximum(cell, 0)
    return Parcels(
        ids=strip * cells + cell,
        edge=edge.astype(np.float32),
        count=strips * cells,
        angle=angle,
    )


@lru_cache(maxsize=64)
def _spline_basis(knots: int) -> Floats:
    """Values of uniform cubic B-splines at the pixels, (120, knots + 3)."""
    place = (np.arange(PIXELS) + 0.5) / PIXELS * knots
    distance = np.abs(place[:, None] - np.arange(-1, knots + 2))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(2 - distance, 0) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def smooth_noise(rng: np.random.Generator, scale: float, octaves: int = 1) -> Floats:
    """Random field without preferred places: cubic splines through white noise.

    Args:
        rng: where all randomness comes from.
        scale: distance of the splines' knots in pixels, at least 1.
        octaves: fields to add, each at half the scale and half the amplitude of
            the one before.

    Returns:
        float32 (120, 120) of mean 0 and standard deviation 1 over the patch.
    """
    field = np.zeros((PIXELS, PIXELS), np.float32)
    for octave in range(octaves):
        basis = _spline_basis(max(1, round(PIXELS * 2**octave / scale)))
        knots = rng.standard_normal((basis.shape[1],) * 2, np.float32)
        field += basis @ knots @ basis.T * np.float32(0.5**octave)
    field -= field.mean()
    return field / field.std()


Pattern = Callable[[Texture, Parcels, np.random.Generator], tuple[Floats, Floats]]
"""(texture, parcels of the patch, rng) -> (place, tone), (120, 120) each.

Place is about uniform in 0 to 1 over the patch: the covers of a class divide that range
by their shares, in their order. Tone is about standard normal.
"""


def _noise(
    texture: Texture, parcels: Parcels, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Irregular spots."""
    place = ndtr(smooth_noise(rng, texture.scale, octaves=2))
    return place, smooth_noise(rng, 20)


def _fields(
    texture: Texture, parcels: Parcels, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """A cover a field; the last one of the class lies along the edges."""
    return _edged_fields(texture.scale, 1 - texture.upper[-2], parcels.angle, rng)


def _edged_fields(
    width: float, share: np.float32, angle: float, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Fields with the highest places, `share` of them, along their edges."""
    fields = draw_parcels(rng, width, angle)
    place = rng.random(fields.count, np.float32)[fields.ids] * (1 - share)
    tone = rng.standard_normal(fields.count, np.float32)[fields.ids]
    reach = np.maximum(np.quantile(fields.edge, share), np.float32(1e-3))
    edge = 1 - np.maximum(fields.edge, 0) / reach * share
    return np.where(fields.edge < reach, edge, place), tone


def _mosaic(
    texture: Texture, parcels: Parcels, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Fields, with irregular spots of the first two covers among them."""
    wild, _ = _noise(texture, parcels, rng)
    share = texture.upper[1]
    edges = (1 - texture.upper[-2]) / (1 - share)
    tame, tone = _edged_fields(texture.scale, edges, parcels.angle, rng)
    return np.where(wild < share, wild, share + (1 - share) * tame), tone


def _rows(
    texture: Texture, parcels: Parcels, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Rows along one side of each parcel or the other."""
    across, along = rotated(parcels.angle)
    turned = (rng.random(parcels.count) < 0.5)[parcels.ids]
    phase = np.where(turned, along, across) / np.float32(texture.scale)
    tone = rng.standard_normal(parcels.count, np.float32)[parcels.ids]
    return np.abs(2 * (phase - np.floor(phase)) - 1), tone


def _strings(
    texture: Texture, parcels: Parcels, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Winding bands, as the ridges and hollows of a mire or tidal creeks."""
    across, _ = rotated(rng.uniform(0, np.pi))
    phase = across / np.float32(2.2 * texture.scale) + smooth_noise(rng, 22, 2)
    return np.abs(2 * (phase - np.floor(phase)) - 1), smooth_noise(rng, 20)


def _dots(
    texture: Texture, parcels: Parcels, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Single crowns, more or less in a grid; the first cover is the crown."""
    grid = [axis / np.float32(texture.scale) + 64 for axis in rotated(parcels.angle)]
    cells = [np.floor(axis).astype(np.int64) for axis in grid]
    flat = cells[0] * 128 + cells[1]
    jitter = rng.uniform(0.3, 0.7, (2, 128 * 128)).astype(np.float32)
    distance = [
        axis - cell - shift[flat]
        for axis, cell, shift in zip(grid, cells, jitter, strict=True)
    ]
    size = np.exp(0.4 * rng.standard_normal(128 * 128, np.float32))[flat]
    nearest = np.argsort((distance[0] ** 2 + distance[1] ** 2) * size, axis=None)
    place = np.empty(nearest.size, np.float32)
    place[nearest] = np.linspace(0, 1, nearest.size, dtype=np.float32)
    tone = rng.standard_normal(parcels.count, np.float32)[parcels.ids]
    return place.reshape(tone.shape), tone


PATTERNS: dict[str, Pattern] = {
    "noise": _noise,
    "parcels": _fields,
    "mosaic": _mosaic,
    "rows": _rows,
    "strings": _strings,
    "dots": _dots,
}
