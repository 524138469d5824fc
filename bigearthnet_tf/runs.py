"""The folder of a run and what is written down when it starts."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock

import bigearthnet_tf
from bigearthnet_tf import config as configs
from bigearthnet_tf import files

_LOCK = ".lock"
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
    return Path(config.out_dir + (TEST_RUN_SUFFIX if test_run else ""))


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps other processes from training in a folder meanwhile.

    The lock goes with the process, however that ends.

    Raises:
        OSError: another process is at work there, or the folder can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / _LOCK, timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise OSError(
            f"{folder}: another train.py is at work there; wait for it, or choose "
            "another out_dir"
        ) from None
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield
    finally:
        # In this order nobody can take the lock of a file that is about to vanish.
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
        # A run that could not begin leaves nothing.
        with suppress(OSError):
            folder.rmdir()


def clear(folder: Path) -> None:
    """Removes what an earlier run left in a folder that this process holds.

    Raises:
        OSError: something can't be removed.
    """
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()


def open_run(folder: Path, config: configs.Config) -> None:
    """Makes the folder of a run and notes its config and environment in it.

    Raises:
        OSError: the folder can't be made or written to.
    """
    try:
        configs.save(config, folder / "config.json")
        files.write_json(folder / "environment.json", _environment())
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
