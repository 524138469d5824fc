"""Nearest vectors, exact or approximate, behind one interface.

Distances: `cosine` is 1 - cos, `l2` the squared Euclidean distance, `chi_square` half
the sum of (u - v)^2 / (u + v + 1e-10), the CBIR project's. Smaller is nearer.
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

from bigearthnet_tf import extras, registry
from bigearthnet_tf.vectors import unit

logger = logging.getLogger(__name__)

METRICS = ("cosine", "l2", "chi_square")
# Numbers of a temporary while candidates are compared: 32 MB.
_NUMBERS = 8 * 2**20
# Least and most of the options of approximate kinds. FAISS checks none: a graph with
# less than two neighbours ends the process.
_LIMITS = {
    "codes": (1, 2**16),
    "lists": (1, 2**24),
    "probes": (1, 2**24),
    "neighbours": (2, 512),
    "breadth": (1, 2**14),
    "rerank": (0, 1000),
}

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
        if name not in known:
            raise ValueError(
                f"unknown option {name} of kind {kind}: known: "
                f"{', '.join(known) or 'none'}"
            )
        least, most = _LIMITS[name]
        if not least <= value <= most:
            raise ValueError(
                f"option {name} of kind {kind}: expected {least} to {most:,}, got "
                f"{value}"
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
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"expected finite vectors, got NaN or infinity in {int((~finite).sum())}, "
            f"the first is number {int(finite.argmin())}; embed again"
        )
    return array


def check_search(
    queries: Any, k: int, exclude: Ids | None, index: Index, dimensions: int
) -> tuple[Vectors, int, Ids]:
    """Returns queries, k and exclude as every index takes them.

    Args:
        queries: (queries, dimensions).
        k: number of hits.
        exclude: (queries,) rows, -1 for none; None: none at all.
        index: that is searched.
        dimensions: of its vectors.

    Returns:
        Queries, of unit length for `cosine`; k, the number of vectors at most; exclude.

    Raises:
        ValueError: as of `Index.search`.
    """
    queries = check_vectors(queries, dimensions)
    if k < 1:
        raise ValueError(f"expected k of 1 or more, got {k}")
    if exclude is None:
        exclude = np.full(len(queries), -1, np.int64)
    if len(exclude) != len(queries):
        raise ValueError(
            f"expected a row to exclude for each of {len(queries)} queries, got "
            f"{len(exclude)}"
        )
    queries = unit(queries) if index.metric == "cosine" else queries
    return queries, min(k, len(index)), np.asarray(exclude, np.int64)


def compare(
    vectors_of: Callable[[Ids], Vectors], queries: Vectors, ids: Ids, metric: str
) -> Vectors:
    """Returns the distances of candidates, each computed on its own, (queries, c).

    Equal vectors have equal distances, whatever found them. Memory: 64 MB, or what the
    candidates of one query take.

    Args:
        vectors_of: from rows (q, c) to a copy of their vectors (q, c, dimensions).
        queries: (queries, dimensions).
        ids: (queries, c) rows; what stands for -1 is arbitrary.
        metric: `cosine`, of vectors of unit length, or `l2`.
    """
    found = np.empty(ids.shape, np.float32)
    turn = max(1, _NUMBERS // max(1, ids.shape[1] * queries.shape[1]))
    for first in range(0, len(queries), turn):
        rows = slice(first, first + turn)
        candidates, asked = vectors_of(np.maximum(ids[rows], 0)), queries[rows, None]
        if metric == "cosine":
            candidates *= asked
            found[rows] = 1 - candidates.sum(axis=2)
        else:
            candidates -= asked
            candidates *= candidates
            found[rows] = candidates.sum(axis=2)
    return found


def first_k(ids: Ids, distances: Vectors, k: int, exclude: Ids) -> Hits:
    """Returns the nearest k of candidates, ties by row, without the excluded."""
    present = (ids >= 0) & (ids != exclude[:, None])
    distances = np.where(present, distances, np.float32(np.inf)).astype(np.float32)
    order = np.lexsort((ids, distances), axis=1)[:, :k]
    distances = np.take_along_axis(distances, order, 1)
    ids = np.where(np.isfinite(distances), np.take_along_axis(ids, order, 1), -1)
    return Hits(ids.astype(np.int64), distances)


@functools.cache
def faiss() -> ModuleType | None:
    """Returns FAISS, or None where it is not installed; says so once."""
    try:
        return importlib.import_module("faiss")
    except ModuleNotFoundError:
        logger.warning(
            "FAISS is not installed: exact search goes on with NumPy, several times "
            "slower; %s",
            extras.how_to_install("faiss"),
        )
        return None


def measure(
    index: Index,
    exact: Index,
    queries: Vectors,
    k: int = 10,
    exclude: Ids | None = None,
) -> dict[str, float]:
    """Returns `recall` of the exact nearest k, and `bytes_per_item`.

    Args:
        index: to judge.
        exact: of the same vectors.
        queries: (queries, dimensions).
        k: of the nearest ones that should be found.
        exclude: (queries,) rows of the queries themselves, which would be found by
            any index and count for nothing; None: they are not in it.
    """
    found, true = (each.search(queries, k, exclude).ids for each in (index, exact))
    shared = [
        len(np.intersect1d(a, b[b >= 0])) for a, b in zip(found, true, strict=True)
    ]
    return {
        "recall": float(np.sum(shared)) / max(1, int((true >= 0).sum())),
        "bytes_per_item": index.bytes_per_item,
    }
