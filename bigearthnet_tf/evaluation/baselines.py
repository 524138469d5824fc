"""What a model has to beat: label frequencies, and a linear model of band statistics.

Both return scores of the form that `metrics.multi_label_report` takes, so a baseline
goes through the same measures as the model beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

# Newton's method on the exact Hessian needs a handful of passes over the patches where
# lbfgs needs dozens, as there are far fewer features than patches.
_SOLVER = "newton-cholesky"


def class_priors(train_labels: Any, num_test: int) -> np.ndarray:
    """Returns each label's frequency in training as its score on every test sample.

    Along a label all scores are tied, so its average precision is its frequency in the
    test split and its ROC area 1/2: the floor of both macro metrics. Within a sample
    the common labels come first, which the micro and sample-wise metrics reward.

    Args:
        train_labels: (samples, labels) of 0 and 1.
        num_test: number of test samples.

    Returns:
        (num_test, labels) float64.

    Raises:
        ValueError: no training sample, or labels that are not two-dimensional or not
            0 and 1.
    """
    frequencies = _checked_labels(train_labels).mean(axis=0, dtype=np.float64)
    return np.tile(frequencies, (num_test, 1))


def band_moments(groups: Mapping[str, Any]) -> np.ndarray:
    """Returns the mean and standard deviation of every band of every patch in a batch.

    Both are taken over the pixels at native resolution, in float64. Band groups come in
    alphabetical order whatever the order of the mapping; a group gives the means of all
    its bands, then their standard deviations (population, as for the band statistics).

    Args:
        groups: group name to array or tensor (batch, bands, height, width), planar.

    Returns:
        (batch, 2 * bands over all groups) float64.

    Raises:
        ValueError: no group, a group that is not four-dimensional, groups of different
            batch sizes, or pixels that are NaN or infinite.
    """
    if not groups:
        raise ValueError("expected at least one band group, got none")
    features: list[np.ndarray] = []
    for name in sorted(groups):
        pixels = np.asarray(groups[name])
        batch = len(features[0]) if features else "batch"
        if pixels.ndim != 4 or batch not in ("batch", len(pixels)):
            raise ValueError(
                f"expected band group {name} of shape ({batch}, bands, height, width), "
                f"got {pixels.shape}"
            )
        if not np.isfinite(pixels).all():
            raise ValueError(
                f"expected finite pixels in band group {name}, got NaN or infinity; "
                "leave such patches out"
            )
        features += _moments_of_bands(pixels)
    return np.concatenate(features, axis=1)


def _moments_of_bands(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns means and standard deviations, (batch, bands) each, of a band group."""
    means = np.empty(pixels.shape[:2])
    deviations = np.empty(pixels.shape[:2])
    # Band by band: a float64 copy of a whole uint16 batch would take four times its
    # memory.
    for band in range(pixels.shape[1]):
        plane = pixels[:, band].astype(np.float64)
        means[:, band] = plane.mean(axis=(1, 2))
        deviations[:, band] = plane.std(axis=(1, 2))
    return means, deviations


def collect_band_moments(
    batches: Iterable[tuple[Mapping[str, Any], Any]],
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the features and the labels of a whole split, from one pass over it.

    Args:
        batches: pairs of band groups, as `band_moments` takes them, and labels
            (batch, labels) of 0 and 1, as a data set yields them.

    Returns:
        (samples, 2 * bands) float64 and (samples, labels) uint8.

    Raises:
        ValueError: no batch, or as `band_moments` does.
    """
    pairs = [
        (band_moments(groups), np.asarray(labels).astype(np.uint8))
        for groups, labels in batches
    ]
    if not pairs:
        raise ValueError("expected at least one batch, got none")
    features, labels = zip(*pairs, strict=True)
    return np.concatenate(features), np.concatenate(labels)


def logistic_regression(
    train_features: np.ndarray, train_labels: Any, test_features: np.ndarray
) -> np.ndarray:
    """Returns the scores of one logistic regression per label, on scaled features.

    Features are standardised with the training split's moments; the L2 penalty is
    scikit-learn's default (C = 1). A label that all or no training samples carry can't
    be learnt: it gets its frequency, 1 or 0. Nothing is drawn at random.

    Args:
        train_features: (train samples, features), finite.
        train_labels: (train samples, labels) of 0 and 1.
        test_features: (test samples, features), finite.

    Returns:
        (test samples, labels) float64 probabilities.

    Raises:
        ValueError: shapes that don't fit together, no training sample, labels other
            than 0 and 1, features that are NaN or infinite.
    """
    labels = _checked_labels(train_labels)
    train_features, test_features = (
        np.asarray(train_features),
        np.asarray(test_features),
    )
    if train_features.ndim != 2 or len(train_features) != len(labels):
        raise ValueError(
            f"expected train features of shape ({len(labels)}, features), one row for "
            f"each row of labels, got {train_features.shape}"
        )
    if test_features.ndim != 2 or test_features.shape[1] != train_features.shape[1]:
        raise ValueError(
            f"expected test features of shape (samples, {train_features.shape[1]}), "
            f"got {test_features.shape}"
        )
    if not (np.isfinite(train_features).all() and np.isfinite(test_features).all()):
        raise ValueError("expected finite features, got NaN or infinity")
    scaler = StandardScaler().fit(train_features)
    train_features = scaler.transform(train_features)
    test_features = scaler.transform(test_features)
    scores = class_priors(labels, len(test_features))
    for label, column in enumerate(labels.T):
        if 0 < column.sum() < len(column):
            model = LogisticRegression(solver=_SOLVER).fit(train_features, column)
            scores[:, label] = model.predict_proba(test_features)[:, 1]
    return scores


def _checked_labels(labels: Any) -> np.ndarray:
    """Returns labels as a uint8 array, or raises ValueError."""
    labels = np.asarray(labels)
    if labels.ndim != 2 or len(labels) == 0:
        raise ValueError(
            "expected train labels of shape (samples, labels) with at least one "
            f"sample, got {labels.shape}"
        )
    if not ((labels == 0) | (labels == 1)).all():
        raise ValueError("expected train labels to be 0 or 1, got other values")
    return labels.astype(np.uint8)
