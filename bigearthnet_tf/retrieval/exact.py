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

# Queries a turn, and archive vectors a turn of NumPy: 64 MB of products.
_QUERIES, _ITEMS = 256, 65_536
# Numbers of a temporary while candidates are compared: 256 MB.
_NUMBERS = 64 * 2**20
# So few queries are answered sooner without FAISS, which copies the vectors first.
_FEW = 8
# Candidates beyond k that are fetched at first.
_MORE = 16
# By how much float32 products of unit vectors may be off; candidates must go beyond
# the k-th by more, to be sure that none is missing.
_ROUNDING = 1e-5


class Dense:
    """Vectors compared one by one, by cosine or squared Euclidean distance.

    Memory: the vectors (for cosine a copy of unit length), and some 300 MB while it
    searches, whatever their number.

    Args:
        vectors: (items, dimensions) float32.
        metric: `cosine` or `l2`.
    """

    kind = "exact"

    def __init__(self, vectors: Vectors, metric: str) -> None:
        self.metric = metric
        self.vectors = search.unit(vectors) if metric == "cosine" else vectors
        self._fill()

    def _fill(self) -> None:
        self._index: Any = None
        # Rounding grows with the length of the vectors.
        largest = float(np.einsum("nd,nd->n", self.vectors, self.vectors).max())
        self._rounding = _ROUNDING * max(1.0, largest)

    def __len__(self) -> int:
        """Returns the number of vectors."""
        return len(self.vectors)

    @property
    def bytes_per_item(self) -> float:
        """Memory that each vector takes."""
        return 4.0 * self.vectors.shape[1]

    def add(self, vectors: Vectors) -> None:
        """Adds vectors behind the others."""
        more = search.check_vectors(vectors, self.vectors.shape[1])
        more = search.unit(more) if self.metric == "cosine" else more
        self.vectors = np.concatenate([self.vectors, more])
        self._fill()

    def remove(self, ids: Ids) -> None:
        """Removes vectors by their rows; those behind them move up."""
        self.vectors = np.delete(self.vectors, ids, axis=0)
        self._fill()

    def search(self, queries: Vectors, k: int, exclude: Ids | None = None) -> Hits:
        """Returns the nearest vectors of each query; see `search.Index`."""
        queries = search.check_vectors(queries, self.vectors.shape[1])
        if self.metric == "cosine":
            queries = search.unit(queries)
        k, exclude = _checked(len(self), queries, k, exclude)
        if len(queries) > _FEW and self._index is None:
            self._index = self._flat()
        found = [
            self._search(queries[i : i + _QUERIES], k, exclude[i : i + _QUERIES])
            for i in range(0, len(queries), _QUERIES)
        ]
        ids, distances = (np.concatenate(part) for part in zip(*found, strict=True))
        return Hits(ids, distances)

    def _flat(self) -> Any:
        """Returns the vectors as FAISS has them, None where it is not installed."""
        faiss = search.faiss()
        if faiss is None:
            return None
        kind = faiss.IndexFlatIP if self.metric == "cosine" else faiss.IndexFlatL2
        index = kind(self.vectors.shape[1])
        index.add(self.vectors)
        return index

    def _search(self, queries: Vectors, k: int, exclude: Ids) -> tuple[Ids, Vectors]:
        """Searches for a block of queries.

        Those whose candidates end amid ties are searched again for more.
        """
        ids = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k), np.float32)
        open_rows, count = np.arange(len(queries)), min(len(self), k + _MORE)
        while len(open_rows):
            near, rough = self._candidates(queries[open_rows], count)
            kept = near != exclude[open_rows, None]
            # Own items that are excluded leave one place less before the k-th.
            bound = np.sort(np.where(kept, rough, np.inf), axis=1)[:, k - 1]
            done = (rough[:, -1] > bound + self._rounding) | (count == len(self))
            rows = open_rows[done]
            ids[rows], distances[rows] = self._order(
                queries[rows], near[done], kept[done], k
            )
            open_rows, count = open_rows[~done], min(len(self), 4 * count)
        return ids, distances

    def _candidates(self, queries: Vectors, count: int) -> tuple[Ids, Vectors]:
        """Returns rows and rough distances, nearest first, (queries, count)."""
        if self._index is not None and len(queries) > _FEW:
            found, ids = self._index.search(queries, count)
            return ids, 1 - found if self.metric == "cosine" else found
        best = np.full((len(queries), count), np.inf, np.float32)
        ids = np.full((len(queries), count), -1, np.int64)
        squares = np.einsum("nd,nd->n", queries, queries)[:, None]
        for first in range(0, len(self), _ITEMS):
            block = self.vectors[first : first + _ITEMS]
            rough = 1 - queries @ block.T
            if self.metric == "l2":
                rough = 2 * (rough - 1) + squares + (block * block).sum(axis=1)
            rows = np.broadcast_to(first + np.arange(len(block)), rough.shape)
            together = np.concatenate([best, rough], axis=1)
            all_ids = np.concatenate([ids, rows], axis=1)
            chosen = np.argpartition(together, count - 1, axis=1)[:, :count]
            best = np.take_along_axis(together, chosen, 1)
            ids = np.take_along_axis(all_ids, chosen, 1)
        order = np.argsort(best, axis=1)
        return np.take_along_axis(ids, order, 1), np.take_along_axis(best, order, 1)

    def _order(
        self, queries: Vectors, near: Ids, kept: np.ndarray, k: int
    ) -> tuple[Ids, Vectors]:
        """Computes the distances of candidates anew and returns the first k."""
        ids = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k), np.float32)
        turn = max(1, _NUMBERS // max(1, near.shape[1] * queries.shape[1]))
        for first in range(0, len(queries), turn):
            rows = slice(first, first + turn)
            candidates = self.vectors[near[rows]]
            asked = queries[rows][:, None]
            if self.metric == "cosine":
                exact = 1 - (candidates * asked).sum(axis=2)
            else:
                exact = ((candidates - asked) ** 2).sum(axis=2)
            exact = np.where(kept[rows], exact, np.float32(np.inf))
            order = np.lexsort((near[rows], exact), axis=1)[:, :k]
            ids[rows] = np.take_along_axis(near[rows], order, 1)
            distances[rows] = np.take_along_axis(exact, order, 1)
        return _without_excluded(ids, distances)


class ChiSquare:
    """Vectors compared by the chi-square distance of the older retrieval system.

    Memory: the vectors, and 256 MB of temporaries.

    Args:
        vectors: (items, dimensions) float32, not negative.

    Raises:
        ValueError: a number below zero.
    """

    kind, metric = "exact", "chi_square"

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = _not_negative(vectors)

    def __len__(self) -> int:
        """Returns the number of vectors."""
        return len(self.vectors)

    @property
    def bytes_per_item(self) -> float:
        """Memory that each vector takes."""
        return 4.0 * self.vectors.shape[1]

    def add(self, vectors: Vectors) -> None:
        """Adds vectors behind the others."""
        more = search.check_vectors(vectors, self.vectors.shape[1])
        self.vectors = np.concatenate([self.vectors, _not_negative(more)])

    def remove(self, ids: Ids) -> None:
        """Removes vectors by their rows; those behind them move up."""
        self.vectors = np.delete(self.vectors, ids, axis=0)

    def search(self, queries: Vectors, k: int, exclude: Ids | None = None) -> Hits:
        """Returns the nearest vectors of each query; see `search.Index`."""
        queries = search.check_vectors(queries, self.vectors.shape[1])
        k, exclude = _checked(len(self), _not_negative(queries), k, exclude)
        ids = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k), np.float32)
        for row, query in enumerate(queries):
            near = self.distances(query)
            if exclude[row] >= 0:
                near[exclude[row]] = np.inf
            bound = np.partition(near, k - 1)[k - 1]
            candidates = np.flatnonzero(near <= bound)
            order = np.argsort(near[candidates], kind="stable")[:k]
            ids[row], distances[row] = candidates[order], near[candidates[order]]
        return Hits(*_without_excluded(ids, distances))

    def distances(self, query: Vectors) -> Vectors:
        """Returns the distances of one query, (dimensions,), to all, (items,)."""
        step = max(1, _NUMBERS // (4 * len(query)))
        found = np.empty(len(self), np.float32)
        for first in range(0, len(self), step):
            block = self.vectors[first : first + step]
            both = (block - query) ** 2 / (block + query + np.float32(1e-10))
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


def _checked(
    count: int, queries: Vectors, k: int, exclude: Ids | None
) -> tuple[int, Ids]:
    if k < 1:
        raise ValueError(f"expected k of 1 or more, got {k}")
    if exclude is None:
        exclude = np.full(len(queries), -1, np.int64)
    if len(exclude) != len(queries):
        raise ValueError(
            f"expected a row to exclude for each of {len(queries)} queries, got "
            f"{len(exclude)}"
        )
    return min(k, count), exclude


def _without_excluded(ids: Ids, distances: Vectors) -> tuple[Ids, Vectors]:
    """Marks the place that an excluded item takes where k is the whole archive."""
    return np.where(np.isfinite(distances), ids, -1), distances


@search.KINDS.register("exact")
def build_exact(vectors: Vectors, metric: str) -> Dense | ChiSquare:
    """Returns an exact index; see `search.build`."""
    if metric == "chi_square":
        return ChiSquare(vectors)
    return Dense(vectors, metric)
