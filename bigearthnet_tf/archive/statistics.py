"""Means and standard deviations of the bands, by archive version and resampling.

The values are in `band_statistics.json`, each set with its source.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from bigearthnet_tf import files
from bigearthnet_tf.archive import bands
from bigearthnet_tf.registry import nearest_names

SIZES = (60, 120, 128)
MODES = ("nearest", "bilinear", "bicubic")

_TABLE_PATH = Path(__file__).with_name("band_statistics.json")


@dataclass(frozen=True)
class BandStatistics:
    """Statistics of the bands in stored units: digital numbers, S1 in decibels.

    Attributes:
        name: `"v1"`, `"v2_<size>_<mode>"`, or the path of a file.
        mean: band name to mean.
        std: band name to standard deviation.
        source: where the numbers are from.
        minimum: band name to the least value; v1 only, empty elsewhere.
        maximum: band name to the greatest value; v1 only.
        percentile_2: band name to the lower bound for min-max scaling; v1 only.
        percentile_98: band name to the upper bound; v1 only.
    """

    name: str
    mean: dict[str, float]
    std: dict[str, float]
    source: str
    minimum: dict[str, float] = field(default_factory=dict)
    maximum: dict[str, float] = field(default_factory=dict)
    percentile_2: dict[str, float] = field(default_factory=dict)
    percentile_98: dict[str, float] = field(default_factory=dict)


def band_statistics(name: str) -> BandStatistics:
    """Returns statistics by name, or from a file of one's own.

    Args:
        name: `"v1"`, `"v2_<size>_<mode>"` (sizes 60, 120, 128; modes nearest,
            bilinear, bicubic), or the path of a JSON file of the form
            `{"mean": {"B02": ...}, "std": {"B02": ...}}`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such name, or the file lacks something; the message says what.
    """
    table = _read_table()
    if name in table:
        return BandStatistics(name=name, **table[name])
    if not name.endswith(".json"):
        raise ValueError(
            f"unknown band statistics {name!r}: {nearest_names(name, table)}; or give "
            "the path of a .json file"
        )
    try:
        content = files.read_json(name)
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: no such file of band statistics") from None
    return _check(name, content)


@cache
def _read_table() -> dict[str, Any]:
    table: dict[str, Any] = files.read_json(_TABLE_PATH)
    return table


def _check(path: str, content: Any) -> BandStatistics:
    """Returns the statistics of a user's file, or says what is wrong with it."""
    found: dict[str, dict[str, float]] = {}
    for key in ("mean", "std"):
        values = content.get(key) if isinstance(content, dict) else None
        if not isinstance(values, Mapping) or not values:
            raise ValueError(f'{path}: expected {{"mean": {{..}}, "std": {{..}}}}')
        for band, value in values.items():
            if band not in bands.BANDS:
                raise ValueError(
                    f"{path}: unknown band {band!r}: {nearest_names(band, bands.BANDS)}"
                )
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"{path}: {key} of {band} is {value!r}, not a number")
        found[key] = {band: float(value) for band, value in values.items()}
    if found["mean"].keys() != found["std"].keys():
        lone = sorted(found["mean"].keys() ^ found["std"].keys())
        raise ValueError(f"{path}: {', '.join(lone)} lacks either mean or std")
    flat = [band for band, value in found["std"].items() if value <= 0]
    if flat:
        raise ValueError(f"{path}: expected std above 0, it is not in {flat[0]}")
    return BandStatistics(
        path, found["mean"], found["std"], str(content.get("source", path))
    )


def default_statistics(
    archive_version: str, interpolation: str = "nearest", size: int = 120
) -> str:
    """Returns the name of the statistics that fit an archive and its resampling.

    Args:
        archive_version: `"v1"`, which has one set for native resolution, or `"v2"`.
        interpolation: one of `MODES`, or `"tf1_bicubic"`.
        size: side of the resampled image in pixels. Statistics exist for `SIZES`; any
            other size gets the closest, which differs by a few per cent at most.

    Raises:
        ValueError: unknown version or interpolation.
    """
    mode = {"tf1_bicubic": "bicubic"}.get(interpolation, interpolation)
    if mode not in MODES:
        raise ValueError(
            f"unknown interpolation {interpolation!r}: {nearest_names(mode, MODES)}"
        )
    if archive_version == "v1":
        return "v1"
    if archive_version != "v2":
        raise ValueError(f"expected archive version v1 or v2, got {archive_version!r}")
    closest = min(SIZES, key=lambda known: (abs(known - size), -known))
    return f"v2_{closest}_{mode}"
