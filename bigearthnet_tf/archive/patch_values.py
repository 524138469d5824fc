"""What the numbers in patches mean, which are those of the archives nearly always.

BigEarthNet is of 2017 and 2018: reflectance x 10,000 without an offset, decibels.
Patches that somebody else cut out of products follow the rules of `pixel_values`, with
tags and the name of the patch as evidence.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.archive import pixel_checks, pixel_evidence, pixel_values
from bigearthnet_tf.archive.bands import BANDS
from bigearthnet_tf.archive.pixel_values import PixelValues
from bigearthnet_tf.archive.raster_header import Header

logger = logging.getLogger(__name__)

_OPTIONS = ("a scale tag of", "an offset tag of")
_DECIBELS = PixelValues("S1")
# What files without a no-data tag of their own are read with.
_ZERO = (0.0,)
# Of the pixels of Sentinel-1: a few may be 0 dB to the last digit.
_MOST_ZEROS = 0.01


@lru_cache(maxsize=4096)
def of_name(patch: str) -> PixelValues:
    """Returns what the numbers of Sentinel-2 in a patch of this name mean.

    Raises:
        ValueError: an acquisition since 2022 whose name says no baseline of ESA.
    """
    found = pixel_evidence.offset_in_name(patch)
    product = None if found is None else (1.0, *found)
    values = pixel_values.of_reflectance(
        "uint16", product=product, day=pixel_evidence.day_in(patch)
    )
    _check_settled(values, patch)
    return values


def of_file(header: Header, band: str) -> PixelValues:
    """Returns what the numbers of a patch in a GeoTIFF with tags mean.

    0 counts as data even where it is tagged as no data: genuine BigEarthNet files have
    that tag and contain zeros.

    Raises:
        ValueError: tags that can't be read, or a question that is open.
    """
    values = pixel_evidence.read(header, 1, band, BANDS[band].sensor)
    _check_settled(values, header.path.parent.name)
    return values


def _check_settled(values: PixelValues, patch: str) -> None:
    if values.is_open:
        raise ValueError(
            f"{patch}: expected a patch of before {pixel_values.NEWER_SINCE}, or one "
            f"whose name says its baseline, got one of {values.day}: ESA adds 1000 to "
            "digital numbers since; put N0400 into its name if they are in there, "
            "N0301 if not"
        )


def to_archive(
    array: NDArray[Any], band: str, values: PixelValues, where: str | Path
) -> NDArray[Any]:
    """Returns pixels as the archives have them; 0 stays a number like others.

    Args:
        array: the pixels of a file.
        band: its name.
        values: what they mean.
        where: file or patch, for messages.

    Raises:
        ValueError: they can't mean that.
    """
    dtype = BANDS[band].dtype
    is_tagged = values.evidence == pixel_values.BY_TAGS
    if array.dtype != dtype and not is_tagged:
        return array  # which the readers refuse
    if array.dtype == dtype and values.is_plain:
        if values.nodata == _ZERO:
            return array
    else:
        doubt = pixel_checks.judge(array, values, f"{where}: band {band}", _OPTIONS)
        if doubt:
            logger.warning("%s", doubt)
    # 0 is a number here, unless the file says otherwise.
    gaps = ~values.has_data(array) & (array != 0)
    if gaps.any():
        raise ValueError(_gaps(array, gaps, f"{where}: band {band}"))
    return values.stored(array, np.ones(array.shape, bool), dtype)


def check_unmasked(
    array: NDArray[Any], unmasked: NDArray[np.bool_] | bool, where: str
) -> None:
    """Refuses pixels that the file masks.

    Raises:
        ValueError: there are such.
    """
    if unmasked is True:
        return
    hidden = np.broadcast_to(np.logical_not(unmasked), array.shape)
    if hidden.any():
        raise ValueError(_gaps(array, hidden, where))


def _gaps(array: NDArray[Any], gaps: NDArray[np.bool_], where: str) -> str:
    return (
        f"{where}: {np.count_nonzero(gaps)} of {gaps.size} pixels are no data "
        f"({array[gaps][0]:g}), which patches have none of: take the patch from the "
        "original archive, or leave it out (--on-error skip)"
    )


def of_patch(
    pixels: Mapping[str, NDArray[Any]], patch: str, where: str | Path
) -> dict[str, NDArray[Any]]:
    """Returns bands of a patch, of which its name alone says what they mean."""
    return {
        band: to_archive(array, band, of_name(patch), where)
        if BANDS[band].sensor == "S2"
        else array
        for band, array in pixels.items()
    }


def check_decibels(array: NDArray[Any], band: str, where: str | Path) -> None:
    """Refuses pixels of Sentinel-1 that are no decibels.

    Args:
        array: the pixels.
        band: its name; those of Sentinel-2 pass.
        where: file or patch, for the message.

    Raises:
        ValueError: power, amplitudes or digital numbers by their median; or pixels
            that no radar measures, such as -9999, or many that are 0: a border.
    """
    if BANDS[band].sensor != "S1":
        return
    # Of a patch of the archives; 5 us. What is in doubt is looked at closely.
    zeros = array.size - np.count_nonzero(array)
    is_usual = 2 * np.count_nonzero(array < 0) >= array.size
    if is_usual and array.min() >= -50 and array.max() <= 50 and not zeros:
        return
    where = f"{where}: band {band}"
    pixel_checks.judge(array, _DECIBELS, where, _OPTIONS)
    gaps = np.isfinite(array) & ~_DECIBELS.has_data(array)
    is_border = _MOST_ZEROS * array.size < zeros < array.size
    if np.count_nonzero(gaps) > zeros or is_border:
        raise ValueError(_gaps(array, gaps, where))
