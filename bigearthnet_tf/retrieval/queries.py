"""A search by one patch of those that are embedded."""

from __future__ import annotations

from typing import Any

import numpy as np

from bigearthnet_tf import registry
from bigearthnet_tf.retrieval import places, search
from bigearthnet_tf.retrieval.stored import Embeddings


def find(archive: Embeddings, name: str | None, number: int | None) -> int:
    """Returns the row of a patch, by its name or number.

    Raises:
        ValueError: there is none; offers the nearest names.
    """
    count = len(archive.names)
    if number is not None:
        if not 0 <= number < count:
            raise ValueError(f"no record {number}: there are {count}, counted from 0")
        return number
    for names in (archive.names, archive.names_s1):
        if name in names:
            return names.index(name)
    near = registry.nearest_names(str(name), archive.names)
    raise ValueError(f"no patch {name!r} among {count}: {near}")


def search_one(
    archive: Embeddings,
    row: int,
    direction: tuple[str, str],
    k: int,
    *,
    layer: str,
    fusion: str,
    metric: str,
    allowed: np.ndarray,
) -> search.Hits:
    """Returns the nearest of the allowed rows, with their rows in the archive."""
    asked, searched = (archive.features(s, layer, fusion) for s in direction)
    rows = np.flatnonzero(allowed)
    if not len(rows):
        return search.Hits(np.empty((1, 0), np.int64), np.empty((1, 0), np.float32))
    index = search.build(np.asarray(searched)[rows], metric)
    hits = index.search(np.asarray(asked)[row : row + 1], k)
    return search.Hits(rows[hits.ids], hits.distances)


def search_patch(
    archive: Embeddings,
    row: int,
    direction: tuple[str, str],
    k: int,
    *,
    layer: str = "p",
    fusion: str = "concat",
    metric: str = "cosine",
    label: int | None = None,
    exclude_within: float | None = None,
) -> list[dict[str, Any]]:
    """Searches by one patch.

    Args:
        archive: the features.
        row: of the patch.
        direction: sensors of query and archive; in its own sensor the patch does not
            find itself.
        k: number of hits; fewer where there are no more.
        layer: `p` or `h`.
        fusion: of both sensors as one.
        metric: of the distance.
        label: hits must have this label, by its number; None: any.
        exclude_within: kilometres that hits must be away; None: any.

    Returns:
        The query (rank 0) and the hits, each with `rank`, `distance`, `name`,
        `name_s1`, `labels`, `shared_labels`, `ring` (None if unknown) and, if the place
        is known, `lon` and `lat`.

    Raises:
        ValueError: there are no such features.
    """
    allowed = np.ones(len(archive.names), bool)
    if direction[0] == direction[1]:
        allowed[row] = False
    if label is not None:
        allowed &= np.asarray(archive.labels[:, label]) > 0
    if exclude_within is not None:
        allowed &= _far(archive, row, exclude_within)
    hits = search_one(
        archive,
        row,
        direction,
        k,
        layer=layer,
        fusion=fusion,
        metric=metric,
        allowed=allowed,
    )
    rows = [row, *map(int, hits.ids[0])]
    distances = [0.0, *map(float, hits.distances[0])]
    rings = places.footprints(
        [archive.names[r] for r in rows], [archive.names_s1[r] for r in rows]
    )
    return [
        _describe(archive, row, r, ring) | {"rank": rank, "distance": distance}
        for rank, (r, distance, ring) in enumerate(
            zip(rows, distances, rings, strict=True)
        )
    ]


def _describe(
    archive: Embeddings, query: int, row: int, ring: places.Ring | None
) -> dict[str, Any]:
    has = np.asarray(archive.labels[row]) > 0
    shared = has & (np.asarray(archive.labels[query]) > 0)
    found = {
        "name": archive.names[row],
        "name_s1": archive.names_s1[row],
        "labels": _names(archive, has),
        "shared_labels": _names(archive, shared),
        "ring": ring,
    }
    if ring is None:
        return found
    lon, lat = places.centre(ring)
    return found | {"lon": lon, "lat": lat}


def _names(archive: Embeddings, has: np.ndarray) -> list[str]:
    return [archive.facts.labels[j] for j in np.flatnonzero(has)]


def _far(archive: Embeddings, row: int, least: float) -> np.ndarray:
    """Tells which patches are at least so many kilometres away from one."""
    rings = places.footprints(archive.names, archive.names_s1)
    own = rings[row]
    if own is None:
        raise ValueError(
            f"{archive.names[row]}: its name does not tell where it lies, so nothing "
            "can be left out by distance"
        )
    known = np.array([ring is not None for ring in rings])
    centres = [places.centre(ring) for ring in rings if ring is not None]
    far = np.zeros(len(rings), bool)
    far[known] = places.kilometres(places.centre(own), centres) >= least
    return far
