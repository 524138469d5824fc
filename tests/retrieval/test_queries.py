"""A search by one patch: what it leaves out, and its picture."""

import feature_folders
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from bigearthnet_tf.retrieval import hit_map, places, queries, search, stored


@pytest.fixture
def archive():
    rng = np.random.default_rng(0)
    names = feature_folders.names(30) + feature_folders.names(30, tile="T29UNU")
    labels = rng.integers(0, 2, (60, len(feature_folders.LABELS))).astype(np.uint8)
    items = stored.Items(names, [""] * 60, labels, feature_folders.LABELS)
    return rng.normal(size=(60, 4)).astype(np.float32), items


def look(archive, k=10, labels=("Pastures",), **options):
    vectors, items = archive
    query = queries.Query(vectors[3], items.names[3], labels=labels, own=3)
    return queries.search_patch(query, search.build(vectors), items, k, **options)


def test_conditions_hold_for_all_hits_and_nothing_else_is_left_out(archive):
    items = archive[1]
    order = [h["name"] for h in look(archive, 60)[1:]]
    label = items.label_names[0]
    hits = look(archive, 60, label=label, exclude_within=30.0)[1:]
    (own,) = places.footprints([items.names[3]], [""])
    expected = []
    for name in order:
        row = items.names.index(name)
        (ring,) = places.footprints([name], [""])
        away = places.kilometres(places.centre(own), [places.centre(ring)])[0]
        if away >= 30 and items.labels[row, 0]:
            expected.append(name)
    assert [hit["name"] for hit in hits] == expected
    assert 5 < len(expected) < 60
    few = look(archive, 2, label=label, exclude_within=30.0)[1:]
    assert [hit["name"] for hit in few] == expected[:2]


def test_the_distance_of_all_is_worked_out_in_few_calls(archive, monkeypatch):
    """A call of the projection for each row takes minutes for a large archive."""
    calls = []
    transform = places.warp.transform
    monkeypatch.setattr(
        places.warp, "transform", lambda *a: calls.append(1) or transform(*a)
    )
    look(archive, 60, exclude_within=1.0)
    assert len(calls) <= 4


def test_nothing_is_said_of_labels_that_are_not_known(archive):
    unknown, known = look(archive, labels=()), look(archive)
    assert all(hit["shared_labels"] is None for hit in unknown)
    assert any(hit["shared_labels"] for hit in known[1:])
    texts = [
        {text.get_text() for text in hit_map.draw(hits, "x").legends[0].get_texts()}
        for hits in (unknown, known)
    ]
    assert "hit; labels of the query unknown" in texts[0]
    assert {"hit that shares a label", "hit that shares none"} <= texts[1]


def test_ranks_do_not_stand_on_one_another(archive):
    """All within a few kilometres."""
    figure = hit_map.draw(look(archive, 25), "x")
    (axes,) = figure.axes
    renderer = FigureCanvasAgg(figure).get_renderer()
    ranks = [t for t in axes.texts if t.get_text().replace(", ", "").isdigit()]
    assert len(ranks) > 15
    for rank in ranks:
        rank.update_positions(renderer)
    # Without the lines that lead to them.
    boxes = [Text.get_window_extent(t, renderer) for t in ranks]
    for number, one in enumerate(boxes):
        # Touching by a pixel is no collision.
        inner = one.padded(-1)
        assert not any(inner.overlaps(other) for other in boxes[:number])
    tiles = {t.get_text() for t in axes.texts} & {"29UPU", "29UNU"}
    assert tiles
