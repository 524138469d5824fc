"""Leaving in good order when the system or the user asks to."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from bigearthnet_tf import signals

ANSWER = "finishing the step, then saving a checkpoint"


class Interruption:
    """Remembers that SIGTERM or SIGINT came."""

    def __init__(self) -> None:
        self._watch: signals.Watch | None = None

    @property
    def signal(self) -> signal.Signals | None:
        """Which came first; None as long as there was none."""
        return self._watch.first if self._watch else None

    def __bool__(self) -> bool:
        return self.signal is not None

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Takes note of the first signal for a while instead of ending.

        A line says so at once; the second ends the process at once. Outside the main
        thread nothing changes.
        """
        with signals.watching() as watch:
            self._watch = watch
            if watch is None:
                yield
                return
            with watch.deferring(ANSWER):
                yield
