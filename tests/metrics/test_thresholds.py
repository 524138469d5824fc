"""Thresholds against all that could be tried."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearthnet_tf import metrics


@st.composite
def one_label(draw):
    pairs = st.lists(
        st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=25
    )
    found = draw(pairs)
    labels = np.array([[has] for has, _ in found])
    return labels, np.array([[step / 6] for _, step in found], np.float32)


def f1(labels, scores, threshold):
    return metrics.multi_label_report(labels, scores, threshold)["micro_f1_score"]


@given(one_label())
def test_no_threshold_has_a_better_f1(case):
    labels, scores = case
    (found,) = metrics.best_thresholds(labels, scores)
    assert found == metrics.best_threshold(labels, scores)
    assert 0 <= found <= 1
    if not labels.any():
        assert found == 0.5
        return
    tried = np.unique(np.append(scores.astype(float), [0, 0.25, 0.5, 0.75, 1]))
    assert f1(labels, scores, found) == max(f1(labels, scores, t) for t in tried)


def test_each_label_has_its_own_and_all_together_one():
    labels = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]])
    scores = np.array(
        [[0.2, 0.6, 0.9], [0.3, 0.7, 0.1], [0.1, 0.9, 0.2], [0.1, 0.1, 0]]
    )
    found = metrics.best_thresholds(labels, scores)
    assert found == pytest.approx([0.15, 0.8, 0.5])
    report = metrics.multi_label_report(labels, scores, found)
    assert report["macro_f1_score_class0"] == report["macro_f1_score_class1"] == 1
    every = np.unique(scores)
    best = max(f1(labels, scores, t) for t in every)
    assert f1(labels, scores, metrics.best_threshold(labels, scores)) == best


def test_neighbouring_floats_are_told_apart():
    low = np.float64(0.3)
    labels, scores = np.array([[0], [1]]), np.array([[low], [np.nextafter(low, 1)]])
    (found,) = metrics.best_thresholds(labels, scores)
    assert f1(labels, scores, found) == 1


def test_of_equal_f1_the_nearest_to_one_half():
    # Predicting one of two positives and no other, or both and two others: 2/3 each.
    labels = np.array([[1], [0], [0], [1]])
    scores = np.array([[0.95], [0.9], [0.45], [0.4]])
    assert f1(labels, scores, 0.92) == f1(labels, scores, 0.4) == pytest.approx(2 / 3)
    (found,) = metrics.best_thresholds(labels, scores)
    assert found == pytest.approx(0.2)
