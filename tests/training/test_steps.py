"""Steps against the same arithmetic by hand, however they are taken."""

import time

import closeness
import keras
import numpy as np
import pytest
import tensorflow as tf

from bigearthnet_tf import config as configs
from bigearthnet_tf import optimization
from bigearthnet_tf.models import layers
from bigearthnet_tf.training import steps
from bigearthnet_tf.training.loss_scale import LossScale

ROWS = np.random.default_rng(0).normal(size=(48, 5)).astype(np.float32)
TARGETS = np.random.default_rng(1).normal(size=(48, 2)).astype(np.float32)


class Regression:
    """Squared errors; a factor makes gradients overflow on demand."""

    random_state = ()
    factor = 1.0

    def losses(self, model, batch, training):
        error = model(batch[0], training=training) - batch[1]
        return self.factor * tf.reduce_sum(tf.cast(error, tf.float32) ** 2, -1)


def build(seed=3, norm=False, dropout=False):
    keras.utils.set_random_seed(seed)
    middle = [keras.layers.BatchNormalization()] if norm else []
    middle += [layers.Dropout(0.5, seed=7)] if dropout else []
    return keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(4, activation="tanh", name="a"),
            *middle,
            keras.layers.Dense(2, name="b", dtype="float32"),
        ]
    )


def take(count=5, calls=1, model_options=None, task=None, xla=False, **keys):
    """Takes steps of 12 rows; returns model, steps, and what the steps returned."""
    keys = {"batch_size": 12, "learning_rate": 0.1, "optimizer": "sgd"} | keys
    config = configs.from_dict(keys)
    keras.config.set_dtype_policy(config.precision)
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    with strategy.scope():
        model = build(**(model_options or {}))
        optimizer = optimization.build_optimizer(config.optimizer, config.learning_rate)
        optimizer.build(model.trainable_variables)
    keras.config.set_dtype_policy("float32")
    taken = steps.Steps(task or Regression(), model, optimizer, strategy, config, xla)
    data = tf.data.Dataset.from_tensor_slices((ROWS, TARGETS)).repeat()
    data = iter(
        strategy.distribute_datasets_from_function(
            lambda _: data_of(data, config.batch_size)
        )
    )
    found = [taken(data, tf.constant(count), tf.constant(0.0)) for _ in range(calls)]
    whole = {
        key: np.concatenate([np.atleast_1d(part[key]) for part in found])
        for key in found[0]
    }
    return model, taken, whole


def data_of(data, batch_size):
    return data.batch(batch_size, drop_remainder=True)


def weights(model):
    return [np.asarray(v).astype(np.float64) for v in model.weights]


def by_hand(count, clip_norm=0.0, l2=0.0, l2_on="kernels", rate=0.1, momentum=0.9):
    """SGD with momentum in float64 NumPy, gradients written out."""
    # As torch's SGD and Adam add `weight_decay` times the parameter.
    of_biases = l2 if l2_on == "all" else 0.0
    model = build()
    kernel_a, bias_a, kernel_b, bias_b = values = weights(model)
    velocity = [np.zeros_like(v) for v in values]
    losses, norms = [], []
    for number in range(count):
        rows = np.arange(number * 12, number * 12 + 12) % 48
        x, y = ROWS[rows].astype(np.float64), TARGETS[rows].astype(np.float64)
        hidden = np.tanh(x @ kernel_a + bias_a)
        error = hidden @ kernel_b + bias_b - y
        losses.append(
            (error**2).sum() / 12
            + l2 / 2 * ((kernel_a**2).sum() + (kernel_b**2).sum())
            + of_biases / 2 * ((bias_a**2).sum() + (bias_b**2).sum())
        )
        out = 2 * error / 12
        inner = out @ kernel_b.T * (1 - hidden**2)
        gradients = [
            x.T @ inner + l2 * kernel_a,
            inner.sum(0) + of_biases * bias_a,
            hidden.T @ out + l2 * kernel_b,
            out.sum(0) + of_biases * bias_b,
        ]
        norm = np.sqrt(sum((g**2).sum() for g in gradients))
        norms.append(norm)
        if clip_norm and norm > clip_norm:
            gradients = [g * clip_norm / norm for g in gradients]
        for value, speed, gradient in zip(values, velocity, gradients, strict=True):
            speed[:] = momentum * speed - rate * gradient
            value += speed
    return values, losses, norms


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"clip_norm": 0.5},
        {"l2": 0.3},
        {"l2": 0.3, "l2_on": "all"},
        {"clip_norm": 1.0, "l2": 0.1},
    ],
)
@pytest.mark.parametrize("way", [{}, {"xla": True}, {"gradient_accumulation": 3}])
def test_steps_equal_those_by_hand(keys, way):
    model, _, found = take(6, **keys, **way)
    values, losses, norms = by_hand(6, **keys)
    for ours, expected in zip(weights(model), values, strict=True):
        closeness.assert_close(ours, expected)
    np.testing.assert_allclose(found["loss"], losses, rtol=1e-5)
    np.testing.assert_allclose(found["gradient_norm"], norms, rtol=1e-5)


@pytest.mark.parametrize("xla", [False, True])
def test_how_many_steps_a_call_takes_changes_nothing(xla):
    options = {"norm": True, "dropout": True}
    one, _, alone = take(1, calls=6, model_options=options, xla=xla)
    many, _, together = take(3, calls=2, model_options=options, xla=xla)
    np.testing.assert_array_equal(alone["loss"], together["loss"])
    for a, b in zip(one.variables, many.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_xla_keeps_batch_statistics():
    plain, _, _ = take(4, model_options={"norm": True})
    compiled, _, _ = take(4, model_options={"norm": True}, xla=True)
    begun = build(norm=True)
    for a, b, before in zip(
        plain.variables, compiled.variables, begun.variables, strict=True
    ):
        closeness.assert_close(a, b)
        assert not np.array_equal(a, before), a.path


def test_xla_advances_random_generators():
    """What it draws is its own affair."""
    model, _, _ = take(4, model_options={"dropout": True}, xla=True)
    begun = build(dropout=True)
    (now,), (before,) = (
        [np.asarray(v) for v in m.variables if "seed" in v.path] for m in (model, begun)
    )
    assert now[1] == before[1] + 4


def test_accumulation_gives_each_part_to_batch_norm():
    """Statistics move three times a step, over four rows each."""
    model, _, _ = take(1, model_options={"norm": True}, gradient_accumulation=3)
    expected = np.zeros(4)
    begun = build(norm=True)
    for first in (0, 4, 8):
        hidden = np.asarray(begun.layers[0](ROWS[first : first + 4]))
        expected = 0.99 * expected + 0.01 * hidden.mean(0)
    closeness.assert_close(model.layers[1].moving_mean, expected)


def test_float16_scales_the_loss_and_stays_near_float32():
    task = Regression()
    task.factor = 1e-6  # gradients that float16 would lose
    plain, _, _ = take(8, task=task, learning_rate=1e5)
    half, taken, found = take(
        8, task=task, learning_rate=1e5, precision="mixed_float16"
    )
    assert all(v.dtype == "float32" for v in half.weights)
    assert float(taken.loss_scale.value()) == 2.0**15
    assert np.isfinite(found["loss"]).all()
    begun = build()
    for a, b, before in zip(plain.weights, half.weights, begun.weights, strict=True):
        moved = np.abs(np.asarray(a) - np.asarray(before)).max()
        assert np.abs(np.asarray(a) - np.asarray(b)).max() < 0.05 * moved


def test_an_overflow_is_left_out_and_halves_the_scale():
    task = Regression()
    task.factor = 3e34  # times the scale it is infinite in float32, too
    half, taken, found = take(3, task=task, precision="mixed_float16")
    assert float(taken.loss_scale.value()) == 2.0**12
    assert not np.isfinite(found["gradient_norm"]).any()
    assert int(taken.optimizer.iterations) == 0
    for a, before in zip(half.weights, build().weights, strict=True):
        np.testing.assert_array_equal(a, before)


def test_the_scale_doubles_after_a_good_while(monkeypatch):
    monkeypatch.setattr("bigearthnet_tf.training.loss_scale.GROWTH_INTERVAL", 3)
    task = Regression()
    task.factor = 1e-4
    _, taken, _ = take(7, task=task, precision="mixed_float16")
    assert float(taken.loss_scale.value()) == 2.0**17
    assert int(taken.loss_scale.variables[1]) == 1


def test_what_a_checkpoint_must_hold():
    assert [v.name for v in LossScale().variables] == ["loss_scale", "good_steps"]
    _, taken, _ = take(1)
    assert taken.variables == []


def test_asked_to_stop():
    _, taken, found = take(1)
    assert found["stop"].tolist() == [0.0]
    data = tf.data.Dataset.from_tensor_slices((ROWS, TARGETS)).repeat()
    data = iter(
        taken.strategy.distribute_datasets_from_function(lambda _: data_of(data, 12))
    )
    found = taken(data, tf.constant(1), tf.constant(1.0))
    assert float(found["stop"]) == 1.0


def test_the_time_that_the_input_keeps_a_step_waiting():
    _, taken, _ = take(1)

    def late(*row):
        time.sleep(0.01)
        return row

    data = tf.data.Dataset.from_tensor_slices((ROWS, TARGETS)).repeat()
    data = data.map(
        lambda x, y: tf.numpy_function(late, [x, y], [tf.float32, tf.float32])
    ).map(lambda x, y: (tf.ensure_shape(x, (5,)), tf.ensure_shape(y, (2,))))
    data = iter(
        taken.strategy.distribute_datasets_from_function(lambda _: data_of(data, 12))
    )
    found = taken(data, tf.constant(5), tf.constant(0.0))
    # Five batches of 12 rows, a hundredth of a second each; some are read ahead.
    assert 0.2 < float(found["input_seconds"]) < 5
