"""How fast a run is, what it takes, and profiles on demand."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

logger = logging.getLogger(__name__)

_PAGES = Path("/proc/self/statm")
# The first calls compile and fill buffers.
WARM_UP_ITERATIONS = 10


def memory() -> dict[str, float]:
    """Returns `memory_gb`, resident, and `gpu_memory_gb` of the first GPU, if any.

    Both in 1e9 bytes. Where the system does not tell what is resident now, it is the
    most that has been.
    """
    if _PAGES.exists():
        used = int(_PAGES.read_text().split()[1]) * resource.getpagesize()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        used = peak if sys.platform == "darwin" else peak * 1024
    found = {"memory_gb": used / 1e9}
    if tf.config.list_logical_devices("GPU"):
        info = tf.config.experimental.get_memory_info("GPU:0")
        found["gpu_memory_gb"] = info["current"] / 1e9
    return found


class Speed:
    """Times the calls of the compiled loop, and nothing between them.

    Args:
        seconds_per_call: how long a call should take.

    Attributes:
        per_iteration: seconds of an iteration in the last call.
        seconds: of all calls since the last restart.
        iterations: of them.
        waited: seconds of them that went by waiting for input.
    """

    def __init__(self, seconds_per_call: float) -> None:
        self.seconds_per_call = self.per_iteration = seconds_per_call
        self.restart()

    def restart(self) -> None:
        """Begins to count anew."""
        self.seconds, self.iterations, self.waited = 1e-9, 0, 0.0

    def fitting(self) -> int:
        """Returns how many iterations fit into a call, at least one."""
        return max(1, int(self.seconds_per_call / self.per_iteration))

    @contextmanager
    def measured(self, count: int) -> Iterator[None]:
        """Times a call of so many iterations."""
        begun = time.perf_counter()
        yield
        seconds = time.perf_counter() - begun
        self.seconds += seconds
        self.iterations += count
        self.per_iteration = max(seconds / count, 1e-6)


class Profile:
    """Profiles some iterations of a run for TensorBoard, once it is warm.

    Args:
        folder: of TensorBoard's files.
        iterations: how many; 0 for none.
    """

    def __init__(self, folder: Path, iterations: int) -> None:
        self.folder, self.iterations = folder, iterations
        self._begun: int | None = None
        self._taken = 0

    def next_stop(self) -> int | None:
        """Returns how many iterations the next call may take; None for any number."""
        if not self.iterations:
            return None
        if self._begun is None:
            return max(1, WARM_UP_ITERATIONS - self._taken)
        return max(1, self._begun + self.iterations - self._taken)

    def after(self, count: int) -> None:
        """Begins or ends the profile, after so many more iterations."""
        if not self.iterations:
            return
        self._taken += count
        if self._begun is None and self._taken >= WARM_UP_ITERATIONS:
            tf.profiler.experimental.start(str(self.folder))
            self._begun = self._taken
        elif self._begun is not None and self._taken >= self._begun + self.iterations:
            self.close()

    def close(self) -> None:
        """Ends the profile, if one is being made, and writes it."""
        if self._begun is None:
            if self.iterations:
                logger.warning(
                    "no profile: it begins after %d iterations, and only %d were done",
                    WARM_UP_ITERATIONS,
                    self._taken,
                )
            return
        tf.profiler.experimental.stop()
        logger.info(
            "profile of %d iterations in %s", self._taken - self._begun, self.folder
        )
        self._begun, self.iterations = None, 0
