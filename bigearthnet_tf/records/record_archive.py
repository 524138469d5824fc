"""Records as a source of patches, so that they can become other records or an LMDB."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bigearthnet_tf.archive import labels, patch_content
from bigearthnet_tf.archive.bands import resolve_bands
from bigearthnet_tf.archive.patch import Patch, PatchEntry
from bigearthnet_tf.records import frames, manifest, reader, schema, storage
from bigearthnet_tf.records.plan import (
    Plan,
    check_format,
    divide,
)


@dataclass(frozen=True, slots=True)
class RecordEntry:
    """A record by its place.

    Attributes:
        file: the shard that it lies in.
        number: its number in that shard, counted from 0.
        frame: where it lies there.
    """

    file: str
    number: int
    frame: frames.Frame

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.file}: record {self.number}"


class RecordArchive:
    """Reads patches from records of any form, ours or of the older projects.

    One file is open at a time, from the first reading on, and in each process its
    own.

    Attributes:
        source: the shards, from `reader.open_records`.
    """

    def __init__(self, source: reader.RecordSource) -> None:
        self.source = source
        self._open: tuple[str, Any] | None = None
        self._stamps: dict[str, str] = {}
        self._generated: dict[str, bool] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}

    def __del__(self) -> None:
        self.close()

    @property
    def version(self) -> str:
        """`"v1"` or `"v2"`."""
        return self.source.archive_version

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands that the records hold, in channel order."""
        return self.source.form.bands

    @property
    def label_types(self) -> tuple[str, ...]:
        """The nomenclatures of the copies: 19 labels do not give the 43."""
        orders = {order for _, order in self.source.form.label_features}
        has_original = bool(orders & {"O43", "S43"})
        return labels.GIVEN_BY[
            labels.ORIGINAL if has_original else labels.BIGEARTHNET_19
        ]

    @property
    def origin(self) -> tuple[str, ...]:
        """The files, with what changes when one is written again."""
        return tuple(map(_stamp, self.source.files))

    def stamp(self, entry: RecordEntry) -> str:
        """Returns the record with the checksum of its shard in the manifest.

        Without a manifest, with size and time of the shard.
        """
        if entry.file not in self._stamps:
            self._stamps[entry.file] = _content(entry.file)
        return f"{entry.number} {self._stamps[entry.file]}"

    def complete(self, entries: Iterable[PatchEntry]) -> list[PatchEntry]:
        """Returns the entries; a record lacks nothing."""
        return list(entries)

    def entries(self, file: str) -> tuple[RecordEntry, ...]:
        """Returns the records of a shard; reads their lengths only.

        Raises:
            ValueError: the file is truncated.
        """
        return tuple(
            RecordEntry(file, number, frame)
            for number, frame in enumerate(frames.walk(file))
        )

    def read(self, entry: RecordEntry, bands: Sequence[str] | None = None) -> Patch:
        """Returns the patch of a record, its checksum compared.

        Args:
            entry: from `entries`.
            bands: what to keep; None for all that is there.

        Raises:
            ValueError: the record is damaged or of another form than the first; the
                message names file and record.
        """
        with storage.python_errors(entry.file):
            if self._open is None or self._open[0] != entry.file:
                self.close()
                self._open = entry.file, storage.open_to_read(entry.file)
            serialized = frames.read_at(self._open[1], entry.frame, entry.name)
        patch = schema.decode(serialized, self.source.form, entry.name, whole=True)
        patch_content.check_patch(patch, entry.name)
        patch = replace(patch, generated=self._is_generated(entry.file))
        if bands is None:
            return patch
        wanted = resolve_bands(bands)
        self.source.form.check_bands(wanted, entry.file)
        return replace(patch, bands={name: patch.bands[name] for name in wanted})

    def _is_generated(self, file: str) -> bool:
        if file not in self._generated:
            self._generated[file] = manifest.any_generated([file])
        return self._generated[file]

    def close(self) -> None:
        """Closes the file that was read last."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


def plan_copy(
    archive: RecordArchive, record_format: str, shard_size_mb: float | None = None
) -> list[Plan]:
    """Settles a copy of records in another form, in the same order.

    Args:
        archive: the records.
        record_format: `bytes` or `int64`.
        shard_size_mb: about the size of a shard in 10^6 bytes, in form `bytes`; None
            keeps the shards as they are.

    Returns:
        A plan for each split, by the names of the files: `train-00000-of-00012` is of
        split `train`, and a file of any other name a split of its own.

    Raises:
        ValueError: an unknown form, a size below one record, or a truncated file.
    """
    check_format(record_format)
    by_split: dict[str, list[str]] = {}
    for file in archive.source.files:
        name = storage.name_of(file)
        split = manifest.split_of(file) or name.removesuffix(".tfrecord")
        by_split.setdefault(split, []).append(file)
    form = archive.source.form
    plans = []
    for split, files in by_split.items():
        shards = [archive.entries(file) for file in files]
        if shard_size_mb is not None:
            entries = [entry for shard in shards for entry in shard]
            record_bytes = schema.estimate_bytes(form.bands, form.has_map)
            shards = divide(entries, record_bytes, shard_size_mb)
        plans.append(
            Plan(
                split=split,
                bands=archive.bands,
                shards=tuple(shards),
                record_format=record_format,
                seed=_seed_of(files[0]),
                archive_version=archive.version,
                label_types=archive.label_types,
                reference_maps=form.has_map,
                origin=tuple(map(_stamp, files)),
            )
        )
    return plans


def check_elsewhere(archive: RecordArchive, out_dir: storage.StrPath) -> None:
    """Refuses to write records over themselves.

    Raises:
        ValueError: some of the records lie in that folder.
    """
    out = os.path.realpath(out_dir)
    for file in archive.source.files:
        if os.path.realpath(storage.folder_of(file)) == out:
            raise ValueError(
                f"{out_dir}: the records to convert lie there themselves; choose "
                "another output folder"
            )


def _seed_of(file: str) -> int | None:
    path = manifest.find_manifest(file)
    return manifest.load(path).seed if path else None


def _stamp(file: str) -> str:
    """Returns what changes when a file is written again."""
    return f"{file} {storage.size(file)} {storage.modified(file)}"


def _content(file: str) -> str:
    """Returns what changes with the content of a shard, wherever it lies."""
    name, described = storage.name_of(file), manifest.find_manifest(file)
    listed = manifest.load(described).shards if described else []
    crc32 = next((shard.crc32 for shard in listed if shard.file == name), None)
    return f"{name} {crc32 or f'{storage.size(file)}@{storage.modified(file)}'}"
