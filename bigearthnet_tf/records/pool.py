"""Worker processes that write shards.

This module loads no TensorFlow: a worker comes up with it and then loads TensorFlow
quietly itself.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass
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


def write_shards(
    archive: Archive,
    jobs: Mapping[int, Job],
    workers: int,
    on_records: Callable[[int], Any],
) -> Iterator[tuple[int, Shard]]:
    """Writes shards on several processes and yields each when it is finished.

    Processes are spawned: TensorFlow's threads do not survive a fork. When one fails,
    or the caller gives up, the others stop at their next record.

    Args:
        archive: where the patches are read from.
        jobs: by the number that the shard is reported with.
        workers: number of processes.
        on_records: called with the number of records written since the last call.

    Raises:
        Exception: whatever a worker raised, its first failure.
    """
    context = multiprocessing.get_context("spawn")
    done, stop = context.Value("L", 0), context.Event()
    pool = futures.ProcessPoolExecutor(
        workers, context, initializer=_start_worker, initargs=(archive, done, stop)
    )
    try:
        shards = {pool.submit(_write, *job): index for index, job in jobs.items()}
        unfinished, told = set(shards), 0
        while unfinished:
            ready, unfinished = futures.wait(
                unfinished, _POLL_SECONDS, futures.FIRST_COMPLETED
            )
            on_records(done.value - told)
            told = done.value
            for future in ready:
                yield shards[future], future.result()
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


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
