"""Metrics of the order of scores: within a sample, and along a label.

Written in NumPy although scikit-learn has most of them. Its label ranking metrics
walk the samples in a Python loop and give a label-free sample 1 where the BigEarthNet
projects give 0; its average precision and ROC sort the same scores once each, and warn
or return NaN for a label without positives or negatives. The tests hold both to each
other wherever the conventions agree.
"""

from __future__ import annotations

import numpy as np

_BLOCK = 4096  # samples: the working arrays of a block stay in the L2 cache
SAMPLE_METRICS = (
    "one_error",
    "coverage",
    "ranking_loss",
    "label_ranking_avg_precision",
)


def sample_ranking(labels: np.ndarray, scores: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the four metrics of how each sample ranks its labels, (samples,) each.

    The rank of a label is the number of labels that score at least as high, so ties
    count against the prediction. With Y the true labels of a sample:

    - `one_error`: 1 if the top-scored label (of equals, the first) is not in Y.
    - `coverage`: the largest rank in Y; 0 where Y is empty.
    - `ranking_loss`: share of (true, false) pairs with the false label scored as
      high or higher; 0 where there is no such pair.
    - `label_ranking_avg_precision`: mean over Y of the share of true labels among
      those ranked at least as high, which is the average precision of the sample; 0
      where Y is empty.

    Definitions: Tsoumakas, Katakis and Vlahavas, "Mining Multi-label Data" (2010),
    with the TF project's conventions for ties and label-free samples.

    Args:
        labels: (samples, labels) bool.
        scores: (samples, labels) float, without NaN.
    """
    values = np.empty((4, len(labels)))
    for start in range(0, len(labels), _BLOCK):
        block = slice(start, start + _BLOCK)
        values[:, block] = _rank(labels[block], scores[block])
    return dict(zip(SAMPLE_METRICS, values, strict=True))


def _rank(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns the four metrics of a block's samples, in order, (4, samples)."""
    # Labels by samples: every operation below then runs along contiguous memory.
    truth, scores = np.ascontiguousarray(truth.T), np.ascontiguousarray(scores.T)
    rank = np.zeros(truth.shape, np.int32)
    true_rank = np.zeros(truth.shape, np.int32)
    for row, is_true in zip(scores, truth, strict=True):
        at_least = row >= scores
        rank += at_least
        true_rank += at_least & is_true

    num_true = truth.sum(axis=0)
    wrong_pairs = ((rank - true_rank) * truth).sum(axis=0)
    all_pairs = num_true * (len(truth) - num_true)
    top = scores.argmax(axis=0)
    return np.stack(
        [
            ~truth[top, np.arange(truth.shape[1])],
            (rank * truth).max(axis=0),
            wrong_pairs / np.maximum(all_pairs, 1),
            (true_rank / rank * truth).sum(axis=0) / np.maximum(num_true, 1),
        ]
    )


def curve_areas(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """Returns average precision and the area under the ROC curve of one label.

    Both are exact, from one sort, with one point on the curve for each distinct
    score. Average precision is the sum of precision times the step in recall (no
    interpolation); the ROC area follows the trapezoidal rule, which gives a tied pair
    one half. Without positives both are 0, without negatives the ROC area is 0, as in
    torchmetrics.

    Args:
        labels: (samples,) bool.
        scores: (samples,) float, without NaN.
    """
    order = np.argsort(scores)[::-1]
    ranked = scores[order]
    # The last place of each run of equal scores is where a threshold can lie.
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    hits = np.cumsum(labels[order], dtype=np.int64)[ends]
    misses = ends + 1 - hits
    positives, negatives = int(hits[-1]), int(misses[-1])
    if positives == 0:
        return 0.0, 0.0
    precision = hits / (ends + 1)
    average_precision = float(np.diff(hits, prepend=0) @ precision) / positives
    if negatives == 0:
        return average_precision, 0.0
    # In whole numbers: twice the number of ordered pairs, exact up to 2^63.
    twice_area = np.diff(misses, prepend=0) @ (hits + np.append(0, hits[:-1]))
    return average_precision, int(twice_area) / (2 * positives * negatives)
