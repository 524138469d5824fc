"""Losses against float64 and their closed-form gradients."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bigearthnet_tf import losses


def reference(labels, logits):
    """Cross-entropy in float64, by the logarithm of the chosen side's sigmoid."""
    sign = np.where(np.asarray(labels) == 1, -1.0, 1.0)
    return np.logaddexp(0, sign * np.asarray(logits, "float64")).mean(axis=-1)


@settings(deadline=None)
@given(
    logits=arrays.arrays("float32", (3, 5), elements=st.floats(-1e4, 1e4, width=32)),
    labels=arrays.arrays("uint8", (3, 5), elements=st.integers(0, 1)),
)
def test_sigmoid_cross_entropy_equals_float64(logits, labels):
    loss = losses.get_loss("sigmoid_cross_entropy")(labels, logits)
    assert loss.dtype == tf.float32
    np.testing.assert_allclose(loss, reference(labels, logits), rtol=1e-5, atol=1e-30)


def test_small_losses_keep_their_digits():
    logits = np.array([[12.0], [-12.0], [80.0]], "float32")
    labels = np.array([[1], [0], [1]])
    loss = losses.get_loss("sigmoid_cross_entropy")(labels, logits)
    np.testing.assert_allclose(loss, reference(labels, logits), rtol=1e-5)


def test_the_gradient_is_score_minus_label_everywhere():
    logits = tf.Variable([[0.0, 0.0, 100.0, -100.0, 1e4, -1e4, 2.0]])
    labels = np.array([[0, 1, 0, 1, 1, 0, 1]])
    with tf.GradientTape() as tape:
        loss = losses.get_loss("sigmoid_cross_entropy")(labels, logits)
    scores = np.array([[0.5, 0.5, 1, 0, 1, 0, 1 / (1 + np.exp(-2))]])
    np.testing.assert_allclose(
        tape.gradient(loss, logits), (scores - labels) / 7, atol=1e-7
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_logits_are_computed_in_float32(dtype):
    logits = tf.cast([[1.5, -2.25, 8.0]], dtype)
    labels = np.array([[1, 0, 0]])
    loss = losses.get_loss("sigmoid_cross_entropy")(labels, logits)
    assert loss.dtype == tf.float32
    expected = reference(labels, [[1.5, -2.25, 8.0]])
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_names():
    assert losses.get_loss("bce") is losses.get_loss("sigmoid_cross_entropy")
    with pytest.raises(ValueError, match="did you mean 'sigmoid_cross_entropy'"):
        losses.get_loss("sigmoid_crossentropy")
