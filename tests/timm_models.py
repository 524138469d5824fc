"""timm, with torchvision stood in for, as an oracle of some tests."""

import importlib
import importlib.util
import runpy
import warnings
from pathlib import Path

import pytest

STAND_INS = Path(__file__).parents[1] / "benchmarks" / "torchvision_stand_ins.py"


def load():
    """Returns the package timm, or skips the test by name."""
    for name in ("torch", "timm"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    if importlib.util.find_spec("torchvision") is None:
        runpy.run_path(str(STAND_INS))["install"]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("timm")
