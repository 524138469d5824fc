"""Our optimizers take the steps of tensorflow-addons 0.23, in float32."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from addons_reference import RATE, START, STEPS, Reference, course, plain

from bigearthnet_tf import optimization

# Of weights of at most 3: a few roundings of float32 at each step.
ROUNDING = 1e-6


@pytest.fixture(scope="module")
def reference(shared):
    return Reference(shared / "reference")


def assert_equal(ours, theirs, atol=ROUNDING):
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


def new_variables():
    return [
        keras.Variable(value, dtype="float32", name=name)
        for value, name in zip(START, ("kernel", "bias"), strict=True)
    ]


@pytest.mark.parametrize("ema_momentum", [0.0, 0.9])
@pytest.mark.parametrize(("decay", "theirs"), [(0.0, "lamb0"), (0.02, "lamb02")])
def test_lamb(reference, decay, theirs, ema_momentum):
    optimizer = optimization.build_optimizer(
        "lamb", RATE, decay, ema_momentum=ema_momentum
    )
    weights, _ = course(optimizer, reference.gradients)
    assert_equal(weights[-1], reference.of(theirs))


@pytest.mark.parametrize("compiled", [False, True])
def test_lamb_of_kernels_alone_goes_on_from_a_checkpoint(reference, tmp_path, compiled):
    """The kernel is that with decay, the bias that without."""

    def begin():
        variables = new_variables()
        optimizer = optimization.build_optimizer("lamb", RATE, 0.02)
        optimization.exclude_from_decay(optimizer, variables)
        optimizer.build(variables)

        def apply(gradients):
            optimizer.apply(gradients, variables)

        kept = tf.train.Checkpoint(
            weights=[v.value for v in variables],
            slots=[v.value for v in optimizer.variables],
        )
        return (
            variables,
            tf.function(apply, jit_compile=True) if compiled else apply,
            kept,
        )

    half = STEPS // 2
    variables, apply, kept = begin()
    for gradients in reference.gradients[:half]:
        apply([tf.constant(g) for g in gradients])
    path = kept.write(str(tmp_path / "kept"))
    variables, apply, kept = begin()
    kept.read(path).assert_consumed()
    for gradients in reference.gradients[half:]:
        apply([tf.constant(g) for g in gradients])
    expected = [reference.of("lamb02")[0], reference.of("lamb0")[1]]
    assert_equal([np.asarray(v) for v in variables], expected)


def test_lamb_casts_gradients_of_half_precision():
    gradients = [tf.cast(tf.sin(value), tf.bfloat16) for value in START]
    results = []
    for cast in (tf.bfloat16, tf.float32):
        variables = new_variables()
        optimizer = optimization.build_optimizer("lamb", RATE, 0.02)
        optimizer.apply([tf.cast(g, cast) for g in gradients], variables)
        results.append([np.asarray(v) for v in variables])
    assert_equal(*results, atol=0)


def test_adamw_has_the_decay_of_addons_divided_by_the_rate(reference):
    optimizer = optimization.build_optimizer("adamw", RATE, 0.002 / RATE)
    weights, _ = course(optimizer, reference.gradients)
    # 1 - 0.999^t in float32, which addons rounds as well, is wrong by 3e-5.
    assert_equal(weights[-1], reference.of("adamw"), atol=1e-5)


def test_moving_averages_differ_by_their_start(reference):
    weights, averages = plain(reference, 0.9)
    assert_equal(weights[-1], reference.of("ma"))
    first_step = [a - b for a, b in zip(START, weights[0], strict=True)]
    gap = [0.9**STEPS * step for step in first_step]
    theirs = [a + b for a, b in zip(averages, gap, strict=True)]
    np.testing.assert_allclose(theirs[0], reference.of("ma_avg")[0], atol=ROUNDING)
    np.testing.assert_allclose(theirs[1], reference.of("ma_avg")[1], atol=ROUNDING)
    assert max(np.abs(part).max() for part in gap) > 0.03


def test_swa_is_the_plain_mean_of_every_other_step(reference):
    weights, _ = plain(reference)
    assert_equal(weights[-1], reference.of("swa"))
    for index, theirs in enumerate(reference.of("swa_avg")):
        mean = np.mean([step[index] for step in weights[::2]], axis=0)
        np.testing.assert_allclose(mean, theirs, rtol=0, atol=ROUNDING)
