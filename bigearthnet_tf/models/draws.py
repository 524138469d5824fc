"""Random numbers for the layers: the same ones with XLA and without.

TensorFlow draws other fractions where XLA compiles it than where not, from the same
seed, but the same whole numbers. So all of them come from whole numbers here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

# What a float32 holds without rounding.
_FRACTIONS = 2**24

# Proposals for each number from a gamma distribution. At the shapes of `beta`, 1 and
# above, one of 20 is refused at worst, so that all are once in 10**10 numbers; the
# first one is taken then, which does no harm.
_PROPOSALS = 8


def uniform(shape: Sequence[Any], generator: keras.random.SeedGenerator) -> Any:
    """Returns float32 numbers of a shape, uniform in [0, 1) in steps of 2**-24.

    Args:
        shape: of the result.
        generator: moves on by one seed.
    """
    drawn = keras.random.randint(shape, 0, _FRACTIONS, seed=generator)
    return ops.cast(drawn, "float32") / _FRACTIONS


def normal(shape: Sequence[Any], generator: keras.random.SeedGenerator) -> Any:
    """Returns float32 numbers of a shape, normal with mean 0 and deviation 1.

    Box and Muller, doi 10.1214/aoms/1177706645; none is beyond 5.8.

    Args:
        shape: of the result.
        generator: moves on by two seeds.
    """
    radius = ops.sqrt(-2 * _log_uniform(shape, generator))
    return radius * ops.cos(2 * math.pi * uniform(shape, generator))


def _log_uniform(shape: Sequence[Any], generator: keras.random.SeedGenerator) -> Any:
    """Returns logarithms of numbers in (0, 1]: a uniform number may be 0, never 1."""
    return ops.log1p(-uniform(shape, generator))


def beta(count: Any, alpha: float, generator: keras.random.SeedGenerator) -> Any:
    """Returns (count,) float32 numbers from Beta(alpha, alpha).

    x / (x + y) for two numbers from Gamma(alpha, 1), by their logarithms, so that
    small alphas don't underflow. XLA does not compile TensorFlow's own sampler, which
    is `keras.random.beta`.

    Args:
        count: of numbers.
        alpha: above 0; 1 is the uniform distribution, less favours 0 and 1.
        generator: moves on by four seeds.
    """
    logs = _log_gamma((2, count), alpha, generator)
    return ops.sigmoid(logs[0] - logs[1])


def _log_gamma(
    shape: tuple[Any, ...], alpha: float, generator: keras.random.SeedGenerator
) -> Any:
    """Returns logarithms of numbers from Gamma(alpha, 1).

    Marsaglia and Tsang, "A simple method for generating gamma variables", doi
    10.1145/358407.358414, with a fixed number of proposals, for alpha + 1; a power of
    a uniform number leads from there to alpha (section 6 of the paper).
    """
    proposals = (_PROPOSALS, *shape)
    d = alpha + 1 - 1 / 3
    x = normal(proposals, generator)
    root = 1 + x / (9 * d) ** 0.5
    log_v = 3 * ops.log(ops.maximum(root, keras.config.epsilon()))
    bound = _log_uniform(proposals, generator)
    accepted = bound < x * x / 2 + d - d * root**3 + d * log_v
    first = ops.argmax(ops.logical_and(accepted, root > 0), axis=0)
    log_v = ops.take_along_axis(log_v, first[None], axis=0)[0]
    boost = _log_uniform(shape, generator) / alpha
    return ops.log(d) + log_v + boost
