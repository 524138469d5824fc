"""Baselines against brute force and what they must score."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bigearthnet_tf import metrics
from bigearthnet_tf.evaluation import baselines


def test_class_priors_score_the_floor_of_the_macro_ranking_metrics():
    random = np.random.default_rng(0)
    train = random.random((400, 5)) < [0.05, 0.2, 0.4, 0.6, 0.9]
    test = random.random((300, 5)) < [0.05, 0.2, 0.4, 0.6, 0.9]
    scores = baselines.class_priors(train, len(test))
    assert scores.shape == (300, 5)
    assert scores.dtype == np.float64
    assert (scores == train.mean(axis=0)).all()
    report = metrics.multi_label_report(test, scores)
    assert report["macro_auroc"] == 0.5
    assert report["macro_average_precision"] == pytest.approx(test.mean())


def random_groups(random, batch=4):
    return {
        "s2_10m": random.integers(0, 10000, (batch, 3, 12, 12), dtype=np.uint16),
        "s1_10m": random.normal(-15, 4, (batch, 2, 12, 12)).astype(np.float32),
        "s2_20m": random.integers(0, 10000, (batch, 1, 6, 6), dtype=np.uint16),
    }


def test_band_moments_are_means_then_deviations_of_groups_in_alphabetical_order():
    groups = random_groups(np.random.default_rng(1))
    features = baselines.band_moments(groups)
    assert features.shape == (4, 2 * 6)
    assert features.dtype == np.float64
    for patch in range(4):
        row = []
        for name in ("s1_10m", "s2_10m", "s2_20m"):
            bands = [band.astype(np.float64).ravel() for band in groups[name][patch]]
            row += [sum(band) / band.size for band in bands]
            row += [np.sqrt(((b - b.mean()) ** 2).sum() / b.size) for b in bands]
        assert features[patch] == pytest.approx(np.array(row), rel=1e-12)


def test_band_moments_do_not_depend_on_the_order_of_the_mapping():
    groups = random_groups(np.random.default_rng(2))
    reordered = dict(reversed(groups.items()))
    assert list(reordered) != list(groups)
    np.testing.assert_array_equal(
        baselines.band_moments(groups), baselines.band_moments(reordered)
    )


def test_moments_of_bright_narrow_bands_keep_their_digits():
    # Deviation 0.5 on a mean of 65,534.5: E[x^2] - E[x]^2 in float32 gives 0 or NaN.
    pixels = np.full((1, 1, 120, 120), 65535, np.uint16)
    pixels[..., ::2] = 65534
    assert baselines.band_moments({"s2_10m": pixels}).tolist() == [[65534.5, 0.5]]


def test_collect_band_moments_gathers_features_with_their_labels():
    random = np.random.default_rng(3)
    batches = [
        (random_groups(random, batch), random.random((batch, 19)) < 0.2)
        for batch in (4, 4, 0, 1)  # a batch of padding alone has no patches
    ]
    features, labels = baselines.collect_band_moments(iter(batches))
    assert features.shape == (9, 12)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(features[8:], baselines.band_moments(batches[3][0]))
    np.testing.assert_array_equal(labels[:4], batches[0][1])


def test_logistic_regression_equals_a_scikit_learn_pipeline():
    random = np.random.default_rng(4)
    features = random.normal(1000, 300, (500, 6)) * [1, 10, 100, 1e-3, 1, 1]
    truth = StandardScaler().fit_transform(features) @ random.normal(size=(6, 4))
    labels = truth + random.normal(size=truth.shape) > 0.3
    test = features[:50] + 1
    oracle = make_pipeline(
        StandardScaler(),
        OneVsRestClassifier(LogisticRegression(tol=1e-9, max_iter=10_000)),
    )
    expected = oracle.fit(features, labels).predict_proba(test)
    found = baselines.logistic_regression(features, labels, test)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    again = baselines.logistic_regression(features, labels, test)
    np.testing.assert_array_equal(again, found)


def test_logistic_regression_learns_what_the_priors_cannot():
    random = np.random.default_rng(5)
    features = random.normal(size=(600, 3))
    labels = np.stack([features[:, 0] > 0, features[:, 1] > 1], axis=1)
    test = random.normal(size=(200, 3))
    truth = np.stack([test[:, 0] > 0, test[:, 1] > 1], axis=1)
    scores = baselines.logistic_regression(features, labels, test)
    report = metrics.multi_label_report(truth, scores)
    assert report["macro_average_precision"] > 0.99


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_logistic_regression_stays_quiet_and_finite_on_hard_features(seed):
    random = np.random.default_rng(seed)
    samples, columns = random.integers(2, 30), random.integers(3, 40)
    features = random.normal(size=(samples, columns)) * 10 ** random.uniform(
        -8, 8, columns
    )
    features[:, 0] = 3.3e5  # constant
    features[:, 1] = features[:, 2]  # collinear
    labels = random.random((samples, 4)) < 0.3
    labels[:, 2] = features[:, -1] > np.median(features[:, -1])  # separable
    labels[:, 3] = seed % 2  # constant
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = baselines.logistic_regression(features, labels, features * 100)
    assert scores.shape == labels.shape
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (scores[:, 3] == seed % 2).all()


FEATURES, LABELS = np.zeros((3, 2)), np.array([[0, 1], [1, 1], [0, 0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((FEATURES[:2], LABELS, FEATURES), r"shape \(3, features\).*got \(2, 2\)"),
        ((FEATURES, LABELS, FEATURES[:, :1]), r"shape \(samples, 2\), got \(3, 1\)"),
        ((FEATURES, LABELS[:0], FEATURES), "at least one sample"),
        ((FEATURES, LABELS[0], FEATURES), r"\(samples, labels\).*got \(2,\)"),
        ((FEATURES, LABELS * 2, FEATURES), "to be 0 or 1"),
        ((FEATURES * np.nan, LABELS, FEATURES), "NaN"),
    ],
)
def test_logistic_regression_refuses_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        baselines.logistic_regression(*arguments)


PIXELS = np.zeros((2, 3, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({}, "at least one band group"),
        ({"s1_10m": PIXELS[0]}, r"s1_10m of shape \(batch, bands, .*got \(3, 4, 4\)"),
        ({"s1_10m": PIXELS, "s2_10m": PIXELS[:1]}, r"s2_10m of shape \(2, bands"),
        ({"s1_10m": PIXELS * np.nan}, "finite pixels in band group s1_10m"),
        ({"s1_10m": PIXELS + np.inf}, "finite pixels in band group s1_10m"),
    ],
)
def test_band_moments_refuse_bad_input(groups, message):
    with pytest.raises(ValueError, match=message):
        baselines.band_moments(groups)


def test_no_batches_are_refused():
    with pytest.raises(ValueError, match="at least one batch"):
        baselines.collect_band_moments([])
