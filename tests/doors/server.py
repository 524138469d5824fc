"""A prepared process that runs each case in a fork of itself.

Importing TensorFlow takes longer than most cases; here it is imported once. The
process never uses TensorFlow, so that its forks begin with a fresh runtime.
"""

from __future__ import annotations

import fnmatch
import gc
import importlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
TIMEOUT = 400.0  # seconds that a case may take on a busy machine


def all_cases() -> dict[str, object]:
    """Returns the cases of all modules `cases_*.py` by their ids, in their order."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("cases_*.py")):
        module = importlib.import_module(f"doors.{path.stem}")
        for case in module.CASES:
            if case.id in found:
                raise ValueError(f"{path.name}: two cases are called {case.id}")
            found[case.id] = case
    return dict(sorted(found.items()))


def in_fork(work: Callable[[], None], out: Path, err: Path) -> int:
    """Runs `work` in a fork; returns its status, negative for a signal."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _become_child(work, out, err)
    poll = select.poll()
    descriptor = os.pidfd_open(child)
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(TIMEOUT * 1000):
        os.killpg(child, signal.SIGKILL)
    os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _become_child(work: Callable[[], None], out: Path, err: Path) -> None:
    status = 1
    try:
        os.setsid()
        for number, path in ((1, out), (2, err)):
            target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(target, number)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        # pytest and the server may have put other objects there.
        sys.stdout = open(1, "w", closefd=False, buffering=1)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
        work()
        status = 0
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 0 if not left.code else 1
    except BaseException:
        traceback.print_exc()
        status = 70
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def go_through(door: str, arguments: object) -> None:
    """Runs the command behind a door as its script does; ends the process."""
    from bigearthnet_tf import cli, console

    if door == "python":
        console.run(arguments)
    script = door in ("prep_splits", "train", "eval")
    name = [f"{door}.py"] if script else ["bigearthnet-tf", door]
    sys.argv = [*name, *map(str, arguments)]
    console.run(importlib.import_module(door).main if script else cli.run)


def run_case(case, kit, folder: Path) -> dict[str, object]:
    """Runs one case in a folder; returns what it did as JSON has it."""
    from doors.kit import digests

    here = folder / "here"
    here.mkdir(parents=True)
    out, err, made = folder / "out", folder / "err", folder / "made.json"

    def work() -> None:
        os.chdir(here)
        arguments = case.call(kit, here)
        made.write_text(json.dumps(digests(here)))
        go_through(case.door, arguments)

    began = time.monotonic()
    status = in_fork(work, out, err)
    before = json.loads(made.read_text()) if made.exists() else None
    if before is None:
        return {"broken": err.read_text()}
    after = json.loads(json.dumps(digests(here)))
    changed = sorted(
        path for path in before.keys() | after.keys()
        if before.get(path) != after.get(path)
    )  # fmt: skip
    result = {
        "status": status,
        "out": out.read_text(errors="replace"),
        "err": without_bars(err.read_text(errors="replace")),
        "changed": changed,
    }
    result["faults"] = judge(case, here, result)
    result["seconds"] = time.monotonic() - began
    return result


def without_bars(text: str) -> str:
    """Returns standard error without what tqdm draws over and over."""
    lines = re.split(r"[\r\n]", text)
    return "\n".join(line for line in lines if line.strip() and "it/s" not in line
                     and not re.search(r"\d+%\|", line))  # fmt: skip


def judge(case, here: Path, result: dict) -> list[str]:
    """Returns what is wrong with what a command did; nothing if all is right."""
    from doors.case import LONGEST_LINE, Outcome

    faults = []
    outcome = Outcome(**{k: result[k] for k in ("status", "out", "err", "changed")})
    if outcome.status != case.expected_status:
        faults.append(f"status {outcome.status}, expected {case.expected_status}")
    if case.says:
        line = outcome.err.splitlines()[-1] if outcome.err else ""
        many = case.expected_status == 1 and len(outcome.err.splitlines()) != 1
        if many or "Traceback" in outcome.err:
            faults.append("expected one line on standard error")
        if "--debug shows" in line:
            faults.append("the error of a library")
        if len(line) > LONGEST_LINE:
            faults.append(f"a line of {len(line)} characters")
        faults += [
            f"does not say {p!r}" for p in case.says if not re.search(p, line, re.I)
        ]
        left = [
            path for path in outcome.changed
            if not any(fnmatch.fnmatch(path, p) for p in case.leaves)
        ]  # fmt: skip
        if left:
            faults.append(f"left or changed: {left[:5]}")
    elif case.check is not None and not faults:
        try:
            os.chdir(here)
            case.check(here, outcome)
        except Exception as error:
            faults.append(f"{type(error).__name__}: {str(error)[:500]}")
        finally:
            os.chdir(ROOT)
    return faults


def serve(root: Path) -> None:
    """Makes the kit if it is not there, and answers ids of cases on standard input."""
    sys.path[:0] = [str(TESTS), str(ROOT)]
    from doors.kit import PARTS, Kit, digests

    from bigearthnet_tf import console

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    console.load_tensorflow()
    for name in (
        "keras",
        "bigearthnet_tf.training.session",
        "bigearthnet_tf.evaluation",
        "bigearthnet_tf.serving.maps",
        "bigearthnet_tf.serving.scene_map",
    ):
        importlib.import_module(name)  # fmt: skip
    gc.freeze()  # What the forks share is not looked at again in each of them.
    kit = Kit(root / "kit")
    if not (root / "kit.done").exists():
        _make(kit, PARTS)
        (root / "kit.done").touch()
    cases = all_cases()
    untouched = digests(kit.root)
    answers.write(json.dumps("ready") + "\n")
    for number, line in enumerate(sys.stdin):
        case = cases[json.loads(line)]
        folder = root / f"case-{os.getpid()}-{number}"
        try:
            answers.write(json.dumps(run_case(case, kit, folder)) + "\n")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    now = digests(kit.root)
    changed = [path for path in untouched if now.get(path) != untouched[path]]
    if changed:
        sys.exit(f"cases have changed the kit: {changed[:5]}")


def _make(kit, parts) -> None:
    kit.root.mkdir(parents=True, exist_ok=True)
    for part in parts:
        log = kit.root.parent / f"{part.__name__}.log"
        status = in_fork(lambda part=part: part(kit), log, log)
        if status:
            raise RuntimeError(f"{part.__name__}: {log.read_text()}")


class Server:
    """The prepared process, from outside.

    Args:
        root: folder for the kit and the cases.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)]),
            "CUDA_VISIBLE_DEVICES": "-1",
            "MPLBACKEND": "Agg",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "doors.server", str(root)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=environment,
        )  # fmt: skip
        self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the prepared process has ended; see its standard error")
        return json.loads(line)

    def run(self, case_id: str) -> dict:
        """Runs a case; returns status, out, err, changed, faults and seconds."""
        self._process.stdin.write(json.dumps(case_id) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Ends the process, which complains if cases have changed the kit."""
        self._process.stdin.close()
        failed = self._process.wait(timeout=60)
        self._process.stdout.close()
        if failed:
            raise RuntimeError("the prepared process failed; see its standard error")


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
