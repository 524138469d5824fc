"""The patches that a split is made from, wherever they are listed.

A `PatchSet` comes from the metadata of v2, from lists, from a label table as
balanced-bigearthnet has it, or from the JSON files of a v1 archive. It holds what
splits are chosen by: labels, places, seasons, countries, snow and clouds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bigearthnet_tf import console
from bigearthnet_tf.archive import label_table, labels, names, spatial, splits
from bigearthnet_tf.archive.archives import Archive
from bigearthnet_tf.archive.patch import PatchEntry

SNOW, CLOUD = "contains_seasonal_snow", "contains_cloud_or_shadow"
V1_NAME = "s2v1_name"
_OPTIONAL = (V1_NAME, SNOW, CLOUD)

_SEASONS = {f"{month:02}": names.season(date(2000, month, 1)) for month in range(1, 13)}


@dataclass(frozen=True, eq=False)
class PatchSet:
    """Patches with what splits are chosen by.

    Attributes:
        table: one row a patch, in the order of the source. The columns `name`,
            `name_s1`, `split`, `country`, `season` and `tile` hold text, empty where
            the source does not say; `column` and `row` are integers. `s2v1_name`,
            `contains_seasonal_snow` and `contains_cloud_or_shadow` are there where
            the source has them.
        multi_hot: uint8 (patches, labels) of 0 and 1.
        labels: names of the columns of `multi_hot`, in CLC order but for a label
            table, whose order stays, since stratification breaks ties by it; none
            where the source has no labels.
        label_type: their nomenclature.
    """

    table: pd.DataFrame
    multi_hot: NDArray[np.uint8]
    labels: tuple[str, ...]
    label_type: str

    def __len__(self) -> int:
        return len(self.table)

    def take(self, rows: NDArray[Any]) -> PatchSet:
        """Returns the patches of a mask, or of row numbers in that order."""
        kept = np.arange(len(self))[rows]
        return PatchSet(
            self.table.iloc[kept].reset_index(drop=True),
            self.multi_hot[kept],
            self.labels,
            self.label_type,
        )

    def places(self) -> spatial.Places:
        """Returns where the patches lie; unknown where their tile is.

        Raises:
            ValueError: a tile that does not exist.
        """
        return spatial.locate(
            *(self.table[key].tolist() for key in ("tile", "column", "row"))
        )

    def entries(self, rows: NDArray[Any]) -> Iterator[PatchEntry]:
        """Yields names and partners of the patches of a mask, for lists."""
        table = self.table[rows]
        for name, partner in zip(table["name"], table["name_s1"], strict=True):
            yield PatchEntry(name, partner or None)


def _make_table(columns: dict[str, Any]) -> pd.DataFrame:
    """Returns a table with what names say added to it.

    Args:
        columns: `name`, and any others of `PatchSet.table`.
    """
    text = ("name_s1", "split", "country", "tile")
    table = pd.DataFrame({**dict.fromkeys(text, ""), **columns})
    named = table["name"].str.extract(names.S2_V2_PATTERN)
    if named["tile"].isna().any():
        named = named.combine_first(table["name"].str.extract(names.S2_V1_PATTERN))
    partners = table["name_s1"].str.extract(names.S1_PATTERN)["tile"]
    tiles = named["tile"].fillna(partners).fillna("")
    table["tile"] = table["tile"].where(table["tile"] != "", tiles)
    table["season"] = named["date"].str[4:6].map(_SEASONS)
    for key in ("column", "row"):
        table[key] = named[key].astype(np.int64)
    return table


def from_metadata(frame: pd.DataFrame) -> PatchSet:
    """Returns the patches of the metadata of v2, with its 19 labels.

    Args:
        frame: of `metadata.read_tables`.
    """
    columns = {
        "name": frame["patch_id"],
        "name_s1": frame["s1_name"],
        "split": frame["split"],
        **{key: frame[key] for key in _OPTIONAL if key in frame},
    }
    if "country" in frame:
        columns["country"] = frame["country"]
    for key in (SNOW, CLOUD):
        # One of several tables may lack it: then it is not known of all.
        if key in columns and columns[key].isna().any():
            del columns[key]
    return PatchSet(
        _make_table(columns),
        _encode(frame["labels"], labels.BIGEARTHNET_19),
        labels.label_names(labels.BIGEARTHNET_19),
        labels.BIGEARTHNET_19,
    )


def _encode(
    label_sets: Iterable[tuple[str, ...]], label_type: str
) -> NDArray[np.uint8]:
    """Returns multi-hot vectors; each of the few thousand sets is encoded once."""
    codes: dict[tuple[str, ...], int] = {}
    rows = [codes.setdefault(own, len(codes)) for own in label_sets]
    return np.stack([labels.to_multi_hot(own, label_type) for own in codes])[rows]


def from_lists(paths: Sequence[Path | str]) -> PatchSet:
    """Returns the patches of lists, without labels; each list is a split.

    Raises:
        FileNotFoundError: as `splits.read_split_lists`.
        ValueError: likewise.
    """
    lists = splits.read_split_lists(paths)
    return _from_entries([entry for entries in lists.values() for entry in entries])


def _from_entries(entries: Sequence[PatchEntry]) -> PatchSet:
    table = _make_table(
        {
            "name": [entry.name for entry in entries],
            "name_s1": [entry.name_s1 or "" for entry in entries],
            "split": [entry.split or "" for entry in entries],
        }
    )
    return PatchSet(table, np.empty((len(entries), 0), np.uint8), (), labels.ORIGINAL)


def from_label_table(path: Path | str) -> PatchSet:
    """Returns the patches of a label table, in its order of rows and labels.

    Raises:
        FileNotFoundError: as `label_table.read_label_table`.
        ValueError: likewise.
    """
    patches, multi_hot, found, label_type = label_table.read_label_table(path)
    return PatchSet(_make_table({"name": patches}), multi_hot, found, label_type)


def from_v1_archive(
    archive: Archive, entries: Sequence[PatchEntry] | None = None
) -> PatchSet:
    """Returns patches of a v1 archive with their 43 labels, from its JSON files.

    A file is read for each patch, and one more where the partner is asked for and no
    list has it; in the whole archive that takes minutes.

    Args:
        archive: with a root of Sentinel-2; with one of Sentinel-1 for the partners.
        entries: which patches; None for all that are there.

    Raises:
        FileNotFoundError: a patch or its file is missing.
        ValueError: a file is damaged, or a patch has no partner.
    """
    if entries is None:
        entries = [PatchEntry(name) for name in list_folder(archive)]
    entries = archive.complete(entries)
    found = [
        archive.metadata_of(entry)
        for entry in console.progress(entries, desc="reading labels", unit="patch")
    ]
    patches = _from_entries(entries)
    sources = pd.Series([str(own.source) for own in found])
    tiles = sources.str.extract(names.PRODUCT_TILE, expand=False).fillna("")
    return PatchSet(
        patches.table.assign(tile=patches.table["tile"].where(tiles == "", tiles)),
        _encode((own.labels for own in found), labels.ORIGINAL),
        labels.label_names(labels.ORIGINAL),
        labels.ORIGINAL,
    )


def list_folder(archive: Archive) -> list[str]:
    """Returns the Sentinel-2 names of the patches that an archive holds, sorted.

    Raises:
        ValueError: the archive has no root of Sentinel-2, or no patch in it.
    """
    if archive.root_s2 is None:
        raise ValueError("expected the root of Sentinel-2, whose names lists hold")
    pattern = "S2*" if archive.version == "v1" else "S2*/S2*"
    listed = (path.name for path in archive.root_s2.glob(pattern))
    found = sorted(filter(names.is_patch_name, listed))
    if not found:
        raise ValueError(f"{archive.root_s2}: expected patches, found none")
    return found


def from_archive(
    archive: Archive, known: PatchSet | None, listed: PatchSet | None
) -> PatchSet:
    """Returns the patches of an archive of either version.

    Args:
        archive: with a root of Sentinel-2.
        known: the patches of the metadata; needed for v2, which has no labels in its
            folders.
        listed: which of its patches; None for all.

    Raises:
        FileNotFoundError: a patch or its file is missing.
        ValueError: as `from_v1_archive` and `combine`; v2 without metadata.
    """
    if archive.version == "v1":
        if listed is None:
            return from_v1_archive(archive)
        entries = list(listed.entries(np.ones(len(listed), bool)))
        patches = from_v1_archive(archive, entries)
        return PatchSet(
            patches.table.assign(split=listed.table["split"]),
            patches.multi_hot,
            patches.labels,
            patches.label_type,
        )
    if known is None:
        raise ValueError(
            f"{archive.root_s2}: BigEarthNet v2 has its labels in metadata.parquet, "
            "give it with --metadata"
        )
    if listed is None:
        listed = _from_entries([PatchEntry(name) for name in list_folder(archive)])
    return combine(listed, known)


def with_partners(patches: PatchSet, archive: Archive) -> PatchSet:
    """Returns patches with the Sentinel-1 names that an archive has for them.

    Args:
        patches: of the archive.
        archive: with both roots.

    Raises:
        FileNotFoundError: as for `Archive.complete`.
        ValueError: likewise.
    """
    entries = archive.complete(patches.entries(np.ones(len(patches), bool)))
    partners = [entry.name_s1 or "" for entry in entries]
    return replace(patches, table=patches.table.assign(name_s1=partners))


def combine(listed: PatchSet, known: PatchSet) -> PatchSet:
    """Returns the patches of lists with what another source knows of them.

    What the lists say, splits and partners, stays.

    Raises:
        ValueError: a patch is not in the other source.
    """
    rows = pd.Index(known.table["name"]).get_indexer(pd.Index(listed.table["name"]))
    missing = rows < 0
    if missing.any():
        raise ValueError(
            f"labels are missing for {int(missing.sum())} of {len(listed)} patches, "
            f"the first is {listed.table['name'][missing].iloc[0]}: are lists and "
            "labels of one archive version, and is the table of patches with snow, "
            "clouds or shadow given where there are such?"
        )
    patches = known.take(rows)
    for key in ("name_s1", "split", "tile"):
        own = listed.table[key]
        patches.table[key] = own.where(own != "", patches.table[key])
    return patches


def to_19_labels(patches: PatchSet) -> PatchSet:
    """Returns patches with the 19 labels instead of the 43.

    Patches without any of them are left out, as in the official splits.

    Raises:
        ValueError: no patch is left.
    """
    if patches.label_type == labels.BIGEARTHNET_19:
        return patches
    order = [labels.label_index(name, labels.ORIGINAL) for name in patches.labels]
    matrix = labels.conversion_matrix()[order].astype(bool)
    multi_hot = (patches.multi_hot.astype(bool) @ matrix).astype(np.uint8)
    kept = multi_hot.any(axis=1)
    if not kept.any():
        raise ValueError("no patch has any of the 19 labels")
    return PatchSet(
        patches.table[kept].reset_index(drop=True),
        multi_hot[kept],
        labels.label_names(labels.BIGEARTHNET_19),
        labels.BIGEARTHNET_19,
    )
