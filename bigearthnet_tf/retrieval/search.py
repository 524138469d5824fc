"""Nearest vectors, exact or approximate, behind one interface.

Distances: `cosine` is 1 - cos, `l2` the squared Euclidean distance, `chi_square` half
the sum of (u - v)^2 / (u + v + 1e-10), the older retrieval system's. Smaller is nearer.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf import registry

logger = logging.getLogger(__name__)

METRICS = ("cosine", "l2", "chi_square")
# As in the contrastive loss: below this length a vector counts as zero, at distance 1
# from everything.
SMALLEST_NORM = 1e-12

Vectors = NDArray[np.float32]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Hits:
    """What searches find.

    Attributes:
        ids: (queries, k) rows of the archive, nearest first, ties by row; -1 where an
            approximate index found fewer.
        distances: (queries, k) float32; infinite where there is no hit.
    """

    ids: Ids
    distances: Vectors


class Index(Protocol):
    """An archive of vectors that can be searched."""

    metric: str
    kind: str

    def __len__(self) -> int:
        """Returns the number of vectors."""

    @property
    def bytes_per_item(self) -> float:
        """Memory that each vector takes."""

    def search(self, queries: Vectors, k: int, exclude: Ids | None = None) -> Hits:
        """Returns the nearest vectors of each query.

        Args:
            queries: (queries, dimensions).
            k: how many; all there are, if those are fewer.
            exclude: (queries,) row that a query must not find, -1 for none.

        Raises:
            ValueError: other dimensions, numbers that are not finite, or k below 1.
        """


Build = Callable[..., Index]
KINDS: registry.Registry[Build] = registry.Registry("kind of index")


def build(
    vectors: Vectors, metric: str = "cosine", kind: str = "exact", **options: Any
) -> Index:
    """Returns an index of vectors.

    Args:
        vectors: (items, dimensions) float32, in memory or mapped.
        metric: `cosine`, `l2` or `chi_square` (exact only).
        kind: `exact`, or one of the approximate ones: `ivf_pq`, `hnsw`, `int8`,
            `binary`.
        **options: of the kind.

    Raises:
        ValueError: unknown metric, kind or option; no vectors, or some that are not
            finite; FAISS is not installed for an approximate kind.
    """
    if metric not in METRICS:
        raise ValueError(
            f"unknown metric {metric!r}: {registry.nearest_names(metric, METRICS)}"
        )
    # Importing a module registers its kinds; both need this one.
    for module in ("exact", "approximate"):
        importlib.import_module(f"bigearthnet_tf.retrieval.{module}")
    builder = KINDS.get(kind)
    known = list(inspect.signature(builder).parameters)[2:]
    for name, value in options.items():
        if name not in known or value < 0:
            raise ValueError(
                f"option {name}={value} of kind {kind}: expected 0 or more of "
                f"{', '.join(known) or 'none, it has no options'}"
            )
    return builder(check_vectors(vectors), metric, **options)


def check_vectors(vectors: Any, dimensions: int | None = None) -> Vectors:
    """Returns vectors as float32.

    Raises:
        ValueError: not (at least one, dimensions), or a number that is not finite.
    """
    array = np.asarray(vectors, np.float32)
    fits = array.ndim == 2 and array.size and dimensions in (None, array.shape[-1])
    if not fits:
        expected = "dimensions" if dimensions is None else dimensions
        raise ValueError(
            f"expected vectors of shape (items, {expected}), got {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError("expected finite vectors, got NaN or infinity; embed again")
    return array


def unit(vectors: Vectors) -> Vectors:
    """Returns vectors of length 1; zero vectors stay."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, np.float32(SMALLEST_NORM))


@functools.cache
def faiss() -> ModuleType | None:
    """Returns FAISS, or None where it is not installed; says so once."""
    try:
        return importlib.import_module("faiss")
    except ModuleNotFoundError:
        logger.warning(
            "FAISS is not installed: exact search goes on with NumPy, several times "
            "slower; pip install 'bigearthnet-tf[faiss]'"
        )
        return None


def measure(
    index: Index, exact: Index, queries: Vectors, k: int = 10
) -> dict[str, float]:
    """Returns `recall` of the exact nearest k, and `bytes_per_item`.

    Args:
        index: to judge.
        exact: of the same vectors.
        queries: (queries, dimensions).
        k: of the nearest ones that should be found.
    """
    found, true = (each.search(queries, k).ids for each in (index, exact))
    shared = [len(np.intersect1d(a, b)) for a, b in zip(found, true, strict=True)]
    return {
        "recall": float(np.mean(shared)) / true.shape[1],
        "bytes_per_item": index.bytes_per_item,
    }
