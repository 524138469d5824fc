"""Random numbers against their distributions in SciPy."""

import closeness
import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet_tf.models import draws

KINDS = {
    "uniform": lambda generator: draws.uniform((7, 3), generator),
    "normal": lambda generator: draws.normal((7, 3), generator),
    "beta": lambda generator: draws.beta(21, 0.4, generator),
}


def generator(seed: int = 3) -> keras.random.SeedGenerator:
    return keras.random.SeedGenerator(seed)


def test_uniform_numbers():
    drawn = draws.uniform((200, 500), generator()).numpy()
    assert drawn.shape == (200, 500) and drawn.dtype == np.float32
    assert drawn.min() >= 0 and drawn.max() < 1
    assert scipy.stats.kstest(drawn.ravel(), "uniform").pvalue > 0.001


def test_normal_numbers():
    drawn = draws.normal((200, 500), generator()).numpy()
    assert drawn.shape == (200, 500) and drawn.dtype == np.float32
    assert scipy.stats.kstest(drawn.ravel(), "norm").pvalue > 0.001


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 4.0, 50.0])
def test_beta_numbers(alpha):
    count = 40_000
    drawn = draws.beta(count, alpha, generator()).numpy().astype("float64")
    expected = scipy.stats.beta(alpha, alpha)
    mean, variance, kurtosis = expected.stats("mvk")
    deviation = np.sqrt(variance / count)
    np.testing.assert_allclose(drawn.mean(), mean, atol=4 * deviation)
    # The variance of an estimated variance is (kurtosis + 2) variance**2 / count.
    of_variance = variance * np.sqrt((kurtosis + 2) / count)
    np.testing.assert_allclose(drawn.var(), variance, atol=4 * of_variance)
    # Next to 1 a float32 has no more digits; the other half is as good as any.
    low = drawn[drawn < 0.5]
    assert scipy.stats.kstest(low, lambda x: 2 * expected.cdf(x)).pvalue > 0.001


@settings(deadline=None, max_examples=40)
@given(alpha=st.floats(1e-3, 1e4), seed=st.integers(0, 2**31 - 1))
def test_beta_numbers_are_always_shares(alpha, seed):
    drawn = draws.beta(64, alpha, generator(seed)).numpy()
    assert ((drawn >= 0) & (drawn <= 1)).all()


@pytest.mark.parametrize("name", KINDS)
def test_xla_draws_the_same(name):
    one, other = generator(), generator()
    plain = tf.function(lambda: KINDS[name](one))()
    compiled = tf.function(lambda: KINDS[name](other), jit_compile=True)()
    closeness.assert_close(compiled, plain)
    np.testing.assert_array_equal(one.state, other.state)


@pytest.mark.parametrize("name", KINDS)
def test_the_stream_moves_on_and_can_be_put_back(name):
    stream = generator()
    begun = stream.state.numpy().copy()
    first, second = KINDS[name](stream), KINDS[name](stream)
    assert not np.array_equal(first, second)
    stream.state.assign(begun)
    np.testing.assert_array_equal(KINDS[name](stream), first)
