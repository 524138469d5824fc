"""The page on tensorflow-addons: rows have measured numbers, or reasons."""

import importlib
import json
import re
from typing import NamedTuple

import pytest
from addons_reference import DIFFERENCES, PAGE, Reference

from bigearthnet_tf import config

HEADER = "| theirs | here | largest difference | what differs |"
README = PAGE.parents[2] / "README.md"
# How much wider than measured a bound may be, and what is left to rounding.
WIDER, ROUNDING = 10, 1e-6


class Row(NamedTuple):
    theirs: str
    here: str
    bound: str
    differs: str


def rows(text):
    """Returns the rows of the tables with our header."""
    found = []
    for table in text.split(f"{HEADER}\n")[1:]:
        for line in table.split("\n\n")[0].splitlines()[1:]:
            found.append(Row(*(cell.strip() for cell in line.strip("|").split(" | "))))
    return found


ROWS = rows(PAGE.read_text())
MEASURED = [row for row in ROWS if row.bound != "–"]
ASKED_FOR = (
    *("LAMB", "AdamW", "MovingAverage", "SWA", "rotate", "transform", "F1Score"),
    *("FBetaScore", "HammingLoss", "MultiLabelConfusionMatrix", "random_cutout"),
    *("SigmoidFocalCrossEntropy", "GroupNormalization", "SpectralNormalization"),
    *("RectifiedAdam", "Lookahead", "Yogi", "NovoGrad", "LazyAdam", "SGDW"),
    "CyclicalLearningRate",
)


def test_every_piece_has_a_row_and_lion_has_none():
    theirs = " ".join(row.theirs for row in ROWS)
    assert not [name for name in ASKED_FOR if name not in theirs]
    assert "Lion" not in theirs
    assert len({row.theirs for row in ROWS}) == len(ROWS)


def test_rows_without_a_number_say_why():
    for row in ROWS:
        if row.bound == "–":
            assert row.here == "–", row.theirs
            assert row.differs.startswith("none offered: ")
            assert len(row.differs.split()) > 8, row.theirs
    assert {row.theirs for row in MEASURED} == set(DIFFERENCES)


@pytest.fixture(scope="module")
def reference(shared):
    return Reference(shared / "reference")


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: row.theirs)
def test_bounds_hold_and_are_close(row, reference):
    bound, measured = float(row.bound), DIFFERENCES[row.theirs](reference)
    assert measured <= bound <= max(WIDER * measured, ROUNDING)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.theirs)
def test_what_is_here_is_here(row):
    spans = re.findall(r"`([^`]+)`", row.here)
    assert bool(spans) == (row.here != "–")
    for span in spans:
        assert exists(span), span


def exists(span):
    """Tells whether a config knows a key with that value, or Python a name."""
    if span.startswith('"'):
        return config.from_dict(json.loads(f"{{{span}}}"))
    module, _, name = span.rpartition(".")
    if not module:
        return span in config.Config.model_fields
    return hasattr(importlib.import_module(module), name)


def test_keys_in_the_text_are_keys():
    for row in ROWS:
        for key in re.findall(r'`("\w+": [^`]+)`', row.differs):
            assert exists(key)


def test_rows_of_the_readme_are_rows_of_the_page():
    short = rows(README.read_text())
    assert len(short) >= 4
    assert set(short) <= set(ROWS)
