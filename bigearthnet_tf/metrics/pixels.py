"""Exact metrics of labels of pixels, from how often each was taken for which."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Key of each measure of a single label, followed by its number.
PER_LABEL = ("iou", "precision", "recall", "f1")


def confusion(truth: ArrayLike, predicted: ArrayLike, labels: int) -> NDArray[np.int64]:
    """Returns how many pixels of each label were given which.

    Args:
        truth: integers of any shape; pixels of `labels` or above have no label.
        predicted: likewise, of the same shape, all below `labels`.
        labels: number of them.

    Returns:
        (labels, labels) int64, rows the truth, columns the prediction.

    Raises:
        ValueError: other shapes, or a prediction out of its range.
    """
    truth, predicted = np.asarray(truth).ravel(), np.asarray(predicted).ravel()
    if truth.shape != predicted.shape:
        raise ValueError(
            f"expected as many predictions as pixels, got {len(predicted)} for "
            f"{len(truth)}"
        )
    labelled = truth < labels
    truth, predicted = truth[labelled].astype(np.int64), predicted[labelled]
    if predicted.size and not 0 <= predicted.min() <= predicted.max() < labels:
        raise ValueError(f"expected predictions of 0 to {labels - 1}")
    counts = np.bincount(truth * labels + predicted, minlength=labels**2)
    return counts.reshape(labels, labels)


def pixel_report(confused: ArrayLike) -> dict[str, float]:
    """Returns every metric of a confusion matrix.

    With tp, fp and fn of a label: `iou` tp / (tp + fp + fn), `f1` 2 tp / (2 tp + fp +
    fn); a share of nothing is 0. Means are over the labels that occur in truth or
    prediction (`mean_iou`, `macro_f1`), as scikit-learn has it for the labels that it
    sees, or in the truth alone (`balanced_accuracy`, the mean recall).
    `frequency_weighted_iou` weights by the pixels of the truth. `kappa` is Cohen's, 0
    where chance alone would agree in all.

    Args:
        confused: (labels, labels) whole numbers, rows the truth.

    Returns:
        `mean_iou`, `pixel_accuracy`, `balanced_accuracy`, `macro_f1`,
        `frequency_weighted_iou`, `kappa`, `labelled_pixels`, and `<measure>_class<j>`.

    Raises:
        ValueError: no square of numbers of at least 0.
    """
    counts = np.asarray(confused, np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or (counts < 0).any():
        raise ValueError(
            "expected a confusion matrix (labels, labels) of counts, got shape "
            f"{counts.shape}"
        )
    hits, true, given = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    total = counts.sum()
    measures = {
        "iou": _share(hits, true + given - hits),
        "precision": _share(hits, given),
        "recall": _share(hits, true),
        "f1": _share(2 * hits, true + given),
    }
    accuracy = _share(hits.sum(), total)
    by_chance = _share((true * given).sum(), total**2)
    occurs = true + given > 0
    result = {
        "mean_iou": _mean(measures["iou"][occurs]),
        "pixel_accuracy": accuracy,
        "balanced_accuracy": _mean(measures["recall"][true > 0]),
        "macro_f1": _mean(measures["f1"][occurs]),
        "frequency_weighted_iou": _share((true * measures["iou"]).sum(), total),
        "kappa": _share(accuracy - by_chance, 1 - by_chance),
        "labelled_pixels": total,
    }
    result |= {
        f"{name}_class{label}": value
        for name in PER_LABEL
        for label, value in enumerate(measures[name])
    }
    return {name: float(value) for name, value in result.items()}


def _share(part: Any, whole: Any) -> Any:
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 0.0
