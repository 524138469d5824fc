"""Nearest vectors by cosine, for validations; `retrieval.search` is for archives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.vectors import unit

# Queries compared at once: with 125,866 vectors 128 MB of cosines.
_BLOCK = 256

Vectors = NDArray[np.floating]


def cosines(one: Vectors, other: Vectors) -> NDArray[np.float32]:
    """Returns the cosines of all pairs, (n, m) float32; zero for zero vectors.

    Args:
        one: (n, d).
        other: (m, d).
    """
    return unit(one) @ unit(other).T


def paired_cosines(one: Vectors, other: Vectors) -> NDArray[np.float32]:
    """Returns the cosine of each row with the same row of the other, (n,) float32.

    Args:
        one: (n, d).
        other: (n, d).
    """
    return (unit(one) * unit(other)).sum(axis=1)


def nearest(queries: Vectors, archive: Vectors, k: int) -> NDArray[np.int64]:
    """Returns the rows of the nearest vectors, nearest first, ties by row.

    Args:
        queries: (q, d).
        archive: (n, d).
        k: how many; all there are, if those are fewer.

    Returns:
        (q, min(k, n)) int64.
    """
    units, k = unit(archive), min(k, len(archive))
    found = np.empty((len(queries), k), np.int64)
    for first in range(0, len(queries), _BLOCK):
        alike = unit(queries[first : first + _BLOCK]) @ units.T
        # Stable, so that equal ones stay in their order. All rows that are at least as
        # near as the k-th take part.
        least = np.partition(alike, -k, axis=1)[:, -k]
        for row, (values, bound) in enumerate(zip(alike, least, strict=True)):
            candidates = np.flatnonzero(values >= bound)
            order = np.argsort(-values[candidates], kind="stable")
            found[first + row] = candidates[order[:k]]
    return found
