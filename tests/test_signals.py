"""Processes that get SIGINT or SIGTERM at several moments."""

import os
import signal
import subprocess
import sys
import time

import pytest

from bigearthnet_tf import signals

STOPPING = f"{signals.STOPPING}; once more ends at once"
BOTH = pytest.mark.parametrize("number", signals.WATCHED, ids=lambda n: n.name)

# A call into C that signals don't end and that lets other threads run, as TensorFlow's.
PRELUDE = """
import hashlib, signal, time
from bigearthnet_tf import console, signals
from bigearthnet_tf.training import interruption

def ready():
    print("ready", flush=True)

def compute(millions):
    ready()
    hashlib.pbkdf2_hmac("sha512", b"", b"", millions * 1_000_000)

"""
MAINS = {
    "python": "def main():\n    ready(); time.sleep(30)",
    "library": "def main():\n    compute(100)",
    "short call": "def main():\n    compute(1); time.sleep(30)",
    "start-up": "def main():\n    with signals.starting():\n        compute(100)",
    "training": (
        "def main():\n"
        "    asked = interruption.Interruption()\n"
        "    with asked.heeded():\n"
        "        compute(1)\n"
        "        while not asked: time.sleep(0.01)\n"
        "        raise console.Interrupted(asked.signal, 'saved')"
    ),
    "long step": (
        "def main():\n"
        "    with interruption.Interruption().heeded():\n"
        "        compute(100)"
    ),
    "slow end": (
        "import atexit\n"
        "atexit.register(compute, 100)\n"
        "def main():\n"
        "    signal.raise_signal(signal.SIGINT)"
    ),
    "swallowed": (
        "def main():\n"
        "    try:\n"
        "        ready(); time.sleep(30)\n"
        "    except KeyboardInterrupt:\n"
        "        raise RuntimeError('something else')"
    ),
}


def start(main: str) -> subprocess.Popen:
    code = PRELUDE + MAINS[main] + "\nconsole.run(main)\n"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.05)  # It is in the call now.
    return process


def end_of(process: subprocess.Popen) -> tuple[int, list[str]]:
    _, errors = process.communicate(timeout=20)
    return process.returncode, errors.splitlines()


@BOTH
@pytest.mark.parametrize(
    ("main", "lines"),
    [
        ("python", [STOPPING]),
        ("short call", [STOPPING]),
        ("swallowed", [STOPPING]),
        ("start-up", ["ended during start-up, before anything was written"]),
    ],
)
def test_the_first_ends_a_command_with_a_line(number, main, lines):
    process = start(main)
    process.send_signal(number)
    expected = [f"{number.name}: {line}" for line in lines]
    assert end_of(process) == (128 + number, expected)


@BOTH
@pytest.mark.parametrize("main", ["library", "long step"])
def test_a_line_comes_at_once_and_the_second_ends_at_once(number, main):
    process, begun = start(main), time.monotonic()
    process.send_signal(number)
    first = process.stderr.readline()
    assert first.startswith(f"{number.name}: ")
    assert first.endswith("; once more ends at once\n")
    assert process.poll() is None
    time.sleep(2 * signals._SAME_SECONDS)
    process.send_signal(number)
    assert end_of(process) == (128 + number, [f"{number.name}: ended at once"])
    assert time.monotonic() - begun < 15


@BOTH
def test_training_finishes_its_step(number):
    process = start("training")
    process.send_signal(number)
    line = process.stderr.readline()
    assert line.startswith(f"{number.name}: finishing the step, then saving")
    assert process.poll() is None
    assert end_of(process) == (128 + number, ["saved"])


def test_the_second_may_be_another():
    process = start("long step")
    process.send_signal(signal.SIGINT)
    process.stderr.readline()
    time.sleep(2 * signals._SAME_SECONDS)
    process.send_signal(signal.SIGTERM)
    assert end_of(process) == (143, ["SIGTERM: ended at once"])


def test_the_second_may_come_when_the_command_has_ended():
    process = start("slow end")
    time.sleep(2 * signals._SAME_SECONDS)
    process.send_signal(signal.SIGTERM)
    first = f"SIGINT: {STOPPING}"
    assert end_of(process) == (143, [first, "SIGTERM: ended at once"])


def test_a_launcher_that_signals_twice_counts_once():
    process = start("training")
    process.send_signal(signal.SIGINT)
    process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    assert end_of(process) == (130, ["saved"])


def test_handlers_are_restored():
    before = [signal.getsignal(number) for number in signals.WATCHED]
    with signals.watching() as watch, signals.watching() as same:
        assert same is watch
        assert [signal.getsignal(n) for n in signals.WATCHED] != before
    assert [signal.getsignal(number) for number in signals.WATCHED] == before
    assert signal.set_wakeup_fd(-1) == -1


WORKERS = """
import os, time
from bigearthnet_tf import console
from bigearthnet_tf.records import pool

# Also in the workers, which come up with this script.
console.load_tensorflow = lambda: None

def work(source, job, on_record):
    print(os.getpid(), flush=True)
    while True:
        time.sleep(0.05)
        on_record()

def main():
    with pool.Workers(None, 2) as crew:
        list(crew.run(work, {1: 1, 2: 2}, lambda count: None))

if __name__ == "__main__":
    console.run(main)
"""


def is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("number", "whole_group", "count"),
    [
        (signal.SIGINT, True, 1),
        (signal.SIGTERM, False, 1),
        (signal.SIGTERM, True, 1),
        (signal.SIGINT, True, 2),
    ],
)
def test_no_worker_is_left(tmp_path, number, whole_group, count):
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    process = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    children = [int(process.stdout.readline()) for _ in range(2)]
    for _ in range(count):
        (os.killpg if whole_group else os.kill)(process.pid, number)
        time.sleep(2 * signals._SAME_SECONDS)
    _, errors = process.communicate(timeout=60)
    # In Python's very last moments a second one kills it: the same to a shell.
    assert process.returncode in (128 + number, -number if count == 2 else None)
    assert errors.splitlines()[0] == f"{number.name}: {STOPPING}"
    assert len(errors.splitlines()) <= count
    end = time.monotonic() + 10
    while any(map(is_alive, children)):
        assert time.monotonic() < end
        time.sleep(0.05)
