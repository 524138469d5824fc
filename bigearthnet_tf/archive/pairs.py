"""Which Sentinel-1 patch may be the partner of a Sentinel-2 patch, by their names.

Both lie at the same column and row of the same Sentinel-2 tile, and were acquired at
most six days apart: so it is for all 549,488 pairs in the metadata of BigEarthNet v2.
Sentinel-2 names of v1 do not say in which tile they lie.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bigearthnet_tf.archive import names

MAX_DAYS = 6


def mismatch(name_s2: str | None, name_s1: str | None) -> str | None:
    """Returns why two names are no pair; None if they may be one.

    Nothing is said of names that are missing or of another form.

    Args:
        name_s2: Sentinel-2 name of either version; where a patch goes by its
            Sentinel-1 name, that.
        name_s1: Sentinel-1 name.
    """
    if not name_s2 or not name_s1 or name_s2 == name_s1:
        return None
    try:
        optical, radar = names.parse_name(name_s2), names.parse_name(name_s1)
    except ValueError:
        return None
    days = abs((optical.acquired.date() - radar.acquired.date()).days)
    if radar.sensor != "S1" or optical.sensor != "S2":
        return "expected a Sentinel-2 name and a Sentinel-1 name"
    if (optical.column, optical.row) != (radar.column, radar.row):
        return "column and row, the last two numbers, differ"
    if optical.tile not in (radar.tile, None):
        return f"{optical.tile} and {radar.tile} are different tiles"
    if days > MAX_DAYS:
        return f"their dates are {days} days apart, expected {MAX_DAYS} at most"
    return None


def check(name_s2: str | None, name_s1: str | None, where: Any = "") -> None:
    """Refuses two names that are no pair.

    Args:
        name_s2: as for `mismatch`.
        name_s1: as for `mismatch`.
        where: file, line or key that they come from, for the message.

    Raises:
        ValueError: says why.
    """
    reason = mismatch(name_s2, name_s1)
    if reason is not None:
        raise ValueError(
            f"{where}{': ' if where else ''}{name_s2} and {name_s1} are no pair: "
            f"{reason}; restore the names"
        )


def check_tile(name_s2: str, product: str | None, name_s1: str | None) -> None:
    """Refuses a partner on another tile than the product that a patch was cut from.

    Args:
        name_s2: Sentinel-2 name of v1, which does not say its tile.
        product: of Sentinel-2, by the JSON file of the patch.
        name_s1: Sentinel-1 name of the partner.

    Raises:
        ValueError: the tiles differ.
    """
    stated = re.search(names.PRODUCT_TILE, product or "")
    tile = names.parse_name(name_s1).tile if name_s1 else None
    if stated and tile and tile != stated[1]:
        raise ValueError(
            f"{name_s2} and {name_s1} are no pair: {stated[1]} (by the JSON file of "
            f"the first) and {tile} are different tiles; restore the names"
        )


def check_all(
    names_s2: Iterable[str | None], names_s1: Iterable[str | None], where: Any = ""
) -> None:
    """Refuses names that are no pairs; see `check`.

    Args:
        names_s2: of the patches; it may be longer than the other, which may be empty.
        names_s1: of their partners, empty where they are not known.
        where: the file that they come from.

    Raises:
        ValueError: names the first pair that is none.
    """
    for name_s2, name_s1 in zip(names_s2, names_s1, strict=False):
        check(name_s2, name_s1, where)


def disagree(names_s2: pd.Series[Any], names_s1: pd.Series[Any]) -> NDArray[np.bool_]:
    """Returns which of many names of v2 are no pairs, (pairs,).

    The same rule as `mismatch`, half a million pairs a second.

    Args:
        names_s2: (pairs,) Sentinel-2 names of v2.
        names_s1: (pairs,) Sentinel-1 names.
    """
    optical = _fields(names_s2, names.S2_V2_PATTERN)
    radar = _fields(names_s1, names.S1_PATTERN)
    same = np.ones(len(optical), bool)
    for key in ("tile", "column", "row"):
        same &= _equal(pc.struct_field(optical, key), pc.struct_field(radar, key))
    days = pc.days_between(_dates(optical), _dates(radar))
    near = pc.fill_null(pc.less_equal(pc.abs(days), MAX_DAYS), False)
    return ~(same & np.asarray(near))


def _fields(column: pd.Series[Any], pattern: str) -> Any:
    text = column.fillna("").astype(str)
    return pc.extract_regex(pa.array(text, pa.string()), rf"\A{pattern}\z")


def _equal(one: Any, other: Any) -> NDArray[np.bool_]:
    """Returns where two columns say the same; numbers may be padded with a zero."""
    pairs = (pc.utf8_lpad(column, 2, "0") for column in (one, other))
    return np.asarray(pc.fill_null(pc.equal(*pairs), False))


def _dates(fields: Any) -> Any:
    return pc.strptime(
        pc.struct_field(fields, "date"), "%Y%m%d", "s", error_is_null=True
    )
