"""Do labels with a score of 0.7 come true in 7 of 10 cases?"""

from __future__ import annotations

import numpy as np

# As Guo et al., "On Calibration of Modern Neural Networks" (2017), and torchmetrics.
BINS = 15
_ROWS = 8192  # samples at once: the working arrays stay small


def reliability(
    labels: np.ndarray, scores: np.ndarray, bins: int = BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns what reliability curves are drawn from, for each label.

    The bins are of equal width, closed below: a score s lies in floor(s * bins), and 1
    in the last one.

    Args:
        labels: (samples, labels) bool.
        scores: (samples, labels) in [0, 1].
        bins: how many.

    Returns:
        Number of scores, sum of scores, and number of positives of each bin, float64
        (labels, bins).
    """
    num_labels = labels.shape[1]
    offset = np.arange(num_labels) * bins
    sums = np.zeros((3, num_labels * bins))
    for start in range(0, len(labels), _ROWS):
        part = scores[start : start + _ROWS]
        place = np.minimum((part * bins).astype(np.int64), bins - 1) + offset
        place = place.ravel()
        for total, weights in zip(
            sums,
            (None, part.ravel(), labels[start : start + _ROWS].ravel()),
            strict=True,
        ):
            total += np.bincount(place, weights, minlength=num_labels * bins)
    counts, score_sums, positives = sums.reshape(3, num_labels, bins)
    return counts, score_sums, positives


def calibration_errors(
    labels: np.ndarray, scores: np.ndarray, bins: int = BINS
) -> tuple[np.ndarray, float]:
    """Returns the expected calibration error of each label, and of all pairs pooled.

    It is the mean over the scores of the distance between the mean score of their bin
    and the share of positives there, from 0 to 1. Pooled, labels that are scored too
    high and others too low may even each other out.

    Args:
        labels: (samples, labels) bool.
        scores: (samples, labels) in [0, 1].
        bins: of equal width.

    Returns:
        float64 (labels,), and one number.
    """
    counts, score_sums, positives = reliability(labels, scores, bins)
    gaps = score_sums - positives
    per_label = np.abs(gaps).sum(axis=1) / counts.sum(axis=1)
    pooled = np.abs(gaps.sum(axis=0)).sum() / counts.sum()
    return per_label, float(pooled)


def brier_scores(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns the mean squared distance of score and truth of each label, (labels,).

    Args:
        labels: (samples, labels) bool.
        scores: (samples, labels) in [0, 1].
    """
    total = np.zeros(labels.shape[1])
    for start in range(0, len(labels), _ROWS):
        gap = scores[start : start + _ROWS] - labels[start : start + _ROWS]
        total += (gap**2).sum(axis=0)
    return total / len(labels)
