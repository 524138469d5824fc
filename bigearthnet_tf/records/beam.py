"""The conversion as an Apache Beam pipeline, for clusters.

The pipeline carries the paths of the shards only: what goes into each lies in a job
file beside it, so that half a million patches do not travel in the description of the
pipeline, and what came of it in its note. Workers see the archive and the folder of
the records under the same paths as the process that starts them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pydantic

from bigearthnet_tf import console, extras
from bigearthnet_tf.archive.patch import PatchEntry, PatchSource
from bigearthnet_tf.records import storage
from bigearthnet_tf.records.writer import (
    Job,
    Note,
    note_path,
    read_note,
    write_shard,
)

beam = extras.load("apache_beam", extra="beam")
pipeline_options = extras.load("apache_beam.options.pipeline_options", extra="beam")

# How often to look for finished shards, for the progress bar.
_POLL_SECONDS = 2.0

_ENTRIES = pydantic.TypeAdapter(tuple[PatchEntry, ...])


class Runner:
    """Carries out jobs on a Beam runner; an `Executor` of `convert.convert`.

    A worker takes a shard at a time and holds one patch of it, so that it needs no
    more than the 1 GB that TensorFlow takes. Shards that are whole are not written
    twice when a runner tries its work again.

    Args:
        options: Beam's own, as on a command line: `--runner FlinkRunner ...`.

    Raises:
        ValueError: an option that Beam does not know.
    """

    def __init__(self, options: Sequence[str]) -> None:
        self._options = pipeline_options.PipelineOptions(list(options))
        taken = self._options.get_all_options(drop_default=True)
        given = self._options.get_all_options(
            drop_default=True, retain_unknown_options=True
        )
        unknown = sorted(given.keys() - taken.keys())
        name = self._options.view_as(pipeline_options.StandardOptions).runner
        try:
            extras.load("apache_beam.runners.runner", "beam").create_runner(name)
        except (ValueError, ImportError) as error:
            raise ValueError(f"Apache Beam has no runner {name!r} ({error})") from None
        if unknown:
            raise ValueError(
                f"Apache Beam does not know the option --{unknown[0]}; see the "
                "documentation of its runner"
            )

    def __call__(
        self, source: PatchSource, jobs: Sequence[Job], on_records: Callable[[int], Any]
    ) -> Iterator[tuple[Job, Note]]:
        """Runs the pipeline and yields each job with its note when all are done.

        Args:
            source: where the patches are read from; its files must be visible to all
                workers.
            jobs: the shards to write, of `PatchEntry`.
            on_records: called with the number of patches done since the last call,
                on a thread of its own.

        Raises:
            OSError: the pipeline failed.
            ValueError: a patch is missing or damaged; the message names it.
        """
        if not jobs:
            return
        try:
            for job in jobs:
                # A note without its shard whole would pass for work that is done.
                storage.remove(note_path(job.path))
                storage.remove(_failure_path(job.path))
                entries = _ENTRIES.dump_json(tuple(job.entries)).decode()
                storage.write_text(_entries_path(job.path), entries)
            with _count_finished(jobs, on_records):
                self._run(source, jobs)
            for job in jobs:
                yield job, _note_of(job)
        finally:
            for job in jobs:
                storage.remove(_entries_path(job.path))
                storage.remove(_failure_path(job.path))

    def _run(self, source: PatchSource, jobs: Sequence[Job]) -> None:
        """Runs the pipeline to its end."""
        logging.getLogger("apache_beam").setLevel(logging.WARNING)
        heads = [
            Job(job.split, job.index, job.path, (), job.record_format, job.skip_errors)
            for job in jobs
        ]
        try:
            with beam.Pipeline(options=self._options) as pipeline:
                _ = (
                    pipeline
                    | "shards" >> beam.Create(heads)
                    # Without it a runner may keep all shards on one worker.
                    | "spread" >> beam.Reshuffle()
                    | "write" >> beam.Map(_write, source)
                )
        except Exception as error:
            for job in jobs:
                _raise_failure(job)
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise OSError(
                f"the Beam pipeline failed: {reason[0]}; the same command continues, "
                "--debug shows more"
            ) from error


def _write(job: Job, source: PatchSource) -> None:
    """Writes a shard, on whichever machine.

    A damaged patch is told to the process that started the pipeline; the disk's
    errors also to the runner, which may try again.
    """
    if read_note(job.path, Note) is not None:
        return
    entries = _ENTRIES.validate_json(storage.read_text(_entries_path(job.path)))
    whole = Job(
        job.split, job.index, job.path, entries, job.record_format, job.skip_errors
    )
    try:
        write_shard(source, whole)
        storage.remove(_failure_path(job.path))
    except (ValueError, OSError) as error:
        storage.write_text(_failure_path(job.path), console.describe(error))
        if isinstance(error, OSError):
            raise


def _note_of(job: Job) -> Note:
    note = read_note(job.path, Note)
    if note is None:
        _raise_failure(job)
        raise OSError(
            f"{job.path}: the Beam pipeline ended without writing this shard; can its "
            "workers write to that folder?"
        )
    return note


def _raise_failure(job: Job) -> None:
    """Raises what a worker has said of a shard, if it has."""
    try:
        raise ValueError(storage.read_text(_failure_path(job.path)))
    except FileNotFoundError:
        return


@contextmanager
def _count_finished(
    jobs: Sequence[Job], on_records: Callable[[int], Any]
) -> Iterator[None]:
    """Reports the patches of shards whose notes appear meanwhile."""
    waiting = {job.path: len(job.entries) for job in jobs}
    ended = threading.Event()

    def look() -> None:
        for path in [path for path in waiting if read_note(path, Note) is not None]:
            on_records(waiting.pop(path))

    def watch() -> None:
        while not ended.wait(_POLL_SECONDS):
            look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        look()


def _entries_path(shard: str) -> str:
    return f"{shard}.entries"


def _failure_path(shard: str) -> str:
    return f"{shard}.failure"
