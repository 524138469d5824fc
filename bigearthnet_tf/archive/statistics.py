"""Means and standard deviations of the bands, by archive version and resampling.

The published values are in `band_statistics.json`, each set with its source. Files of
one's own are of the form that `write` gives them, or hold nothing but `mean` and `std`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from bigearthnet_tf import files
from bigearthnet_tf.archive import bands
from bigearthnet_tf.archive.accumulate import Summary
from bigearthnet_tf.registry import nearest_names

SIZES = (60, 120, 128)
MODES = ("nearest", "bilinear", "bicubic")

_TABLE_PATH = Path(__file__).with_name("band_statistics.json")


@dataclass(frozen=True)
class BandStatistics:
    """Statistics of the bands in stored units: digital numbers, S1 in decibels.

    Attributes:
        name: `"v1"`, `"v2_<size>_<mode>"`, or a file as it was named.
        mean: band name to mean.
        std: band name to standard deviation.
        source: where the numbers are from.
        minimum: band name to the least value; empty for the published ones of v2 and
            for files without it.
        maximum: band name to the greatest value; likewise.
        percentile_2: band name to the lower bound for min-max scaling; likewise.
        percentile_98: band name to the upper bound; likewise.
    """

    name: str
    mean: dict[str, float]
    std: dict[str, float]
    source: str
    minimum: dict[str, float] = field(default_factory=dict)
    maximum: dict[str, float] = field(default_factory=dict)
    percentile_2: dict[str, float] = field(default_factory=dict)
    percentile_98: dict[str, float] = field(default_factory=dict)


def band_statistics(name: str | Mapping[str, Any]) -> BandStatistics:
    """Returns statistics by name, from a file of one's own, or by value.

    Args:
        name: `"v1"`, `"v2_<size>_<mode>"` (sizes 60, 120, 128; modes nearest,
            bilinear, bicubic), or the path of a JSON file: one that
            `bigearthnet-tf statistics` wrote, or one of the form
            `{"mean": {"B02": ...}, "std": {"B02": ...}}`. Where a file has several
            resamplings, the one to take stands behind it: `"own.json#120_bilinear"`.
            Or that second form itself.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such name, or the file lacks something; the message says what.
    """
    if not isinstance(name, str):
        return _check("statistics", name)
    table = _read_table()
    if name in table:
        return BandStatistics(name=name, **table[name])
    path, chosen = _split_name(name)
    if not path.endswith(".json"):
        raise ValueError(
            f"unknown band statistics {name!r}: {nearest_names(name, table)}; or give "
            "the path of a .json file"
        )
    try:
        content = files.read_json(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file of band statistics") from None
    if isinstance(content, dict) and isinstance(content.get("resamplings"), dict):
        measured = _choose(path, content["resamplings"], chosen)
        return _check_measured(name, str(content.get("source", path)), measured)
    if chosen is not None:
        raise ValueError(
            f"{path}: holds one set of statistics, no {chosen!r}; name the file alone"
        )
    return _check(name, content)


def lasting_name(
    name: str, members: Iterable[str]
) -> str | dict[str, dict[str, float]]:
    """Returns what `band_statistics` takes for the same even when a file has changed.

    Args:
        name: as for `band_statistics`.
        members: the bands that matter.

    Returns:
        The name of published statistics, else mean and deviation of these bands.

    Raises:
        FileNotFoundError: no such file.
        ValueError: as `band_statistics`; or there are no statistics of a band.
    """
    if name in _read_table():
        return name
    facts = band_statistics(name)
    lacking = [band for band in members if band not in facts.mean]
    if lacking:
        raise ValueError(f"{name}: has no statistics of {lacking[0]}")
    return {
        "mean": {band: facts.mean[band] for band in members},
        "std": {band: facts.std[band] for band in members},
    }


def write(
    path: Path | str,
    measured: Mapping[str, Mapping[str, Summary]],
    facts: Mapping[str, Any],
) -> None:
    """Writes measured statistics as JSON that `band_statistics` reads.

    Args:
        path: ends with `.json`.
        measured: name of a resampling -> band -> statistics.
        facts: what they were measured over, in JSON's types; `source` says it in words.

    Raises:
        OSError: the file can't be written.
    """
    resamplings = {
        name: {
            "mean": {band: s.mean for band, s in of.items()},
            "std": {band: s.std for band, s in of.items()},
            "minimum": {band: s.minimum for band, s in of.items()},
            "maximum": {band: s.maximum for band, s in of.items()},
            "percentiles": _by_percentage(of),
            "percentile_error": {band: s.percentile_error for band, s in of.items()},
            "pixels": {band: s.pixels for band, s in of.items()},
            "zero_pixels": {band: s.zeros for band, s in of.items()},
            "nonfinite_pixels_left_out": {band: s.nonfinite for band, s in of.items()},
            "pixels_outside_histogram": {band: s.outside for band, s in of.items()},
        }
        for name, of in measured.items()
    }
    files.write_json(path, {**facts, "resamplings": resamplings})


def _by_percentage(of: Mapping[str, Summary]) -> dict[str, dict[str, float]]:
    """Returns percentage (`"2"`, `"99.9"`) -> band -> value."""
    asked = next(iter(of.values())).percentiles
    return {
        f"{percentage:.10g}": {
            band: s.percentiles[percentage] for band, s in of.items()
        }
        for percentage in asked
    }


@cache
def _read_table() -> dict[str, Any]:
    table: dict[str, Any] = files.read_json(_TABLE_PATH)
    return table


def _split_name(name: str) -> tuple[str, str | None]:
    """Returns the file that a name speaks of, and the resampling behind it."""
    path, mark, chosen = name.rpartition("#")
    return (path, chosen) if mark and path.endswith(".json") else (name, None)


def _choose(path: str, resamplings: dict[str, Any], chosen: str | None) -> Any:
    """Returns the statistics of one resampling, the only one if none is chosen."""
    if chosen is None and len(resamplings) != 1:
        names = " ".join(f"{path}#{name}" for name in resamplings)
        raise ValueError(
            f"{path}: holds {len(resamplings)} resamplings; name one, as in: {names}"
        )
    wanted = next(iter(resamplings)) if chosen is None else chosen
    if wanted not in resamplings:
        near = nearest_names(wanted, resamplings)
        raise ValueError(f"{path}: no statistics of {wanted!r}: {near}")
    return resamplings[wanted]


def _check_measured(path: str, source: str, measured: Any) -> BandStatistics:
    """Returns the statistics of one of our own files, with all that they have."""
    found = _check(path, measured)
    percentiles = measured.get("percentiles", {})
    if not isinstance(percentiles, Mapping):
        raise ValueError(f"{path}: expected percentiles by percentage")
    return replace(
        found,
        source=source,
        minimum=_check_numbers(path, "minimum", measured.get("minimum", {})),
        maximum=_check_numbers(path, "maximum", measured.get("maximum", {})),
        percentile_2=_check_numbers(path, "2 %", percentiles.get("2", {})),
        percentile_98=_check_numbers(path, "98 %", percentiles.get("98", {})),
    )


def _check(path: str, content: Any) -> BandStatistics:
    """Returns the statistics of a user's file, or says what is wrong with it."""
    found: dict[str, dict[str, float]] = {}
    for key in ("mean", "std"):
        values = content.get(key) if isinstance(content, dict) else None
        if not isinstance(values, Mapping) or not values:
            raise ValueError(f'{path}: expected {{"mean": {{..}}, "std": {{..}}}}')
        found[key] = _check_numbers(path, key, values)
    if found["mean"].keys() != found["std"].keys():
        lone = sorted(found["mean"].keys() ^ found["std"].keys())
        raise ValueError(f"{path}: {', '.join(lone)} lacks either mean or std")
    flat = [band for band, value in found["std"].items() if value <= 0]
    if flat:
        raise ValueError(f"{path}: expected std above 0, it is not in {flat[0]}")
    return BandStatistics(
        path, found["mean"], found["std"], str(content.get("source", path))
    )


def _check_numbers(path: str, key: str, values: Any) -> dict[str, float]:
    """Returns numbers by band, or says which are none."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{path}: expected {key} by band, got {values!r:.40}")
    for band, value in values.items():
        if band not in bands.BANDS:
            raise ValueError(
                f"{path}: unknown band {band!r}: {nearest_names(band, bands.BANDS)}"
            )
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{path}: {key} of {band} is {value!r}, not a number")
    return {band: float(value) for band, value in values.items()}


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
