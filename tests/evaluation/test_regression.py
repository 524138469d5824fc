"""A quantity at points: predicted by models that have not seen a point's block."""

import json

import numpy as np
import pandas as pd
import pytest
from rasterio.warp import transform
from sklearn.base import BaseEstimator, RegressorMixin

from bigearthnet_tf.evaluation import generated, regression


@pytest.fixture(scope="module")
def table():
    """Points in clusters of 200 m, 5 km apart; a target that embeddings tell of."""
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(20), 8)
    centres = 5000.0 * np.stack([cluster % 5, cluster // 5], axis=1) + 1000
    places = centres + rng.random((160, 2)) * 200
    embeddings = rng.normal(size=(160, 4))
    target = 3 * embeddings[:, 0] - embeddings[:, 1] + 10 + rng.normal(0, 0.2, 160)
    found = pd.DataFrame({"x": places[:, 0], "y": places[:, 1], "richness": target})
    found["tile"], found["cluster"] = "t", cluster
    for number in range(4):
        found[f"embedding_{number}"] = embeddings[:, number]
    return found


@pytest.fixture
def written(table, tmp_path):
    table.to_csv(tmp_path / "points.csv", index=False)
    return tmp_path / "points.csv"


class _Memory(RegressorMixin, BaseEstimator):
    """Predicts a number of the blocks that it has seen: where `seen` holds it, 1."""

    def fit(self, x, y):
        self.seen_ = set(np.round(y).astype(int))
        return self

    def predict(self, x):
        return np.array([float(int(v) in self.seen_) for v in x[:, 0]])


def test_no_model_has_seen_the_block_that_it_is_tested_on(table):
    blocks = regression.blocks_of(table, 2.5, "t")
    assert len(np.unique(blocks)) == 20
    sites = regression.Sites(table, blocks[:, None], blocks.astype(float), blocks, 0)
    found, folds = regression.predict(sites, _Memory(), 5)
    assert not found.any()
    assert len(np.unique(folds)) == 5


def test_blocks_of_degrees_are_as_large_as_of_metres():
    rng = np.random.default_rng(0)
    lat = 60 + rng.random(4000) * 0.5
    lon = 10 + rng.random(4000)
    blocks = regression.blocks_of(pd.DataFrame({"lon": lon, "lat": lat}), 10, "t")
    # Half a degree by one degree at 60 degrees north, of 55.6 km a degree there.
    for number in np.unique(blocks):
        own = blocks == number
        assert np.ptp(lat[own]) * 111.2 <= 10.01
        assert np.ptp(lon[own]) * 111.2 * np.cos(np.radians(60)) <= 10.2
    assert 6 * 6 <= len(np.unique(blocks)) <= 7 * 7


def test_the_same_ground_in_two_tiles_is_one_block(table):
    both = pd.concat([table, table.assign(tile="u")], ignore_index=True)
    for given, crs in ((both, "EPSG:32633"), (both.assign(crs="EPSG:32633"), None)):
        blocks = regression.blocks_of(given, 2.5, "t", crs)
        np.testing.assert_array_equal(blocks[:160], blocks[160:])
        assert len(np.unique(blocks)) == 20


def test_the_same_ground_in_two_zones_is_one_block(table):
    first = table.assign(x=table["x"] + 300_000, y=table["y"] + 5_500_000)
    x, y = transform("EPSG:32633", "EPSG:32632", first["x"], first["y"])
    second = first.assign(tile="u", x=x, y=y, crs="EPSG:32632")
    both = pd.concat([first.assign(crs="EPSG:32633"), second], ignore_index=True)
    blocks = regression.blocks_of(both, 2.5, "t")
    # Reprojected and back, a point in a million lies beyond the edge of its block.
    np.testing.assert_array_equal(blocks[:160], blocks[160:])
    assert len(np.unique(blocks)) >= 20


def test_metres_of_several_tiles_need_their_system(table):
    other = table.assign(tile=np.where(table["cluster"] == 0, "a", "b"))
    with pytest.raises(ValueError, match=r"x and y of 2 tiles .* with --crs, or lon"):
        regression.blocks_of(other, 1, "t")
    crs = np.where(table["cluster"] == 0, "EPSG:32633", "")
    with pytest.raises(ValueError, match="152 points have no crs"):
        regression.blocks_of(other.assign(crs=crs), 1, "t")
    for unknown in ("EPSG:banana", "banana", "EPSG:1.5", "EPSG:999999", "PROJCS["):
        with pytest.raises(ValueError, match="is no coordinate system that PROJ knows"):
            regression.blocks_of(other, 1, "t", unknown)


def test_degrees_by_any_name_make_the_same_blocks():
    rng = np.random.default_rng(0)
    lat, lon = 60 + rng.random(400) * 0.5, 10 + rng.random(400)
    named = regression.blocks_of(pd.DataFrame({"lon": lon, "lat": lat}), 10, "t")
    plain = pd.DataFrame({"x": lon, "y": lat})
    np.testing.assert_array_equal(
        regression.blocks_of(plain, 10, "t", "EPSG:4326"), named
    )


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_points_of_generated_data_are_marked(table, tmp_path, monkeypatch, form):
    marked = []
    monkeypatch.setattr(generated, "mark", lambda figure, is_so: marked.append(is_so))
    path = tmp_path / f"points.{form}"
    made = table.assign(generated=True)
    made.to_csv(path) if form == "csv" else made.to_parquet(path)
    sites = regression.read(path, "richness", 2.5)
    found = regression.evaluate(sites, "richness", "ridge", 5, 42, tmp_path / "out")
    assert found["generated"] is True
    assert marked == [True]


@pytest.mark.parametrize("model", ["ridge", "forest"])
def test_a_quantity_is_found_and_told_of(written, tmp_path, model):
    sites = regression.read(written, "richness", 2.5)
    found = regression.evaluate(sites, "richness", model, 5, 42, tmp_path / "out")
    assert found["r2"] > (0.98 if model == "ridge" else 0.8)
    assert found["baseline_mean"]["r2"] < 0.05
    rows = pd.read_csv(tmp_path / "out" / "regression_points.csv")
    assert rows["absolute_error"].is_monotonic_decreasing
    # The errors again, from the table alone.
    gap = rows["predicted"] - rows["richness"]
    share = (gap**2).sum() / ((rows["richness"] - rows["richness"].mean()) ** 2).sum()
    expected = pytest.approx(
        {
            "mae": gap.abs().mean(),
            "median_ae": gap.abs().median(),
            "rmse": np.sqrt((gap**2).mean()),
            "bias": gap.mean(),
            "r2": 1 - share,
        }
    )
    assert {
        name: found[name] for name in ("mae", "median_ae", "rmse", "bias", "r2")
    } == (expected)
    assert json.loads((tmp_path / "out" / "regression.json").read_text()) == found
    assert found["generated"] is False
    picture = tmp_path / "out" / "regression.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    if model == "forest":
        bands = pd.read_csv(tmp_path / "out" / "regression_importances.csv")
        assert bands["band"].iloc[0] == "embedding_0"
        assert bands["importance"].sum() == pytest.approx(1)


def test_points_without_the_quantity_are_left_out(table, tmp_path):
    table.assign(richness=table["richness"].where(table.index > 4)).to_csv(
        tmp_path / "points.csv", index=False
    )
    sites = regression.read(tmp_path / "points.csv", "richness", 2.5)
    assert (len(sites.target), sites.dropped) == (155, 5)


@pytest.mark.parametrize(
    ("change", "side", "message"),
    [
        (lambda t: t.drop(columns="richness"), 1, "no column 'richness'; it has x, y"),
        (lambda t: t.iloc[:, :5], 1, "has no columns embedding_0"),
        (lambda t: t.drop(columns="x"), 1, "expected columns lon and lat, or x and y"),
        (lambda t: t.assign(richness="much"), 1, "expected a number in 'richness'"),
        (lambda t: t.assign(embedding_1=np.nan), 1, "not finite; sample it again"),
        (lambda t: t.drop(columns="embedding_2"), 1, "lacks embedding_2; sample"),
        (lambda t: t.assign(crs="EPSG:4326"), 1, "longitudes of up to 360 degrees"),
        (
            lambda t: t.assign(lon=t["x"] / 100, lat=t["y"] / 100),
            *(1, "latitudes of up to 90 degrees, got .* are they metres, or swapped"),
        ),
        (lambda t: t, 1000, "all points lie in one block of 1000 km"),
        (lambda t: t, 0, "--block-km: expected more than 0"),
    ],
)
def test_what_cannot_be_tested_is_refused(table, tmp_path, change, side, message):
    change(table).to_csv(tmp_path / "points.csv", index=False)
    with pytest.raises(ValueError, match=message):
        regression.read(tmp_path / "points.csv", "richness", side)


def test_an_embedding_is_no_target(written):
    with pytest.raises(ValueError, match="embedding_1 is predicted from"):
        regression.read(written, "embedding_1", 2.5)


def test_one_fold_is_refused(written):
    sites = regression.read(written, "richness", 2.5)
    with pytest.raises(ValueError, match="expected 2 folds or more, got 1"):
        regression.predict(sites, regression.build("ridge", 0), 1)
