"""Worker processes that write shards.

This module loads no TensorFlow: a worker comes up with it and then loads TensorFlow
quietly itself.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigearthnet_tf import console
from bigearthnet_tf.archive.archives import Archive
from bigearthnet_tf.archive.patch import PatchEntry

if TYPE_CHECKING:
    from bigearthnet_tf.records.manifest import Shard

# Path of the shard, its patches, the form of its records.
Job = tuple[Path, Sequence[PatchEntry], str]

_POLL_SECONDS = 0.2


class Workers:
    """Processes that write shards; they come up with the first shard there is.

    They are spawned: TensorFlow's threads do not survive a fork. When one fails, or
    the caller gives up, the others stop at their next record.

    Args:
        archive: where the patches are read from.
        count: number of processes; with one, this process does the work.
    """

    def __init__(self, archive: Archive, count: int) -> None:
        self.archive, self.count = archive, count
        self._pool: futures.ProcessPoolExecutor | None = None
        context = multiprocessing.get_context("spawn")
        self._context, self._stop = context, context.Event()
        self._done = context.Value("L", 0)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the processes; returns when none of them writes any more."""
        self._stop.set()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def write_shards(
        self, jobs: Mapping[int, Job], on_records: Callable[[int], Any]
    ) -> Iterator[tuple[int, Shard]]:
        """Writes shards and yields each when it is finished.

        Args:
            jobs: by the number that the shard is reported with.
            on_records: called with the number of records written since the last call.

        Raises:
            Exception: whatever a worker raised, its first failure.
        """
        if self.count <= 1:
            yield from self._write_here(jobs, on_records)
            return
        if self._pool is None:
            self._pool = futures.ProcessPoolExecutor(
                self.count,
                self._context,
                initializer=_start_worker,
                initargs=(self.archive, self._done, self._stop),
            )
        told = self._done.value
        shards = {self._pool.submit(_write, *job): i for i, job in jobs.items()}
        unfinished = set(shards)
        while unfinished:
            ready, unfinished = futures.wait(
                unfinished, _POLL_SECONDS, futures.FIRST_COMPLETED
            )
            done = self._done.value
            on_records(done - told)
            told = done
            for future in ready:
                yield shards[future], future.result()

    def _write_here(
        self, jobs: Mapping[int, Job], on_records: Callable[[int], Any]
    ) -> Iterator[tuple[int, Shard]]:
        from bigearthnet_tf.records import writer

        for index, (path, entries, record_format) in jobs.items():
            patches = map(self.archive.read, entries)
            one = partial(on_records, 1)
            yield index, writer.write_shard(path, patches, record_format, one)


class _StoppedError(Exception):
    """Another worker has failed, or the user has had enough."""


@dataclass(frozen=True)
class _Worker:
    """What a worker process keeps for all its shards."""

    archive: Archive
    done: Any  # multiprocessing.Value: records that all workers have written
    stop: Any  # multiprocessing.Event: set when the work is given up

    def count(self) -> None:
        if self.stop.is_set():
            raise _StoppedError
        with self.done.get_lock():
            self.done.value += 1


_worker: list[_Worker] = []


def _start_worker(archive: Archive, done: Any, stop: Any) -> None:
    console.load_tensorflow()
    _worker.append(_Worker(archive, done, stop))


def _write(path: Path, entries: Sequence[PatchEntry], record_format: str) -> Shard:
    from bigearthnet_tf.records import writer

    worker = _worker[0]
    patches = map(worker.archive.read, entries)
    return writer.write_shard(path, patches, record_format, worker.count)
