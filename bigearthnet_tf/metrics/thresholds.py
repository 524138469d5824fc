"""Thresholds with the best F1, exactly.

Every distinct score is tried as the lowest one that is still predicted, so the best
possible F1 on the given samples is reached, ties in the scores included.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bigearthnet_tf.metrics import counts, multi_label

UNDECIDED = 0.5


def best_thresholds(labels: Any, scores: Any) -> np.ndarray:
    """Returns the threshold of each label with the best F1, float64 (labels,).

    A label is predicted where score >= threshold. The threshold lies half way between
    the lowest score that is predicted and the next one below, so that scores a little
    lower than any seen still count. Of equal F1 the threshold nearest to 0.5 is taken.
    A label without positives keeps 0.5: nothing tells a better one.

    Args:
        labels: (samples, labels) of 0 and 1.
        scores: (samples, labels) probabilities.

    Raises:
        ValueError: as `multi_label.multi_label_report`.
    """
    truth, scores = multi_label.checked(labels, scores)
    pairs = zip(truth.T, scores.T, strict=True)
    return np.array([_best(has, ranked)[0] for has, ranked in pairs])


def best_threshold(labels: Any, scores: Any) -> float:
    """Returns the one threshold for all labels with the best micro F1.

    Otherwise as `best_thresholds`.
    """
    truth, scores = multi_label.checked(labels, scores)
    return _best(truth.ravel(), scores.ravel())[0]


def _best(truth: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """Returns threshold and F1 of one label.

    Args:
        truth: (samples,) bool.
        scores: (samples,) float64.
    """
    positives = int(truth.sum())
    if positives == 0:
        return UNDECIDED, 0.0
    order = np.argsort(scores)[::-1]
    ranked = scores[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    hits = np.cumsum(truth[order], dtype=np.int64)[ends]
    values = counts.ratio(2.0 * hits, ends + 1.0 + positives)
    lowest = ranked[ends]
    below = np.append(lowest[1:], 0.0)
    middle = below + (lowest - below) / 2
    # Of neighbouring floats the middle may be the lower one, which would count too.
    thresholds = np.where(middle > below, middle, lowest)
    best = np.flatnonzero(values == values.max())
    chosen = best[np.argmin(np.abs(thresholds[best] - 0.5))]
    return float(thresholds[chosen]), float(values[chosen])
