"""Metrics of hits against loops by the definitions, and published values."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet_tf.metrics import retrieval

REFERENCE = Path(__file__).parents[3] / "shared/reference/self_supervised"
OLD_NAMES = {"ap": "map"}


def loops(query, archive, ids, k, exclude=-1):
    """The corrected metrics of one query, rank by rank, from sets."""
    sets = [set(np.flatnonzero(row)) for row in archive]
    own = set(np.flatnonzero(query))
    # A query itself is nothing to find; what was not found is a rank without a hit.
    there = len(sets) - (exclude >= 0)
    hits = [sets[i] for i in ids if i >= 0]
    hits = (hits + [set()] * len(ids))[: min(k, len(ids), there)]
    if not hits:
        return {}
    shared = [len(own & hit) for hit in hits]
    k = len(hits)
    others = [len(own & s) for i, s in enumerate(sets) if i != exclude]
    gain = [(2**s - 1) / np.log2(1 + i) for i, s in enumerate(shared, 1)]
    pairs = list(zip(shared, hits, strict=True))
    best = sorted(others, reverse=True)[:k]
    ideal = sum((2**s - 1) / np.log2(1 + i) for i, s in enumerate(best, 1))
    found = np.cumsum([s > 0 for s in shared])
    acg = [sum(shared[:i]) / i for i in range(1, k + 1)]
    ap = sum(found[i] / (i + 1) for i in range(k) if shared[i])
    total = sum(s > 0 for s in others)

    def share(a, b):
        return a / b if b else 0.0

    def precision_of(relevant):
        seen = np.cumsum(relevant)
        return share(sum(seen[i] / (i + 1) for i in range(k) if relevant[i]), seen[-1])

    return {
        "ndcg": share(sum(gain), ideal),
        "acg": acg[-1],
        "map": share(ap, found[-1]),
        "map_total": share(ap, min(k, total)),
        "wap": share(sum(acg[i] for i in range(k) if shared[i]), found[-1]),
        "precision": sum(share(s, len(h)) for s, h in pairs) / k,
        "recall": sum(share(s, len(own)) for s in shared) / k,
        "f1": sum(share(2 * s, len(h) + len(own)) for s, h in pairs) / k,
        "precision_binary": found[-1] / k,
        "hit_rate": float(found[-1] > 0),
        "strict_map": precision_of([h == own and bool(own) for h in hits]),
        "jaccard_map": precision_of(
            [s > 0 and s / len(h | own) >= 0.5 for s, h in pairs]
        ),
    }


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 7), st.integers(1, 12), st.booleans())
def test_every_metric_equals_a_loop_over_sets(seed, queries, items, own):
    rng = np.random.default_rng(seed)
    labels = rng.random((items, 5)) < rng.choice([0.1, 0.4])
    asked = rng.random((queries, 5)) < 0.3
    ids = np.stack([rng.permutation(items) for _ in range(queries)])
    ids[rng.random(ids.shape) < 0.1] = -1
    exclude = rng.integers(0, items, queries) if own else None
    if own:
        ids[ids == exclude[:, None]] = -1
    ks = [1, 3, items, items + 5]
    found = retrieval.per_query(asked, labels, ids, ks, exclude=exclude)
    for q in range(queries):
        for k in ks:
            out = -1 if exclude is None else exclude[q]
            expected = loops(asked[q], labels, ids[q], k, out)
            for name, value in expected.items():
                assert found[f"{name}@{k}"][q] == pytest.approx(value, abs=1e-12)
            if not expected:
                assert found[f"ndcg@{k}"][q] == found[f"acg@{k}"][q] == 0
    assert all(np.isfinite(values).all() for values in found.values())


def reference():
    if not REFERENCE.is_dir():
        pytest.skip("needs shared/reference/self_supervised")
    expected = json.loads((REFERENCE / "expected.json").read_text())["retrieval"]
    with np.load(REFERENCE / "cases.npz") as cases:
        distance = cases["distance"]
        return expected, cases["labels_query"], cases["labels_archive"], distance


@pytest.mark.parametrize(
    ("definitions", "key"),
    [("corrected", "corrected"), ("cbir", "old_definitions_zero_guarded")],
)
def test_the_reference_values(definitions, key):
    expected, queries, archive, distance = reference()
    ids, ks = np.argsort(distance, axis=1), expected["k"]
    if definitions == "cbir":
        ids = ids[:, :100]
    values = retrieval.per_query(queries, archive, ids, ks, definitions=definitions)
    # The reference counts queries without labels as 0.
    report = {name: float(v.mean()) for name, v in values.items()}
    compared = 0
    for name, values in expected[key].items():
        ours = OLD_NAMES.get(name, name)
        np.testing.assert_allclose(
            [report[f"{ours}@{k}"] for k in ks], values, atol=1e-9, err_msg=name
        )
        compared += 1
    assert compared >= 7
    if definitions == "corrected":
        assert report["mrr"] == pytest.approx(expected["mrr"], abs=1e-12)
        assert report["r_precision"] == pytest.approx(expected["r_precision"])


def test_a_vector_worked_out_by_hand():
    """Shared labels 2, 0, 1, 3 ; the last but one line is that of the CBIR project."""
    query = [[1, 1, 1, 0]]
    archive = [[1, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0], [1, 1, 1, 0]]
    ids, ks = [[0, 1, 2, 3]], [1, 2, 3, 4]
    report = retrieval.retrieval_report(query, archive, ids, ks)
    theirs = retrieval.retrieval_report(query, archive, ids, ks, definitions="cbir")
    assert [report[f"acg@{k}"] for k in ks] == [2, 1, 1, 1.5]
    assert [report[f"wap@{k}"] for k in ks] == [2, 2, 1.5, 1.5]
    found = [theirs[f"wap@{k}"] for k in ks]
    assert found == pytest.approx([2, 2, 7 / 6, 0.902777], abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_the_best_order_is_perfect_and_the_order_of_queries_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    archive = rng.random((20, 6)) < 0.3
    queries = np.concatenate([np.eye(6, dtype=bool), rng.random((4, 6)) < 0.4])
    archive[:6] |= np.eye(6, dtype=bool)  # Every label is there.
    queries[~queries.any(1), 0] = True
    shared = queries.astype(int) @ archive.T.astype(int)
    ids = np.argsort(-shared, axis=1, kind="stable")
    best = retrieval.per_query(queries, archive, ids, [1, 5, 20])
    for k in (1, 5, 20):
        np.testing.assert_allclose(best[f"ndcg@{k}"], 1)
        np.testing.assert_allclose(best[f"map@{k}"], 1)
    order = rng.permutation(len(queries))
    turned = retrieval.per_query(queries[order], archive, ids[order], [5])
    assert {name for name in best if "@5" in name} < turned.keys()
    for name, values in turned.items():
        np.testing.assert_array_equal(values, best[name][order])
        if not name.startswith(("acg", "wap")):
            assert (values >= 0).all()
            assert (values <= 1 + 1e-12).all()


def test_blocks_of_queries_do_not_show(monkeypatch):
    rng = np.random.default_rng(5)
    queries, archive = rng.random((30, 19)) < 0.2, rng.random((50, 19)) < 0.2
    ids = np.stack([rng.permutation(50)[:20] for _ in range(30)])
    whole = retrieval.per_query(queries, archive, ids, [10])
    monkeypatch.setattr(retrieval, "_BLOCK", 7)
    again = retrieval.per_query(queries, archive, ids, [10])
    assert again.keys() == whole.keys() > {"ndcg@10", "map@10"}
    for name, values in again.items():
        np.testing.assert_array_equal(values, whole[name])


def test_the_place_of_the_query_itself_is_no_hit():
    """Three items, one of them the query: as deep as two, however large k is."""
    labels = [[1, 0], [1, 0], [0, 1]]
    ids = [[1, 2, -1]]
    found = retrieval.per_query([[1, 0]], labels, ids, [2, 3, 9], exclude=[0])
    for name in ("precision_binary", "acg", "precision", "recall", "f1"):
        assert found[f"{name}@3"] == found[f"{name}@9"] == found[f"{name}@2"] == 0.5
    # What an approximate index misses is not there for the better.
    missed = retrieval.per_query([[1, 0]], labels, [[1, -1]], [2], exclude=[0])
    assert missed["precision_binary@2"] == 0.5


def test_r_precision_is_that_of_all_relevant_ones_or_none():
    labels = [[1, 0]] * 3 + [[0, 1]] * 3
    query = [[1, 0], [0, 1]]
    ids = np.array([[0, 3, 1, 2, 4, 5], [0, 1, 2, 3, 4, 5]])
    whole = retrieval.retrieval_report(query, labels, ids, [2])
    assert whole["r_precision"] == pytest.approx((2 / 3 + 0) / 2)
    assert "r_precision" not in retrieval.retrieval_report(
        query, labels, ids[:, :2], [2]
    )


def test_partners():
    ids = [[3, 0], [1, 2], [0, 1]]
    found = retrieval.partners(ids, [0, 1, 2], [1, 2])
    assert found["partner_recall@1"].tolist() == [0, 1, 0]
    assert found["partner_recall@2"].tolist() == [1, 1, 0]


def test_intervals_are_those_of_the_mean():
    rng = np.random.default_rng(1)
    values = {"a": rng.normal(3, 2, 400), "b": np.ones(400)}
    found = retrieval.confidence(values, rounds=2000)
    deviation = values["a"].std() / 20
    low, high = found["a"]
    assert low == pytest.approx(values["a"].mean() - 1.96 * deviation, abs=0.03)
    assert high == pytest.approx(values["a"].mean() + 1.96 * deviation, abs=0.03)
    assert found["b"] == (1.0, 1.0)
    assert retrieval.confidence(values, rounds=2000) == found


def test_means_by_class_leave_out_classes_that_no_query_has():
    values = np.array([0.0, 1.0, 0.5])
    labels = [[1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert retrieval.per_class(values, labels) == [0.5, 0.75, None]


def test_queries_without_labels_count_in_no_mean():
    queries, ids = [[0, 0], [1, 0]], [[0], [0]]
    report = retrieval.retrieval_report(queries, [[1, 0]], ids, [1])
    assert report["queries_without_labels"] == 1
    assert report["map@1"] == 1
    for name in ("cbir", "older"):
        theirs = retrieval.retrieval_report(
            queries, [[1, 0]], ids, [1], definitions=name
        )
        assert theirs["map@1"] == 0.5
    none = retrieval.retrieval_report([[0, 0]], [[1, 0]], [[0]], [1])
    assert none["map@1"] == 0
    # Partners have nothing to do with labels; intervals are of what counts.
    values = retrieval.per_query(queries, [[1, 0]], ids, [1])
    values |= retrieval.partners(ids, [0, 1], [1])
    assert retrieval.means(values, queries)["partner_recall@1"] == 0.5
    intervals = retrieval.confidence(retrieval.counting(values, queries))
    assert intervals["map@1"] == (1, 1)
    assert intervals["partner_recall@1"] == (0, 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ids": [[5]]}, "expected ids from -1 to 0"),
        ({"ids": [0]}, "expected ids of shape"),
        ({"ks": [0]}, "ranks of 1 or more"),
        ({"definitions": "new"}, "corrected or cbir"),
        ({"query_labels": [1, 0]}, "query labels of shape"),
        ({"archive_labels": np.zeros((0, 2))}, "at least one"),
    ],
)
def test_what_does_not_fit_is_refused(change, reason):
    good = {
        "query_labels": [[1, 0]],
        "archive_labels": [[1, 0]],
        "ids": [[0]],
        "ks": [1],
    }
    with pytest.raises(ValueError, match=reason):
        retrieval.retrieval_report(**good | change)
