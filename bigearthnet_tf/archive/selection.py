"""Which patches go into a split: by country, season, label, tile, snow and cloud."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bigearthnet_tf.archive import labels, metadata, names, patch_set
from bigearthnet_tf.archive.patch_set import PatchSet
from bigearthnet_tf.registry import nearest_names

logger = logging.getLogger(__name__)

# Lists that the metadata of v2 have as columns.
BUILT_IN = {"snow": patch_set.SNOW, "cloud": patch_set.CLOUD}


@dataclass(frozen=True)
class Filters:
    """What patches have to fulfil; an empty filter lets all through.

    Attributes:
        countries: English names; one of them.
        seasons: one of them, meteorological, by the month of the name.
        labels: names or acronyms; at least one of them.
        tiles: MGRS tiles with or without the leading T, wildcards allowed; one fits.
        only: lists of patches, or `"snow"`, `"cloud"`; in one of them.
        exclude: likewise; in none of them.
    """

    countries: Sequence[str] = ()
    seasons: Sequence[str] = ()
    labels: Sequence[str] = ()
    tiles: Sequence[str] = ()
    only: Sequence[str] = ()
    exclude: Sequence[str] = ()


def select(patches: PatchSet, filters: Filters) -> PatchSet:
    """Returns the patches that fulfil all filters, in their order.

    Args:
        patches: to choose from.
        filters: what they have to fulfil.

    Raises:
        FileNotFoundError: no such list.
        ValueError: a value that no patch has, a filter on what the source does not
            say, a wrong list, or no patch is left.
    """
    kept = np.ones(len(patches), bool)
    if filters.countries:
        kept &= _one_of(patches, "country", filters.countries)
    if filters.seasons:
        kept &= _one_of(patches, "season", filters.seasons)
    if filters.labels:
        kept &= _with_label(patches, filters.labels)
    if filters.tiles:
        kept &= _on_tile(patches, filters.tiles)
    if filters.only:
        kept &= _listed(patches, filters.only)
    if filters.exclude:
        kept &= ~_listed(patches, filters.exclude)
    if not kept.any():
        raise ValueError(
            f"none of the {len(patches)} patches fulfils all filters: loosen them"
        )
    return patches.take(kept)


def _one_of(patches: PatchSet, column: str, wanted: Sequence[str]) -> NDArray[np.bool_]:
    """Returns who has one of the values; they may be given in any case."""
    values = _known(patches, column)
    present = {value.casefold(): value for value in values.unique() if value}
    found = []
    for text in wanted:
        if text.casefold() not in present:
            raise ValueError(
                f"no patch of {column} {text!r}: "
                f"{nearest_names(text, present.values())}"
            )
        found.append(present[text.casefold()])
    return values.isin(found).to_numpy()


def _on_tile(patches: PatchSet, wanted: Sequence[str]) -> NDArray[np.bool_]:
    tiles = _known(patches, "tile")
    present = [tile for tile in tiles.unique() if tile]
    found: set[str] = set()
    for text in wanted:
        pattern = text.upper().removeprefix("T")
        fitting = [tile for tile in present if fnmatchcase(tile, pattern)]
        if not fitting:
            raise ValueError(
                f"no patch on tile {text!r}: {nearest_names(pattern, present)}"
            )
        found.update(fitting)
    return tiles.isin(found).to_numpy()


def _known(patches: PatchSet, column: str) -> pd.Series[str]:
    """Returns a column; says how many patches it leaves empty."""
    values = patches.table[column]
    empty = int((values == "").sum())
    if empty == len(values):
        raise ValueError(
            f"the {column} of the patches is not known: the metadata of v2 have it"
            + (", Sentinel-1 names and v1 JSON files too" if column == "tile" else "")
        )
    if empty:
        logger.warning("the %s of %d patches is not known: left out", column, empty)
    return values


def _with_label(patches: PatchSet, wanted: Sequence[str]) -> NDArray[np.bool_]:
    if not patches.labels:
        raise ValueError(
            "the labels of the patches are not known: give --metadata, --table or -r"
        )
    found = [labels.find_label(text, patches.label_type) for text in wanted]
    absent = [name for name in found if name not in patches.labels]
    if absent:
        raise ValueError(
            f"the table has no label {absent[0]!r}: "
            f"{nearest_names(absent[0], patches.labels)}"
        )
    columns = [patches.labels.index(name) for name in found]
    return np.asarray(patches.multi_hot[:, columns].any(axis=1), bool)


def _listed(patches: PatchSet, lists: Sequence[str]) -> NDArray[np.bool_]:
    """Returns who is in one of the lists."""
    result = np.zeros(len(patches), bool)
    for given in lists:
        if given in BUILT_IN:
            result |= _flagged(patches, given)
        else:
            result |= _named(patches, given)
    return result


def _flagged(patches: PatchSet, word: str) -> NDArray[np.bool_]:
    if BUILT_IN[word] not in patches.table:
        raise ValueError(
            f"which patches have {word} is not known without the column "
            f"{BUILT_IN[word]} of the metadata of v2: give a list of them"
        )
    return patches.table[BUILT_IN[word]].to_numpy(bool)


def _named(patches: PatchSet, path: Path | str) -> NDArray[np.bool_]:
    """Returns who is in a list, by the name of either version."""
    try:
        listed = metadata.read_name_list(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}; {' and '.join(map(repr, BUILT_IN))} stand for what the metadata "
            "of v2 say"
        ) from None
    table = patches.table
    result = table["name"].isin(listed)
    if patch_set.V1_NAME in table:
        result |= table[patch_set.V1_NAME].isin(listed)
    elif listed:
        own = names.parse_name(table["name"].iloc[0]).version
        other = names.parse_name(listed[0]).version
        if own != other:
            raise ValueError(
                f"{path}: a list of {other} names, but the patches have {own} names: "
                "the one does not follow from the other"
            )
    if not result.any():
        logger.warning("%s: none of its %d names is here", path, len(listed))
    return result.to_numpy()
