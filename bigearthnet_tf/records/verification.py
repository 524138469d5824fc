"""Shards read from end to end: checksums, contents, and what the manifest promises."""

from __future__ import annotations

import io
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bigearthnet_tf import console
from bigearthnet_tf.archive import labels, patch_content
from bigearthnet_tf.archive.patch import Patch
from bigearthnet_tf.records import frames, inspection, manifest, pool, schema, storage

# A worker takes 4 s to start, as long as one process takes for 15,000 records with
# bytes or 3,500 with int64 lists (measured on one core, files in memory).
RECORDS_PER_WORKER = 8000


@dataclass
class Content:
    """What a file holds, read up to its end or its first fault.

    Attributes:
        num_records: whole records.
        crc32: of their bytes, framing included.
        label_counts: nomenclature to label to number of records with it.
        names: of the patches, in the order of the records; None for one without.
        fault: the first fault, in one line that names the file and the record.
    """

    num_records: int = 0
    crc32: int = 0
    label_counts: dict[str, Counter[str]] = field(default_factory=dict)
    names: list[str | None] = field(default_factory=list)
    fault: str | None = None

    def add(self, patch: Patch, framed: bytes) -> None:
        """Takes up the next record."""
        self.num_records += 1
        self.crc32 = zlib.crc32(framed, self.crc32)
        self.names.append(patch.name_s2 or patch.name_s1)
        self._count(patch.label_type, patch.labels)
        if patch.label_type == labels.ORIGINAL:
            self._count(labels.BIGEARTHNET_19, labels.convert_43_to_19(patch.labels))

    def _count(self, label_type: str, names: tuple[str, ...]) -> None:
        self.label_counts.setdefault(label_type, Counter()).update(names)


@dataclass(frozen=True)
class Overlap:
    """Patches that are in two splits; whether that is meant, their maker knows.

    Attributes:
        splits: the names of both.
        count: number of these patches.
        example: the name of the first.
    """

    splits: tuple[str, str]
    count: int
    example: str


@dataclass(frozen=True)
class Verification:
    """What reading all shards has shown.

    Attributes:
        faults: one line for each faulty file or manifest, the first fault of each.
        label_counts: for each split, nomenclature to label to number of records.
        overlaps: between splits of the same folder and layout.
    """

    faults: list[str]
    label_counts: list[dict[str, Counter[str]]]
    overlaps: list[Overlap]


def verify(
    splits: Sequence[inspection.Split],
    workers: int = 1,
    on_records: Callable[[int], Any] = lambda count: None,
) -> Verification:
    """Reads every record: its checksums, its content, its agreement with the manifest.

    Memory: one record in each process, TensorFlow with about 1 GB in each worker, and
    here the patch names of all records, about 0.2 kB each.

    Args:
        splits: from `inspection.look`.
        workers: processes at most; a few records are read by this process alone.
        on_records: called with the number of records read since the last call.
    """
    paths = [shard.path for split in splits for shard in split.shards]
    records = sum(split.num_records for split in splits)
    useful = min(workers, len(paths), math.ceil(records / RECORDS_PER_WORKER))
    with pool.Workers(None, useful) as crew:
        jobs = {path: path for path in paths}
        contents = dict(crew.run(read_whole, jobs, on_records))
    return Verification(
        faults=[fault for split in splits for fault in _faults(split, contents)],
        label_counts=[_sum_labels(split, contents) for split in splits],
        overlaps=_overlaps(splits, contents),
    )


def read_whole(_: None, path: str, on_record: Callable[[], None]) -> Content:
    """Reads a file up to its first fault; a task of `pool.Workers`."""
    content, form, where = Content(), None, path
    try:
        with storage.python_errors(path), storage.open_to_read(path) as file:
            for frame in frames.walk(path):
                where = f"{path}: record {content.num_records}"
                size = frames.HEADER_BYTES + frame.length + frames.FOOTER_BYTES
                file.seek(frame.offset)
                framed = file.read(size)
                serialized = _data_of(framed, where)
                form = _expect(form, serialized, where)
                patch = schema.decode(serialized, form, where)
                patch_content.check_patch(patch, where)
                content.add(patch, framed)
                on_record()
    except (ValueError, OSError) as error:
        reason = console.describe(error)
        content.fault = reason if path in reason else f"{where}: {reason}"
    return content


def _data_of(framed: bytes, where: str) -> bytes:
    """Returns the data of a record that is read already, its checksums compared."""
    length = len(framed) - frames.HEADER_BYTES - frames.FOOTER_BYTES
    return frames.read_at(io.BytesIO(framed), frames.Frame(0, length), where)


def _expect(
    form: schema.RecordForm | None, serialized: bytes, where: str
) -> schema.RecordForm:
    """Returns the form of a record, which must be laid out like the one before it."""
    found = schema.recognise(serialized, where)
    if form is not None:
        schema.check_form(found, form, where)
    return found


def _faults(split: inspection.Split, contents: Mapping[str, Content]) -> Iterator[str]:
    """Yields the first fault of each file of a split."""
    yield from split.faults
    places: dict[str, str] = {}
    for shard in split.shards:
        content = contents[shard.path]
        repeated = list(_repeated(shard.path, content, places))
        fault = (
            shard.fault
            or content.fault
            or _broken_promise(split, shard, content)
            or _other_version(split, shard, content)
        )
        if fault or repeated:
            yield fault or repeated[0]


def _repeated(path: str, content: Content, places: dict[str, str]) -> Iterator[str]:
    """Yields a line for each patch met before, and notes where the others lie."""
    for number, name in enumerate(content.names):
        where = f"{path}: record {number}"
        if name in places:
            yield (
                f"{where} is patch {name} again, which is in {places[name]}; prepare "
                "the records again from lists without repetitions"
            )
        elif name is not None:
            places[name] = where


def _broken_promise(
    split: inspection.Split, shard: inspection.Shard, content: Content
) -> str | None:
    promise = inspection.promised(split, shard)
    if promise is None:
        return None
    found = content.num_records, f"{content.crc32:08x}"
    if found == (promise.num_records, promise.crc32):
        return None
    return (
        f"{shard.path}: expected {promise.num_records} records with CRC-32 "
        f"{promise.crc32} by its manifest, got {found[0]} with {found[1]}; copy both "
        "again, or prepare the records again"
    )


def _other_version(
    split: inspection.Split, shard: inspection.Shard, content: Content
) -> str | None:
    """Returns a line on a patch of another archive version than the manifest's."""
    if split.manifest is None:
        return None
    try:
        for number, name in enumerate(content.names):
            where = f"{shard.path}: record {number}"
            manifest.check_name(split.manifest, name, where)
    except ValueError as error:
        return str(error)
    return None


def _sum_labels(
    split: inspection.Split, contents: Mapping[str, Content]
) -> dict[str, Counter[str]]:
    total: dict[str, Counter[str]] = {}
    for shard in split.shards:
        for label_type, counts in contents[shard.path].label_counts.items():
            total.setdefault(label_type, Counter()).update(counts)
    return total


def _overlaps(
    splits: Sequence[inspection.Split], contents: Mapping[str, Content]
) -> list[Overlap]:
    """Returns which splits share patches; other layouts are other preparations."""
    first_seen: dict[tuple[Any, str], str] = {}
    shared: dict[tuple[str, str], list[str]] = {}
    for split in splits:
        for shard in split.shards:
            form = shard.form
            for name in contents[shard.path].names:
                if name is None or form is None:
                    continue
                kind = split.folder, form.encoding, form.bands, form.label_features
                other = first_seen.setdefault((kind, name), split.name)
                if other != split.name:
                    shared.setdefault((other, split.name), []).append(name)
    return [Overlap(pair, len(set(names)), names[0]) for pair, names in shared.items()]
