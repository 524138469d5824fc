"""A k-nearest-neighbour probe: how well features tell classes without any learning."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bigearthnet_tf.metrics import neighbours

# Rows that lie together stay together: this many pieces alternate between neighbours
# to ask and queries.
PIECES = 20


def knn_predict(
    queries: ArrayLike, archive: ArrayLike, classes: ArrayLike, k: int = 20
) -> NDArray[np.int64]:
    """Returns the class of most of the nearest by cosine, ties to the nearer one.

    Args:
        queries: (q, d).
        archive: (n, d).
        classes: of the archive, (n,) integers from 0.
        k: neighbours to ask; all there are, if those are fewer.

    Returns:
        (q,) int64.
    """
    classes = np.asarray(classes, np.int64)
    nearest = neighbours.nearest(np.asarray(queries), np.asarray(archive), k)
    found = classes[nearest]
    # A vote of the nearest counts a trifle more than that of the next.
    weights = 1 - np.arange(found.shape[1]) / (1e3 * found.shape[1])
    votes = np.zeros((len(found), int(classes.max()) + 1))
    np.add.at(votes, (np.arange(len(found))[:, None], found), weights)
    return votes.argmax(axis=1)


def knn_accuracy(
    features: ArrayLike,
    classes: ArrayLike,
    k: int = 20,
    most: int = 4096,
) -> float:
    """Returns the share of rows whose class their neighbours tell.

    Rows are cut into `PIECES` in their order; every other piece is asked for, the rest
    searched. So neighbours on the ground, which lie together, seldom meet.

    Args:
        features: (n, d).
        classes: (n,) integers from 0.
        k: neighbours to ask.
        most: rows on either side, evenly spread over them.

    Raises:
        ValueError: fewer than two rows.
    """
    features, classes = np.asarray(features), np.asarray(classes)
    if len(features) < 2:
        raise ValueError(f"expected at least two rows, got {len(features)}")
    pieces = np.array_split(np.arange(len(features)), min(PIECES, len(features)))
    asked, searched = (
        _thin(np.concatenate(pieces[start::2]), most) for start in (1, 0)
    )
    given = knn_predict(features[asked], features[searched], classes[searched], k)
    return float((given == classes[asked]).mean())


def _thin(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
