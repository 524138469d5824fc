"""Optimisers against their closed forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bigearthnet_tf import optimization

START = [np.array([[1.0, -2.0], [0.5, 3.0]]), np.array([0.7, -0.3])]
GRADIENTS = [np.array([[0.1, -1e-3], [2.0, 1e-6]]), np.array([-0.4, 0.0])]


def take_steps(optimizer, count: int) -> list[np.ndarray]:
    """Applies the same gradients `count` times to a kernel and a bias."""
    variables = [
        keras.Variable(value, name=name)
        for value, name in zip(START, ("kernel", "bias"), strict=True)
    ]
    for _ in range(count):
        gradients = [tf.constant(g, tf.float32) for g in GRADIENTS]
        optimizer.apply(gradients, variables)
    return [v.numpy() for v in variables]


def closed_form(count: int, rate: float, decay: float) -> list[np.ndarray]:
    """AdamW in float64 with constant gradients g.

    The corrected moments are then exactly g and g**2; `epsilon` stands before the
    correction, so it grows by 1 / sqrt(1 - beta_2**t).
    """
    results = []
    for value, gradient in zip(START, GRADIENTS, strict=True):
        for t in range(1, count + 1):
            value = value - rate * decay * value
            epsilon = 1e-8 / np.sqrt(1 - 0.999**t)
            value = value - rate * gradient / (np.abs(gradient) + epsilon)
        results.append(value)
    return results


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("name", "decay", "expected_decay"),
    [("adamw", 0.01, 0.01), ("adamw", 0.5, 0.5), ("adamw", 0.0, 0.0), ("adam", 0.5, 0)],
)
def test_steps_equal_the_closed_form(name, decay, expected_decay, count):
    optimizer = optimization.build_optimizer(name, 0.1, decay)
    ours = take_steps(optimizer, count)
    for a, b in zip(ours, closed_form(count, 0.1, expected_decay), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


def test_adamw_decays_by_torchs_default():
    default = take_steps(optimization.build_optimizer("adamw", 0.1), 1)
    for a, b in zip(default, closed_form(1, 0.1, 0.01), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


def test_the_learning_rate_is_constant_and_can_be_set():
    optimizer = optimization.build_optimizer("adam", 0.25)
    take_steps(optimizer, 2)
    assert float(optimizer.learning_rate) == 0.25
    optimizer.learning_rate = 0.5
    assert float(optimizer.learning_rate) == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("adamm", 0.1), "did you mean 'adam'"),
        (("adam", 0.0), "above zero and finite, got 0.0"),
        (("adam", -1.0), "above zero"),
        (("adam", float("nan")), "above zero"),
        (("adam", float("inf")), "above zero"),
        (("adamw", 0.1, -0.1), "at least zero and finite, got -0.1"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        optimization.build_optimizer(*arguments)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_steps_of_single_variables_are_scaled(name):
    variables = [keras.Variable(np.ones(3, "float32")) for _ in range(3)]
    optimizer = optimization.build_optimizer(name, 0.1, weight_decay=0.0)
    optimizer.build(variables)
    optimization.scale_steps(optimizer, [1.0, 0.5, 0.01])
    gradient = np.array([1.0, -2.0, 3.0], "float32")
    optimizer.apply([tf.constant(gradient)] * 3, variables)
    steps = [1 - variable.numpy() for variable in variables]
    np.testing.assert_allclose(steps[0], 0.1 * np.sign(gradient), rtol=1e-4)
    np.testing.assert_allclose(steps[1], 0.5 * steps[0], rtol=1e-4)
    np.testing.assert_allclose(steps[2], 0.01 * steps[0], rtol=1e-3)


@pytest.mark.parametrize(("warmup", "total"), [(0, 7), (1, 5), (4, 20), (50, 20)])
def test_warm_up_and_cosine_by_the_formula(warmup, total):
    base, lowest = 0.5, 0.05
    schedule = optimization.WarmupCosine(base, warmup, total)
    w = min(warmup, total - 1)
    for step in range(total + 5):
        if step < w:
            expected = lowest + step * (base - lowest) / max(w - 1, 1)
        elif step == w:
            expected = base
        else:
            share = min((step - w) / (total - w), 1)
            expected = lowest + (base - lowest) * (1 + np.cos(np.pi * share)) / 2
        assert float(schedule(step)) == pytest.approx(expected, rel=1e-5)


def test_an_optimiser_follows_its_schedule():
    schedule = optimization.WarmupCosine(0.1, 2, 4)
    optimizer = optimization.build_optimizer("adam", 0.1, schedule=schedule)
    variable = keras.Variable(np.ones(1, "float32"))
    optimizer.build([variable])
    rates = []
    for _ in range(5):
        rates.append(float(np.asarray(optimizer.learning_rate)))
        optimizer.apply([tf.ones(1)], [variable])
    np.testing.assert_allclose(rates, [0.01, 0.1, 0.1, 0.055, 0.01], rtol=1e-5)
