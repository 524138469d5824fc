"""Thresholds of a run: tuned on validation, kept beside it, applied where they belong.

`thresholds.json` says from which score on each label is predicted, and to which weights
and labels that belongs. Tuned on validation patches that are neighbours of the training
patches they are a little optimistic; so the result at 0.5 always stands beside theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import pydantic
from numpy.typing import NDArray

from bigearthnet_tf import files, metrics
from bigearthnet_tf.evaluation.predictions import Predictions

FILE = "thresholds.json"
# What a config may ask for, beside the path of a file.
NONE, PER_LABEL, GLOBAL = "none", "tuned", "global"

Kind = Literal["per_label", "global"]


class Thresholds(pydantic.BaseModel):
    """The content of `thresholds.json`."""

    model_config = pydantic.ConfigDict(frozen=True, protected_namespaces=())

    labels: list[str] = pydantic.Field(min_length=1)
    thresholds: list[float]
    """The lowest score at which each label is predicted, in the order of the labels."""
    rule: Literal["score >= threshold"] = "score >= threshold"
    kind: Kind
    objective: str
    """What is largest at them on the patches that they were tuned on."""
    undecided: list[str]
    """Labels without a positive there, which keep 0.5."""
    split: str
    patches: int
    checkpoint: str
    iteration: int
    fingerprint: str
    """SHA-256 of the weights that gave the scores."""
    model: dict[str, Any]
    """Architecture, bands, labels and statistics, as checkpoints have them."""
    macro_f1_at_half: float
    macro_f1: float
    micro_f1_at_half: float
    micro_f1: float

    @pydantic.model_validator(mode="after")
    def _fit_together(self) -> Thresholds:
        if len(self.thresholds) != len(self.labels):
            raise ValueError(f"expected {len(self.labels)} thresholds, one per label")
        if not all(0 <= value <= 1 for value in self.thresholds):
            raise ValueError("expected thresholds in [0, 1]")
        return self

    @property
    def values(self) -> NDArray[np.float64]:
        """The thresholds, float64 (labels,)."""
        return np.array(self.thresholds)


def fingerprint(model: keras.Model) -> str:
    """Returns the SHA-256 of the sorted SHA-256 of all weights of a model.

    In whatever order Keras lists them: stochastic depth, which models to be published
    lack, changes it. Without the states of random generators, which say nothing about
    its scores and stay behind when weights are published.
    """
    digests = []
    for variable in model.weights:
        values = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
        head = f"{values.shape} {values.dtype}".encode()
        digests.append(hashlib.sha256(head + values.tobytes()).digest())
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def tune(
    predictions: Predictions, model: Mapping[str, Any], kind: Kind = "per_label"
) -> Thresholds:
    """Returns the thresholds with the best F1 on some predictions.

    Args:
        predictions: of validation patches.
        model: what the task says of the weights.
        kind: `per_label`: the best F1 of each label; `global`: one threshold for all,
            with the best micro F1.
    """
    labels, scores = predictions.labels, predictions.scores
    positives = labels.sum(axis=0)
    if kind == "global":
        values = np.full(labels.shape[1], metrics.best_threshold(labels, scores))
        undecided: list[str] = []
    else:
        values = metrics.best_thresholds(labels, scores)
        order = predictions.label_order
        undecided = [n for n, has in zip(order, positives, strict=True) if not has]
    plain = metrics.multi_label_report(labels, scores)
    tuned = metrics.multi_label_report(labels, scores, values)
    return Thresholds(
        labels=list(predictions.label_order),
        thresholds=values.tolist(),
        kind=kind,
        objective="micro F1" if kind == "global" else "F1 of each label",
        undecided=undecided,
        split=predictions.split,
        patches=len(predictions),
        checkpoint=f"iteration-{predictions.iteration}",
        iteration=predictions.iteration,
        fingerprint=predictions.fingerprint,
        model=dict(model),
        macro_f1_at_half=plain["macro_f1_score_class_avg"],
        macro_f1=tuned["macro_f1_score_class_avg"],
        micro_f1_at_half=plain["micro_f1_score"],
        micro_f1=tuned["micro_f1_score"],
    )


def save(path: Path | str, found: Thresholds) -> None:
    """Writes thresholds, atomically.

    Raises:
        OSError: the file can't be written.
    """
    files.write_json(path, found.model_dump())


def load(path: Path | str) -> Thresholds:
    """Reads thresholds.

    Args:
        path: `thresholds.json`, or the folder of a run that has one.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file; the message names the key.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE
    try:
        return files.read_checked(path, Thresholds)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such thresholds; python eval.py CONFIG --thresholds tuned "
            "makes them"
        ) from None


def check(
    found: Thresholds,
    where: Path | str,
    labels: Sequence[str],
    weights: str,
) -> None:
    """Checks that thresholds belong to a model.

    Args:
        found: the thresholds.
        where: their file, for the message.
        labels: of the model, in its order.
        weights: fingerprint of the model; empty where it is not known.

    Raises:
        ValueError: they are of other labels, or of other weights.
    """
    if list(labels) != found.labels:
        pairs = zip(found.labels, labels, strict=False)
        first = next(
            (f"{a!r} where the model has {b!r}" for a, b in pairs if a != b),
            f"{len(found.labels)} of them, the model has {len(labels)}",
        )
        raise ValueError(
            f"{where}: thresholds of other labels: {first}; tune them for this run "
            "with --thresholds tuned"
        )
    if weights and found.fingerprint and weights != found.fingerprint:
        raise ValueError(
            f"{where}: thresholds of other weights ({found.model.get('model_name')} "
            f"at {found.checkpoint}); tune them for this checkpoint with --thresholds "
            "tuned, or evaluate the checkpoint that they belong to"
        )


def belongs(
    path: Path | str, kind: Kind, weights: str, patches: int
) -> Thresholds | None:
    """Returns stored thresholds if they are what tuning would give, None otherwise.

    Args:
        path: their file.
        kind: that is asked for.
        weights: fingerprint of the model.
        patches: that they would be tuned on.
    """
    try:
        found = load(path)
    except (OSError, ValueError):
        return None
    same = (found.kind, found.fingerprint, found.patches) == (kind, weights, patches)
    return found if same and found.split == "val" else None
