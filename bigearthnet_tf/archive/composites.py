"""Patches as pictures: true colour, Sentinel-1 composite, reference map.

Every stretch is fixed, so that the same value has the same colour in all patches and
pictures can be compared with one another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.archive import labels

TRUE_COLOUR = ("B04", "B03", "B02")
RADAR = ("VV", "VH")

# Digital number that is white: reflectance 0.2, where the true colour image of ESA's
# Level-2A products saturates (Sentinel-2 MSI User Guide, definition of TCI).
WHITE = 2000.0

# Decibels from black to full colour. VV and VH: mean -+ 2 standard deviations of the
# v2 training split (`statistics`), rounded. Their difference: the difference of those
# means, 6.7, -+ 2 standard deviations, 3.3 over the six pairs that come with the
# package bigearthnet_common.
RADAR_DECIBELS: dict[str, tuple[float, float]] = {
    "VV": (-23.0, -2.0),
    "VH": (-30.0, -8.0),
    "VV - VH": (0.0, 13.0),
}

UNLABELLED = "#f4f4f4"


def true_colour(bands: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    """Returns B04, B03 and B02 as red, green and blue, linear from 0 to `WHITE`.

    Args:
        bands: digital numbers, (rows, columns) each; other bands are not looked at.

    Returns:
        uint8 (rows, columns, 3).

    Raises:
        ValueError: a band is missing.
    """
    _check("true colour", TRUE_COLOUR, bands)
    planes = [_stretch(bands[name], 0.0, WHITE) for name in TRUE_COLOUR]
    return np.stack(planes, axis=-1)


def radar_composite(bands: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    """Returns VV, VH and VV - VH as red, green and blue.

    In decibels the difference is the ratio of the two polarisations: high over bare
    and calm surfaces, low over vegetation, which depolarises. Each channel is linear
    over its range of `RADAR_DECIBELS`.

    Args:
        bands: backscatter in decibels, (rows, columns) each.

    Returns:
        uint8 (rows, columns, 3); pixels that are not a number are black.

    Raises:
        ValueError: a band is missing.
    """
    _check("a Sentinel-1 composite", RADAR, bands)
    vv, vh = (bands[name].astype(np.float64) for name in RADAR)
    with np.errstate(invalid="ignore"):  # infinite - infinite, then black
        difference = vv - vh
    planes = [
        _stretch(plane, low, high)
        for plane, (low, high) in zip(
            (vv, vh, difference), RADAR_DECIBELS.values(), strict=True
        )
    ]
    return np.stack(planes, axis=-1)


def reference_map_colours(
    codes: NDArray[np.uint16], label_type: str
) -> NDArray[np.uint8]:
    """Returns a reference map in the colours of its labels.

    Args:
        codes: CLC level-3 codes, (rows, columns).
        label_type: the nomenclature whose colours are used.

    Returns:
        uint8 (rows, columns, 3); codes without a label have the colour `UNLABELLED`.

    Raises:
        ValueError: no such nomenclature.
    """
    by_code = labels_by_code(label_type)
    present, places = np.unique(codes, return_inverse=True)
    palette = [
        _rgb(by_code[code].colour if code in by_code else UNLABELLED)
        for code in present.tolist()
    ]
    return np.array(palette, np.uint8)[places.reshape(codes.shape)]


def labels_by_code(label_type: str) -> dict[int, labels.Label]:
    """Returns the label of each CLC code that has one.

    Raises:
        ValueError: no such nomenclature.
    """
    table = labels.TABLES[labels.canonical_label_type(label_type)]
    return {code: label for label in table for code in label.clc_codes}


def _stretch(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    scaled = (values.astype(np.float64) - low) * (255 / (high - low))
    return np.nan_to_num(scaled, nan=0).clip(0, 255).round().astype(np.uint8)


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))


def _check(
    what: str, needed: tuple[str, ...], bands: Mapping[str, NDArray[Any]]
) -> None:
    missing = [name for name in needed if name not in bands]
    if missing:
        raise ValueError(
            f"{what} needs {', '.join(needed)}, but {', '.join(missing)} is not there; "
            f"there are {' '.join(bands) or 'none'}"
        )
