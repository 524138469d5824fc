"""Bounds of float32: rounding keeps to them, a fault does not."""

import closeness
import double_precision
import keras
import numpy as np
import pytest


def sums(seed: int = 0):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(64, 1000)), rng.normal(size=(1000, 32))
    return a.astype(np.float32), b.astype(np.float32)


def test_sums_in_another_order_are_close_and_one_term_less_is_not():
    a, b = sums()
    exact = a.astype(np.float64) @ b
    one_by_one = np.zeros((64, 32), np.float32)
    for column, row in zip(a.T, b, strict=True):
        one_by_one += np.outer(column, row)
    closeness.assert_close(a @ b, exact)
    closeness.assert_close(one_by_one, exact)
    # Near zero the elements differ by much of themselves: that is no measure.
    assert np.abs(one_by_one / exact - 1).max() > 1e-5
    with pytest.raises(AssertionError):
        closeness.assert_close(a[:, 1:] @ b[1:], exact)


def test_what_cancels_out_is_measured_by_its_terms():
    a, _ = sums()
    shifted = (a + np.float32(1000)) - np.float32(1000)
    closeness.assert_close(shifted, a, closeness.FORMULA, scale=1000)
    with pytest.raises(AssertionError):
        closeness.assert_close(shifted, a, closeness.FORMULA)


def test_a_tensor_of_rounding_has_the_scale_of_the_others():
    exact = {"kernel": np.array([3.0, -1.0]), "bias": np.zeros(2)}
    found = {"kernel": np.float32([3, -1]), "bias": np.float32([2e-7, -1e-7])}
    closeness.assert_all_close(found, exact)
    with pytest.raises(AssertionError, match="bias"):
        closeness.assert_all_close(found | {"bias": np.float32([1e-3, 0])}, exact)
    with pytest.raises(AssertionError):
        closeness.assert_close(found["bias"], exact["bias"])


def test_nan_belongs_to_nan():
    closeness.assert_close([np.nan, 1.0], [np.nan, 1.0])
    with pytest.raises(AssertionError):
        closeness.assert_close([np.nan, 1.0], [0.0, 1.0])


def test_courses_are_compared_by_their_length():
    begun, one = [np.zeros(3)], [np.ones(3)]
    closeness.assert_same_course(one, [np.full(3, 1.001)], begun)
    with pytest.raises(AssertionError, match="of the way"):
        closeness.assert_same_course(one, [np.full(3, 1.1)], begun)


def test_float64_is_everywhere_and_only_inside():
    with double_precision.everywhere():
        layer = keras.layers.Dense(2, dtype="float32")
        assert layer(np.ones((1, 3))).dtype == "float64"
        assert {w.dtype for w in layer.weights} == {"float64"}
        assert keras.ops.cast(np.ones(2), "float32").dtype == "float64"
    assert keras.layers.Dense(2)(np.ones((1, 3))).dtype == "float32"
    assert keras.ops.cast(np.ones(2), "float32").dtype == "float32"
