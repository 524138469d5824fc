"""Losses of labels of pixels against float64 by hand."""

import numpy as np
import pytest
import tensorflow as tf

from bigearthnet_tf.losses import pixels

LABELS = 4


def drawn(seed=0, patches=3, side=5):
    """Logits and classes, some of which are no labels; the last patch has none."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (patches, side, side, LABELS)).astype(np.float32)
    classes = rng.integers(0, LABELS + 1, (patches, side, side)).astype(np.uint8)
    classes[classes == LABELS] = 255
    classes[-1] = 255
    return classes, logits


def softmax(logits):
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 0.0, 1.0)])
@pytest.mark.parametrize("gamma", [None, 0.5, 2.0])
def test_sums_over_labelled_pixels(weights, gamma):
    classes, logits = drawn()
    name = "cross_entropy" if gamma is None else "focal"
    options = {} if gamma is None else {"focal_gamma": gamma}
    loss = pixels.build_pixel_loss(name, class_weights=weights, **options)
    found = loss(classes, logits)
    scores = softmax(logits)
    each = np.ones(LABELS) if weights is None else np.array(weights)
    for patch in range(len(classes)):
        total = weight = 0.0
        for place in np.argwhere(classes[patch] < LABELS):
            label = classes[patch][tuple(place)]
            p = scores[patch][tuple(place)][label]
            total -= (
                each[label] * np.log(p) * (1 if gamma is None else (1 - p) ** gamma)
            )
            weight += each[label]
        np.testing.assert_allclose(found.total[patch], total, rtol=2e-5)
        np.testing.assert_allclose(found.weight[patch], weight, rtol=1e-6)
    np.testing.assert_array_equal(found.dice, 0)


def test_dice_of_each_patch():
    classes, logits = drawn()
    found = pixels.build_pixel_loss("cross_entropy", with_dice=True)(classes, logits)
    scores = softmax(logits)
    for patch in range(len(classes) - 1):
        labelled = classes[patch] < LABELS
        coefficients = []
        for label in np.unique(classes[patch][labelled]):
            truth = classes[patch] == label
            own = scores[patch][..., label]
            coefficients.append(
                2 * own[truth].sum() / (own[labelled].sum() + truth.sum())
            )
        np.testing.assert_allclose(
            found.dice[patch], 1 - np.mean(coefficients), rtol=1e-5
        )
    assert found.dice[-1] == 0
    right = tf.one_hot(np.where(classes < LABELS, classes, 0), LABELS) * 100
    perfect = pixels.build_pixel_loss("cross_entropy", with_dice=True)(classes, right)
    np.testing.assert_allclose(perfect.dice, 0, atol=1e-6)


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_pixels_without_label_have_no_gradient(name):
    classes, logits = drawn()
    loss = pixels.build_pixel_loss(name, focal_gamma=0.5, with_dice=True)
    variable = tf.Variable(logits)
    # A pixel that is surely right, where powers of 1 - p have no slope.
    classes[0, 0, 0] = 1
    variable.assign(
        tf.tensor_scatter_nd_update(
            variable, [[0, 0, 0]], [np.array([-90, 90, -90, -90], np.float32)]
        )
    )
    with tf.GradientTape() as tape:
        found = loss(classes, variable)
        value = tf.reduce_sum(found.total) + tf.reduce_sum(found.dice)
    gradient = tape.gradient(value, variable).numpy()
    assert np.isfinite(gradient).all()
    assert (gradient[classes == 255] == 0).all()
    assert (gradient[classes < LABELS] != 0).any(axis=-1).mean() > 0.9


def test_weights_of_labels():
    counts = [10, 0, 30, 60]
    balanced = pixels.pixel_weights(counts, "balanced")
    assert balanced[1] == 0
    present = np.array(counts) > 0
    # Each label that occurs weighs the same in sum.
    sums = balanced * np.array(counts)
    np.testing.assert_allclose(sums[present], sums[0], rtol=1e-6)
    root = pixels.pixel_weights(counts, "root")
    np.testing.assert_allclose(root**2, balanced, rtol=1e-6)
    assert pixels.pixel_weights(counts, "none") is None
    with pytest.raises(ValueError, match="no pixel of the training records"):
        pixels.pixel_weights([0, 0], "root")
    with pytest.raises(ValueError, match="none, balanced or root, got 'other'"):
        pixels.pixel_weights(counts, "other")
    with pytest.raises(ValueError, match="cross_entropy or focal, got 'dice'"):
        pixels.build_pixel_loss("dice")
