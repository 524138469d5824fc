"""Reactions to SIGINT and SIGTERM, also while TensorFlow computes.

Python runs signal handlers in the main thread alone, and only between two bytecodes;
within a call of TensorFlow that can take minutes. The handler below them, in C, writes
the number of the signal to a socket at once: a thread reads it there and answers.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

WATCHED = (signal.SIGINT, signal.SIGTERM)
STOPPING = "stopping; the same command continues where it can"
_STARTING = "ended during start-up, before anything was written"
# Said of semaphores, which it then removes, when a process ended at once.
_LEAKS = "ignore::UserWarning:multiprocessing.resource_tracker"
# Launchers (`timeout`, SLURM) signal a process and then its whole group.
_SAME_SECONDS = 0.1


class Watch:
    """Answers signals; made by `watching`.

    The first prints a line at once. Then the main thread gets a KeyboardInterrupt as
    soon as it is back in Python, unless the signal is deferred, or the process ends at
    once during start-up. The second always ends the process at once.

    Attributes:
        first: the first signal; None until there is one.
        has_raised: whether it became a KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self.has_raised = False
        self._answer = STOPPING
        self._defers = self._is_starting = False
        # Python hands these options to its child processes, the resource tracker too.
        if _LEAKS not in sys.warnoptions:
            sys.warnoptions.append(_LEAKS)
        # TensorFlow's import closes standard error for a while.
        self._errors = os.dup(2)
        self._may_end, self._answered = threading.Lock(), threading.Event()
        self._inbox, self._outbox = socket.socketpair()
        self._outbox.setblocking(False)
        self._before = {each: signal.signal(each, self._handle) for each in WATCHED}
        self._wakeup_before = signal.set_wakeup_fd(
            self._outbox.fileno(), warn_on_full_buffer=False
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leaves signals to what handled them before, once all are answered."""
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._outbox.shutdown(socket.SHUT_WR)
        self._thread.join()
        self._inbox.close()
        self._outbox.close()
        os.close(self._errors)

    def leave(self) -> None:
        """Ends the watch, or if a signal has come, keeps it until the process ends.

        That may take a while, in which a second signal still ends it at once.
        """
        if self.first is None:
            self.close()
        else:
            self._answered.wait(timeout=1)

    @contextmanager
    def deferring(self, answer: str) -> Iterator[None]:
        """Has the first signal noted alone; `answer` says what happens then."""
        before, self._answer, self._defers = self._answer, answer, True
        # TensorFlow takes SIGTERM over where several processes train together.
        for each in WATCHED:
            signal.signal(each, self._handle)
        try:
            yield
        finally:
            self._answer, self._defers = before, False

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Ends at once at the first signal, as long as nothing is written.

        An exception within an import may be swallowed or become another one.
        """
        self._is_starting = True
        try:
            yield
        finally:
            self._is_starting = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.first is None:
            self.first = signal.Signals(number)
        if self._is_starting:
            self._end(self.first, "" if self._answered.is_set() else _STARTING)
        elif not self._defers and not self.has_raised:
            self.has_raised = True
            raise KeyboardInterrupt

    def _listen(self) -> None:
        answered = None
        while number := self._inbox.recv(1):
            received, now = signal.Signals(number[0]), time.monotonic()
            if received not in WATCHED:
                continue
            if answered is None:
                answered, self.first = now, self.first or received
                if self._is_starting:
                    self._end(received, _STARTING)
                self._say(f"{received.name}: {self._answer}; once more ends at once")
                self._answered.set()
            elif now - answered > _SAME_SECONDS:
                self._end(received, "ended at once")

    def _end(self, received: signal.Signals, why: str) -> None:
        # Both threads may come here: the first one has the word.
        if self._may_end.acquire(blocking=False):
            if why:
                self._say(f"{received.name}: {why}")
            os._exit(128 + received)

    def _say(self, line: str) -> None:
        # A progress bar may stand in the line.
        start = "\n" if os.isatty(self._errors) else ""
        os.write(self._errors, f"{start}{line}\n".encode())


_current: list[Watch] = []


@contextmanager
def watching() -> Iterator[Watch | None]:
    """Answers signals meanwhile; there is one watch at a time, the outermost.

    Yields:
        The watch; None outside the main thread, which alone can install handlers.
    """
    if _current or threading.current_thread() is not threading.main_thread():
        yield _current[0] if _current else None
        return
    watch = Watch()
    _current.append(watch)
    try:
        yield watch
    finally:
        _current.clear()
        watch.leave()


@contextmanager
def starting() -> Iterator[None]:
    """Has the first signal end the process at once, if signals are watched."""
    if not _current:
        yield
        return
    with _current[0].starting():
        yield


@contextmanager
def sparing_children() -> Iterator[None]:
    """Blocks SIGINT in processes that are started meanwhile.

    A terminal sends it to all of them; what to do is up to the process that started
    them. Its other threads still receive signals.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """Ends this process, in a thread, when the one that started it is gone."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
