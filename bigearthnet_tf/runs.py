"""The folder of a run and what is written down when it starts."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock

import bigearthnet_tf
from bigearthnet_tf import config as configs
from bigearthnet_tf import files, outputs

_LOCK, _TEST_RUN = ".lock", ".test-run"
_CONFIG, _ENVIRONMENT = "config.json", "environment.json"
# What training writes into the folder of a run.
_OF_A_RUN = (
    _CONFIG,
    _ENVIRONMENT,
    "history.jsonl",
    "checkpoints",
    "logs",
    "emissions.csv",
    "wandb",
)
TEST_RUN_SUFFIX = "-test-run"
_NOTED_PACKAGES = ("tensorflow", "keras", "numpy", "rasterio", "imagecodecs")


def out_dir(config: configs.Config, test_run: bool = False) -> Path:
    """Returns the folder of the run that a config describes.

    Args:
        config: of the run.
        test_run: whether it is the trial of a few steps, which has its own folder.

    Raises:
        ValueError: the config names none.
    """
    if not config.out_dir:
        raise ValueError(
            "out_dir is missing; name the folder of the run in the config, or pass "
            "--set out_dir=runs/NAME"
        )
    folder = Path(config.out_dir)
    if not test_run:
        return folder
    if folder.name in ("", ".."):
        folder = folder.resolve()
    return folder.with_name(f"{folder.name}{TEST_RUN_SUFFIX}")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps other processes from training in a folder meanwhile.

    The lock goes with the process, however that ends.

    Raises:
        OSError: another process is at work there, or the folder can't be made.
    """
    # A run that could not begin leaves nothing, and no folder.
    with ExitStack() as stack:
        _lock(folder, stack)
        yield


def _lock(folder: Path, stack: ExitStack) -> None:
    try:
        stack.enter_context(files.made_folder(folder))
        lock = filelock.FileLock(folder / _LOCK, timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise OSError(
            f"{folder}: another train.py is at work there; wait for it, or choose "
            "another out_dir"
        ) from None
    except OSError as error:
        raise _unwritable(folder, error) from error
    # Last in, first out: nobody can take the lock of a file that is about to vanish.
    stack.callback(lock.release)
    stack.callback(Path(lock.lock_file).unlink, missing_ok=True)


def clear(folder: Path) -> None:
    """Removes what an earlier test run left in a folder that this process holds.

    Raises:
        FileExistsError: no test run has marked the folder as its own.
        OSError: something can't be removed.
    """
    there = [path for path in folder.iterdir() if path.name != _LOCK]
    if there and not (folder / _TEST_RUN).is_file():
        raise FileExistsError(
            f"{folder}: expected the folder of an earlier --test-run, but none has "
            f"marked it as its own ({there[0].name} lies there); remove it, or choose "
            "another out_dir"
        )
    for path in there:
        if path.name not in _OF_A_RUN:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def check_free(folder: Path) -> None:
    """Checks that the notes of a run replace no files but those of a run.

    Raises:
        FileExistsError: a file of such a name is there, and nothing else of a run of
            this program.
    """
    there = [name for name in (_CONFIG, _ENVIRONMENT) if (folder / name).exists()]
    if there and not _is_run(folder):
        raise FileExistsError(
            f"{folder}: expected a new folder or that of a run, but {there[0]} there "
            "is of no run of this program; choose another out_dir"
        )


def check_results(folder: Path) -> None:
    """Checks that results of an evaluation replace no files but those of an earlier.

    Raises:
        OSError: foreign files are there, or the folder can't be written to.
    """
    outputs.check_folder(folder)
    if not _is_run(folder):
        report = folder / "report.html"
        known = outputs.beside(report, outputs.is_page)
        outputs.check_files([(report, known), (folder / "eval_result.json", known)])


def _is_run(folder: Path) -> bool:
    """Tells whether a folder has the environment of a run, or its checkpoints."""
    with suppress(OSError, ValueError, TypeError):
        if "bigearthnet_tf" in files.read_json(folder / _ENVIRONMENT):
            return True
    return any((folder / "checkpoints").glob("iteration-*/description.json"))


def open_run(folder: Path, config: configs.Config, test_run: bool = False) -> None:
    """Makes the folder of a run and notes its config and environment in it.

    Args:
        folder: of the run.
        config: likewise.
        test_run: whether to mark the folder as one that a test run may clear.

    Raises:
        OSError: the folder can't be made or written to.
    """
    try:
        if test_run:
            (folder / _TEST_RUN).touch()
        files.write_json(folder / _ENVIRONMENT, _environment())
        configs.save(config, folder / _CONFIG)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> OSError:
    return OSError(
        f"{folder}: can't be written to ({error.strerror}); choose another out_dir "
        "or change its permissions"
    )


def _environment() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in _NOTED_PACKAGES}
    return {
        "command": " ".join(sys.argv),
        "bigearthnet_tf": bigearthnet_tf.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **versions,
    }


def config_differences(found: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Returns the keys in which configs differ, with the value of each.

    `out_dir` always differs and is left out; a config that has no such key has None.

    Args:
        found: resolved configs.
    """
    keys = dict.fromkeys(key for config in found for key in config)
    values = {key: [config.get(key) for config in found] for key in keys}
    return {
        key: of
        for key, of in values.items()
        if key != "out_dir" and len({json.dumps(value) for value in of}) > 1
    }
