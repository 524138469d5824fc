"""What a conversion will write, settled before the first patch is read.

Order and division into shards follow from the list of patches, the seed and the size
of a record alone. Whoever carries a plan out, on however many processes or machines,
writes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from bigearthnet_tf.archive.patch import PatchEntry, PatchSource
from bigearthnet_tf.records import manifest, schema

DEFAULT_SEED = 42
# Large enough to read in long strides, small enough that workers share the load.
DEFAULT_SHARD_MB = 128

T = TypeVar("T")
# What is left out of the records: the name of the patch, and why.
LeftOut = tuple[str, str]


@dataclass(frozen=True)
class Plan:
    """What a conversion of one split will write.

    Attributes:
        split: `train`, `val`, `test` or any other name.
        bands: the bands of each record, in channel order.
        shards: for each shard its patches, in the order of the records: entries
            that the source reads.
        record_format: `bytes` or `int64`.
        seed: of the order; None where it comes from older records.
        archive_version: `v1` or `v2`.
        label_types: the nomenclatures that each record carries.
        reference_maps: whether the records hold reference maps.
        left_out: patches that can't be read, known before the start.
        origin: what tells the source from others that have the same patches.
    """

    split: str
    bands: tuple[str, ...]
    shards: tuple[tuple[Any, ...], ...]
    record_format: str
    seed: int | None
    archive_version: str
    label_types: tuple[str, ...]
    reference_maps: bool = False
    left_out: tuple[LeftOut, ...] = ()
    origin: tuple[str, ...] = ()

    @property
    def num_records(self) -> int:
        """Number of patches in all shards."""
        return sum(map(len, self.shards))

    @property
    def num_bytes(self) -> int:
        """About the bytes of all shards."""
        each = schema.estimate_bytes(
            self.bands, self.reference_maps, self.record_format
        )
        return self.num_records * each

    def file(self, index: int) -> str:
        """Returns the file name of a shard."""
        return manifest.shard_file(self.split, index, len(self.shards))

    def fingerprint(self) -> str:
        """Returns a hash of what is asked for, wherever it is read from."""
        settings = {
            "schema": manifest.SCHEMA_VERSION,
            "split": self.split,
            "bands": self.bands,
            "format": self.record_format,
            "version": self.archive_version,
            "label_types": self.label_types,
            "reference_maps": self.reference_maps,
            "shards": [len(shard) for shard in self.shards],
        }
        digest = hashlib.sha256(json.dumps(settings).encode())
        for shard in self.shards:
            for entry in shard:
                digest.update(repr(entry).encode())
        return digest.hexdigest()

    def identity(self) -> str:
        """Returns a hash by which unfinished work knows its own plan and source."""
        joined = " ".join((self.fingerprint(), *self.origin))
        return hashlib.sha256(joined.encode()).hexdigest()


def plan_split(
    source: PatchSource,
    entries: Sequence[PatchEntry],
    split: str,
    *,
    seed: int = DEFAULT_SEED,
    shard_size_mb: float = DEFAULT_SHARD_MB,
    record_format: str = "bytes",
    reference_maps: bool = False,
    skip_errors: bool = False,
) -> Plan:
    """Settles the order of the patches and their division into shards.

    The order is shuffled here once, so that training needs a small shuffle buffer
    only: neighbours in the list are neighbours on the ground.

    Args:
        source: where the patches will be read from.
        entries: the patches of the split.
        split: its name.
        seed: of the order.
        shard_size_mb: about the size of a shard in 10^6 bytes, in form `bytes`.
        record_format: `bytes` or `int64`.
        reference_maps: put reference maps into the records.
        skip_errors: leave out patches without labels or partner instead of raising.

    Raises:
        ValueError: no patches, an unknown form, a size below one record, or a patch
            without labels or partner.
    """
    check_format(record_format)
    complete, left_out = _complete(source, entries, skip_errors)
    if not complete:
        raise ValueError(
            f"split {split!r}: no patches{_first_reason(left_out)}; give a list with "
            "some"
        )
    record_bytes = schema.estimate_bytes(source.bands, reference_maps)
    order = np.random.default_rng(seed).permutation(len(complete))
    shuffled = [complete[i] for i in order]
    return Plan(
        split=split,
        bands=tuple(source.bands),
        shards=tuple(divide(shuffled, record_bytes, shard_size_mb)),
        record_format=record_format,
        seed=seed,
        archive_version=source.version,
        label_types=tuple(source.label_types),
        reference_maps=reference_maps,
        left_out=tuple(left_out),
        origin=source.origin,
    )


def divide(
    entries: Sequence[T], record_bytes: int, shard_size_mb: float
) -> list[tuple[T, ...]]:
    """Divides entries into shards of about the same size, in their order.

    Args:
        entries: at least one.
        record_bytes: about the bytes of a record.
        shard_size_mb: of a shard at most, in 10^6 bytes.

    Raises:
        ValueError: a size below one record.
    """
    if not record_bytes <= shard_size_mb * 1e6 < math.inf:
        raise ValueError(
            f"a shard of {shard_size_mb} MB can't hold one record of "
            f"{record_bytes / 1e6:.2f} MB; give a larger shard size"
        )
    per_shard = int(shard_size_mb * 1e6 // record_bytes)
    count = math.ceil(len(entries) / per_shard)
    parts = np.array_split(np.arange(len(entries)), count)
    return [tuple(entries[i] for i in part) for part in parts]


def check_format(record_format: str) -> None:
    """Raises ValueError unless there is such a form of records."""
    if record_format not in schema.RECORD_FORMATS:
        raise ValueError(
            f"record format {record_format!r}: expected one of {schema.RECORD_FORMATS}"
        )


def _complete(
    source: PatchSource, entries: Sequence[PatchEntry], skip_errors: bool
) -> tuple[list[PatchEntry], list[LeftOut]]:
    """Returns entries with labels and partners, and those that have none."""
    try:
        return source.complete(entries), []
    except ValueError:
        if not skip_errors:
            raise
    complete: list[PatchEntry] = []
    left_out = []
    for entry in entries:
        try:
            complete += source.complete([entry])
        except ValueError as error:
            left_out.append((entry.name, str(error)))
    return complete, left_out


def _first_reason(left_out: list[LeftOut]) -> str:
    return f" (the first left out: {left_out[0][1]})" if left_out else ""
