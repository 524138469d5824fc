"""Measures of true and false positives and negatives, of any one shape.

The counts may be of samples, of labels, or pooled; whole numbers, or the weights of a
resampling. Every 0/0 is 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# The weight of recall against precision in each F score, by the name in its key.
BETAS = {"f1_score": 1.0, "f2_score": 2.0, "f0_5_score": 0.5}


def measures(
    hits: np.ndarray, predicted: np.ndarray, actual: np.ndarray, total: np.ndarray | int
) -> dict[str, np.ndarray]:
    """Returns all measures of counts, each of the counts' shape.

    With tp, fp, fn and tn: `precision` tp/(tp+fp), `recall` tp/(tp+fn), `specificity`
    tn/(tn+fp), `accuracy` the Jaccard index tp/(tp+fp+fn), `binary_accuracy`
    (tp+tn)/all, and F_beta (1+beta^2)tp/((1+beta^2)tp + beta^2 fn + fp) for beta 1, 2
    and 0.5.

    Args:
        hits: tp.
        predicted: tp + fp.
        actual: tp + fn.
        total: tp + fp + fn + tn.
    """
    negatives = total - actual
    correct_negatives = negatives - (predicted - hits)
    found = {
        "precision": ratio(hits, predicted),
        "recall": ratio(hits, actual),
        "specificity": ratio(correct_negatives, negatives),
        "accuracy": ratio(hits, predicted + actual - hits),
        "binary_accuracy": (hits + correct_negatives) / total,
    }
    for name, beta in BETAS.items():
        weight = beta**2
        found[name] = ratio((1 + weight) * hits, weight * actual + predicted)
    return found


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Returns the quotient, and 0 where the denominator is 0."""
    quotient = np.zeros(np.shape(denominator))
    return np.divide(numerator, denominator, out=quotient, where=denominator != 0)


def weighted(
    by_label: Mapping[str, np.ndarray], support: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns means over the labels, weighted by their positives; 0 without any.

    A label without positives has weight 0 and takes no part, even if its value is NaN;
    scikit-learn has it so.

    Args:
        by_label: name to (..., labels).
        support: (..., labels) positives.
    """
    total, present = support.sum(axis=-1), support > 0
    return {
        name: ratio((np.where(present, values, 0) * support).sum(axis=-1), total)
        for name, values in by_label.items()
    }
