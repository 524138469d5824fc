"""Which dates of a pixel an encoder sees: all that are valid, or some drawn by chance.

A draw is a function of the seed, the pixel's place in its tile and the number of the
draw alone. So a map is the same whatever the blocks are that it is computed in, on any
number of processes, and a single pixel looked at later gets what the map has there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer]

# SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
# OOPSLA 2014): its increment, and the multipliers of its mixing function.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
# Purposes, so that the pixels of a sample are no special ones to the draws.
_DATES, _SAMPLE = 1, 2


@dataclass(frozen=True)
class DateRule:
    """How dates are chosen for a map.

    Attributes:
        draws: how many times dates are drawn, whose outputs are averaged; 0 for all
            valid dates at once, which only an encoder with a mask takes.
        seed: of the draws.
        first: number of the first draw; others are independent of it.
    """

    draws: int
    seed: int = 42
    first: int = 0

    def __post_init__(self) -> None:
        if self.draws < 0 or self.seed < 0:
            raise ValueError(
                f"expected draws and seed of 0 or more, got {self.draws} and "
                f"{self.seed}"
            )


def is_valid(mask: NDArray[np.uint8], at_least: int) -> NDArray[np.bool_]:
    """Returns which pixels have dates enough.

    Args:
        mask: (..., dates), 1 where an observation is usable.
        at_least: valid dates that a pixel needs.
    """
    return np.count_nonzero(mask, axis=-1) >= at_least


def draw_dates(
    mask: NDArray[np.uint8],
    rows: Integers,
    columns: Integers,
    size: int,
    seed: int,
    number: int = 0,
) -> NDArray[np.int64]:
    """Draws valid dates of pixels, without replacement, each subset as likely.

    Args:
        mask: (pixels, dates).
        rows: (pixels,) in the tile.
        columns: likewise.
        size: dates to draw of each pixel.
        seed: of all draws.
        number: of this draw; 0 or more.

    Returns:
        Indices (pixels, size), ascending: by time where the dates are.

    Raises:
        ValueError: a pixel has fewer valid dates than that.
    """
    fewest = int(np.count_nonzero(mask, axis=1).min(initial=mask.shape[1]))
    if fewest < size:
        raise ValueError(
            f"expected {size} valid dates or more of each pixel, one has {fewest}"
        )
    places = _hash(seed, _DATES, number, rows, columns)
    keys = _hash(places[:, None], np.arange(mask.shape[1]))
    keys = np.where(mask != 0, keys, np.uint64(0xFFFFFFFFFFFFFFFF))
    if size == mask.shape[1]:
        return np.broadcast_to(np.arange(size), mask.shape).astype(np.int64)
    chosen = np.argpartition(keys, size - 1, axis=1)[:, :size]
    return np.sort(chosen, axis=1)


def chances(rows: Integers, columns: Integers, seed: int) -> NDArray[np.float64]:
    """Returns a number in [0, 1) for each pixel of a tile, uniform and lasting.

    Those below `share` are a sample of that share of the pixels, and one of a smaller
    share is part of it.

    Args:
        rows: of the pixels.
        columns: likewise.
        seed: of the sample.
    """
    bits = _hash(seed, _SAMPLE, rows, columns) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def _hash(*parts: int | Integers) -> NDArray[np.uint64]:
    """Mixes whole numbers, broadcast to one shape, into 64 bits each."""
    state = np.zeros(1, np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            state = (state ^ np.asarray(part).astype(np.uint64)) + _GOLDEN
            state = (state ^ (state >> np.uint64(30))) * _FIRST
            state = (state ^ (state >> np.uint64(27))) * _SECOND
            state = state ^ (state >> np.uint64(31))
    return state
