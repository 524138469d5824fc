"""What mixed precision may change in a network, for the tests of each family."""

from collections.abc import Callable

import keras
import numpy as np

POLICIES = ("mixed_bfloat16", "mixed_float16")


def check(
    network: Callable[[], keras.Model],
    images: np.ndarray,
    policy: str,
    tolerance: float | None = None,
) -> None:
    """Compares a network with itself in half the bits; its weights keep all of them.

    Args:
        network: builds it, in whatever precision is set.
        images: to compare the features of.
        policy: one of `POLICIES`.
        tolerance: of the features; by itself a twentieth of the largest.
    """
    full = network()
    keras.config.set_dtype_policy(policy)
    try:
        mixed = network()
    finally:
        keras.config.set_dtype_policy("float32")
    mixed.set_weights(full.get_weights())
    assert {v.dtype for v in mixed.variables} == {"float32"}
    assert mixed.output.dtype == policy.removeprefix("mixed_")
    expected = full(images)
    if tolerance is None:
        tolerance = 0.05 * np.abs(expected).max()
    found = keras.ops.cast(mixed(images), "float32")
    np.testing.assert_allclose(found, expected, atol=tolerance)
