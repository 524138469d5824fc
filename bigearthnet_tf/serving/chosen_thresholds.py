"""From which score on a label counts as given: one number, or tuned for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydantic
from numpy.typing import NDArray

from bigearthnet_tf import files

TUNED = "tuned"
FILE = "thresholds.json"


class _Stored(pydantic.BaseModel):
    """What of a `thresholds.json` is needed here."""

    model_config = pydantic.ConfigDict(extra="ignore", frozen=True)

    labels: list[str]
    thresholds: list[float]
    fingerprint: str = ""


def find(
    text: str, run: Path, labels: Sequence[str], fingerprint: str = ""
) -> NDArray[np.float64]:
    """Returns the threshold of each label; a score that is as high passes it.

    Args:
        text: a number of 0 to 1, `tuned` for those of the run, or the path of a
            `thresholds.json`.
        run: folder of the run, or of one of its checkpoints.
        labels: of the model, in its order.
        fingerprint: of its weights, as `evaluation.thresholds` has it; empty where it
            is not known.

    Returns:
        Shape (labels,).

    Raises:
        FileNotFoundError: no such file.
        ValueError: a number that can't be a threshold, or thresholds of other labels or
            weights.
    """
    try:
        number = float(text)
    except ValueError:
        return _read(_path_of(text, run), labels, fingerprint)
    if not 0 <= number <= 1:
        raise ValueError(f"--thresholds: expected a number of 0 to 1, got {text}")
    return np.full(len(labels), number)


def _path_of(text: str, run: Path) -> Path:
    if text != TUNED:
        return Path(text)
    # A checkpoint lies in RUN/checkpoints/iteration-N.
    places = [run / FILE, run.resolve().parents[1] / FILE]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"{places[0]}: the run has no tuned thresholds; eval.py CONFIG "
            "--thresholds tuned makes them"
        )
    return found


def _read(path: Path, labels: Sequence[str], fingerprint: str) -> NDArray[np.float64]:
    try:
        stored = files.read_checked(path, _Stored)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such file; --thresholds takes a number, {TUNED!r}, or a {FILE}"
        ) from None
    known = dict(zip(stored.labels, stored.thresholds, strict=False))
    absent = [name for name in labels if not math.isfinite(known.get(name, math.nan))]
    if absent or len(stored.labels) != len(labels):
        raise ValueError(
            f"{path}: expected a threshold for each of the {len(labels)} labels of the "
            f"model, got {len(known)}"
            + (f" and none for {absent[0]!r}" if absent else "")
            + ": they are of another run"
        )
    if fingerprint and stored.fingerprint not in ("", fingerprint):
        raise ValueError(
            f"{path}: thresholds of other weights than those of this checkpoint: tune "
            "them for it with eval.py CONFIG --thresholds tuned, or take the "
            "checkpoint that they belong to"
        )
    return np.array([known[name] for name in labels])
