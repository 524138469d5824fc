"""Patches become sharded TFRecords, on many processes.

The plan says what goes into which shard; workers only carry it out. What a killed
conversion has finished is found again by the next one, see `records.unfinished`.
"""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import bigearthnet_tf
from bigearthnet_tf import console, outputs
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import labels
from bigearthnet_tf.archive.patch import PatchSource
from bigearthnet_tf.records import manifest, pool, provenance, storage
from bigearthnet_tf.records.plan import LeftOut, Plan
from bigearthnet_tf.records.unfinished import ShardPlan, Unfinished, exclusive
from bigearthnet_tf.records.writer import Job, Note, write_shard

logger = logging.getLogger(__name__)

# A worker takes as long to start as to convert that many patches.
PATCHES_PER_WORKER = 4000

_LEFT_OUT_COLUMNS = ("patch", "reason")

# Carries out jobs and yields each when it is finished, with its note; the function
# is to be called with the number of patches done since it was called last.
Executor = Callable[
    [PatchSource, Sequence[Job], Callable[[int], Any]], Iterator[tuple[Job, Note]]
]


def convert(
    source: PatchSource,
    plans: Sequence[Plan],
    out_dir: storage.StrPath,
    execute: Executor | None = None,
    *,
    overwrite: bool = False,
    skip_errors: bool = False,
) -> list[manifest.Manifest]:
    """Carries out plans.

    Memory: each worker holds one patch, and TensorFlow with about 1 GB, whatever the
    size of the archive; this process the list of patches.

    Args:
        source: where the patches are read from.
        plans: what to write, one for each split.
        out_dir: folder of the shards and the manifests, behind `gs://` too.
        execute: carries out the jobs: `Local` with a number of processes, or
            `records.beam.Runner`; this process where it is None. The shards are the
            same in any case.
        overwrite: replace other records of the same splits, and discard unfinished
            work on them.
        skip_errors: leave out patches that can't be read and list them, with the
            reason, in `<split>.left_out.csv`.

    Returns:
        The manifests, as written. A split that is already there is not written again,
        unless it lacks patches that can be read by now.

    Raises:
        FileExistsError: other records of one of these splits are there, or some that
            lack patches.
        OSError: the folder can't be written to, another conversion writes there, or
            the disk is full.
        ValueError: a patch is missing or damaged; the message names it.
    """
    with exclusive(out_dir):
        _check_left_out(plans, out_dir)
        present = {
            plan.split: None
            if overwrite
            else _present(source, plan, out_dir, skip_errors)
            for plan in plans
        }
        todo = [plan for plan in plans if present[plan.split] is None]
        made = _carry_out(
            source, todo, out_dir, skip_errors, execute or Local(), anew=overwrite
        )
        return [present[plan.split] or made[plan.split] for plan in plans]


def _carry_out(
    source: PatchSource,
    plans: Sequence[Plan],
    out_dir: storage.StrPath,
    skip_errors: bool,
    execute: Executor,
    *,
    anew: bool,
) -> dict[str, manifest.Manifest]:
    """Writes the shards that are missing and publishes each split when it is whole."""
    works = {plan.split: Unfinished(plan, out_dir, Note) for plan in plans}
    try:
        for work in works.values():
            work.open(anew)
        notes = {
            split: _of_same_files(source, work.plan, work.finished())
            for split, work in works.items()
        }
        check_space(works.values(), out_dir)
        jobs = _jobs(works, notes, skip_errors)
        made = {
            split: _publish(works[split], notes[split])
            for split in works
            if len(notes[split]) == len(works[split].plan.shards)
        }
        already = sum(_patches(note) for of in notes.values() for note in of.values())
        with console.progress(
            total=sum(plan.num_records for plan in plans),
            initial=already,
            desc=", ".join(works) or None,
            unit="patch",
        ) as bar:
            for job, note in execute(source, jobs, bar.update):
                notes[job.split][job.index] = note
                work = works[job.split]
                if len(notes[job.split]) == len(work.plan.shards):
                    made[job.split] = _publish(work, notes[job.split])
    finally:
        for work in works.values():
            work.close()
    return made


class Local:
    """Carries out jobs on this machine.

    Args:
        workers: processes at most; small conversions take fewer.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers

    def __call__(
        self, source: PatchSource, jobs: Sequence[Job], on_records: Callable[[int], Any]
    ) -> Iterator[tuple[Job, Note]]:
        """Yields each job with its note when it is finished.

        Args:
            source: where the patches are read from; sent to each process once.
            jobs: the shards to write.
            on_records: called with the number of patches done since the last call.

        Raises:
            Exception: whatever writing a shard raised first.
        """
        patches = sum(len(job.entries) for job in jobs)
        useful = min(self.workers, math.ceil(patches / PATCHES_PER_WORKER))
        with pool.Workers(source, useful) as crew:
            numbered = dict(enumerate(jobs))
            for number, note in crew.run(write_shard, numbered, on_records):
                yield numbered[number], note


def _jobs(
    works: dict[str, Unfinished[Plan, Note]],
    notes: dict[str, dict[int, Note]],
    skip_errors: bool,
) -> list[Job]:
    """Returns the shards still to be written."""
    jobs = []
    for split, work in works.items():
        plan = work.plan
        if notes[split]:
            logger.info(
                "%s: %d of %d shards were finished before",
                split,
                len(notes[split]),
                len(plan.shards),
            )
        for index, entries in enumerate(plan.shards):
            if index not in notes[split]:
                path, form = work.shard(index), plan.record_format
                jobs.append(Job(split, index, path, entries, form, skip_errors))
    return jobs


def _of_same_files(
    source: PatchSource, plan: Plan, notes: dict[int, Note]
) -> dict[int, Note]:
    """Returns the finished shards that the archive as it is now would give again."""
    differ = provenance.changed(
        source,
        [plan.shards[i] for i in notes],
        [note.source for note in notes.values()],
    )
    kept = {
        index: note
        for (index, note), other in zip(notes.items(), differ, strict=True)
        if not other
    }
    if len(kept) < len(notes):
        logger.info(
            "%s: files of %d finished shard(s) have changed; they are written again",
            plan.split,
            len(notes) - len(kept),
        )
    return kept


def _present(
    source: PatchSource, plan: Plan, out_dir: storage.StrPath, skip_errors: bool
) -> manifest.Manifest | None:
    """Returns the manifest of the same plan, carried out before.

    Raises:
        FileExistsError: what is there is something else.
    """
    path = manifest.manifest_path(out_dir, plan.split)
    if not storage.exists(path):
        strange = manifest.shards_of(out_dir, plan.split)
        # Publishing may have been killed between the first shard and the manifest.
        if strange and not Unfinished(plan, out_dir, Note).has_begun():
            raise occupied(plan, out_dir, "records without a manifest")
        return None
    found = manifest.load(path)
    if not all(is_there(out_dir, shard) for shard in found.shards):
        raise occupied(plan, out_dir, "damaged records")
    if found.plan != plan.fingerprint():
        raise occupied(plan, out_dir, "records of other patches or bands")
    if found.left_out and not skip_errors:
        raise occupied(plan, out_dir, f"records that lack {found.left_out} patches")
    if found.left_out and _is_repaired(source, plan, out_dir):
        logger.info(
            "%s: patches that were left out can be read by now, so all are converted "
            "again",
            plan.split,
        )
        return None
    if any(
        provenance.changed(source, plan.shards[: len(found.sources)], found.sources)
    ):
        raise occupied(plan, out_dir, "records of files that have changed since")
    logger.info(
        "%s: %d records are there already%s; --overwrite converts them again, "
        "bigearthnet-tf inspect --verify reads them",
        plan.split,
        found.num_records,
        f", {found.left_out} patches were left out" if found.left_out else "",
    )
    return found


def _is_repaired(source: PatchSource, plan: Plan, out_dir: storage.StrPath) -> bool:
    """Tells whether a patch that was left out of records can be read by now."""
    try:
        text = storage.read_text(_left_out_path(plan, out_dir))
    except FileNotFoundError:
        return True
    names = {row.get("patch") for row in csv.DictReader(io.StringIO(text))}
    for entry in (entry for shard in plan.shards for entry in shard):
        if entry.name not in names:
            continue
        try:
            source.read(entry)
        except (ValueError, OSError):
            continue
        return True
    return False


def _left_out_path(plan: Plan, out_dir: storage.StrPath) -> str:
    return storage.join(out_dir, f"{plan.split}.left_out.csv")


def _check_left_out(plans: Iterable[Plan], out_dir: storage.StrPath) -> None:
    """Raises OSError where a list of left-out patches would replace a foreign file."""
    if (folder := storage.local_path(out_dir)) is not None:
        for plan in plans:
            path = _left_out_path(plan, folder)
            outputs.check_file(path, outputs.has_columns(*_LEFT_OUT_COLUMNS))


def occupied(plan: ShardPlan, out_dir: storage.StrPath, state: str) -> FileExistsError:
    """Returns the error of a folder that holds something else than is asked for."""
    return FileExistsError(
        f"{out_dir}: holds {state} of split {plan.split!r}; choose another output "
        "folder, or pass --overwrite"
    )


def is_there(out_dir: storage.StrPath, shard: manifest.Shard) -> bool:
    """Tells whether a shard lies in a folder, by its size."""
    path = storage.join(out_dir, shard.file)
    return storage.exists(path) and storage.size(path) == shard.num_bytes


def check_space(works: Iterable[Unfinished], out_dir: storage.StrPath) -> None:
    """Refuses to begin what the disk can't hold.

    Raises:
        OSError: less is free than the shards need that are still to be written.
    """
    free = storage.free_bytes(out_dir)
    if free is None:
        return
    needed = sum(work.plan.num_bytes - work.bytes_written() for work in works)
    if needed > free:
        raise OSError(
            f"{out_dir}: the records need {needed / 1e6:.0f} MB, but "
            f"{free / 1e6:.0f} MB are free; make room or choose another output folder"
        )


def _patches(note: Note) -> int:
    return note.shard.num_records + len(note.left_out)


def _publish(work: Unfinished[Plan, Note], notes: dict[int, Note]) -> manifest.Manifest:
    """Puts a whole split into place, with the list of what was left out."""
    plan = work.plan
    ordered = [notes[index] for index in sorted(notes)]
    left_out = list(plan.left_out)
    for note in ordered:
        left_out += note.left_out
    result = _describe(plan, ordered, len(left_out))
    _report_left_out(plan, left_out, work.out_dir)
    if not result.num_records:
        raise ValueError(
            f"split {plan.split!r}: no patch could be read; the first reason: "
            f"{left_out[0][1]}"
        )
    work.publish(result)
    logger.info(
        "%s: %d records in %d shard(s), read back and verified, bands %s",
        plan.split,
        result.num_records,
        len(result.shards),
        " ".join(result.bands),
    )
    return result


def _report_left_out(
    plan: Plan, left_out: Sequence[LeftOut], out_dir: storage.StrPath
) -> None:
    path = _left_out_path(plan, out_dir)
    if not left_out:
        storage.remove(path)
        return
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_LEFT_OUT_COLUMNS)
    table.writerows(left_out)
    storage.write_text(path, text.getvalue())
    logger.warning(
        "%s: %d of %d patches could not be read and are left out, see %s",
        plan.split,
        len(left_out),
        plan.num_records + len(plan.left_out),
        path,
    )


def _describe(plan: Plan, notes: list[Note], left_out: int) -> manifest.Manifest:
    shards = [note.shard for note in notes]
    facts = {name: band_facts.BANDS[name] for name in plan.bands}
    return manifest.Manifest(
        schema_version=manifest.SCHEMA_VERSION,
        tool_version=bigearthnet_tf.__version__,
        split=plan.split,
        archive_version=plan.archive_version,
        record_format=plan.record_format,
        bands={
            name: manifest.BandFacts(dtype=b.dtype, shape=(b.pixels, b.pixels))
            for name, b in facts.items()
        },
        label_order={kind: list(labels.label_names(kind)) for kind in plan.label_types},
        num_records=sum(shard.num_records for shard in shards),
        seed=plan.seed,
        plan=plan.fingerprint(),
        shards=shards,
        reference_maps=plan.reference_maps,
        left_out=left_out,
        sources=[note.source for note in notes],
        generated=any(note.generated for note in notes),
    )
