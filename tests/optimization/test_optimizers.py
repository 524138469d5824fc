"""Optimisers against their closed forms."""

import closeness
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
        keras.Variable(value, dtype="float32", name=name)
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
        closeness.assert_close(a, b)


def test_adamw_decays_by_torchs_default():
    default = take_steps(optimization.build_optimizer("adamw", 0.1), 1)
    for a, b in zip(default, closed_form(1, 0.1, 0.01), strict=True):
        closeness.assert_close(a, b)


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
        (
            ("sgd", 0.1, 0.0, None, {"momentum": 1.0}),
            "momentum of at least 0 and below",
        ),
        (("adam", 0.1, 0.0, None, {"ema_momentum": -0.5}), "ema_momentum .* got -0.5"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    positional, named = arguments[:4], dict(*arguments[4:])
    with pytest.raises(ValueError, match=message):
        optimization.build_optimizer(*positional, **named)


def changing_gradients(count):
    """Gradients of the kernel and the bias that differ from step to step."""
    rng = np.random.default_rng(3)
    return [[rng.normal(size=value.shape) for value in START] for _ in range(count)]


def follow(optimizer, gradients, averages=False, spare=False):
    """Applies gradients and returns the kernel and the bias, or their averages.

    With `spare` the kernel alone decays.
    """
    variables = [
        keras.Variable(value, dtype="float32", name=name)
        for value, name in zip(START, ("kernel", "bias"), strict=True)
    ]
    if spare:
        optimization.exclude_from_decay(optimizer, variables)
    optimizer.build(variables)
    for step in gradients:
        optimizer.apply([tf.constant(g, tf.float32) for g in step], variables)
    wanted = optimization.averages(optimizer) if averages else variables
    return [np.asarray(v) for v in wanted]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_in_float64(momentum):
    gradients = changing_gradients(6)
    optimizer = optimization.build_optimizer("sgd", 0.1, momentum=momentum)
    ours = follow(optimizer, gradients)
    for index, value in enumerate(START):
        velocity = 0
        for step in gradients:
            velocity = momentum * velocity - 0.1 * step[index]
            value = value + velocity
        closeness.assert_close(ours[index], value)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_equals_torch_at_a_constant_rate(momentum):
    torch = pytest.importorskip("torch")
    gradients = changing_gradients(6)
    weights = [torch.tensor(value.copy()) for value in START]
    theirs = torch.optim.SGD(weights, 0.1, momentum=momentum)
    for step in gradients:
        for weight, gradient in zip(weights, step, strict=True):
            weight.grad = torch.tensor(gradient)
        theirs.step()
    optimizer = optimization.build_optimizer("sgd", 0.1, momentum=momentum)
    for ours, weight in zip(follow(optimizer, gradients), weights, strict=True):
        closeness.assert_close(ours, weight.numpy())


@pytest.mark.parametrize("where", ["all", "kernels"])
@pytest.mark.parametrize("decay", [0.0, 0.02, 2.0])
def test_lamb_in_float64(decay, where):
    gradients = changing_gradients(5)
    optimizer = optimization.build_optimizer("lamb", 0.1, decay)
    ours = follow(optimizer, gradients, spare=where == "kernels")
    for index, value in enumerate(START):
        decays = decay if where == "all" or index == 0 else 0
        *_, last = in_lamb(value, [step[index] for step in gradients], decays)
        closeness.assert_close(ours[index], last)


def in_lamb(value, gradients, decay, rate=0.1):
    """Yields the weights after each step of LAMB (algorithm 2 of the paper)."""
    first = second = 0
    for t, gradient in enumerate(gradients, start=1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        scale = np.sqrt(second / (1 - 0.999**t)) + 1e-6
        update = first / (1 - 0.9**t) / scale + decay * value
        ratio = np.sqrt(np.sum(value**2) / np.sum(update**2))
        value = value - rate * ratio * update
        yield value


@pytest.mark.parametrize("shape", [(), (1,), (3, 3, 2, 4)])
def test_lamb_of_any_number_of_axes(shape):
    rng = np.random.default_rng(5)
    value, *gradients = rng.normal(size=(4, *shape)) + 0.1
    variable = keras.Variable(value, dtype="float32", name="kernel")
    optimizer = optimization.build_optimizer("lamb", 0.1, 0.02)
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
    *_, last = in_lamb(value, gradients, 0.02)
    closeness.assert_close(variable.numpy(), last)


def test_scaled_steps_of_lamb_scale_its_decay_too():
    gradients = changing_gradients(5)
    variables = [
        keras.Variable(START[0], dtype="float32", name="kernel") for _ in range(2)
    ]
    optimizer = optimization.build_optimizer("lamb", 0.1, 0.5)
    optimizer.build(variables)
    optimization.scale_steps(optimizer, [1.0, 0.2])
    for step in gradients:
        optimizer.apply([tf.constant(step[0], tf.float32)] * 2, variables)
    for variable, rate in zip(variables, (0.1, 0.02), strict=True):
        *_, last = in_lamb(START[0], [step[0] for step in gradients], 0.5, rate)
        closeness.assert_close(variable.numpy(), last)


def test_lamb_takes_plain_steps_from_zero():
    variable = keras.Variable(np.zeros(3, "float32"), name="kernel")
    optimizer = optimization.build_optimizer("lamb", 0.1)
    optimizer.apply([tf.constant([1.0, -2.0, 3.0])], [variable])
    np.testing.assert_allclose(variable.numpy(), [-0.1, 0.1, -0.1], rtol=1e-4)


@pytest.mark.parametrize("name", ["adamw", "lamb"])
@pytest.mark.parametrize("built_before", [False, True])
def test_kernels_alone_decay(name, built_before):
    names = ("kernel", "bias", "gamma", "beta", "cls_token", "depthwise_kernel")
    variables = [keras.Variable(np.ones((1, 2), "float32"), name=n) for n in names]
    optimizer = optimization.build_optimizer(name, 0.1, weight_decay=0.5)
    if built_before:
        optimizer.build(variables)
    optimization.exclude_from_decay(optimizer, variables)
    optimizer.apply([tf.zeros((1, 2))] * len(variables), variables)
    # Without a gradient LAMB's step is the decay alone, scaled to the weights.
    left = {"adamw": 0.95, "lamb": 0.9}[name]
    decayed = {
        v.path: np.allclose(v.numpy(), left) for v in variables if v.numpy()[0, 0] != 1
    }
    assert decayed == {"kernel": True, "depthwise_kernel": True}


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "lamb"])
def test_averages_start_with_the_weights_after_the_first_step(name):
    gradients = changing_gradients(5)
    average = None
    for count in range(1, 6):
        weights = follow(optimization.build_optimizer(name, 0.1), gradients[:count])
        weights = [w.astype(np.float64) for w in weights]
        if average is None:
            average = weights
        average = [0.8 * a + 0.2 * w for a, w in zip(average, weights, strict=True)]
        optimizer = optimization.build_optimizer(name, 0.1, ema_momentum=0.8)
        ours = follow(optimizer, gradients[:count], averages=True)
        for a, b in zip(ours, average, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)


def test_averages_leave_the_weights_alone():
    gradients = changing_gradients(5)
    plain = follow(optimization.build_optimizer("adamw", 0.1), gradients)
    averaged = optimization.build_optimizer("adamw", 0.1, ema_momentum=0.9)
    for a, b in zip(follow(averaged, gradients), plain, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("ema_momentum", [0.0, 0.9])
def test_without_averages_or_variables_there_are_none(ema_momentum):
    optimizer = optimization.build_optimizer("adam", 0.1, ema_momentum=ema_momentum)
    if not ema_momentum:
        optimizer.build([keras.Variable(np.ones(2, "float32"))])
    with pytest.raises(ValueError, match="with ema_momentum above zero"):
        optimization.averages(optimizer)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_steps_of_single_variables_are_scaled(name):
    variables = [keras.Variable(np.ones(3, "float32")) for _ in range(3)]
    optimizer = optimization.build_optimizer(name, 0.1, weight_decay=0.0)
    optimizer.build(variables)
    optimization.scale_steps(optimizer, [1.0, 0.5, 0.01])
    gradient = np.array([1.0, -2.0, 3.0], "float32")
    optimizer.apply([tf.constant(gradient)] * 3, variables)
    steps = [1 - variable.numpy() for variable in variables]
    whole = gradient if name == "sgd" else np.sign(gradient)
    np.testing.assert_allclose(steps[0], 0.1 * whole, rtol=1e-4)
    np.testing.assert_allclose(steps[1], 0.5 * steps[0], rtol=1e-4)
    np.testing.assert_allclose(steps[2], 0.01 * steps[0], rtol=1e-3)


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
