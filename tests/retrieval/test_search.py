"""Search against full matrices, and what approximations miss."""

import json
from pathlib import Path

import long_tests
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet_tf.retrieval import exact, search

REFERENCE = Path(__file__).parents[3] / "shared/reference/self_supervised"


@pytest.fixture(params=["faiss", "numpy"])
def library(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setattr(search, "faiss", lambda: None)
    else:
        pytest.importorskip("faiss")
    return request.param


def all_distances(queries, vectors, metric):
    """(queries, items) float64, by the definitions."""
    q, v = (np.asarray(x, np.float64) for x in (queries, vectors))
    if metric == "cosine":
        q, v = (
            x / np.maximum(np.linalg.norm(x, axis=1)[:, None], 1e-12) for x in (q, v)
        )
        return 1 - q @ v.T
    if metric == "l2":
        return ((q[:, None] - v) ** 2).sum(-1)
    return ((q[:, None] - v) ** 2 / (q[:, None] + v + 1e-10)).sum(-1) / 2


@pytest.mark.parametrize("metric", search.METRICS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 50), own=st.booleans())
def test_hits_are_those_of_the_whole_matrix(metric, seed, k, own):
    """Each vector comes several times, so that there are ties everywhere."""
    rng = np.random.default_rng(seed)
    some = rng.random((9, 4)).astype(np.float32)
    vectors = some[rng.integers(0, 9, 40)]
    queries = np.concatenate([vectors[:5], rng.random((3, 4))]).astype(np.float32)
    exclude = np.array([0, 1, 2, 3, 4, -1, -1, 7]) if own else None
    hits = search.build(vectors, metric).search(queries, k, exclude)
    distances = all_distances(queries, vectors, metric)
    k = min(k, 40)
    assert hits.ids.shape == hits.distances.shape == (8, k)
    for row, ids in enumerate(hits.ids):
        expected = distances[row].copy()
        if own and exclude[row] >= 0:
            expected[exclude[row]] = np.inf
        order = np.lexsort((np.arange(40), np.round(expected, 5)))[:k]
        order = np.where(np.isfinite(expected[order]), order, -1)
        np.testing.assert_array_equal(ids, order)
        there = ids >= 0
        np.testing.assert_allclose(
            hits.distances[row][there], expected[ids[there]], atol=1e-5
        )


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_libraries_and_blocks_agree_on_ties(metric, library, monkeypatch):
    """Hundreds of equal vectors lie across the edges of blocks and of k."""
    rng = np.random.default_rng(3)
    some = rng.normal(size=(50, 16)).astype(np.float32)
    vectors = np.concatenate([some, np.tile(some[:3], (100, 1)), 2 * some, some])
    vectors = vectors[rng.permutation(len(vectors))]
    vectors[7] = 0
    queries = np.concatenate([some[:20], np.zeros((1, 16), np.float32)])
    index = search.build(vectors, metric)
    expected = None
    for items, block in ((65_536, 256), (64, 3), (37, 1)):
        monkeypatch.setattr(exact, "_NUMPY_ITEMS", items)
        monkeypatch.setattr(exact, "_CANDIDATES", block * 60)
        hits = index.search(queries, 40)
        if expected is None:
            expected = hits
            rounded = np.round(all_distances(queries, vectors, metric), 5)
            rows = np.broadcast_to(np.arange(len(vectors)), rounded.shape)
            order = np.lexsort((rows, rounded), axis=1)[:, :40]
            np.testing.assert_array_equal(hits.ids, order)
        np.testing.assert_array_equal(hits.ids, expected.ids)
        np.testing.assert_array_equal(hits.distances, expected.distances)
    assert np.isfinite(expected.distances).all()


def test_chi_square_has_the_reference_values():
    if not REFERENCE.is_dir():
        pytest.skip("needs shared/reference/self_supervised")
    expected = np.array(
        json.loads((REFERENCE / "expected.json").read_text())["chi_square"]
    )
    with np.load(REFERENCE / "cases.npz") as cases:
        index = exact.ChiSquare(cases["chi_v"].astype(np.float32))
        for query, row in zip(cases["chi_u"], expected, strict=True):
            found = index.distances(query.astype(np.float32))
            np.testing.assert_allclose(found, row, rtol=1e-5)


@pytest.fixture(scope="module")
def clustered():
    pytest.importorskip("faiss")
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(200, 32))
    chosen = rng.integers(0, 200, 12_000)
    vectors = (centres[chosen] + 0.4 * rng.normal(size=(12_000, 32))).astype(np.float32)
    return vectors, (vectors[:50] + 0.05 * rng.normal(size=(50, 32))).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "options", "recall", "most_bytes"),
    [
        ("ivf_pq", {"codes": 16, "lists": 32}, 0.4, 24),
        ("hnsw", {}, 0.95, 4 * 32 + 256),
        ("int8", {}, 0.95, 32),
        ("binary", {"rerank": 20}, 0.6, 4 + 128),
        ("binary", {"rerank": 0}, 0.05, 4),
    ],
)
@pytest.mark.parametrize("metric", long_tests.beyond(["cosine"], ["cosine", "l2"]))
def test_approximations_find_most_in_less_memory(
    clustered, kind, options, recall, most_bytes, metric
):
    vectors, queries = clustered
    whole = search.build(vectors, metric)
    index = search.build(vectors, metric, kind, **options)
    found = search.measure(index, whole, queries)
    assert recall <= found["recall"] <= 1
    assert found["bytes_per_item"] <= most_bytes
    assert search.measure(whole, whole, queries)["recall"] == 1
    exclude = whole.search(queries, 1).ids[:, 0]
    hits = index.search(queries, 10, exclude)
    assert not (hits.ids == exclude[:, None]).any()
    again = search.build(vectors, metric, kind, **options).search(queries, 10, exclude)
    np.testing.assert_array_equal(hits.ids, again.ids)


@pytest.mark.parametrize("kind", ["exact", "hnsw", "int8", "binary"])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_ties_of_every_kind_go_by_row(kind, metric):
    """Six equal vectors of each sort, and fewer hits than there are of them."""
    pytest.importorskip("faiss")
    rng = np.random.default_rng(8)
    some = rng.normal(size=(30, 16)).astype(np.float32)
    vectors = np.tile(some, (6, 1))
    hits = search.build(vectors, metric, kind).search(some, 4)
    for row, ids in enumerate(hits.ids):
        assert ids.tolist() == [row, row + 30, row + 60, row + 90]


def test_bits_tell_features_apart_that_are_never_negative():
    """All would be 1, or nearly so, if they were those above zero."""
    pytest.importorskip("faiss")
    rng = np.random.default_rng(9)
    centres = rng.random((40, 64))
    vectors = (centres.repeat(50, 0) + 0.2 * rng.random((2000, 64))).astype(np.float32)
    index = search.build(vectors, kind="binary", rerank=0)
    hits = index.search(vectors[::50], 10)
    assert (hits.ids // 50 == np.arange(40)[:, None]).mean() > 0.9


def test_faiss_gets_enough_queries_to_be_fast(monkeypatch):
    """Below its threshold it compares one by one; memory stays bounded all the same."""
    faiss = pytest.importorskip("faiss")
    vectors = np.random.default_rng(1).normal(size=(3000, 32)).astype(np.float32)
    asked = []

    class Spy(faiss.IndexFlatIP):
        def search(self, queries, k):
            asked.append((len(queries), k))
            return super().search(queries, k)

    monkeypatch.setattr(faiss, "IndexFlatIP", Spy)
    index = search.build(vectors)
    index.search(np.tile(vectors, (3, 1))[:8200], 10)
    threshold = faiss.cvar.distance_compute_blas_threshold
    assert all(rows * 32 >= threshold for rows, _ in asked if rows > 100)
    assert sum(rows for rows, _ in asked if rows > 100) >= 8200
    asked.clear()
    index.search(vectors, 2900)
    assert asked
    assert all(rows * k <= 2 * exact._CANDIDATES for rows, k in asked)
    # Also where all are equal, so that it has to look further and further.
    asked.clear()
    index = search.build(np.ones((3000, 32), np.float32))
    assert index.search(vectors, 2).ids.tolist() == [[0, 1]] * 3000
    assert asked
    assert all(rows * k <= 2 * exact._CANDIDATES for rows, k in asked)


def test_without_faiss_it_says_so_and_approximations_are_refused(monkeypatch, caplog):
    import sys

    monkeypatch.setitem(sys.modules, "faiss", None)
    search.faiss.cache_clear()
    try:
        vectors = np.eye(20, dtype=np.float32)
        found = search.build(vectors).search(vectors, 1)
        assert found.ids[:, 0].tolist() == list(range(20))
        assert "FAISS is not installed" in caplog.text
        with pytest.raises(ValueError, match=r"'\.\[faiss\]'"):
            search.build(vectors, kind="hnsw")
    finally:
        search.faiss.cache_clear()


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda v: search.build(v, "cosin"), "did you mean 'cosine'"),
        (lambda v: search.build(v, kind="hns"), "hnsw"),
        (lambda v: search.build(v[:0]), "expected vectors of shape"),
        (lambda v: search.build(v * np.nan), "finite"),
        (lambda v: search.build(-v, "chi_square"), "not negative"),
        (lambda v: search.build(v).search(v[:, :2], 1), "items, 4"),
        (lambda v: search.build(v).search(v, 0), "k of 1 or more"),
        (lambda v: search.build(v).search(v, 1, np.array([0])), "for each of 4"),
        (lambda v: search.build(v, kind="ivf_pq"), "to train with"),
        (lambda v: search.build(v, "chi_square", "int8"), "exactly only"),
        (lambda v: search.build(v, kind="hnsw", neighbours=0), "expected 2 to 512"),
        (lambda v: search.build(v, kind="hnsw", breadth=0), "expected 1 to"),
        (lambda v: search.build(v, kind="ivf_pq", codes=0), "expected 1 to"),
        (lambda v: search.build(v, kind="ivf_pq", probes=0), "expected 1 to"),
        (lambda v: search.build(v, kind="int8", codes=1), "known: none"),
        (lambda v: search.build(v, kind="int8").search(v, 0), "k of 1 or more"),
        (lambda v: search.build(v, kind="binary").search(v, -1), "k of 1 or more"),
        (
            lambda v: search.build(v, kind="hnsw").search(v, 1, np.array([0])),
            "for each of 4",
        ),
    ],
)
def test_what_can_not_be_searched_is_refused(call, reason):
    pytest.importorskip("faiss")
    with pytest.raises(ValueError, match=reason):
        call(np.eye(4, dtype=np.float32))
