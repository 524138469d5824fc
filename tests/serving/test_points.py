"""Embeddings at points are those of the map there."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import rasterio
import tile_stand_ins as stand_ins
from rasterio.warp import transform

from bigearthnet_tf.serving import pixel_model, points, tile_maps
from bigearthnet_tf.serving.pixel_dates import DateRule

SIZE = 40
DRAWN = DateRule(2, seed=3)
EAST, NORTH = stand_ins.ORIGIN


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return stand_ins.write_tile(tmp_path_factory.mktemp("tiles") / "quad", SIZE)


def encoders(tiles, model=None, rule=DRAWN):
    model = model or stand_ins.model(takes_all=True)
    return model, [
        (t, pixel_model.open_encoder(model, rule, t.doys, t.bands, t.name))
        for t in tiles
    ]


def sample(tmp_path, table, folders, crs=None, **options):
    table.to_csv(tmp_path / "points.csv", index=False)
    model, opened = encoders([stand_ins.open_tile(f) for f in folders], **options)
    return points.sample(model, opened, points.read(tmp_path / "points.csv", crs))


@pytest.fixture(scope="module")
def places():
    rng = np.random.default_rng(1)
    rows, columns = rng.integers(0, SIZE, (2, 60))
    within = rng.random((2, 60)) * 0.98 + 0.01
    x, y = EAST + 10 * (columns + within[0]), NORTH - 10 * (rows + within[1])
    return rows, columns, x, y


@pytest.mark.parametrize("kind", ["lonlat", "map", "other crs"])
def test_a_point_has_what_the_map_has_there(
    folder, tmp_path, places, kind, monkeypatch
):
    monkeypatch.setattr("bigearthnet_tf.serving.map_picture.draw", lambda *a: None)
    monkeypatch.setattr(
        "bigearthnet_tf.serving.embedding_picture.draw", lambda *a: None
    )
    monkeypatch.setattr("bigearthnet_tf.pictures.to_png", lambda figure: b"")
    rows, columns, x, y = places
    names, crs = ("x", "y"), None
    if kind == "lonlat":
        names = ("Longitude", "Latitude")
        x, y = transform(stand_ins.CRS, "EPSG:4326", x, y)
    elif kind == "other crs":
        crs = "EPSG:3035"
        x, y = transform(stand_ins.CRS, crs, x, y)
    table = pd.DataFrame({"plot": np.arange(60), names[0]: x, names[1]: y})
    found, skipped = sample(tmp_path, table, [folder], crs)
    request = tile_maps.Request(("embedding", "class"), DRAWN)
    tiles = [stand_ins.open_tile(folder, 13)]
    list(tile_maps.map_tiles(stand_ins.model(takes_all=True), tiles, request, tmp_path))
    with rasterio.open(tmp_path / "quad.embedding.tif") as dataset:
        expected = dataset.read()[:, rows, columns].T
    with rasterio.open(tmp_path / "quad.class.tif") as dataset:
        classes = dataset.read(1)[rows, columns]
    valid = ~np.isnan(expected[:, 0])
    assert found["plot"].tolist() == np.flatnonzero(valid).tolist()
    embeddings = found[[f"embedding_{i}" for i in range(5)]].to_numpy(np.float32)
    np.testing.assert_array_equal(embeddings, expected[valid])
    np.testing.assert_array_equal(found["row"], rows[valid])
    np.testing.assert_array_equal(found["column"], columns[valid])
    codes = [stand_ins.CLASSES[number].code for number in classes[valid]]
    assert found["class"].tolist() == codes
    assert skipped["plot"].tolist() == np.flatnonzero(~valid).tolist()
    assert set(skipped["reason"]) <= {"3 valid dates, needed are 9 or more"}


def test_a_pixel_has_its_left_and_upper_edge(folder):
    tile = stand_ins.open_tile(folder)
    right, low = EAST + 10 * SIZE, NORTH - 10 * SIZE
    x = np.array([EAST, EAST + 10, right, EAST, EAST - 1e-3])
    y = np.array([NORTH, NORTH - 10, NORTH, low, NORTH])
    rows, columns = points.locate(tile, points.Points(pd.DataFrame(), x, y, None))
    assert list(zip(rows, columns, strict=True)) == [
        *((0, 0), (1, 1)),
        *[(-1, -1)] * 3,
    ]


def test_points_that_are_skipped_have_a_reason(folder, tmp_path):
    table = pd.DataFrame(
        {
            "x": [EAST + 5, EAST - 5, EAST + 5, None],
            "y": [NORTH - 5, NORTH - 5, NORTH - 65, 0],
        }
    )
    found, skipped = sample(tmp_path, table, [folder])
    assert len(found) == 1
    assert skipped["reason"].tolist() == [
        "outside of all tiles",
        "3 valid dates, needed are 9 or more",
        "no coordinates",
    ]


def test_a_point_of_two_tiles_is_of_the_first_with_dates(folder, tmp_path):
    cloudy = stand_ins.write_tile(tmp_path / "cloudy", SIZE)
    masks = np.load(cloudy / "masks.npy")
    masks[:, :20] = 0
    np.save(cloudy / "masks.npy", masks)
    table = pd.DataFrame({"x": [EAST + 5] * 2, "y": [NORTH - 5, NORTH - 255]})
    found, skipped = sample(tmp_path, table, [cloudy, folder])
    assert found["tile"].tolist() == ["quad", "cloudy"]
    assert not len(skipped)


def test_coordinates_in_two_columns_are_refused(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("x,y,X \n1,2,3\n")
    with pytest.raises(ValueError, match="expected one column x, got 'x' and 'X"):
        points.read(path)
    # Others may be alike.
    path.write_text("x,y,note,Note\n1,2,a,b\n")
    assert points.read(path).x.tolist() == [1]


def test_points_of_a_model_of_generated_data_say_so(folder, tmp_path):
    table = pd.DataFrame({"x": [EAST + 5], "y": [NORTH - 5]})
    model = dataclasses.replace(stand_ins.model(takes_all=True), generated=True)
    found, skipped = sample(tmp_path, table, [folder], model=model)
    assert found["generated"].tolist() == [True]
    assert "generated" not in skipped
    with pytest.raises(ValueError, match="columns that the result has too: generated"):
        sample(tmp_path, found[["x", "y", "generated"]], [folder])


def test_without_classes_there_are_embeddings_alone(folder, tmp_path):
    table = pd.DataFrame({"x": [EAST + 5], "y": [NORTH - 5]})
    model = stand_ins.model(classes=(), takes_all=True)
    found, _ = sample(tmp_path, table, [folder], model=model)
    assert [n for n in found.columns if not n.startswith("embedding_")] == [
        *("x", "y", "tile", "crs", "row", "column", "num_dates"),
    ]


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_tables_are_read_as_they_were_written(tmp_path, name):
    table = pd.DataFrame({"x": [0.1, 2.0], "embedding_0": np.float32([0.3, 1e-9])})
    points.write(table, tmp_path / name)
    read = pd.read_csv if name.endswith("csv") else pd.read_parquet
    pd.testing.assert_frame_equal(read(tmp_path / name), table, check_dtype=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "expected columns lon and lat, or x and y, got a, b"),
        ("lon,lat\n", "has no points"),
        ("lon,lat\n400000,5000000\n", "latitudes of 5e[+]06; are lon and lat swapped"),
        ("lon,lat,tile\n1,2,3\n", "has columns that the result has too: tile"),
        ("", "expected a table of points"),
    ],
)
def test_tables_without_places_are_refused(tmp_path, text, message):
    (tmp_path / "points.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        points.read(tmp_path / "points.csv")


def test_a_damaged_parquet_and_another_ending_are_refused(tmp_path):
    (tmp_path / "points.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(ValueError, match="expected a table of points"):
        points.read(tmp_path / "points.parquet")
    with pytest.raises(ValueError, match=r"ends in \.parquet or \.csv"):
        points.check_name(tmp_path / "out.xlsx")


def test_other_columns_stay_as_they_are_written(folder, tmp_path):
    x, y = EAST + 5, NORTH - 5
    path = tmp_path / "points.csv"
    path.write_text(f"id,note,size,x,y,count\n007,NA,1.50,{x},{y},3\n008,,2,{x},0,4\n")
    model, opened = encoders([stand_ins.open_tile(folder)])
    found, skipped = points.sample(model, opened, points.read(path))
    for table, row in ((found, "007,NA,1.50"), (skipped, "008,,2")):
        points.write(table, tmp_path / "out.csv")
        lines = (tmp_path / "out.csv").read_text().splitlines()
        assert lines[0].startswith("id,note,size,x,y,count,")
        assert lines[1].startswith(f"{row},")
    assert found["count"].tolist() == [3]


def test_the_crs_of_degrees_is_refused(tmp_path):
    (tmp_path / "points.csv").write_text("lon,lat,x,y\n1,2,3,4\n")
    with pytest.raises(ValueError, match="--points-crs is for columns x and y"):
        points.read(tmp_path / "points.csv", "EPSG:32633")


def test_a_reason_of_the_user_is_not_overwritten(tmp_path):
    (tmp_path / "points.csv").write_text("x,y,reason\n1,2,mine\n")
    with pytest.raises(ValueError, match="columns that the result has too: reason"):
        points.read(tmp_path / "points.csv")


def test_map_coordinates_in_two_zones_are_asked_about(folder, tmp_path):
    other = stand_ins.write_tile(tmp_path / "other", SIZE, crs="EPSG:32631")
    table = pd.DataFrame({"x": [0.0, EAST + 5], "y": [0.0, NORTH - 5]})
    with pytest.raises(ValueError, match=r"row 2 of the points .* EPSG:32631"):
        sample(tmp_path, table, [folder, other])
    found, _ = sample(tmp_path, table, [folder, other], crs=stand_ins.CRS)
    assert found["tile"].tolist() == ["quad"]


def test_a_tile_without_a_place_has_no_points(tmp_path):
    folder = stand_ins.write_tile(tmp_path / "t", 16, place=False)
    table = pd.DataFrame({"x": [1.0], "y": [2.0]})
    with pytest.raises(ValueError, match="has no coordinate system"):
        sample(tmp_path, table, [folder])
