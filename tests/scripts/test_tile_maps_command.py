"""`bigearthnet-tf map`, `points` and `regress` with a run on pixel time series."""

import json
import shutil
import sys

import closeness
import numpy as np
import pandas as pd
import pytest
import rasterio

from bigearthnet_tf import cli
from bigearthnet_tf import config as configs
from bigearthnet_tf.archive import tile_sample

SIZE = 32


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with tiles, their records, and a run of land cover."""
    from bigearthnet_tf.training import session

    folder = tmp_path_factory.mktemp("made")
    tile_sample.write_tiles(folder / "tiles", tiles=3, size=SIZE, dates=80)
    command = ["tiles", folder / "tiles", "-o", folder / "records", "--block-size", 13]
    command += ["--val", "tile_02", "--test", "tile_03", "--min-valid", 16]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["bigearthnet-tf", *map(str, command)])
        cli.run()
    config = configs.from_dict(
        {
            "task": "land_cover",
            "model_name": "pixel_mlp",
            "loss": "softmax_cross_entropy",
            "batch_size": 64,
            "nb_epoch": 2,
            "learning_rate": 0.005,
            "devices": "cpu",
            "tr_tf_record_files": [str(folder / "records" / "train-*.tfrecord")],
            "val_tf_record_files": [str(folder / "records" / "val-*.tfrecord")],
            "out_dir": str(folder / "run"),
        }
    )
    opened = session.open_session(config)
    session.train(opened, *session.build(opened), folder / "run")
    return folder


def read(path):
    with rasterio.open(path) as dataset:
        return dataset.read()


def test_folders_and_records_give_a_map_and_points_its_pixels(call, made, tmp_path):
    run, kinds = made / "run", ("--kind", "class", "embedding", "false-colour")
    from_records = call(
        *("bigearthnet-tf", "map", run, made / "records/test-*"),
        *("-o", tmp_path / "records", *kinds),
    )
    assert from_records.status == 0, from_records.err
    assert "tile_03: 1,024 of 1,024 pixels" in from_records.out
    assert "16 valid dates drawn 4 times and averaged, seed 42" in from_records.out
    assert "labelled pixels agree with the reference" in from_records.out
    assert f"{tmp_path / 'records' / 'tile_03.json'}" in from_records.out
    from_folder = call(
        *("bigearthnet-tf", "map", run, made / "tiles", "--tile", "tile_03"),
        *("-o", tmp_path / "folder", *kinds, "--pca", tmp_path / "records" / "pca.npz"),
        *("--block-size", 9, "--min-valid", 16),
    )
    assert from_folder.status == 0, from_folder.err

    def both(kind):
        return (
            read(tmp_path / source / f"tile_03.{kind}.tif").astype(np.float64)
            for source in ("records", "folder")
        )

    closeness.assert_close(*both("embedding"))
    # Blocks of another size round otherwise: a pixel between two classes may change.
    one, other = both("class")
    assert (one != other).sum() <= 1
    one, other = both("false-colour")
    assert np.abs(one - other).max() <= 1
    with rasterio.open(tmp_path / "folder" / "tile_03.class.tif") as dataset:
        transform = dataset.transform
    told = json.loads((made / "tiles" / "tile_03" / "tile.json").read_text())
    assert transform == rasterio.Affine(*told["transform"][:6])

    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, SIZE, (2, 40))
    x = transform.c + transform.a * (columns + 0.5)
    y = transform.f + transform.e * (rows + 0.5)
    embeddings = read(tmp_path / "folder" / "tile_03.embedding.tif")[:, rows, columns].T
    table = pd.DataFrame({"x": x, "y": y, "amount": embeddings[:, 0] * 3 + 1})
    table.to_csv(tmp_path / "plots.csv", index=False)
    sampled = call(
        *("bigearthnet-tf", "points", run, made / "tiles", "--tile", "tile_03"),
        *("--points", tmp_path / "plots.csv", "-o", tmp_path / "plots.parquet"),
    )
    assert sampled.status == 0, sampled.err
    assert "plots.parquet: 40 points, 64 dimensions" in sampled.out
    found = pd.read_parquet(tmp_path / "plots.parquet")
    names = [f"embedding_{number}" for number in range(64)]
    closeness.assert_close(found[names], embeddings)

    told = call(
        *(
            "bigearthnet-tf",
            "regress",
            tmp_path / "plots.parquet",
            "--target",
            "amount",
        ),
        *("-o", tmp_path / "amount", "--model", "ridge", "--block-km", 0.08),
    )
    assert told.status == 0, told.err
    assert "40 points in" in told.out
    result = json.loads((tmp_path / "amount" / "regression.json").read_text())
    assert result["r2"] > 0.9 > result["baseline_mean"]["r2"]


@pytest.fixture(scope="module")
def without_place(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("nowhere") / "tile_03"
    shutil.copytree(made / "tiles" / "tile_03", folder)
    facts = json.loads((folder / "tile.json").read_text())
    facts = {k: v for k, v in facts.items() if k not in ("crs", "transform")}
    (folder / "tile.json").write_text(json.dumps(facts))
    return folder


def test_a_tile_without_a_place_takes_it_from_the_call(
    call, made, without_place, tmp_path
):
    command = "bigearthnet-tf", "map", made / "run", without_place, "-o", tmp_path
    refused = call(*command, "--crs", "EPSG:32633")
    assert refused.status == 1
    assert "tile_03: has no transform to place it by" in refused.complaint
    assert not list(tmp_path.iterdir())
    place = "--crs", "EPSG:32633", "--transform", 10, 0, 5e5, 0, -10, 4e6
    told = call(*command, *place)
    assert told.status == 0, told.err
    assert "pixel coordinates" not in told.out
    with rasterio.open(tmp_path / "tile_03.class.tif") as dataset:
        assert dataset.crs.to_epsg() == 32633
        assert tuple(dataset.bounds) == (5e5, 4e6 - 10 * SIZE, 5e5 + 10 * SIZE, 4e6)


def test_a_tile_without_a_place_is_mapped_in_pixels(
    call, made, without_place, tmp_path
):
    command = "bigearthnet-tf", "map", made / "run"
    options = "--min-valid", 16, "--draws", 1, "--kind", "class", "embedding"
    told = call(*command, without_place, "-o", tmp_path / "out", *options)
    assert told.status == 0, told.err
    assert told.out.count("tile_03: no coordinate system is known, so maps are in") == 1
    assert "standardised by the means and deviations measured on" in told.out
    placed = made / "tiles" / "tile_03"
    told = call(*command, placed, "-o", tmp_path / "placed", *options)
    for kind in ("class", "embedding"):
        ours, theirs = (
            tmp_path / name / f"tile_03.{kind}.tif" for name in ("out", "placed")
        )
        np.testing.assert_array_equal(read(ours), read(theirs))
        with rasterio.open(ours) as dataset:
            assert dataset.crs is None
            # Of the pixel in row 3, column 5: its upper left corner.
            assert dataset.transform @ (5, 3) == (5, 3)
    assert (tmp_path / "out" / "tile_03.class.png").exists()
    report = json.loads((tmp_path / "out" / "tile_03.json").read_text())
    assert report["classes"][0]["hectares"] is None
    assert "measured on the training records" in report["standardised_by"]


@pytest.mark.parametrize(("kind", "dtype"), [("class", "uint8"), ("embedding", "f4")])
def test_a_map_as_an_array_is_that_of_the_geotiff(
    call, made, without_place, tmp_path, kind, dtype
):
    # One pixel has no usable date.
    tile = shutil.copytree(without_place, tmp_path / "tile_03")
    masks = np.load(tile / "masks.npy")
    masks[:, 4, 7] = 0
    np.save(tile / "masks.npy", masks)
    out = tmp_path / "maps" / "map.npy"
    command = "bigearthnet-tf", "map", made / "run", tile, "-o", out, "--kind", kind
    command += ("--draws", 1)
    told = call(*command)
    assert told.status == 0, told.err
    assert str(out) in told.out
    found, raster = np.load(out), read(out.with_suffix(".tif"))
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(
        found, raster[0] if kind == "class" else np.moveaxis(raster, 0, -1)
    )
    nothing = found == 255 if kind == "class" else np.isnan(found).all(axis=-1)
    assert np.argwhere(nothing).tolist() == [[4, 7]]
    # Called again it stays; killed before the array, that alone is written.
    before = out.stat().st_mtime_ns, out.with_suffix(".tif").stat().st_mtime_ns
    assert call(*command).status == 0
    assert out.stat().st_mtime_ns == before[0]
    out.unlink()
    assert call(*command).status == 0
    np.testing.assert_array_equal(np.load(out), found)
    assert out.with_suffix(".tif").stat().st_mtime_ns == before[1]
    drawn = call("bigearthnet-tf", "map", "--read", out, "-o", tmp_path / "a.png")
    assert drawn.status == 0, drawn.err
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "map.tif"], "map.tif: expected a folder"),
        (["-o", "map.npy"], "map.npy: holds the map of one tile, but there are 3"),
        (["-o", "map.npy", "--tile", "tile_03", "--kind", "probability"], "a .npy has"),
        (["--int8"], "--int8 is for --kind embedding"),
        (["--pca", "no.npz"], "--pca is for --kind false-colour"),
        (["--kind", "false-colour", "--pca", "no.npz"], "no.npz"),
        (["--tile", "tile_O3"], "has no tile 'tile_O3'"),
        (["--stride", "300"], "--stride is not for the maps of task 'land_cover'"),
        (["--draws", "0"], "takes 16 dates, not all of a pixel"),
        (["--transform", *"100010"], "--transform is of one tile"),
        (["--crs", "EPSG:0"], "--crs"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    call, made, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    command = "bigearthnet-tf", "map", made / "run", made / "tiles", "-o", "out"
    result = call(*command, *options)
    assert result.status == 1
    assert message in result.complaint
    assert not list(tmp_path.glob("*.tif"))


@pytest.mark.parametrize(
    ("option", "value", "least"),
    [
        ("--draws", -1, 0),
        ("--min-valid", -1, 0),
        ("--sample-size", 0, 1),
        ("--block-size", 0, 1),
    ],
)
def test_numbers_out_of_bounds(call, made, tmp_path, option, value, least):
    command = "bigearthnet-tf", "map", made / "run", made / "tiles"
    result = call(*command, "-o", tmp_path / "out", option, value)
    assert result.status == 2
    assert (
        f"expected a whole number, {least} or more, got '{value}'" in result.complaint
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: (t / "masks.npy").unlink(), "masks.npy: no such file"),
        (lambda t: np.save(t / "masks.npy", np.ones((3, 9, 9), np.uint8)), "shape"),
        (lambda t: (t / "bands.npy").write_bytes(b"\x93NUMPY"), "bands.npy"),
        (lambda t: np.save(t / "doys.npy", np.arange(900, 980)), "doys.npy"),
    ],
    ids=["no mask", "other shape", "cut off", "days beyond 366"],
)
def test_a_damaged_tile_is_named(call, made, tmp_path, spoil, message):
    tile = tmp_path / "tile_03"
    shutil.copytree(made / "tiles" / "tile_03", tile)
    spoil(tile)
    result = call("bigearthnet-tf", "map", made / "run", tile, "-o", tmp_path / "out")
    assert result.status == 1
    assert message in result.complaint
    assert not (tmp_path / "out").exists()
