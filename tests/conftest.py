"""Fixtures that many tests share."""

import gc
import os
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# As the scripts have it, so that a run that both take part in is one run: processors
# with AVX2 only compute otherwise without.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("MPLBACKEND", "Agg")

# A busy machine is no reason to fail, and a failure must come back when repeated.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True)
hypothesis.settings.load_profile("house")

ROOT = Path(__file__).parents[1]


def pytest_collection_finish():
    """Spares the garbage collector what stays: modules and tests.

    They are half a million objects, and each look at all of them takes a second.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material beside the checkout, or a skip."""
    folder = ROOT.parent / "shared"
    if not (folder / "design.md").exists():
        pytest.skip("../shared (reference data) is absent")
    return folder
