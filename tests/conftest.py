"""Fixtures that many tests share."""

import os
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("MPLBACKEND", "Agg")

# A busy machine is no reason to fail, and a failure must come back when repeated.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True)
hypothesis.settings.load_profile("house")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material beside the checkout, or a skip."""
    folder = ROOT.parent / "shared"
    if not (folder / "design.md").exists():
        pytest.skip("../shared (reference data) is absent")
    return folder
