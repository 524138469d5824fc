"""Exact search: by FAISS where it is installed, else by NumPy.

Both give candidates; their distances are then computed again, each on its own, so that
equal vectors have equal distances whatever block or library they came through, and
ties are ordered by row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bigearthnet_tf.retrieval import search
from bigearthnet_tf.retrieval.search import Hits, Ids, Vectors
from bigearthnet_tf.vectors import unit

# Queries a turn: with fewer numbers than that FAISS compares one by one, ten times
# slower, instead of multiplying matrices (its `distance_compute_blas_threshold`).
_QUERIES, _FAST_NUMBERS = 4096, 128_000
# Candidates of a turn, some 40 bytes each: fewer queries where k is large.
_CANDIDATES = 2 * 2**20
# Queries and vectors a turn of NumPy: 64 MB of products.
_NUMPY_QUERIES, _NUMPY_ITEMS = 256, 65_536
# Numbers of a temporary of chi-square, which should stay in the processor's cache.
_CHI_NUMBERS = 2**17
# So few queries are answered sooner without FAISS, which copies the vectors first.
_FEW = 8
# Candidates beyond k that are fetched at first.
_MORE = 16
# By how much float32 products of unit vectors may be off; candidates must go beyond
# the k-th by more, to be sure that none is missing.
_ROUNDING = 1e-5


class Dense:
    """Vectors compared one by one, by cosine or squared Euclidean distance.

    Memory: the vectors, once more by FAISS, and some 300 MB while it searches, whatever
    the numbers of vectors and queries.

    Args:
        vectors: (items, dimensions) float32, of unit length for cosine.
        metric: `cosine` or `l2`.
    """

    kind = "exact"

    def __init__(self, vectors: Vectors, metric: str) -> None:
        self.metric, self.vectors = metric, np.asarray(vectors)
        self._index: Any = None
        self._largest: float | None = 1.0 if metric == "cosine" else None

    def __len__(self) -> int:
        """Returns the number of vectors."""
        return len(self.vectors)

    @property
    def bytes_per_item(self) -> float:
        """Memory that each vector takes."""
        return 4.0 * self.vectors.shape[1]

    def search(self, queries: Vectors, k: int, exclude: Ids | None = None) -> Hits:
        """Returns the nearest vectors of each query; see `search.Index`."""
        dimensions = self.vectors.shape[1]
        queries, k, exclude = search.check_search(queries, k, exclude, self, dimensions)
        if len(queries) > _FEW and self._index is None:
            self._index = self._flat()
        return self._search(queries, k, exclude, min(len(self), k + _MORE))

    def _flat(self) -> Any:
        """Returns the vectors as FAISS has them, None where it is not installed."""
        faiss = search.faiss()
        if faiss is None:
            return None
        kind = faiss.IndexFlatIP if self.metric == "cosine" else faiss.IndexFlatL2
        index = kind(self.vectors.shape[1])
        index.add(self.vectors)
        return index

    def _rounding(self) -> float:
        """Returns by how much rough distances may be off."""
        if self._largest is None:
            # Rounding grows with the length of the vectors.
            squares = np.einsum("nd,nd->n", self.vectors, self.vectors)
            self._largest = max(1.0, float(squares.max()))
        return _ROUNDING * self._largest

    def _search(self, queries: Vectors, k: int, exclude: Ids, count: int) -> Hits:
        """Searches by `count` candidates of each query.

        Queries whose candidates end amid ties are searched again for more.
        """
        ids = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k), np.float32)
        left = []
        for rows in self._turns(len(queries), count):
            asked, own = queries[rows], exclude[rows]
            near, rough = self._candidates(asked, count)
            # Own items that are excluded leave one place less before the k-th.
            others = np.where(near != own[:, None], rough, np.inf)
            bound = np.partition(others, k - 1, axis=1)[:, k - 1]
            done = (rough[:, -1] > bound + self._rounding()) | (count == len(self))
            again = search.compare(
                lambda near: self.vectors[near], asked[done], near[done], self.metric
            )
            hits = search.first_k(near[done], again, k, own[done])
            ids[rows[done]], distances[rows[done]] = hits.ids, hits.distances
            left.append(rows[~done])
        rest = np.concatenate(left)
        if len(rest):
            more = min(len(self), 4 * count)
            hits = self._search(queries[rest], k, exclude[rest], more)
            ids[rest], distances[rest] = hits.ids, hits.distances
        return Hits(ids, distances)

    def _turns(self, queries: int, count: int) -> list[Ids]:
        """Returns the rows of the queries in parts of one size, less than two turns.

        A small one left over would be a slow one.
        """
        turn = max(_QUERIES, -(-_FAST_NUMBERS // self.vectors.shape[1]))
        turn = min(turn, max(1, _CANDIDATES // count))
        return np.array_split(np.arange(queries), max(1, queries // turn))

    def _candidates(self, queries: Vectors, count: int) -> tuple[Ids, Vectors]:
        """Returns rows and rough distances, nearest first, (queries, count)."""
        if self._index is not None and len(queries) > _FEW:
            found, ids = self._index.search(queries, count)
            return ids, 1 - found if self.metric == "cosine" else found
        parts = [
            self._by_numpy(queries[first : first + _NUMPY_QUERIES], count)
            for first in range(0, len(queries), _NUMPY_QUERIES)
        ]
        ids, best = (np.concatenate(part) for part in zip(*parts, strict=True))
        order = np.argsort(best, axis=1)
        return np.take_along_axis(ids, order, 1), np.take_along_axis(best, order, 1)

    def _by_numpy(self, queries: Vectors, count: int) -> tuple[Ids, Vectors]:
        ids = np.empty((len(queries), 0), np.int64)
        best = np.empty((len(queries), 0), np.float32)
        squares = np.einsum("nd,nd->n", queries, queries)[:, None]
        for first in range(0, len(self), _NUMPY_ITEMS):
            block = self.vectors[first : first + _NUMPY_ITEMS]
            rough = queries @ block.T
            if self.metric == "cosine":
                np.subtract(1, rough, out=rough)
            else:
                rough *= -2
                rough += squares + np.einsum("nd,nd->n", block, block)
            rows = np.broadcast_to(first + np.arange(len(block)), rough.shape)
            rows, rough = _nearest(rows, rough, count)
            ids, best = _nearest(
                np.concatenate([ids, rows], 1), np.concatenate([best, rough], 1), count
            )
        return ids, best


def _nearest(ids: Ids, rough: Vectors, count: int) -> tuple[Ids, Vectors]:
    """Returns the nearest candidates, in no order."""
    if rough.shape[1] <= count:
        return ids, rough
    chosen = np.argpartition(rough, count - 1, axis=1)[:, :count]
    return np.take_along_axis(ids, chosen, 1), np.take_along_axis(rough, chosen, 1)


class ChiSquare:
    """Vectors compared by the chi-square distance of the CBIR project.

    Memory: the vectors, and a few MB of temporaries.

    Args:
        vectors: (items, dimensions) float32, not negative.
    """

    kind, metric = "exact", "chi_square"

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = np.asarray(vectors)

    def __len__(self) -> int:
        """Returns the number of vectors."""
        return len(self.vectors)

    @property
    def bytes_per_item(self) -> float:
        """Memory that each vector takes."""
        return 4.0 * self.vectors.shape[1]

    def search(self, queries: Vectors, k: int, exclude: Ids | None = None) -> Hits:
        """Returns the nearest vectors of each query; see `search.Index`."""
        dimensions = self.vectors.shape[1]
        queries, k, exclude = search.check_search(queries, k, exclude, self, dimensions)
        queries = _not_negative(queries)
        ids = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k), np.float32)
        for row, query in enumerate(queries):
            near = self.distances(query)
            bound = np.partition(near, min(k, len(self) - 1))[min(k, len(self) - 1)]
            # One more than k, since the query itself may be among them.
            candidates = np.flatnonzero(near <= bound)[None]
            own = exclude[row : row + 1]
            hits = search.first_k(candidates, near[candidates], k, own)
            ids[row], distances[row] = hits.ids[0], hits.distances[0]
        return Hits(ids, distances)

    def distances(self, query: Vectors) -> Vectors:
        """Returns the distances of one query, (dimensions,), to all, (items,)."""
        step = max(1, _CHI_NUMBERS // len(query))
        found = np.empty(len(self), np.float32)
        for first in range(0, len(self), step):
            block = self.vectors[first : first + step]
            both = block - query
            both *= both
            both /= block + (query + np.float32(1e-10))
            found[first : first + step] = both.sum(axis=1) / 2
        return found


def _not_negative(vectors: Vectors) -> Vectors:
    lowest = float(vectors.min())
    if lowest < 0:
        raise ValueError(
            f"chi_square needs features that are not negative, got {lowest:g}; train "
            "with projection_activation relu, or choose another retrieval_metric"
        )
    return vectors


@search.KINDS.register("exact")
def build_exact(vectors: Vectors, metric: str) -> Dense | ChiSquare:
    """Returns an exact index; see `search.build`."""
    if metric == "chi_square":
        return ChiSquare(_not_negative(vectors))
    return Dense(unit(vectors) if metric == "cosine" else vectors, metric)


def restore(vectors: Vectors, metric: str) -> Dense | ChiSquare:
    """Returns an index of the `vectors` of one that was built before.

    They are taken as they are, not looked at once more, and can stay on disk.

    Args:
        vectors: (items, dimensions) float32, of unit length for cosine.
        metric: it was built with.
    """
    return ChiSquare(vectors) if metric == "chi_square" else Dense(vectors, metric)
