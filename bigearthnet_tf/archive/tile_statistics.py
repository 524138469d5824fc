"""Means and standard deviations that lie beside the bands of a tile, as btfm has them.

`band_mean.npy` and `band_std.npy`, (bands,), are of one tile, in its digital numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf import arrays
from bigearthnet_tf.archive.pixel_values import PixelValues

logger = logging.getLogger(__name__)

MEAN, STD = "band_mean.npy", "band_std.npy"
# From how many standard deviations on a mean, and from what ratio on a deviation, is
# that of other pixels than the tile has: clouds, which btfm's may count, stay within.
_FAR, _RATIO = 5.0, 5.0
# Means of reflectance lie below the first, those of digital numbers above the second.
_MOST_REFLECTANCE, _LEAST_NUMBER = 2.0, 50.0


class BandStatistics(NamedTuple):
    """Mean and standard deviation of each band, in reflectance x 10,000."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def check(folder: Path, count: int) -> None:
    """Refuses files that tell of a tile stacked wrongly, whether they are used or not.

    Raises:
        ValueError: another number of bands, or numbers that are not finite.
    """
    for name in (MEAN, STD):
        if (folder / name).exists():
            _read(folder / name, count)


def read(folder: Path, values: Sequence[PixelValues], count: int) -> BandStatistics:
    """Returns the statistics of a tile.

    Args:
        folder: of the tile.
        values: what the numbers of each date mean; statistics follow the same scale
            and offset.
        count: of bands.

    Raises:
        FileNotFoundError: one of the files is missing.
        ValueError: another number of bands, numbers that are not finite, a deviation
            that is not above 0, or dates of which each means something else.
    """
    for name in (MEAN, STD):
        if not (folder / name).exists():
            raise FileNotFoundError(
                f"{folder / name}: no such file; --statistics files needs {MEAN} and "
                f"{STD} in every tile: add them, or use --statistics measured"
            )
    mean, std = _read(folder / MEAN, count), _read(folder / STD, count)
    if not (std > 0).all():
        band = int((std <= 0).argmax())
        raise ValueError(
            f"{folder / STD}: expected numbers above 0, which bands are divided by, "
            f"got {std[band]:g} for band {band}; compute it again, or use --statistics "
            "measured"
        )
    meanings = {(each.scale, each.offset) for each in values}
    if len(meanings) > 1:
        raise ValueError(
            f"{folder / MEAN}: one mean for dates of different dn_offset, of which it "
            "can't be told how much to subtract; use --statistics measured"
        )
    scale, offset = meanings.pop()
    mean, std = mean * scale + offset, std * scale
    return BandStatistics(tuple(mean.tolist()), tuple(std.tolist()))


def compare(folder: Path, given: BandStatistics, pixels: NDArray[np.uint16]) -> None:
    """Looks whether statistics can be those of a tile.

    Args:
        folder: of the tile.
        given: what its files say.
        pixels: (observations, bands), some usable ones of the tile, reflectance x
            10,000.

    Raises:
        ValueError: they are of reflectance, not of digital numbers.
    """
    if not len(pixels):
        return
    mean, std = pixels.mean(axis=0), np.maximum(pixels.std(axis=0), 1.0)
    ours, theirs = np.array(given.mean), np.array(given.std)
    if np.abs(ours).max() < _MOST_REFLECTANCE and mean.max() > _LEAST_NUMBER:
        raise ValueError(
            f"{folder / MEAN}: expected means of digital numbers, about {mean[0]:.4g} "
            f"in the first band, got {ours[0]:.4g}, which is of reflectance; multiply "
            f"{MEAN} and {STD} by 10000, or use --statistics measured"
        )
    ratio = theirs / std
    if (np.abs(ours - mean) / std > _FAR).any() or (
        np.maximum(ratio, 1 / ratio) > _RATIO
    ).any():
        logger.warning(
            "%s and %s: mean %s, std %s, but some usable pixels of the tile have mean "
            "%s, std %s: look whether they are of this tile",
            folder / MEAN,
            STD,
            *map(_short, (ours, theirs, mean, std)),
        )


def _short(numbers: NDArray[Any]) -> str:
    return " ".join(f"{number:.4g}" for number in numbers)


def _read(path: Path, count: int) -> NDArray[np.float64]:
    found = arrays.open_npy(path, "a whole .npy file of numbers", "copy it again")
    if (
        found.shape != (count,)
        or found.dtype.kind not in "iuf"
        or not np.isfinite(found).all()
    ):
        raise ValueError(
            f"{path}: expected {count} finite numbers, one a band, got "
            f"{found.dtype} of shape {found.shape}: "
            f"{np.array2string(np.asarray(found), threshold=12)}; the tile was not "
            "stacked properly: compute the file again, or remove it if it is not used"
        )
    return np.asarray(found, np.float64)
