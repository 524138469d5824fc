"""Search in one direction, and how many hits are measured."""

import numpy as np
import pytest

from bigearthnet_tf.evaluation import directions
from bigearthnet_tf.metrics import retrieval


@pytest.mark.parametrize("depth", [3, 1000])
def test_the_cbir_project_looks_for_the_best_order_among_its_1000_hits(
    depth, monkeypatch
):
    """However few of them are asked for; its NDCG depends on how deep it looks."""
    monkeypatch.setattr(retrieval, "CBIR_DEPTH", depth)
    rng = np.random.default_rng(2)
    query, archive = (
        directions.Split(
            (rng.random((count, 6)) < 0.4).astype(np.uint8),
            {"s1": rng.random((count, 3)).astype(np.float32)},
        )
        for count in (4, 12)
    )
    found = directions.look_for(
        query, archive, ("s1", "s1"), [2], "chi_square", False, "cbir"
    )
    u, v = (each.features["s1"].astype(float) for each in (query, archive))
    distances = ((u[:, None] - v) ** 2 / (u[:, None] + v)).sum(axis=2)
    nearest = np.argsort(distances, axis=1)[:, :depth]
    np.testing.assert_array_equal(found.ids, nearest)
    shared = query.labels.astype(int) @ archive.labels.T.astype(int)
    hits = np.take_along_axis(shared, nearest, 1)
    discount = 1 / np.log2([2, 3])
    gain = (2.0 ** hits[:, :2] - 1) @ discount
    best = (2.0 ** -np.sort(-hits, axis=1)[:, :2] - 1) @ discount
    expected = np.divide(gain, best, out=np.zeros(4), where=best > 0)
    assert found.values["ndcg@2"] == pytest.approx(expected)
    corrected = directions.look_for(
        query, archive, ("s1", "s1"), [2], "chi_square", False
    )
    assert corrected.ids.shape == (4, 2)
