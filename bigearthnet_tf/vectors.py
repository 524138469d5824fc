"""Feature vectors: of unit length, and two as one, in NumPy and in Keras alike."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

FUSIONS = ("concat", "avg", "max", "sum")
# Below this length a vector counts as zero: it has no direction, its cosines are zero.
SMALLEST_NORM = 1e-12
# Of a length in float32.
_ROUNDING = 1e-6


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Returns vectors, (..., dimensions), of length 1; zero vectors stay.

    So do those that have it, bit for bit, whose length float32 does not know better.
    """
    vectors = np.asarray(vectors, np.float32)
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    norms[np.abs(norms - 1) < _ROUNDING] = 1
    return vectors / np.maximum(norms, np.float32(SMALLEST_NORM))


def fuse(a: Any, b: Any, fusion: str, module: ModuleType = np) -> Any:
    """Returns two features as one.

    Args:
        a: (batch, dimensions).
        b: the same.
        fusion: `concat`, `avg`, `max` or `sum`.
        module: `numpy` or `keras.ops`, which call all that is needed here the same.

    Returns:
        (batch, dimensions), twice as many for `concat`.

    Raises:
        ValueError: unknown fusion.
    """
    if fusion not in FUSIONS:
        raise ValueError(f"expected a fusion of {', '.join(FUSIONS)}, got {fusion!r}")
    if fusion == "concat":
        return module.concatenate([a, b], axis=-1)
    if fusion == "max":
        return module.maximum(a, b)
    return (a + b) / 2 if fusion == "avg" else a + b
