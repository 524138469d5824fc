"""The folder of a run and what is written down when it starts."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from pathlib import Path

import bigearthnet_tf
from bigearthnet_tf import config as configs
from bigearthnet_tf import files

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


def open_run(folder: Path, config: configs.Config) -> None:
    """Makes the folder of a run and notes its config and environment in it.

    Raises:
        OSError: the folder can't be made or written to.
    """
    try:
        configs.save(config, folder / "config.json")
        files.write_json(folder / "environment.json", _environment())
    except OSError as error:
        raise OSError(
            f"{folder}: can't be written to ({error.strerror}); choose another out_dir "
            "or change its permissions"
        ) from error


def _environment() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in _NOTED_PACKAGES}
    return {
        "command": " ".join(sys.argv),
        "bigearthnet_tf": bigearthnet_tf.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **versions,
    }
