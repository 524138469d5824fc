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
# Metrics that are shown first, in short and in full.
TITLES = {
    "map": ("mAP", "average precision (mAP)"),
    "ndcg": ("NDCG", "graded gain (NDCG)"),
    "f1": ("F1", "overlap of labels (F1)"),
    "partner_recall": ("own partner found", "own partner found"),
}
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
        labels: (queries, labels) of the queries.
    """

    ids: NDArray[np.int64]
    distances: NDArray[np.float32]
    values: dict[str, NDArray[np.float64]]
    labels: NDArray[np.uint8]


def look_for(
    query: Split,
    archive: Split,
    direction: tuple[str, str],
    ks: Sequence[int],
    metric: str,
    same: bool,
    definitions: str = "corrected",
) -> Found:
    """Searches in one direction.

    Args:
        query: labels and features.
        archive: likewise.
        direction: sensors of query and archive.
        ks: numbers of hits to measure at.
        metric: of the distance, a name of `search.METRICS`.
        same: whether both are of the same records, in the same order.
        definitions: of the metrics, `corrected` or `cbir`.
    """
    asked = query.features[direction[0]]
    index = search.build(archive.features[direction[1]], metric)
    own = np.arange(len(asked))
    exclude = own if same and direction[0] == direction[1] else None
    least = 0 if definitions == "corrected" else metrics.CBIR_DEPTH
    hits = index.search(asked, max(*ks, least), exclude=exclude)
    values = metrics.per_query(
        query.labels,
        archive.labels,
        hits.ids,
        ks,
        exclude=exclude,
        definitions=definitions,
    )
    if same and direction[0] != direction[1]:
        values |= metrics.partners(hits.ids, own, ks)
    return Found(hits.ids, hits.distances, values, query.labels)


def look_everywhere(
    query: Split,
    archive: Split,
    ks: Sequence[int],
    metric: str,
    same: bool,
    definitions: str = "corrected",
) -> dict[tuple[str, str], Found]:
    """Searches in all directions that there are features for; see `look_for`."""
    return {
        direction: look_for(query, archive, direction, ks, metric, same, definitions)
        for direction in DIRECTIONS
        if direction[0] in query.features and direction[1] in archive.features
    }


def means(
    found: Mapping[tuple[str, str], Found], definitions: str = "corrected"
) -> dict[str, float]:
    """Returns the mean of every metric, `s1_s2_map@10` and so on.

    Also `queries_without_labels`, which count in none; see `metrics.retrieval`.
    """
    result: dict[str, float] = {}
    for direction, hits in found.items():
        own = metrics.means(hits.values, hits.labels, definitions)
        without = own.pop("queries_without_labels")
        result |= {f"{'_'.join(direction)}_{name}": v for name, v in own.items()}
        result["queries_without_labels"] = without
    return result


def arrow(query: str, archive: str) -> str:
    """Returns a direction as people write it."""
    return (
        _NAMES[query]
        if query == archive == "fused"
        else (f"{_NAMES[query]}→{_NAMES[archive]}")
    )
