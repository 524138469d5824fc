"""How good the hits of a search are, by the labels that they share with the query.

For each query with labels Lq, hit i has labels Li and shares s_i = |Lq and Li| of them;
it is relevant, r_i = 1, if it shares any. R_k is the number of relevant ones up to rank
k. All sums run over ranks i = 1 to k; whatever would be divided by zero counts as 0.

| name | definition |
|---|---|
| `ndcg` | sum (2^s_i - 1) / log2(1 + i), over the same sum for the best order of the archive |
| `acg` | sum s_i / k |
| `map` | sum r_i R_i / i, over R_k |
| `map_total` | the same over min(k, relevant ones in the archive) |
| `wap` | sum r_i ACG_i, over R_k |
| `precision` | sum s_i / abs(Li), over k |
| `recall` | sum s_i / abs(Lq), over k |
| `f1` | sum 2 s_i / (abs(Li) + abs(Lq)), over k |
| `precision_binary` | R_k / k |
| `hit_rate` | 1 if R_k > 0 |
| `strict_map` | `map` where only the same set of labels is relevant |
| `jaccard_map` | `map` where half of all labels of both must be shared |
| `mrr` | 1 / rank of the first relevant hit |
| `r_precision` | R_k / k at k = the relevant ones in the archive; only where every query has so many hits |

`definitions="cbir"` has those of the CBIR project, for comparison: the ideal order is
that of the hits alone, `wap` divides by the rank twice, and `precision`, `recall` and
`f1` (of the two) are those of the hit at rank k, not of all up to it. It looked at
`CBIR_DEPTH` hits, whatever k. `older` is the former name of these definitions.

If there are fewer hits than k, or fewer items to find, the value at the last of them
stands for it. What an approximate index has not found is no hit, but has its rank.

A query without labels has nothing to find: it counts in no mean but that of
`partner_recall`, for which labels do not matter. The CBIR project's count it as 0.
"""  # noqa: E501 - a table

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Queries at once: with 1000 hits each some twenty arrays of 2 MB.
_BLOCK = 256
# Label sets are held as bits of one integer.
_MOST_LABELS = 63
# Hits that the CBIR project measured, among which its NDCG looks for the best order.
CBIR_DEPTH = 1000
# Without a k of their own.
_ONCE = ("mrr", "r_precision")

Values = dict[str, NDArray[np.float64]]


def retrieval_report(
    query_labels: ArrayLike,
    archive_labels: ArrayLike,
    ids: ArrayLike,
    ks: Sequence[int],
    *,
    exclude: ArrayLike | None = None,
    definitions: str = "corrected",
) -> dict[str, float]:
    """Returns the mean of every metric over the queries, `map@10` and so on.

    Arguments, memory and errors as for `per_query`; `queries_without_labels` tells how
    many queries the means leave out.
    """
    values = per_query(
        query_labels,
        archive_labels,
        ids,
        ks,
        exclude=exclude,
        definitions=definitions,
    )
    return means(values, query_labels, definitions)


def means(
    values: Values, query_labels: ArrayLike, definitions: str = "corrected"
) -> dict[str, float]:
    """Returns the means of `per_query`, and `queries_without_labels`.

    Args:
        values: (queries,) of each metric.
        query_labels: (queries, labels).
        definitions: `corrected`, or `cbir`, which count queries without labels as 0.
    """
    counted = counting(values, query_labels, definitions)
    without = len(np.asarray(query_labels)) - int(has_labels(query_labels).sum())
    found = {name: float(v.mean()) if len(v) else 0.0 for name, v in counted.items()}
    return {**found, "queries_without_labels": float(without)}


def counting(
    values: Values, query_labels: ArrayLike, definitions: str = "corrected"
) -> Values:
    """Returns the values of the queries that count, by metric; see `means`."""
    if definitions != "corrected":
        return dict(values)
    has = has_labels(query_labels)
    return {
        name: v if name.startswith("partner_recall") else v[has]
        for name, v in values.items()
    }


def has_labels(labels: ArrayLike) -> NDArray[np.bool_]:
    """Returns which rows of (rows, labels) have any."""
    return np.asarray(np.asarray(labels).astype(bool).any(axis=1))


def per_query(
    query_labels: ArrayLike,
    archive_labels: ArrayLike,
    ids: ArrayLike,
    ks: Sequence[int],
    *,
    exclude: ArrayLike | None = None,
    definitions: str = "corrected",
) -> Values:
    """Returns every metric of each query.

    Memory: 50 MB beside arguments and results, for 1000 hits. Time grows with queries
    times hits, and with queries times different label sets of the archive.

    Args:
        query_labels: (queries, labels), true or 1 where a query has a label.
        archive_labels: (items, labels).
        ids: (queries, hits) rows of the archive, nearest first; -1 for no hit.
        ks: ranks to measure at, each at least 1.
        exclude: (queries,) row of the archive that a query can't find, itself, which
            the best order leaves out too; -1 for none.
        definitions: `corrected` or `cbir`.

    Returns:
        Metric and rank, such as `map@10`, to (queries,) float64.

    Raises:
        ValueError: shapes that do not fit, no query, a k below 1, or other definitions.
    """
    queries, archive = _bits(query_labels, "query"), _bits(archive_labels, "archive")
    hits = np.asarray(ids, np.int64)
    _check(queries, archive, hits, ks, definitions)
    # Places without a hit go behind the hits.
    order = np.argsort(hits < 0, axis=1, kind="stable")
    hits = np.take_along_axis(hits, order, 1)
    own = np.full(len(queries), -1) if exclude is None else np.asarray(exclude)
    # As deep as there is something to find.
    depth = np.minimum(hits.shape[1], len(archive) - (own >= 0))
    sets, counts = np.unique(archive, return_counts=True)
    parts: list[Values] = []
    for first in range(0, len(queries), _BLOCK):
        rows = slice(first, first + _BLOCK)
        block = _Block(queries[rows], archive, hits[rows])
        block.count_relevant(sets, counts, own[rows])
        measure = _corrected if definitions == "corrected" else _cbir
        at = {k: np.minimum(k, depth[rows]) for k in ks}
        part = {
            f"{name}@{k}": _at_rank(curve, rank)
            for name, curve in measure(block)
            for k, rank in at.items()
        }
        parts.append(part | block.without_k())
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if np.isnan(values["r_precision"]).any():
        del values["r_precision"]
    return values


def partners(ids: ArrayLike, own: ArrayLike, ks: Sequence[int]) -> Values:
    """Returns whether queries find the other sensor's view of themselves.

    Args:
        ids: (queries, hits) rows of the archive, nearest first.
        own: (queries,) row of each query's own patch.
        ks: ranks.

    Returns:
        `partner_recall@k`, 1 if the partner is among the first k, to (queries,).
    """
    found = np.asarray(ids) == np.asarray(own)[:, None]
    return {f"partner_recall@{k}": found[:, :k].any(1).astype(float) for k in ks}


def confidence(
    values: Mapping[str, NDArray[np.float64]],
    *,
    level: float = 0.95,
    rounds: int = 1000,
    seed: int = 42,
) -> dict[str, tuple[float, float]]:
    """Returns bootstrap intervals of the means over queries, by percentiles.

    Memory: 64 rounds times the queries, 8 bytes each.

    Args:
        values: of `per_query`.
        level: share of the rounds within the interval.
        rounds: resamplings of the queries, the same ones for all metrics.
        seed: of the resampling.
    """
    # Metrics that leave out other queries than the rest are resampled on their own.
    by_count: dict[int, list[str]] = {}
    for name, own in values.items():
        by_count.setdefault(len(own), []).append(name)
    found: dict[str, tuple[float, float]] = {}
    for count, names in by_count.items():
        if not count:
            found |= dict.fromkeys(names, (0.0, 0.0))
            continue
        table = np.stack([values[name] for name in names], axis=1)
        rng, parts = np.random.default_rng(seed), []
        for first in range(0, rounds, 64):
            size = min(64, rounds - first)
            chosen = rng.multinomial(count, np.full(count, 1 / count), size)
            parts.append(chosen @ table / count)
        edges = ((1 - level) / 2, (1 + level) / 2)
        low, high = np.quantile(np.concatenate(parts), edges, axis=0).tolist()
        found |= {n: (a, b) for n, a, b in zip(names, low, high, strict=True)}
    return {name: found[name] for name in values}


def per_class(
    values: NDArray[np.float64], query_labels: ArrayLike
) -> list[float | None]:
    """Returns the mean over the queries that have each label; None where none has.

    Args:
        values: (queries,) of one metric.
        query_labels: (queries, labels).
    """
    has = np.asarray(query_labels).astype(bool)
    return [float(values[own].mean()) if own.any() else None for own in has.T]


class _Block:
    """What the metrics of some queries are made of.

    Args:
        queries: (q,) label sets as bits.
        archive: (n,) likewise.
        ids: (q, hits).
    """

    def __init__(
        self,
        queries: NDArray[np.int64],
        archive: NDArray[np.int64],
        ids: NDArray[np.int64],
    ) -> None:
        self.queries, self.archive = queries, archive
        labels = np.where(ids >= 0, archive[ids], 0)
        own = queries[:, None]
        self.shared = np.bitwise_count(own & labels).astype(np.float64)
        self.sizes = np.bitwise_count(labels).astype(np.float64)
        self.query_sizes = np.bitwise_count(own).astype(np.float64)
        self.is_same = (own == labels) & (own != 0)
        self.ranks = np.arange(1, ids.shape[1] + 1)
        self.relevant = self.shared > 0

    def count_relevant(
        self,
        sets: NDArray[np.int64],
        counts: NDArray[np.int64],
        own: NDArray[np.int64],
    ) -> None:
        """Finds the best order of the whole archive for each query.

        Args:
            sets: different label sets of the archive.
            counts: items with each.
            own: (q,) items that are left out, -1 for none.
        """
        most = int(self.query_sizes.max(initial=0))
        # Items by the labels they share, a query at a time for the processor's cache.
        shared = (np.bitwise_count(query & sets) for query in self.queries)
        items = np.stack([np.bincount(own, counts, most + 1) for own in shared])
        rows = np.arange(len(self.queries))
        left_out = np.where(own >= 0, self.archive[own], 0)
        items[rows, np.bitwise_count(self.queries & left_out)] -= own >= 0
        at_least = np.cumsum(items[:, ::-1], axis=1)[:, ::-1].astype(np.int64)
        self.ideal = np.zeros_like(self.shared)
        for value in range(1, most + 1):
            # So many come before all that share fewer labels.
            self.ideal += self.ranks <= at_least[:, value, None]
        self.total = at_least[:, 1] if most else np.zeros(len(rows), np.int64)

    def without_k(self) -> Values:
        """Returns `mrr` and `r_precision`, NaN where there are too few hits for it."""
        first = self.relevant.argmax(axis=1)
        found = self.relevant.any(axis=1)
        hits = _at_rank(self.relevant.cumsum(axis=1), self.total)
        known = self.total <= self.relevant.shape[1]
        return {
            "mrr": np.where(found, 1 / (first + 1), 0.0),
            "r_precision": np.where(known, _divide(hits, self.total), np.nan),
        }


def _at_rank(curve: NDArray[Any], rank: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns (q, hits) at (q,) ranks, at the last one beyond; 0 at rank 0."""
    column = np.clip(rank, 1, curve.shape[1])[:, None] - 1
    return np.where(rank > 0, np.take_along_axis(curve, column, 1)[:, 0], 0.0)


def _corrected(block: _Block) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yields the curves of the metrics over the ranks, (q, hits)."""
    shared, ranks = block.shared, block.ranks
    yield "ndcg", _divide(_dcg(block, shared), _dcg(block, block.ideal))
    acg = shared.cumsum(axis=1) / ranks
    yield "acg", acg
    found = block.relevant.cumsum(axis=1)
    average = _average_precision(block.relevant, ranks)
    yield "map", average
    possible = np.minimum(ranks, block.total[:, None])
    yield "map_total", _divide(average * found, possible)
    yield "wap", _divide((block.relevant * acg).cumsum(axis=1), found)
    yield "precision", _divide(shared, block.sizes).cumsum(axis=1) / ranks
    yield "recall", _divide(shared, block.query_sizes).cumsum(axis=1) / ranks
    both = block.sizes + block.query_sizes
    yield "f1", _divide(2 * shared, both).cumsum(axis=1) / ranks
    yield "precision_binary", found / ranks
    yield "hit_rate", (found > 0).astype(np.float64)
    yield "strict_map", _average_precision(block.is_same, ranks)
    half = shared * 2 >= both - shared
    yield "jaccard_map", _average_precision(half & block.relevant, ranks)


def _cbir(block: _Block) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yields the curves of the CBIR project's metrics, (q, hits)."""
    shared, ranks = block.shared, block.ranks
    best = -np.sort(-shared, axis=1)
    yield "ndcg", _divide(_dcg(block, shared), _dcg(block, best))
    acg = shared.cumsum(axis=1) / ranks
    yield "acg", acg
    found = block.relevant.cumsum(axis=1)
    yield "map", _average_precision(block.relevant, ranks)
    yield "wap", _divide((block.relevant * acg / ranks).cumsum(axis=1), found)
    precision = _divide(shared, block.sizes)
    recall = _divide(shared, block.query_sizes)
    yield "precision", precision
    yield "recall", recall
    yield "f1", _divide(2 * precision * recall, precision + recall)


def _dcg(block: _Block, shared: NDArray[np.float64]) -> NDArray[np.float64]:
    return ((2.0**shared - 1) / np.log2(1 + block.ranks)).cumsum(axis=1)


def _average_precision(
    relevant: NDArray[np.bool_], ranks: NDArray[np.int64]
) -> NDArray[np.float64]:
    found = relevant.cumsum(axis=1)
    return _divide((relevant * found / ranks).cumsum(axis=1), found)


def _divide(a: NDArray[np.generic], b: NDArray[np.generic]) -> NDArray[np.float64]:
    """Returns a / b, 0 where b is."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    return np.divide(a, b, out=np.zeros(a.shape), where=b != 0)


def _bits(labels: ArrayLike, whose: str) -> NDArray[np.int64]:
    """Returns each row of labels as the bits of an integer."""
    table = np.asarray(labels)
    if table.ndim != 2 or not 0 < table.shape[1] <= _MOST_LABELS:
        raise ValueError(
            f"expected {whose} labels of shape (rows, 1 to {_MOST_LABELS}), got "
            f"{table.shape}"
        )
    return table.astype(bool) @ (1 << np.arange(table.shape[1], dtype=np.int64))


def _check(
    queries: NDArray[np.int64],
    archive: NDArray[np.int64],
    ids: NDArray[np.int64],
    ks: Sequence[int],
    definitions: str,
) -> None:
    if definitions not in ("corrected", "cbir", "older"):
        raise ValueError(f"expected definitions corrected or cbir, got {definitions!r}")
    if not len(queries) or not len(archive):
        raise ValueError("expected at least one query and one item to search in")
    if ids.ndim != 2 or len(ids) != len(queries) or not ids.shape[1]:
        raise ValueError(
            f"expected ids of shape ({len(queries)}, hits), got {ids.shape}"
        )
    if ids.max() >= len(archive) or ids.min() < -1:
        raise ValueError(
            f"expected ids from -1 to {len(archive) - 1}, got {ids.min()} to "
            f"{ids.max()}"
        )
    if any(k < 1 for k in ks):
        raise ValueError(f"expected ranks of 1 or more, got {list(ks)}")
