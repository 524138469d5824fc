"""Patch names: what they say, and the folders that follow from them.

Three forms exist. The first index is the column and the second the row, in steps of
1200 m from the upper left corner of the Sentinel-2 tile.

| form | example |
|---|---|
| Sentinel-2, v1 | `S2A_MSIL2A_20170613T101031_87_48` |
| Sentinel-2, v2 | `S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_87_48` |
| Sentinel-1, both | `S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48` |

The v2 name of a patch does not follow from its v1 name, nor the other way round: one
in six differs in the time as well. `s2v1_name` of the v2 metadata has the pairs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Literal

from bigearthnet_tf import files
from bigearthnet_tf.archive.bands import Sensor

Version = Literal["v1", "v2"]

_INDICES = r"_(?P<column>\d{1,2})_(?P<row>\d{1,2})"
_S1_SCENE = r"(?P<satellite>S1[AB])_IW_GRDH_1SDV_(?P<date>\d{8})T(?P<time>\d{6})"
S1_PATTERN = rf"{_S1_SCENE}_(?P<tile>\d{{2}}[A-Z]{{3}}){_INDICES}"
S2_V1_PATTERN = (
    rf"(?P<satellite>S2[AB])_MSIL2A_(?P<date>\d{{8}})T(?P<time>\d{{5,6}}){_INDICES}"
)
_S2_V2_TILE = (
    r"(?P<satellite>S2[AB])_MSIL2A_(?P<date>\d{8})T(?P<time>\d{6})"
    r"_N\d{4}_R\d{3}_T(?P<tile>\d{2}[A-Z]{3})"
)
S2_V2_PATTERN = rf"{_S2_V2_TILE}_(?P<column>\d{{2}})_(?P<row>\d{{2}})"
# The tile in the name of a product of Sentinel-2, which the JSON files of v1 give.
PRODUCT_TILE = r"_T(\d{2}[A-Z]{3})_"

_FORMS: tuple[tuple[re.Pattern[str], Sensor, Version | None], ...] = (
    (re.compile(S2_V2_PATTERN, re.ASCII), "S2", "v2"),
    (re.compile(S2_V1_PATTERN, re.ASCII), "S2", "v1"),
    (re.compile(S1_PATTERN, re.ASCII), "S1", None),
)
# The folders that stand directly under the root of an archive.
_FOLDERS: tuple[tuple[re.Pattern[str], Version, Sensor], ...] = (
    (re.compile(S2_V1_PATTERN, re.ASCII), "v1", "S2"),
    (re.compile(S1_PATTERN, re.ASCII), "v1", "S1"),
    (re.compile(_S2_V2_TILE, re.ASCII), "v2", "S2"),
    (re.compile(_S1_SCENE, re.ASCII), "v2", "S1"),
)


@dataclass(frozen=True)
class PatchName:
    """What a patch name says.

    Attributes:
        name: the name itself.
        sensor: `"S1"` or `"S2"`.
        satellite: `"S1A"`, `"S1B"`, `"S2A"` or `"S2B"`.
        acquired: UTC, without a time zone; see `parse_name` for its accuracy.
        tile: MGRS tile without the leading T; None in v1 names of Sentinel-2.
        column: first index, eastwards.
        row: second index, southwards.
        version: `"v1"` or `"v2"`; None for Sentinel-1, named alike in both.
    """

    name: str
    sensor: Sensor
    satellite: str
    acquired: datetime
    tile: str | None
    column: int
    row: int
    version: Version | None


@lru_cache(maxsize=1024)
def parse_name(name: str) -> PatchName:
    """Returns what a patch name says.

    The times in v1 names can't be trusted: the hour may have one digit (`T93020`),
    and 2,199 names have 60 or 61 seconds (`T94161`, where the JSON says 09:41:56).
    The hour is padded here and the seconds are limited to 59, so the result may be
    some seconds off; the JSON has the exact time.

    Raises:
        ValueError: not the name of a patch.
    """
    for pattern, sensor, version in _FORMS:
        match = pattern.fullmatch(name)
        if match:
            return _from_fields(name, sensor, version, match.groupdict())
    raise ValueError(
        f"not a patch name: {files.echo(name)}; expected one like "
        "S2A_MSIL2A_20170613T101031_87_48 (v1), "
        "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_87_48 (v2) or "
        "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48 (Sentinel-1)"
    )


def is_patch_name(name: str) -> bool:
    """Tells whether a name has the form of a patch's."""
    return any(pattern.fullmatch(name) for pattern, _, _ in _FORMS)


def _from_fields(
    name: str, sensor: Sensor, version: Version | None, fields: dict[str, str]
) -> PatchName:
    try:
        acquired = _read_time(fields["date"], fields["time"])
    except ValueError as error:
        raise ValueError(f"not a patch name: {files.echo(name)}: {error}") from error
    return PatchName(
        name=name,
        sensor=sensor,
        satellite=fields["satellite"],
        acquired=acquired,
        tile=fields.get("tile"),
        column=int(fields["column"]),
        row=int(fields["row"]),
        version=version,
    )


def _read_time(day: str, time: str) -> datetime:
    """Returns `YYYYMMDD` and `[H]HMMSS` as a time, its seconds at most 59."""
    time = time.zfill(6)
    return datetime(
        int(day[:4]),
        int(day[4:6]),
        int(day[6:]),
        int(time[:2]),
        int(time[2:4]),
        min(int(time[4:]), 59),
    )


def season(day: date) -> str:
    """Returns the meteorological season of a date on the northern hemisphere.

    Named as bigearthnet_common names them: Winter (from December), Spring, Summer,
    Fall.
    """
    return ("Winter", "Spring", "Summer", "Fall")[day.month % 12 // 3]


def tile_folder(name: str) -> str:
    """Returns the folder under the root of a v2 archive that holds a patch.

    A Sentinel-2 name less its last two fields, a Sentinel-1 name less its last three.

    Raises:
        ValueError: not a patch name, or a v1 name of Sentinel-2.
    """
    parsed = parse_name(name)
    if parsed.version == "v1":
        raise ValueError(f"{name} is a v1 name, but the folders of v2 need a v2 name")
    return name.rsplit("_", 3 if parsed.sensor == "S1" else 2)[0]


def folder_kind(folder: str) -> tuple[Version, Sensor] | None:
    """Returns the version and sensor of a folder of this name under a root.

    v1 has one folder a patch there, v2 one a Sentinel-2 tile or Sentinel-1 scene.
    None for any other name.
    """
    for pattern, version, sensor in _FOLDERS:
        if pattern.fullmatch(folder):
            return version, sensor
    return None


def folder_version(folder: str) -> Version | None:
    """Returns the archive version of a folder; see `folder_kind`."""
    kind = folder_kind(folder)
    return None if kind is None else kind[0]
