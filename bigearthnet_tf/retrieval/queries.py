"""A search by one patch, in memory or in an index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.retrieval import places, search
from bigearthnet_tf.retrieval.stored import Embeddings, Items


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
    asked: Embeddings, row: int, sensor: str, layer: str = "p", fusion: str = "concat"
) -> Query:
    """Returns the query of an embedded patch.

    Raises:
        ValueError: there are no such features.
    """
    vector = np.asarray(asked.features(sensor, layer, fusion)[row])
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
        `name_s1`, `labels`, `shared_labels`, `ring` (None if unknown) and, if the place
        is known, `lon` and `lat`.

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
    query: Query, index: search.Index, k: int, wanted: list[Callable[[int], bool]]
) -> tuple[list[int], list[float]]:
    """Returns the nearest rows that all conditions hold for, and their distances.

    Where too few of the hits fit, it looks further.
    """
    vector, own = query.vector[None], np.array([query.own])
    count = k
    while True:
        hits = index.search(vector, min(count, len(index)), exclude=own)
        found = [
            (int(row), float(distance))
            for row, distance in zip(hits.ids[0], hits.distances[0], strict=True)
            if row >= 0 and all(fits(int(row)) for fits in wanted)
        ][:k]
        if len(found) == k or count >= len(index):
            return [row for row, _ in found], [distance for _, distance in found]
        count *= 4


def _has_label(items: Items, label: str) -> Callable[[int], bool]:
    column = items.label_names.index(label)
    return lambda row: bool(items.labels[row, column])


def _is_far(items: Items, query: Query, least: float) -> Callable[[int], bool]:
    (own,) = places.footprints([query.name], [query.name_s1])
    if own is None:
        raise ValueError(
            f"{query.name}: its name does not tell where it lies, so nothing can be "
            "left out by distance"
        )
    here = places.centre(own)

    def fits(row: int) -> bool:
        (ring,) = places.footprints([items.names[row]], [items.names_s1[row]])
        if ring is None:
            return False
        return bool(places.kilometres(here, [places.centre(ring)])[0] >= least)

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
        "shared_labels": [label for label in labels if label in query.labels],
        "ring": ring,
    }
    if ring is None:
        return found
    lon, lat = places.centre(ring)
    return found | {"lon": lon, "lat": lat}
