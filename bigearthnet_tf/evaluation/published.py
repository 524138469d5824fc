"""Published results of the same model on the same bands, from a table with its source.

Their F scores count a label as predicted where its score is above 0.5, not at least;
that differs only for scores of exactly 0.5.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bigearthnet_tf import files
from bigearthnet_tf.archive import bands as band_facts

_TABLE = Path(__file__).with_name("published.json")


@functools.cache
def table() -> dict[str, Any]:
    """Returns the table: `source`, `split`, `test_patches`, ... and `results`."""
    return dict(files.read_json(_TABLE))


def find(
    model: str, bands: Sequence[str], label_type: str, archive_version: str
) -> dict[str, dict[str, float]]:
    """Returns published metrics of a model, by where they are from.

    Args:
        model: name of the architecture.
        bands: that it takes, in any order.
        label_type: of its labels.
        archive_version: of the evaluated records.

    Returns:
        Names such as `reBEN v0.2.0, seed 42` to metrics under our keys; empty where
        nothing is published of this model, its bands or these labels.
    """
    known = table()
    if (known["label_type"], known["archive_version"]) != (label_type, archive_version):
        return {}
    about = ("model", "bands", "version", "seed", "epochs")
    return {
        f"reBEN v{row['version']}, seed {row['seed']}": {
            key: value for key, value in row.items() if key not in about
        }
        for row in known["results"]
        if row["model"] == model
        and set(band_facts.resolve_bands(row["bands"])) == set(bands)
    }


def note(patches: int) -> str:
    """Returns what has to be said beside published numbers.

    Args:
        patches: that were evaluated here.
    """
    known = table()
    text = f"Published: {known['source']}, on the {known['split']}."
    if patches != known["test_patches"]:
        text += (
            f" Here {patches:,} patches were evaluated: these numbers are not of the "
            "same patches."
        )
    return text
