"""Metrics from counts of decisions, against those from labels and scores."""

import re

import numpy as np
import pytest

from bigearthnet_tf import metrics

# They need the scores, or are of single labels.
NOT_COUNTED = re.compile(
    r"auroc|av(era)?ge?_precision|calibration|brier|ranking|one_error|coverage"
    r"|_class\d+$"
)


def counts_of(labels, scores):
    """The counts by loops."""
    num_labels = labels.shape[1]
    by_label = np.zeros((3, num_labels), int)
    by_sample = np.zeros((num_labels + 1,) * 3, int)
    for true, score in zip(labels.tolist(), scores.tolist(), strict=True):
        right = given = actual = 0
        for j in range(num_labels):
            has, gets = bool(true[j]), score[j] >= 0.5
            by_label[:, j] += [has and gets, gets, has]
            right, given, actual = right + (has and gets), given + gets, actual + has
        by_sample[right, given, actual] += 1
    return by_label, by_sample


def split(seed):
    """Some patches without a label, with all, and labels that are never there."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((50, 6)) < 0.3).astype(np.float32)
    scores = rng.random(labels.shape).astype(np.float32)
    labels[:3], labels[3], labels[:, 5] = 0, 1, 0
    scores[5] = 0.5
    scores[:, 4] = 0.25
    return labels, scores


@pytest.mark.parametrize("seed", range(3))
def test_counts_give_the_metrics_of_decisions(seed):
    labels, scores = split(seed)
    found = metrics.counted_report(*counts_of(labels, scores))
    whole = metrics.multi_label_report(labels, scores)
    assert found == pytest.approx({name: whole[name] for name in found}, rel=1e-12)
    assert set(found) == {name for name in whole if not NOT_COUNTED.search(name)}
    assert len(found) > 30


def test_other_shapes_and_no_samples_are_refused():
    by_label, by_sample = counts_of(*split(0))
    with pytest.raises(ValueError, match=r"\(3, labels\) and .* got \(2, 6\)"):
        metrics.counted_report(by_label[:2], by_sample)
    with pytest.raises(ValueError, match="got"):
        metrics.counted_report(by_label, by_sample[1:])
    with pytest.raises(ValueError, match="at least one sample"):
        metrics.counted_report(0 * by_label, 0 * by_sample)
