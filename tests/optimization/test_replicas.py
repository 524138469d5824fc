"""Averages, spared variables and clipping where two replicas share the work."""

import json

import closeness
import numpy as np
import pytest
from programs import run_program

MOMENTUM, DECAY, RATE, STEPS = 0.8, 0.5, 0.1, 7
START = {"kernel": [[1.0, -2.0], [0.5, 3.0]], "bias": [0.7, -0.3]}

# Applied by each replica as Keras does it by itself, or with gradients that are summed
# already, from the cross-replica context and under a condition.
TWO_REPLICAS = """
    import json, sys
    import keras
    import numpy as np
    import tensorflow as tf
    from bigearthnet_tf import optimization

    start, facts = json.loads(sys.argv[1]), json.loads(sys.argv[2])
    cpu = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

    def values(variables):
        return [[np.asarray(r).tolist() for r in v.value.values] for v in variables]

    def course(name, summed):
        with strategy.scope():
            variables = [keras.Variable(v, name=n) for n, v in start.items()]
            optimizer = optimization.build_optimizer(
                name, facts["rate"], facts["decay"], ema_momentum=facts["momentum"])
            optimization.exclude_from_decay(optimizer, variables)
            optimizer.build(variables)
        if summed:
            optimizer._all_reduce_sum_gradients = list

        def apply(strategy, gradients, norm):
            def each():
                strategy.extended.call_for_each_replica(
                    lambda parts: optimizer.apply(parts, variables), args=(gradients,))
                return 0
            norm, *_ = strategy.experimental_local_results(norm)
            tf.cond(norm > 0, each, lambda: 0)

        def replica():
            context = tf.distribute.get_replica_context()
            share = tf.cast(context.replica_id_in_sync_group + 1, tf.float32)
            gradients = [share * tf.sin(v.value) for v in variables]
            if not summed:
                return optimizer.apply(gradients, variables)
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            gradients, norm = optimization.clip(gradients, 1e6, 1e6)
            context.merge_call(apply, args=(gradients, norm))

        step = tf.function(lambda: strategy.run(replica))

        weights, averages = [], []
        for _ in range(facts["steps"]):
            step()
            weights.append(values(variables))
            averages.append(values(optimization.averages(optimizer)))
        return {"weights": weights, "averages": averages}

    print(json.dumps({
        f"{name} {summed}": course(name, summed)
        for name in ("sgd", "adamw", "lamb") for summed in (False, True)
    }))
"""


@pytest.fixture(scope="module")
def courses() -> dict:
    """The weights and averages after every step; devices are fixed once a process."""
    facts = {"momentum": MOMENTUM, "decay": DECAY, "rate": RATE, "steps": STEPS}
    return json.loads(run_program(TWO_REPLICAS, json.dumps(START), json.dumps(facts)))


def of_variable(course, what, index):
    """(steps, replicas, ...) of one of the variables."""
    return np.array([step[index] for step in course[what]])


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("name", ["sgd", "adamw", "lamb"])
def test_averages_equal_those_in_float64(courses, name, summed):
    course = courses[f"{name} {summed}"]
    for index in range(2):
        weights = of_variable(course, "weights", index)
        ours = of_variable(course, "averages", index)
        np.testing.assert_array_equal(weights[:, 0], weights[:, 1])
        np.testing.assert_array_equal(ours[:, 0], ours[:, 1])
        average = weights[0, 0]
        for step in range(STEPS):
            average = MOMENTUM * average + (1 - MOMENTUM) * weights[step, 0]
            closeness.assert_close(ours[step, 0], average)


@pytest.mark.parametrize("name", ["sgd", "adamw", "lamb"])
def test_both_ways_give_the_same_weights(courses, name):
    for index in range(2):
        closeness.assert_close(
            of_variable(courses[f"{name} True"], "weights", index),
            of_variable(courses[f"{name} False"], "weights", index),
        )


@pytest.mark.parametrize("summed", [False, True])
def test_lamb_scales_a_step_with_the_decay_of_kernels(courses, summed):
    """LAMB in float64 (arXiv 1904.00962) with the sum of both replicas' gradients."""
    for index, (name, value) in enumerate(START.items()):
        value, first, second = np.array(value), 0.0, 0.0
        weights = of_variable(courses[f"lamb {summed}"], "weights", index)
        np.testing.assert_array_equal(weights[:, 0], weights[:, 1])
        for t in range(1, STEPS + 1):
            gradient = 3 * np.sin(value)
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            scale = np.sqrt(second / (1 - 0.999**t)) + 1e-6
            step = first / (1 - 0.9**t) / scale
            if name == "kernel":
                step = step + DECAY * value
            ratio = np.linalg.norm(value) / np.linalg.norm(step)
            value = value - RATE * ratio * step
            closeness.assert_close(weights[t - 1, 0], value, terms=8, scale=3)


@pytest.mark.parametrize("summed", [False, True])
def test_gradients_are_summed_once_and_biases_do_not_decay(courses, summed):
    """AdamW in float64 with the sum of both replicas' gradients, 3 sin(w)."""
    for index, (name, value) in enumerate(START.items()):
        value, first, second = np.array(value), 0.0, 0.0
        weights = of_variable(courses[f"adamw {summed}"], "weights", index)
        for t in range(1, STEPS + 1):
            gradient = 3 * np.sin(value)
            if name == "kernel":
                value = value * (1 - RATE * DECAY)
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            step = first / (1 - 0.9**t) / np.sqrt(second / (1 - 0.999**t))
            value = value - RATE * step
            # Of the correction 1 - 0.999^t a thousandth is left of what is rounded.
            scale = RATE / (1 - 0.999)
            closeness.assert_close(weights[t - 1, 0], value, terms=4, scale=scale)
