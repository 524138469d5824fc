"""Worker processes that go through shards.

This module loads no TensorFlow: a worker comes up with it and then loads TensorFlow
quietly itself.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass
from typing import Any, TypeVar

from bigearthnet_tf import console, signals

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")

# What the processes do: (source, job, on_record) -> result. A function of a module,
# so that it can be sent to them; `on_record` is to be called after each record.
Task = Callable[[Any, JobT, Callable[[], None]], ResultT]

_POLL_SECONDS = 0.2


class Workers:
    """Processes that come up with the first job there is.

    They are spawned: TensorFlow's threads do not survive a fork. When one fails, or
    the caller gives up, the others stop at their next record; when the caller is
    killed, they end with it.

    Args:
        source: what every job needs; sent to each process once.
        count: number of processes; with one, this process does the work.
    """

    def __init__(self, source: Any, count: int) -> None:
        self.source, self.count = source, count
        self._pool: futures.ProcessPoolExecutor | None = None
        context = multiprocessing.get_context("spawn")
        self._context, self._stop = context, context.Event()
        self._done = context.Value("L", 0)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the processes; returns when none of them works any more."""
        self._stop.set()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def run(
        self,
        task: Task[JobT, ResultT],
        jobs: Mapping[Any, JobT],
        on_records: Callable[[int], Any],
    ) -> Iterator[tuple[Any, ResultT]]:
        """Carries out jobs and yields each result when it is there.

        Args:
            task: what to do with a job.
            jobs: by the key that the result is reported with.
            on_records: called with the number of records done since the last call.

        Raises:
            Exception: whatever a worker raised, its first failure.
            OSError: a worker was killed.
        """
        if self.count <= 1:
            for key, job in jobs.items():
                yield key, task(self.source, job, lambda: on_records(1))
            return
        if self._pool is None:
            self._pool = futures.ProcessPoolExecutor(
                self.count,
                self._context,
                initializer=_start_worker,
                initargs=(self.source, self._done, self._stop),
            )
        told = self._done.value
        with signals.sparing_children():
            keys = {
                self._pool.submit(_work, task, job): key for key, job in jobs.items()
            }
        unfinished = set(keys)
        while unfinished:
            ready, unfinished = futures.wait(
                unfinished, _POLL_SECONDS, futures.FIRST_COMPLETED
            )
            done = self._done.value
            on_records(done - told)
            told = done
            for future in ready:
                try:
                    result = future.result()
                except futures.BrokenExecutor as error:
                    raise OSError(
                        "a worker process was killed, perhaps for want of memory; call "
                        "again with fewer --workers, what was finished is kept"
                    ) from error
                yield keys.pop(future), result


class _StoppedError(Exception):
    """Another worker has failed, or the user has had enough."""


@dataclass(frozen=True)
class _Worker:
    """What a worker process keeps for all its jobs."""

    source: Any
    done: Any  # multiprocessing.Value: records that all workers have done
    stop: Any  # multiprocessing.Event: set when the work is given up

    def count(self) -> None:
        if self.stop.is_set():
            raise _StoppedError
        with self.done.get_lock():
            self.done.value += 1


_worker: list[_Worker] = []


def _start_worker(source: Any, done: Any, stop: Any) -> None:
    signals.end_with_parent()
    console.load_tensorflow()
    _worker.append(_Worker(source, done, stop))


def _work(task: Task[JobT, ResultT], job: JobT) -> ResultT:
    worker = _worker[0]
    return task(worker.source, job, worker.count)
