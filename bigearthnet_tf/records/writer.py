"""Writing one shard, wherever: in this process, in a worker, on another machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pydantic
import tensorflow as tf

from bigearthnet_tf.archive import patch_content
from bigearthnet_tf.archive.patch import Patch, PatchSource
from bigearthnet_tf.records import frames, manifest, provenance, schema, storage
from bigearthnet_tf.records.plan import LeftOut


@dataclass(frozen=True)
class Job:
    """One shard to write.

    Attributes:
        split: the split it belongs to.
        index: its number among the shards of the split.
        path: where to write it; its note goes beside it.
        entries: the patches, in the order of the records, as the source reads them.
        record_format: `bytes` or `int64`.
        skip_errors: leave out patches that can't be read instead of raising.
    """

    split: str
    index: int
    path: str
    entries: Sequence[Any]
    record_format: str = "bytes"
    skip_errors: bool = False


class Note(pydantic.BaseModel):
    """What is known of a finished shard; `<shard>.json` until the split is whole.

    Attributes:
        shard: its row in the manifest.
        left_out: patches that could not be read.
        source: `provenance.digest` of the files of all its patches; empty: not known.
        generated: whether one of its patches is.
    """

    shard: manifest.Shard
    left_out: list[LeftOut] = []
    source: str = ""
    generated: bool = False


NoteT = TypeVar("NoteT", bound=Note)


def write_shard(
    source: PatchSource, job: Job, on_record: Callable[[], Any] = lambda: None
) -> Note:
    """Writes a shard, reads it back, and puts the note beside it.

    One patch is in memory at a time. The file has a temporary name until all its
    checksums have been compared.

    Args:
        source: where the patches are read from.
        job: what to write.
        on_record: called after each patch, also one that is left out.

    Raises:
        OSError: the file can't be written; nothing is left of it.
        ValueError: a patch is missing or damaged, unless those are skipped.
    """
    left_out: list[LeftOut] = []
    stamps: list[str] = []
    count, generated = 0, False
    with storage.write_atomically(job.path) as temporary:
        with tf.io.TFRecordWriter(temporary) as writer:
            for patch in _read(source, job, left_out, stamps):
                if patch is not None:
                    writer.write(schema.encode(patch, job.record_format))
                    count += 1
                    generated |= patch.generated
                on_record()
        written = frames.verify(temporary)
        if written.num_records != count:
            raise OSError(
                f"{job.path}: wrote {count} records, but {written.num_records} came "
                "back; the disk or file system loses data"
            )
    note = Note(
        shard=manifest.Shard(file=storage.name_of(job.path), **written._asdict()),
        left_out=left_out,
        source=provenance.digest(stamps),
        generated=generated,
    )
    storage.write_text(note_path(job.path), note.model_dump_json())
    return note


def note_path(shard: str) -> str:
    """Returns where the note of a shard lies."""
    return f"{shard}.json"


def read_note(shard: str, form: type[NoteT]) -> NoteT | None:
    """Returns the note of a shard, None if there is none that can be read."""
    try:
        return form.model_validate(storage.read_object(note_path(shard)))
    except (FileNotFoundError, ValueError):
        return None


def _read(
    source: PatchSource, job: Job, left_out: list[LeftOut], stamps: list[str]
) -> Iterator[Patch | None]:
    """Yields the patches of a job; None for one that is left out."""
    for entry in job.entries:
        try:
            patch = source.read(entry)
            patch_content.check_finite(patch.bands, entry.name)
        except (ValueError, OSError) as error:
            if not job.skip_errors:
                raise
            left_out.append((entry.name, " ".join(str(error).split())))
            patch = None
        # Behind the reading: a network file system answers from what it knows then.
        stamps.append(source.stamp(entry))
        yield patch
