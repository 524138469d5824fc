"""RankMe: of how many dimensions features make use (Garrido et al., arXiv 2210.02885).

Both forms go by the singular values s of the features as they are, not centred. Take
several times as many rows as there are dimensions: with fewer, the rows are the bound.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

# The paper's, and that of btfm.
EPSILON = 1e-7


def rank_me(features: ArrayLike) -> float:
    """Returns the published form, 1 (all on a line) to min(rows, dimensions).

    exp(-sum p log p) with p = s / sum(s) + 1e-7, equation 1 and 2 of the paper.

    Args:
        features: (rows, dimensions), computed in float64.

    Raises:
        ValueError: no matrix, or numbers that are not finite.
    """
    p = _shares(features, 0.0) + EPSILON
    return float(np.exp(-(p * np.log(p)).sum()))


def rank_me_normalised(features: ArrayLike) -> float:
    """Returns btfm's form, 0 (all on a line) to 1 (all dimensions alike).

    -sum p log(p + 1e-7) over log(min(rows, dimensions)), p = s / (sum(s) + 1e-7).

    Args:
        features: as for `rank_me`.

    Raises:
        ValueError: as for `rank_me`.
    """
    p = _shares(features, EPSILON)
    entropy = -(p * np.log(p + EPSILON)).sum()
    return float(entropy / np.log(max(2, len(p))))


def _shares(features: ArrayLike, epsilon: float) -> NDArray[np.float64]:
    matrix = np.asarray(features, np.float64)
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(
            f"expected features (rows, dimensions), got the shape {matrix.shape}"
        )
    if not np.isfinite(matrix).all():
        raise ValueError("expected finite features, got some that are not")
    values = np.linalg.svd(matrix, compute_uv=False)
    total = values.sum() + epsilon
    return np.asarray(values / total if total else values, np.float64)
