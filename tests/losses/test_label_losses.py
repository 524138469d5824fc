"""Losses and their gradients against float64, torch, timm and tensorflow-addons."""

import importlib
import json

import closeness
import numpy as np
import pytest
import tensorflow as tf
import timm_models
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bigearthnet_tf import losses

WEIGHTS = np.array([0.5, 1, 3, 20, 400])


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


def cross_entropies(y, x, weights=1.0):
    return weights * y * np.logaddexp(0, -x) + (1 - y) * np.logaddexp(0, x)


def focal(y, x, gamma=2.0, alpha=0.25):
    true = y * sigmoid(x) + (1 - y) * sigmoid(-x)
    shares = y * alpha + (1 - y) * (1 - alpha)
    return shares * (1 - true) ** gamma * cross_entropies(y, x)


def asymmetric(y, x, positive=0.0, negative=4.0, clip=0.05):
    score, kept = sigmoid(x), np.minimum(sigmoid(-x) + clip, 1)
    power = positive * y + negative * (1 - y)
    weights = (1 - score * y - kept * (1 - y)) ** power
    return -weights * (y * np.log(score) + (1 - y) * np.log(kept))


def softmax(y, x):
    """Times the number of labels, for these losses are summed and not averaged."""
    peak = x.max(axis=-1, keepdims=True)
    total = peak + np.log(np.exp(x - peak).sum(axis=-1, keepdims=True))
    return -y * (x - total) * x.shape[-1]


# Ours with its options, the loss of each label in float64.
CASES = {
    "sigmoid_cross_entropy": ({}, cross_entropies),
    "weighted_sigmoid_cross_entropy": (
        {"positive_weights": WEIGHTS},
        lambda y, x: cross_entropies(y, x, WEIGHTS),
    ),
    "focal": ({}, focal),
    "focal without focus": (
        {"focal_gamma": 0.0, "focal_alpha": 0.5},
        lambda y, x: focal(y, x, 0.0, 0.5),
    ),
    "focal with a root": (
        {"focal_gamma": 0.5, "focal_alpha": 0.9},
        lambda y, x: focal(y, x, 0.5, 0.9),
    ),
    "asymmetric": ({}, asymmetric),
    "asymmetric with a focus on positives": (
        {"asymmetric_gamma_positive": 1.0, "asymmetric_clip": 0.2},
        lambda y, x: asymmetric(y, x, 1.0, 4.0, 0.2),
    ),
    "asymmetric without a clip": (
        {"asymmetric_gamma_negative": 0.5, "asymmetric_clip": 0.0},
        lambda y, x: asymmetric(y, x, 0.0, 0.5, 0.0),
    ),
    "softmax_cross_entropy": ({}, softmax),
    "mean_squared_error": ({}, lambda y, x: (x - y) ** 2),
}


def build(case, **options):
    return losses.build_loss(case.split()[0], **CASES[case][0], **options)


def losses_and_gradients(loss, labels, logits):
    logits = tf.Variable(logits, dtype="float32")
    with tf.GradientTape() as tape:
        values = loss(labels, logits)
    return values.numpy(), tape.gradient(values, logits).numpy()


def hard_labels_and_logits(scale):
    rng = np.random.default_rng(0)
    labels = (rng.random((40, 5)) < 0.3).astype(np.float64)
    return labels, rng.normal(0, scale, (40, 5)).astype(np.float32)


def soft_labels_and_logits(scale):
    _, logits = hard_labels_and_logits(scale)
    return np.random.default_rng(1).random((40, 5)), logits


def numeric_gradient(function, labels, logits):
    """Central differences of the mean over the labels, in float64."""
    gradients, step = np.zeros(logits.shape), 1e-6
    for label in range(logits.shape[-1]):
        shift = np.zeros(logits.shape[-1])
        shift[label] = step
        above = function(labels, logits + shift).mean(axis=-1)
        below = function(labels, logits - shift).mean(axis=-1)
        gradients[:, label] = (above - below) / (2 * step)
    return gradients


@pytest.mark.parametrize("data", [hard_labels_and_logits, soft_labels_and_logits])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_equal_float64(case, data):
    labels, logits = data(scale=3)
    values, gradients = losses_and_gradients(build(case), labels, logits)
    function, logits = CASES[case][1], logits.astype(np.float64)
    assert values.shape == (40,)
    assert values.dtype == np.float32
    expected = function(labels, logits).mean(axis=-1)
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    expected = numeric_gradient(function, labels, logits)
    np.testing.assert_allclose(gradients, expected, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_finite_at_large_logits(case, compiled):
    logits = np.array([[-100, -100, 0, 100, 100], [100, -1e4, 1e4, -100, 0]], "float32")
    loss = build(case)

    @tf.function(jit_compile=compiled)
    def values_and_gradients(labels, logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            values = loss(labels, logits)
        return values, tape.gradient(values, logits)

    for labels in ([[0, 1, 0, 0, 1]] * 2, [[0.0, 1.0, 0.5, 0.25, 0.9]] * 2):
        labels = tf.constant(labels, tf.float32)
        values, gradients = values_and_gradients(labels, tf.constant(logits))
        assert np.isfinite(values).all()
        assert np.isfinite(gradients).all()


# A wrong score must still be corrected, however sure it is.
@pytest.mark.parametrize("case", CASES)
def test_surely_missed_positives_are_learnt(case):
    labels, logits = np.eye(1, 5), np.full((1, 5), 0.0, "float32")
    logits[0, 0] = -100
    _, gradients = losses_and_gradients(build(case), labels, logits)
    assert gradients[0, 0] < -0.01


@pytest.mark.parametrize("case", CASES)
def test_gradients_at_a_logit_of_zero(case):
    """Where the common `max(x, 0) - x y + log(1 + exp(-|x|))` has none for x."""
    labels, logits = np.array([[0, 1, 0, 1, 0.5]]), np.zeros((1, 5), "float32")
    _, gradients = losses_and_gradients(build(case), labels, logits)
    expected = numeric_gradient(CASES[case][1], labels, logits.astype(np.float64))
    closeness.assert_close(gradients, expected)


@given(
    logits=arrays.arrays("float32", (3, 5), elements=st.floats(-1e4, 1e4, width=32)),
    labels=arrays.arrays("uint8", (3, 5), elements=st.integers(0, 1)),
)
def test_sigmoid_cross_entropy_equals_float64_for_any_logit(logits, labels):
    loss = losses.build_loss("sigmoid_cross_entropy")(labels, logits)
    expected = cross_entropies(labels, logits.astype(np.float64)).mean(axis=-1)
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-30)


def test_small_losses_keep_their_digits():
    logits = np.array([[12.0], [-12.0], [80.0]], "float32")
    labels = np.array([[1], [0], [1]])
    loss = losses.build_loss("sigmoid_cross_entropy")(labels, logits)
    expected = cross_entropies(labels, logits.astype(np.float64))[:, 0]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_negatives_below_the_clip_are_left_alone():
    # Scores of 0.047 and 0.053 around a clip of 0.05.
    logits = np.array([[-3.0, -2.88]], "float32")
    loss = losses.build_loss("asymmetric", asymmetric_gamma_negative=1.0)
    _, gradients = losses_and_gradients(loss, np.zeros((1, 2)), logits)
    assert gradients[0, 0] == 0
    assert gradients[0, 1] > 0


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_logits_are_computed_in_float32(case, dtype):
    logits = np.array([[1.5, -2.25, 8.0, 0, -6]], "float32")
    labels = np.array([[1, 0, 0, 1, 0]])
    loss = build(case)(labels, tf.cast(logits, dtype))
    assert loss.dtype == tf.float32
    np.testing.assert_allclose(loss, build(case)(labels, logits), rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_smoothing_moves_labels_towards_one_half(case):
    labels, logits = hard_labels_and_logits(scale=2)
    smooth = build(case, label_smoothing=0.2)(labels, logits)
    by_hand = build(case)(np.where(labels == 1, 0.9, 0.1), logits)
    np.testing.assert_allclose(smooth, by_hand, rtol=1e-5)
    assert not np.allclose(smooth, build(case)(labels, logits), rtol=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_compiled_by_xla_they_are_the_same(case):
    labels, logits = soft_labels_and_logits(scale=3)
    loss = build(case)
    compiled = tf.function(loss, jit_compile=True)
    np.testing.assert_allclose(
        compiled(labels, logits), loss(labels, logits), rtol=1e-5
    )


@pytest.mark.parametrize(
    "case", ["ordinary_19", "ties_19", "degenerate_43", "one_row_19", "exact_half"]
)
def test_focal_equals_tensorflow_addons(shared, case):
    folder = shared / "reference" / "metrics"
    expected = json.loads((folder / "expected.json").read_text())[case]
    with np.load(folder / "cases.npz") as cases:
        labels, scores = cases[f"{case}_y"], cases[f"{case}_s"]
    # The reference took logits of float32 scores, those of exactly 0 and 1 cut, and
    # means over the batch of sums over the labels.
    scores = np.clip(scores.astype(np.float32), np.float32(1e-6), np.float32(1 - 1e-6))
    logits = np.log(scores / (1 - scores))
    ours = losses.build_loss("focal")(labels, logits)
    theirs = expected["tensorflow_addons_0.23"]
    name = "SigmoidFocalCrossEntropy_alpha0.25_gamma2_from_logits_mean"
    total = float(np.mean(ours)) * labels.shape[1]
    assert total == pytest.approx(theirs[name], rel=1e-6)


def in_torch(case):
    """The losses of all labels as torch or timm has them, from labels and logits."""
    torch = pytest.importorskip("torch")
    functional, options = torch.nn.functional, CASES[case][0]
    cross_entropy = functional.binary_cross_entropy_with_logits
    if case.startswith("asymmetric"):
        timm_models.load()
        loss = importlib.import_module("timm.loss").AsymmetricLossMultiLabel(
            gamma_neg=options.get("asymmetric_gamma_negative", 4.0),
            gamma_pos=options.get("asymmetric_gamma_positive", 0.0),
            clip=options.get("asymmetric_clip", 0.05),
            reduction="none",
        )
        return lambda y, x: loss(x, y)
    return {
        "sigmoid_cross_entropy": lambda y, x: cross_entropy(x, y, reduction="none"),
        "weighted_sigmoid_cross_entropy": lambda y, x: cross_entropy(
            x, y, reduction="none", pos_weight=torch.tensor(WEIGHTS)
        ),
        "softmax_cross_entropy": lambda y, x: functional.cross_entropy(
            x, y, reduction="none"
        )[:, None],
        "mean_squared_error": lambda y, x: functional.mse_loss(x, y, reduction="none"),
    }[case]


@pytest.mark.parametrize("data", [hard_labels_and_logits, soft_labels_and_logits])
@pytest.mark.parametrize("case", [c for c in CASES if not c.startswith("focal")])
def test_values_and_gradients_equal_torch(case, data):
    torch = pytest.importorskip("torch")
    labels, logits = data(scale=3)
    theirs = torch.tensor(logits.astype(np.float64), requires_grad=True)
    expected = in_torch(case)(torch.tensor(labels), theirs).mean(dim=-1)
    expected.sum().backward()
    values, gradients = losses_and_gradients(build(case), labels, logits)
    np.testing.assert_allclose(values, expected.detach().numpy(), rtol=2e-5)
    np.testing.assert_allclose(gradients, theirs.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_positive_weights_balance_positives_and_negatives():
    weights = losses.positive_weights([1, 5, 9, 0, 10], 10)
    assert weights.dtype == np.float32
    # Labels that none or all have are left alone.
    np.testing.assert_allclose(weights, [9, 1, 1 / 9, 1, 1])
    with pytest.raises(ValueError, match="counts of 0 to 10 records, got 1 to 11"):
        losses.positive_weights([1, 11], 10)
    with pytest.raises(ValueError, match="got -1 to 1"):
        losses.positive_weights([1, -1], 10)


def test_names():
    labels, logits = hard_labels_and_logits(scale=1)
    for name in ("bce", "sigmoid_cross_entropy"):
        np.testing.assert_array_equal(
            losses.build_loss(name)(labels, logits),
            build("sigmoid_cross_entropy")(labels, logits),
        )
    assert set(losses.LOSSES.names()) == {case.split()[0] for case in CASES}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sigmoid_crossentropy", {}, "did you mean 'sigmoid_cross_entropy'"),
        ("focal", {"label_smoothing": 1.0}, "below 1, got 1.0"),
        ("focal", {"label_smoothing": -0.1}, "at least 0"),
        ("weighted_sigmoid_cross_entropy", {}, "needs positive_weights"),
    ],
)
def test_impossible_options_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        losses.build_loss(name, **options)
