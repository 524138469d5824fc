"""Which labels are given in place of which: confusions of several labels at once.

A patch has several labels, so that none is mistaken for exactly one other. What can be
counted is how often a missed label and a false alarm meet in one patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def matrix(labels: NDArray[Any], predicted: NDArray[Any]) -> NDArray[np.int64]:
    """Returns in how many patches label i is missed and label j a false alarm.

    Args:
        labels: (patches, labels) of 0 and 1.
        predicted: likewise.

    Returns:
        (labels, labels) int64; the diagonal is 0.
    """
    truth, given = np.asarray(labels) > 0.5, np.asarray(predicted) > 0.5
    missed, false = truth & ~given, ~truth & given
    # float64 is exact up to 2^53 and goes through BLAS.
    return np.rint(missed.T.astype(float) @ false.astype(float)).astype(np.int64)


def rows(
    labels: NDArray[Any],
    predicted: NDArray[Any],
    names: Sequence[str],
    count: int = 15,
) -> list[dict[str, Any]]:
    """Returns the most frequent pairs of a missed label and a false alarm.

    Args:
        labels: (patches, labels) of 0 and 1.
        predicted: likewise.
        names: of the labels.
        count: pairs at most; those that never meet are left out.

    Returns:
        Rows of `missed`, `given`, `patches`, `share` of the patches that miss the one,
        and `lift`: how many times more often than if both came independently.
    """
    truth, given = np.asarray(labels) > 0.5, np.asarray(predicted) > 0.5
    together = matrix(labels, predicted)
    missed = (truth & ~given).sum(axis=0)
    false = (~truth & given).sum(axis=0)
    order = np.argsort(-together, axis=None, kind="stable")[:count]
    found = []
    for i, j in zip(*np.unravel_index(order, together.shape), strict=True):
        if together[i, j] == 0:
            break
        expected = missed[i] * false[j] / len(truth)
        found.append(
            {
                "missed": names[i],
                "given": names[j],
                "patches": int(together[i, j]),
                "share": float(together[i, j] / missed[i]),
                "lift": float(together[i, j] / expected),
            }
        )
    return found
