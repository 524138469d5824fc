"""A trained and evaluated run that tests of exports and publications share."""

from pathlib import Path

import pytest
import toy
import trained_runs


@pytest.fixture(scope="session")
def records(tmp_path_factory) -> Path:
    """A folder with records of three splits."""
    folder = tmp_path_factory.mktemp("records")
    for number, split in enumerate(("train", "val", "test")):
        toy.write_records(folder, split, 8, "v2", first=8 * number)
    return folder


@pytest.fixture(scope="session")
def run(records) -> Path:
    """A run on both sensors with 19 labels, evaluated, with tuned thresholds."""
    return trained_runs.train(records)
