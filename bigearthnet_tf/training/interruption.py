"""Leaving in good order when the system or the user asks to."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Remembers that SIGTERM or SIGINT came.

    Attributes:
        signal: which came first; None as long as there was none.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Takes note of the signals for a while instead of ending at once.

        A second one ends the process as it would have without this, as soon as
        TensorFlow gives the word back to Python.
        Only the main thread can take signals; elsewhere nothing changes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        watched = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self._note) for number in watched}
        self._before = before
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        for each, handler in self._before.items():
            signal.signal(each, handler)
