"""Ranking metrics against brute force and scikit-learn, with ties."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from bigearthnet_tf.metrics import ranking


def brute_force(truth, scores):
    """The definitions, word by word, for one sample."""
    every = range(len(truth))
    true = [i for i in every if truth[i]]
    false = [i for i in every if not truth[i]]
    rank = [sum(scores[j] >= scores[i] for j in every) for i in every]
    wrong = sum(scores[i] <= scores[j] for i, j in product(true, false))
    precisions = [sum(rank[k] <= rank[i] for k in true) / rank[i] for i in true]
    return {
        "one_error": float(not truth[max(every, key=lambda i: (scores[i], -i))]),
        "coverage": float(max((rank[i] for i in true), default=0)),
        "ranking_loss": wrong / len(true) / len(false) if true and false else 0.0,
        "label_ranking_avg_precision": sum(precisions) / max(len(true), 1),
    }


@st.composite
def tied_predictions(draw, max_labels=7):
    shape = (draw(st.integers(1, 10)), draw(st.integers(2, max_labels)))
    size = shape[0] * shape[1]
    bits = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    steps = draw(st.lists(st.integers(0, 5), min_size=size, max_size=size))
    return np.reshape(bits, shape), np.reshape(steps, shape) / 5


@settings(deadline=None, max_examples=150)
@given(tied_predictions())
def test_sample_ranking_equals_brute_force(case):
    truth, scores = case
    expected = [brute_force(*row) for row in zip(truth, scores, strict=True)]
    found = ranking.sample_ranking(truth, scores)
    assert found.keys() == expected[0].keys()
    for name, value in found.items():
        own = [sample[name] for sample in expected]
        assert value == pytest.approx(own, abs=1e-12), name


@settings(deadline=None, max_examples=80)
@given(tied_predictions())
def test_sample_ranking_equals_scikit_learn(case):
    truth, scores = case
    values = ranking.sample_ranking(truth, scores)
    found = {name: each.mean() for name, each in values.items()}
    assert found["coverage"] == pytest.approx(
        sklearn_metrics.coverage_error(truth, scores)
    )
    assert found["ranking_loss"] == pytest.approx(
        sklearn_metrics.label_ranking_loss(truth, scores)
    )
    # A label-free sample counts 1 in scikit-learn and 0 here and in the TF project.
    label_free = (~truth.any(axis=1)).mean()
    assert found["label_ranking_avg_precision"] + label_free == pytest.approx(
        sklearn_metrics.label_ranking_average_precision_score(truth, scores)
    )


def test_blocks_are_only_a_matter_of_memory(monkeypatch):
    random = np.random.default_rng(1)
    truth, scores = random.random((101, 9)) < 0.3, random.random((101, 9)).round(1)
    whole = ranking.sample_ranking(truth, scores)
    monkeypatch.setattr(ranking, "_BLOCK", 7)
    again = ranking.sample_ranking(truth, scores)
    assert again.keys() == whole.keys()
    for name, values in again.items():
        assert values == pytest.approx(whole[name], abs=1e-12)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=40))
def test_curve_areas_equal_scikit_learn(pairs):
    labels = np.array([label for label, _ in pairs])
    scores = np.array([step for _, step in pairs]) / 9
    average_precision, auroc = ranking.curve_areas(labels, scores)
    if not labels.any():
        # scikit-learn: 0 or -0 with a warning, and NaN with a warning.
        assert (average_precision, auroc) == (0, 0)
        return
    assert average_precision == pytest.approx(
        sklearn_metrics.average_precision_score(labels, scores), abs=1e-12
    )
    expected = 0 if labels.all() else sklearn_metrics.roc_auc_score(labels, scores)
    assert auroc == pytest.approx(expected, abs=1e-12)


def test_curve_areas_by_hand():
    labels = np.array([True, False, True, False])
    # Ranked + - + -: AP (1/1 + 2/3)/2, and three of four pairs in order.
    areas = ranking.curve_areas(labels, np.array([0.9, 0.8, 0.7, 0.1]))
    assert areas == (pytest.approx(5 / 6), 0.75)
    # All tied: one threshold, precision 1/2; every pair counts one half.
    assert ranking.curve_areas(labels, np.full(4, 0.3)) == (0.5, 0.5)
