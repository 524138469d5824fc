"""Calibration against loops over bins, and scores that are right by construction."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve

from bigearthnet_tf import metrics
from bigearthnet_tf.metrics import calibration


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(2)
    scores = rng.random((3000, 4), np.float32).astype(np.float64) ** 2
    scores[:3] = [[0, 1, 0.2, 0.4], [0.6, 0.8, 1 / 15, 2 / 15], [1, 1, 0, 0]]
    return rng.random((3000, 4)) < scores**1.3, scores


def test_errors_equal_loops_over_bins(case, monkeypatch):
    labels, scores = case
    monkeypatch.setattr(calibration, "_ROWS", 700)
    per_label, pooled = calibration.calibration_errors(labels, scores)

    def expected(truth, ranked):
        places = np.minimum(np.floor(ranked * 15), 14)
        total = 0
        for place in range(15):
            own = places == place
            if own.any():
                gap = abs(ranked[own].mean() - truth[own].mean())
                total += own.mean() * gap
        return total

    each = [expected(t, s) for t, s in zip(labels.T, scores.T, strict=True)]
    assert per_label == pytest.approx(each)
    assert pooled == pytest.approx(expected(labels.ravel(), scores.ravel()))


def test_curves_and_brier_scores_equal_scikit_learn(case):
    labels, scores = (array[3:] for array in case)  # none on the edge of a bin
    counts, sums, positives = calibration.reliability(labels, scores, 10)
    brier = calibration.brier_scores(labels, scores)
    for j in range(4):
        shares, means = calibration_curve(labels[:, j], scores[:, j], n_bins=10)
        some = counts[j] > 0
        assert positives[j][some] / counts[j][some] == pytest.approx(shares)
        assert sums[j][some] / counts[j][some] == pytest.approx(means)
        assert brier[j] == pytest.approx(
            sklearn_metrics.brier_score_loss(labels[:, j], scores[:, j])
        )
    assert counts.sum(axis=1).tolist() == [2997] * 4


def test_scores_that_come_true_as_often_as_they_say_have_no_error():
    scores = np.repeat([[0.25], [0.75]], 400, axis=0)
    labels = np.tile([[1], [0], [0], [0]], (100, 1))
    labels = np.vstack([labels, 1 - labels])
    report = metrics.multi_label_report(labels, scores)
    assert report["macro_calibration_error"] == pytest.approx(0)
    assert report["brier_score"] == pytest.approx(0.1875)
    # Scored 0.5 lower and higher, both labels are off, but not their mean.
    both = metrics.multi_label_report(
        np.hstack([labels, labels]), np.hstack([scores - 0.25, scores + 0.25])
    )
    assert both["macro_calibration_error"] == pytest.approx(0.25)
