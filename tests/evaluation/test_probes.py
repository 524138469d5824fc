"""Probes of features: against scikit-learn, and by loops."""

import numpy as np
import pytest
import rasterio
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from rasterio.warp import transform
from sklearn.neighbors import KNeighborsClassifier

from bigearthnet_tf import pictures
from bigearthnet_tf.archive import ground
from bigearthnet_tf.evaluation import pixel_features, pixel_plots, probes
from bigearthnet_tf.evaluation.pixel_features import Labelled
from bigearthnet_tf.metrics import knn
from bigearthnet_tf.records.block_manifest import TileFacts
from bigearthnet_tf.tasks import pixel_pictures


def test_metrics_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth = rng.choice(5, 800, p=[0.5, 0.3, 0.1, 0.06, 0.04])
    told = np.where(rng.random(800) < 0.6, truth, rng.integers(0, 5, 800))
    found = probes.score(truth, told, 11)  # Six classes never occur.
    sk = sklearn.metrics
    expected = {
        "overall_accuracy": sk.accuracy_score(truth, told),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, told),
        "macro_f1": sk.f1_score(truth, told, average="macro"),
        "weighted_f1": sk.f1_score(truth, told, average="weighted"),
        "mean_iou": sk.jaccard_score(truth, told, average="macro"),
        "kappa": sk.cohen_kappa_score(truth, told),
    }
    assert found == pytest.approx(expected, abs=1e-12)


def clusters(count=300, classes=4, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, count).astype(np.int32)
    x = 3 * np.eye(classes)[y] + spread * rng.normal(size=(count, classes))
    places = np.stack([rng.integers(0, most, count) for most in (2, 90, 90)], axis=1)
    return Labelled(x.astype(np.float32), y, places.astype(np.int32))


def test_label_efficiency_draws_the_same_pixels_for_all():
    train, test, seen = clusters(), clusters(seed=1), {"a": [], "b": []}

    def remembering(name):
        def probe(x, y, asked, seed):
            seen[name].append((x.copy(), y.copy()))
            return probes.linear_probe(x, y, asked, seed)

        return probe

    features = {name: (train, test, remembering(name)) for name in seen}
    rows = list(probes.label_efficiency(features, [5, 1000], 3, 4, seed=7))
    assert [(r["features"], r["labels"]) for r in rows] == [
        ("a", 5), ("a", 1000), ("b", 5), ("b", 1000),
    ]  # fmt: skip
    for one, other in zip(*seen.values(), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    for _, y in seen["a"][:3]:
        assert np.bincount(y).tolist() == [5] * 4
    assert (seen["a"][0][0] != seen["a"][1][0]).any()
    assert rows[1]["drawn"] == 300
    assert rows[1]["balanced_accuracy"] > rows[0]["balanced_accuracy"] > 0.6
    assert rows[0]["balanced_accuracy_std"] > 0


def test_draws_follow_from_their_seed():
    classes = np.repeat([3, 0, 7], [50, 4, 200])
    one, same, other = (probes.draw(classes, 10, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert len(set(one.tolist())) == len(one)
    assert dict(zip(*np.unique(classes[one], return_counts=True), strict=True)) == {
        0: 4, 3: 10, 7: 10,
    }  # fmt: skip


def test_no_block_is_on_both_sides_of_a_fold(monkeypatch):
    pixels, sides = clusters(600), []

    real = probes.linear_probe

    def probe(x, y, asked, seed):
        sides.append((x, asked))
        return real(x, y, asked, seed)

    monkeypatch.setattr(probes, "linear_probe", probe)
    tiles = [tile_at(None), tile_at(None)]
    rows = probes.spatial_folds(pixels, tiles, 3, 32, 4, seed=0)
    block_of = {
        tuple(x): (tile, row // 32, column // 32)
        for x, (tile, row, column) in zip(pixels.features, pixels.places, strict=True)
    }
    assert sum(row["pixels"] for row in rows) == 600
    assert sum(row["blocks"] for row in rows) == 18
    for learnt, asked in sides:
        one, other = ({block_of[tuple(x)] for x in side} for side in (learnt, asked))
        assert not one & other
    with pytest.raises(ValueError, match=r"lie in 18 blocks of 32 pixels a side"):
        probes.spatial_folds(pixels, tiles, 19, 32, 4, seed=0)


def tile_at(crs, west=300_000.0, north=5_000_000.0):
    return TileFacts(
        crs=crs and rasterio.CRS.from_string(crs).to_wkt(),
        transform=(10, 0, west, 0, -10, north) if crs else None,
        height=100,
        width=100,
        doys=[1],
        years=[0],
    )


def test_the_same_ground_in_two_tiles_is_on_one_side_of_a_fold():
    rows, columns = np.mgrid[0:96:5, 32:96:5]
    first = np.stack([np.zeros(rows.size, int), rows.ravel(), columns.ravel()], axis=1)
    # The second tile begins 25 pixels further east, within a block of the first.
    second = first + np.array([1, 0, -25])
    tiles = [tile_at("EPSG:32633"), tile_at("EPSG:32633", west=300_250.0)]
    blocks = ground.block_numbers(tiles, np.concatenate([first, second]), 32)
    np.testing.assert_array_equal(*np.split(blocks, 2))
    assert len(np.unique(blocks)) == 3 * 2


def test_the_same_ground_in_two_zones_is_in_one_block_of_degrees():
    x, y = 300_000.0, 5_000_000.0
    (east,), (north,) = transform("EPSG:32633", "EPSG:32632", [x], [y])
    tiles = [tile_at("EPSG:32633"), tile_at("EPSG:32632", east, north)]
    rows, columns = (part.ravel() for part in np.mgrid[10:60:3, 30:80:3])
    first = np.stack([np.zeros(len(rows), int), rows, columns], axis=1)
    across, down = ground.to_pixels(tiles[0], columns + 0.5, rows + 0.5, tiles[1])
    second = np.stack([np.ones(len(rows)), np.floor(down), np.floor(across)], axis=1)
    blocks = ground.block_numbers(tiles, np.concatenate([first, second]), 32)
    one, other = np.split(blocks, 2)
    # Pixels of both zones may be of two blocks where these meet: of 17 rows and 17
    # columns at most two lie within a pixel of an edge.
    assert (one != other).mean() <= 4 / 17
    assert set(one) <= set(blocks)
    assert 2 <= len(np.unique(blocks)) <= 12


@given(st.integers(0, 2**32 - 1))
def test_medians_of_months_by_a_loop(seed):
    rng = np.random.default_rng(seed)
    count, dates = 3, 9
    bands = rng.integers(0, 9999, (count, dates, 2)).astype(np.uint16)
    doy = np.sort(rng.integers(1, 367, (count, dates)), axis=1)
    mask = (rng.random((count, dates)) < 0.7).astype(np.uint8)
    mask[:, 4] = 1
    found = pixel_features.medians_of_months(bands, doy, mask).reshape(count, 12, 2)
    ends = np.cumsum([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
    for pixel in range(count):
        month = np.array([min(int((ends < day).sum()), 11) for day in doy[pixel]])
        medians = {
            m: np.median(bands[pixel, (month == m) & (mask[pixel] > 0)], axis=0)
            for m in set(month[mask[pixel] > 0].tolist())
        }
        for number in range(12):
            near = min(medians, key=lambda m: min((m - number) % 12, (number - m) % 12))
            distance = min((near - number) % 12, (number - near) % 12)
            allowed = [
                medians[m]
                for m in medians
                if distance in ((m - number) % 12, (number - m) % 12)
            ]
            assert any(np.allclose(found[pixel, number], each) for each in allowed)


def test_nearest_neighbours_are_those_of_scikit_learn():
    archive, asked = clusters(400), clusters(100, seed=1)
    found = knn.knn_predict(asked.features, archive.features, archive.classes, 1)
    sk = KNeighborsClassifier(1, metric="cosine").fit(archive.features, archive.classes)
    np.testing.assert_array_equal(found, sk.predict(asked.features))
    found = knn.knn_predict(asked.features, archive.features, archive.classes, 9)
    nine = KNeighborsClassifier(9, metric="cosine")
    nine.fit(archive.features, archive.classes)
    votes = np.sort(nine.predict_proba(asked.features), axis=1)
    clear = votes[:, -1] > votes[:, -2]
    np.testing.assert_array_equal(found[clear], nine.predict(asked.features)[clear])
    assert knn.knn_accuracy(archive.features, archive.classes) > 0.9
    noise = np.random.default_rng(0).normal(size=(2000, 8))
    chance = knn.knn_accuracy(noise, np.arange(2000) % 4)
    assert chance == pytest.approx(0.25, abs=0.05)


def test_pictures_have_what_they_are_of():
    counts = np.zeros((4, 4), np.int64)
    counts[0, 0], counts[0, 2], counts[2, 2] = 30, 10, 5
    figure = pixel_pictures.confusion(counts, ["Tree cover", "b", "Water", "d"])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"75", "25", "100", "40", "5"} <= set(texts)
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks[:2] == ["Tree cover", "Water"]
    figure = pixel_pictures.correlations(np.array([[0.9, -0.2], [0.1, 0.7]]))
    title = figure.axes[0].get_title()
    assert "0.80 on the diagonal, 0.150 beside it" in title
    rows = [
        {"features": f, "labels": n, "kappa": n / 1e3, "kappa_std": 0.1}
        for f in "ab"
        for n in (10, 100)
    ]
    figure = pixel_plots.label_efficiency(rows, "kappa")
    assert figure.axes[0].get_legend_handles_labels()[1] == ["a", "b"]
    assert pictures.to_png(figure).startswith(b"\x89PNG")
