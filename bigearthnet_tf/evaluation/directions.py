"""Search in five directions: within a sensor, from one to the other, both as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.metrics import retrieval as metrics
from bigearthnet_tf.retrieval import search

DIRECTIONS = (
    ("s1", "s1"),
    ("s2", "s2"),
    ("s1", "s2"),
    ("s2", "s1"),
    ("fused", "fused"),
)
_NAMES = {"s1": "S1", "s2": "S2", "fused": "both"}


@dataclass(frozen=True)
class Split:
    """What is known of the queries or of the archive.

    Attributes:
        labels: (records, labels).
        features: by sensor, (records, dimensions).
    """

    labels: NDArray[np.uint8]
    features: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Found:
    """Hits of all queries in one direction, and how good they are.

    Attributes:
        ids: (queries, hits) rows of the archive.
        distances: (queries, hits).
        values: every metric of every query.
    """

    ids: NDArray[np.int64]
    distances: NDArray[np.float32]
    values: Mapping[str, NDArray[np.float64]]


def look_for(
    query: Split,
    archive: Split,
    direction: tuple[str, str],
    ks: Sequence[int],
    metric: str,
    same: bool,
) -> Found:
    """Searches in one direction.

    Args:
        query: labels and features.
        archive: likewise.
        direction: sensors of query and archive.
        ks: numbers of hits to measure at.
        metric: of the distance, a name of `search.METRICS`.
        same: whether both are of the same records, in the same order.
    """
    asked = query.features[direction[0]]
    index = search.build(archive.features[direction[1]], metric)
    own = np.arange(len(asked))
    exclude = own if same and direction[0] == direction[1] else None
    hits = index.search(asked, max(ks), exclude=exclude)
    values = metrics.per_query(
        query.labels, archive.labels, hits.ids, ks, exclude=exclude
    )
    if same and direction[0] != direction[1]:
        is_own = hits.ids == own[:, None]
        for k in ks:
            values[f"partner_recall@{k}"] = is_own[:, :k].any(axis=1).astype(float)
    return Found(hits.ids, hits.distances, values)


def look_everywhere(
    query: Split, archive: Split, ks: Sequence[int], metric: str, same: bool
) -> dict[tuple[str, str], Found]:
    """Searches in all directions that there are features for; see `look_for`."""
    return {
        direction: look_for(query, archive, direction, ks, metric, same)
        for direction in DIRECTIONS
        if direction[0] in query.features and direction[1] in archive.features
    }


def means(found: Mapping[tuple[str, str], Found]) -> dict[str, float]:
    """Returns the mean of every metric over the queries, `s1_s2_map@10` and so on."""
    return {
        f"{'_'.join(direction)}_{name}": float(values.mean())
        for direction, hits in found.items()
        for name, values in hits.values.items()
    }


def arrow(query: str, archive: str) -> str:
    """Returns a direction as people write it."""
    return (
        _NAMES[query]
        if query == archive == "fused"
        else (f"{_NAMES[query]}→{_NAMES[archive]}")
    )
