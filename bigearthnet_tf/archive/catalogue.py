"""Labels and partners of v2 patches, looked up in the metadata table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from bigearthnet_tf.archive import labels
from bigearthnet_tf.archive.metadata import entries_from_metadata
from bigearthnet_tf.archive.patch import PatchEntry


class Catalogue:
    """What the metadata say of patches that a list only names.

    A pickled catalogue leaves the table behind: `complete` the entries before they
    go to another process. The index over the table is made with the first look-up.

    Args:
        table: of `metadata.read_metadata`; None where all entries are complete.
    """

    def __init__(self, table: pd.DataFrame | None) -> None:
        self._table = table
        self._known: dict[str, PatchEntry] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_table": None, "_known": None}

    def complete(
        self, entries: Iterable[PatchEntry], *, pairing: bool = False
    ) -> list[PatchEntry]:
        """Returns entries filled up with labels, partner, split and country.

        Args:
            entries: what they say already stays.
            pairing: whether the partners are needed; they come along in any case
                where there is a table.

        Raises:
            ValueError: a patch is not in the table, or there is no table.
        """
        entries = list(entries)
        pairing = pairing or self._table is not None
        poor = {
            entry.name
            for entry in entries
            if entry.labels is None or (pairing and entry.name_s1 is None)
        }
        if not poor:
            return entries
        if self._table is None:
            raise ValueError(
                f"labels or Sentinel-1 name of {min(poor)} are not known: BigEarthNet "
                "v2 has them in metadata.parquet, give it with --metadata"
            )
        known = self._index(self._table)
        unknown = [name for name in poor if name not in known]
        if unknown:
            raise ValueError(
                f"{len(unknown)} of {len(entries)} patches are not in the metadata, "
                f"the first is {min(unknown)}: those with snow, clouds or shadow have "
                "a table of their own"
            )
        return [_fill(entry, known.get(entry.name, entry)) for entry in entries]

    def entries_of_partners(self, names_s1: Iterable[str]) -> list[PatchEntry]:
        """Returns the patches of Sentinel-1 names, in their order.

        Raises:
            ValueError: a name is not in the table, or there is no table.
        """
        names_s1 = list(names_s1)
        known = {} if self._table is None else self._index(self._table)
        by_partner = {entry.name_s1: entry for entry in known.values()}
        unknown = [name for name in names_s1 if name not in by_partner]
        if unknown:
            raise ValueError(
                f"the patches of {len(unknown)} Sentinel-1 names are not known, the "
                f"first is {unknown[0]}: give all of metadata.parquet with --metadata"
            )
        return [by_partner[name] for name in names_s1]

    def partner_of(self, entry: PatchEntry) -> str:
        """Returns the Sentinel-1 name of a patch.

        Raises:
            ValueError: as `complete`.
        """
        if entry.name_s1 is None:
            (entry,) = self.complete([entry], pairing=True)
        return str(entry.name_s1)

    def labels_of(self, entry: PatchEntry) -> tuple[tuple[str, ...], str]:
        """Returns the labels of a patch and their nomenclature.

        Raises:
            ValueError: as `complete`.
        """
        if entry.labels is None:
            (entry,) = self.complete([entry])
        return tuple(entry.labels or ()), labels.canonical_label_type(
            str(entry.label_type)
        )

    def _index(self, table: pd.DataFrame) -> dict[str, PatchEntry]:
        if self._known is None:
            self._known = {entry.name: entry for entry in entries_from_metadata(table)}
        return self._known


def _fill(entry: PatchEntry, known: PatchEntry) -> PatchEntry:
    """Returns an entry with what it does not say taken from another one."""
    labelled = known if entry.labels is None else entry
    return PatchEntry(
        name=entry.name,
        name_s1=entry.name_s1 or known.name_s1,
        labels=labelled.labels,
        label_type=labelled.label_type,
        split=entry.split or known.split,
        country=entry.country or known.country,
    )
