"""Losses of one class an example, against scikit-learn and closed forms."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight

from bigearthnet_tf import losses

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(20, 4)).astype(np.float32)
CLASSES = RNG.integers(0, 4, 20).astype(np.int32)


def probabilities():
    p = np.exp(LOGITS.astype(np.float64))
    return p / p.sum(1, keepdims=True)


def test_cross_entropy_is_that_of_scikit_learn():
    loss = losses.build_class_loss("softmax_cross_entropy")
    found = np.asarray(loss(CLASSES, LOGITS))
    expected = log_loss(CLASSES, probabilities(), labels=range(4))
    assert found.mean() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_is_its_formula(gamma):
    p = probabilities()[np.arange(20), CLASSES]
    loss = losses.build_class_loss("focal", focal_gamma=gamma)
    expected = -((1 - p) ** gamma) * np.log(p)
    np.testing.assert_allclose(loss(CLASSES, LOGITS), expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "focal"])
def test_none_and_weights(name):
    weights = np.array([1, 2, 0, 3.0])
    plain = np.asarray(losses.build_class_loss(name)(CLASSES, LOGITS))
    weighted = losses.build_class_loss(name, weights=weights)
    np.testing.assert_allclose(
        weighted(CLASSES, LOGITS), plain * weights[CLASSES], rtol=1e-6
    )
    none = np.full(20, -1, np.int32)
    assert not np.asarray(losses.build_class_loss(name)(none, LOGITS)).any()


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "focal"])
def test_certain_logits_have_finite_gradients(name):
    logits = tf.constant([[80.0, -80.0], [-80.0, 80.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses.build_class_loss(name, focal_gamma=0.5)
        total = tf.reduce_sum(loss(np.int32([0, 0]), logits))
    assert np.isfinite(total)
    assert np.isfinite(tape.gradient(total, logits)).all()


def test_balanced_weights_are_those_of_scikit_learn():
    classes = np.repeat([0, 1, 3], [5, 1, 14])
    found = losses.balanced_weights(np.bincount(classes, minlength=4))
    expected = compute_class_weight("balanced", classes=np.unique(classes), y=classes)
    np.testing.assert_allclose(found[[0, 1, 3]], expected, rtol=1e-6)
    assert found[2] == 0
