"""Trains again and again, and kills the training each time.

Called as `killer.py CONFIG KILLS`. TensorFlow is imported once and the process forked
for every training, which saves seconds each. Every other time it waits until a
checkpoint is being written, else it kills at random: after the first checkpoint, or now
and then in the start-up. Prints how often it left a checkpoint half written, and not.
"""

import json
import os
import random
import runpy
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bigearthnet_tf import console  # noqa: E402

console.load_tensorflow()
from bigearthnet_tf.training import session  # noqa: E402, F401 - before the fork


def start(config: str) -> int:
    child = os.fork()
    if child:
        return child
    sys.argv = ["train.py", config]
    runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    raise SystemExit("train.py should have ended the process")


def wait(child: int, seconds: float, until=lambda: False) -> int | None:
    """Returns the exit status; None if the child still runs when the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.0005)
    return None


def main(config: str, kills: int) -> None:
    folder = Path(json.loads(Path(config).read_text())["out_dir"]) / "checkpoints"
    rng, at_random, while_writing = random.Random(5), 0, 0
    while True:
        child, killed = start(config), at_random + while_writing
        if killed == kills:
            status = wait(child, 600)
            break
        begun = newest(folder)
        if killed % 2:
            status = wait(child, 60, lambda begun=begun: is_writing(folder, begun))
        elif killed % 8 == 0:
            status = wait(child, rng.uniform(0.5, 4))
        else:
            status = wait(child, 60, lambda begun=begun: newest(folder) > begun)
            status = wait(child, rng.uniform(0, 0.4)) if status is None else status
        if status is not None:
            break
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        # What is half written stays half written.
        if any(folder.glob(".iteration-*.tmp")):
            while_writing += 1
        else:
            at_random += 1
    print(json.dumps({"status": status, "random": at_random, "writing": while_writing}))


def newest(folder: Path) -> int:
    found = [int(p.name.split("-")[1]) for p in folder.glob("iteration-*")]
    return max(found, default=0)


def is_writing(folder: Path, begun: int) -> bool:
    """Tells whether a checkpoint is half written, some way beyond the last start."""
    return newest(folder) > begun and any(folder.glob(".iteration-*.tmp"))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
