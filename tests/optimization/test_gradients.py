"""Clipping against NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from bigearthnet_tf import optimization

GRADIENTS = [np.array([[3.0, -4.0], [0.0, 1.0]]), np.array([12.0, -0.5])]
NORM = np.sqrt(9 + 16 + 1 + 144 + 0.25)


def clip(gradients, norm=0.0, value=0.0):
    tensors = [tf.constant(g, tf.float32) for g in gradients]
    clipped, before = optimization.clip(tensors, norm, value)
    return [g.numpy() for g in clipped], float(before)


def test_nothing_is_clipped_without_being_asked():
    clipped, norm = clip(GRADIENTS)
    for a, b in zip(clipped, GRADIENTS, strict=True):
        np.testing.assert_array_equal(a, b)
    assert norm == pytest.approx(NORM)


@pytest.mark.parametrize("limit", [1e-3, 1.0, 13.0, 13.1, 100.0])
def test_by_norm_over_all(limit):
    clipped, norm = clip(GRADIENTS, norm=limit)
    assert norm == pytest.approx(NORM)
    for a, b in zip(clipped, GRADIENTS, strict=True):
        np.testing.assert_allclose(a, b * min(1, limit / NORM), rtol=1e-6)


@pytest.mark.parametrize("limit", [0.1, 3.5, 50.0])
def test_by_value(limit):
    clipped, norm = clip(GRADIENTS, value=limit)
    assert norm == pytest.approx(NORM)
    for a, b in zip(clipped, GRADIENTS, strict=True):
        np.testing.assert_allclose(a, np.clip(b, -limit, limit), rtol=1e-6)


@given(
    parts=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=8),
    limits=st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)),
)
def test_with_both_both_hold(parts, limits):
    clipped, _ = clip([parts[:3], parts[3:]], *limits)
    whole = np.concatenate(clipped)
    assert np.linalg.norm(whole) <= limits[0] * (1 + 1e-5)
    assert np.abs(whole).max() <= limits[1] * (1 + 1e-6)
    # Directions of single parts stay.
    assert (whole * np.array(parts) >= 0).all()


def test_nothing_is_zero_by_zero():
    clipped, norm = clip([np.zeros(3), np.zeros(2)], norm=1.0, value=1.0)
    assert norm == 0
    assert not np.concatenate(clipped).any()


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("norm", "value"), [(0, 0), (1.0, 0), (0, 1.0), (1.0, 1.0)])
@pytest.mark.parametrize("compiled", [False, True])
def test_broken_gradients_stay_broken(broken, norm, value, compiled):
    function = tf.function(optimization.clip, jit_compile=compiled)
    gradients = [tf.constant([1.0, broken]), tf.constant([5.0])]
    clipped, before = function(gradients, norm, value)
    assert not np.isfinite(clipped[0][1])
    assert not np.isfinite(before)
    # No norm, no scale: otherwise an infinite one would quietly make zeros of the rest.
    assert np.isnan(clipped[1]).all() == bool(norm)


def test_gradients_keep_their_precision():
    gradients = [tf.constant([3e4], tf.float16), tf.constant([4e4], tf.float32)]
    clipped, norm = optimization.clip(gradients, 5.0, 0.0)
    assert [g.dtype for g in clipped] == [tf.float16, tf.float32]
    # In float16 alone the squares would be infinite.
    assert float(norm) == pytest.approx(5e4)
    np.testing.assert_allclose([float(g[0]) for g in clipped], [3, 4], rtol=1e-3)
