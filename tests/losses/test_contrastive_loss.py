"""NT-Xent against float64 loops, published values and closed forms."""

import json
from pathlib import Path

import closeness
import numpy as np
import pytest
import tensorflow as tf

from bigearthnet_tf import losses

REFERENCE = Path(__file__).parents[3] / "shared/reference/self_supervised"
TEMPERATURES = (0.01, 0.05, 0.1, 0.5, 1.0)


def loop(p, q, temperature):
    """The definition, row by row in float64: the mean of both rows of each pair."""
    z = np.concatenate([p, q]).astype(np.float64)
    z /= np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    count, rows = len(p), []
    for i in range(2 * count):
        others = [z[i] @ z[j] / temperature for j in range(2 * count) if j != i]
        top = max(others)
        total = top + np.log(sum(np.exp(other - top) for other in others))
        rows.append(total - z[i] @ z[(i + count) % (2 * count)] / temperature)
    return (np.array(rows[:count]) + rows[count:]) / 2


def views(count, seed=0, noise=0.5):
    rng = np.random.default_rng(seed)
    p = rng.normal(size=(count, 16)).astype(np.float32)
    return p, (p + noise * rng.normal(size=p.shape)).astype(np.float32)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("count", [2, 8, 64])
def test_a_loop_in_float64(count, temperature):
    p, q = views(count)
    found = np.asarray(losses.nt_xent(p, q, temperature))
    expected = loop(p, q, temperature)
    # A logit is a cosine, off by 1e-7, over the temperature.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=5e-7 / temperature)


def test_the_reference_values():
    if not REFERENCE.is_dir():
        pytest.skip("needs shared/reference/self_supervised")
    expected = json.loads((REFERENCE / "expected.json").read_text())["nt_xent"]
    assert len(expected) == 15
    with np.load(REFERENCE / "cases.npz") as cases:
        for case in expected:
            p, q = cases[case["p"]], cases[case["q"]]
            found = float(np.mean(losses.nt_xent(p, q, case["temperature"])))
            # The loss is a difference of logits, cosines over the temperature.
            scale = 1 / case["temperature"]
            closeness.assert_close(found, case["loss"], closeness.FORMULA, scale)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_aligned_orthonormal_pairs(temperature):
    """All other cosines are zero: log(1 + (2B - 2) exp(-1 / t))."""
    p = np.eye(8, dtype=np.float32)
    expected = np.log1p(14 * np.exp(-1 / temperature))
    found = losses.nt_xent(p, 5 * p, temperature)
    closeness.assert_close(found, expected, closeness.FORMULA, 1 / temperature)


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_a_batch_make_up_the_whole(parts):
    p, q = views(8)
    size, found = 8 // parts, []
    for offset in range(0, 8, size):
        own = slice(offset, offset + size)
        found.append(
            losses.nt_xent(p[own], q[own], 0.1, all_p=p, all_q=q, offset=offset)
        )
    whole = losses.nt_xent(p, q, 0.1)
    np.testing.assert_allclose(np.concatenate(found), whole, rtol=1e-6, atol=1e-6)


def test_gradients_are_those_of_finite_differences():
    p, q = views(3)
    with tf.GradientTape() as tape:
        inputs = tf.constant(p), tf.constant(q)
        tape.watch(inputs)
        loss = tf.reduce_sum(losses.nt_xent(*inputs, 0.5))
    found = tape.gradient(loss, inputs)
    step = 1e-6
    for number in (0, 1):
        for place in ((0, 0), (1, 5), (2, 15)):
            moved = []
            for sign in (1, -1):
                both = [p.astype(np.float64), q.astype(np.float64)]
                both[number][place] += sign * step
                moved.append(loop(*both, 0.5).sum())
            slope = (moved[0] - moved[1]) / (2 * step)
            assert float(found[number][place]) == pytest.approx(
                slope, rel=1e-3, abs=1e-5
            )


@pytest.mark.parametrize("temperature", [0.001, 0.01, 1.0])
def test_zero_and_equal_vectors_keep_everything_finite(temperature):
    p, q = views(4)
    p[1] = q[1] = q[2] = 0
    p[3] = p[0]
    with tf.GradientTape() as tape:
        inputs = tf.constant(p), tf.constant(q)
        tape.watch(inputs)
        rows = losses.nt_xent(*inputs, temperature)
    assert np.isfinite(rows).all()
    assert all(np.isfinite(g).all() for g in tape.gradient(rows, inputs))


def test_low_precision_is_computed_in_float32():
    p, q = views(8)
    low = [tf.cast(x, tf.bfloat16) for x in (p, q)]
    found = losses.nt_xent(*low, 0.1)
    assert found.dtype == tf.float32
    exact = losses.nt_xent(*(tf.cast(x, tf.float32) for x in low), 0.1)
    np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize("temperature", [0, 0.0, -0.1, float("nan")])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(ValueError, match="expected a number above 0"):
        losses.nt_xent(*views(2), temperature)
