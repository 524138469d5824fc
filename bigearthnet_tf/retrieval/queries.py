"""A search by one patch, in memory or in an index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.retrieval import places, search
from bigearthnet_tf.retrieval.stored import Embeddings, Items

# From rows of the archive to whether each may be a hit.
Condition = Callable[[NDArray[np.int64]], NDArray[np.bool_]]


@dataclass(frozen=True)
class Query:
    """A patch to search with.

    Attributes:
        vector: (dimensions,) float32, its features.
        name: of the patch.
        name_s1: of its Sentinel-1 partner, empty where there is none.
        labels: names, none where they are not known.
        own: row of the archive that it must not find, -1 for none.
    """

    vector: NDArray[np.float32]
    name: str
    name_s1: str = ""
    labels: tuple[str, ...] = ()
    own: int = -1


def from_embeddings(
    asked: Embeddings,
    row: int,
    sensor: str,
    layer: str = "p",
    fusion: str = "concat",
    metric: str = "cosine",
) -> Query:
    """Returns the query of an embedded patch.

    Raises:
        ValueError: there are no such features.
    """
    vector = np.asarray(asked.features(sensor, layer, fusion, metric)[row])
    items = asked.items
    return Query(vector, items.names[row], items.names_s1[row], items.labels_of(row))


def search_patch(
    query: Query,
    index: search.Index,
    items: Items,
    k: int,
    *,
    label: str | None = None,
    exclude_within: float | None = None,
) -> list[dict[str, Any]]:
    """Searches by one patch.

    Args:
        query: the patch.
        index: of the archive.
        items: of the archive, in its order.
        k: number of hits; fewer where there are no more.
        label: that hits must have; None: any.
        exclude_within: kilometres that hits must be away; None: any.

    Returns:
        The query (rank 0) and the hits, each with `rank`, `distance`, `name`,
        `name_s1`, `labels`, `shared_labels` (None if the query has no labels or they
        are not known), `ring` (None if unknown) and, if the place is known, `lon` and
        `lat`.

    Raises:
        ValueError: features of other dimensions, or a query of unknown place that is to
            be kept away from.
    """
    wanted = [_has_label(items, label)] if label is not None else []
    if exclude_within is not None:
        wanted.append(_is_far(items, query, exclude_within))
    rows, distances = _search(query, index, k, wanted)
    rings = places.footprints(
        [query.name, *(items.names[r] for r in rows)],
        [query.name_s1, *(items.names_s1[r] for r in rows)],
    )
    described = [_describe(query.name, query.name_s1, query.labels, query, rings[0])]
    described += [
        _describe(items.names[r], items.names_s1[r], items.labels_of(r), query, ring)
        for r, ring in zip(rows, rings[1:], strict=True)
    ]
    return [
        hit | {"rank": rank, "distance": distance}
        for rank, (hit, distance) in enumerate(
            zip(described, [0.0, *distances], strict=True)
        )
    ]


def _search(
    query: Query, index: search.Index, k: int, wanted: list[Condition]
) -> tuple[list[int], list[float]]:
    """Returns the nearest rows that all conditions hold for, and their distances.

    Where too few of the hits fit, it looks further.
    """
    vector, own = query.vector[None], np.array([query.own])
    count = k
    while True:
        hits = index.search(vector, min(count, len(index)), exclude=own)
        ids, distances = hits.ids[0], hits.distances[0]
        fits = ids >= 0
        for condition in wanted:
            fits[fits] = condition(ids[fits])
        if fits.sum() >= k or count >= len(index):
            return ids[fits][:k].tolist(), distances[fits][:k].tolist()
        count *= 4


def _has_label(items: Items, label: str) -> Condition:
    column = items.label_names.index(label)
    return lambda rows: items.labels[rows, column] > 0


def _is_far(items: Items, query: Query, least: float) -> Condition:
    (own,) = places.footprints([query.name], [query.name_s1])
    if own is None:
        raise ValueError(
            f"{query.name}: its name does not tell where it lies, so nothing can be "
            "left out by distance"
        )
    here = places.centre(own)

    def fits(rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        names = [[each[row] for row in rows] for each in (items.names, items.names_s1)]
        rings = places.footprints(*names)
        placed = np.array([ring is not None for ring in rings], bool)
        centres = [places.centre(ring) for ring in rings if ring is not None]
        placed[placed] = places.kilometres(here, centres) >= least
        return placed

    return fits


def _describe(
    name: str,
    name_s1: str,
    labels: tuple[str, ...],
    query: Query,
    ring: places.Ring | None,
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": name,
        "name_s1": name_s1,
        "labels": list(labels),
        "shared_labels": [label for label in labels if label in query.labels]
        if query.labels
        else None,
        "ring": ring,
    }
    if ring is None:
        return found
    lon, lat = places.centre(ring)
    return found | {"lon": lon, "lat": lat}
