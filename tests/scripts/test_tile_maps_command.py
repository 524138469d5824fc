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
    refused = call(*command)
    assert refused.status == 1
    assert "tile_03: has no coordinate system where a map is asked for" in (
        refused.complaint
    )
    assert not list(tmp_path.iterdir())
    place = "--crs", "EPSG:32633", "--transform", 10, 0, 5e5, 0, -10, 4e6
    told = call(*command, *place)
    assert told.status == 0, told.err
    with rasterio.open(tmp_path / "tile_03.class.tif") as dataset:
        assert dataset.crs.to_epsg() == 32633
        assert tuple(dataset.bounds) == (5e5, 4e6 - 10 * SIZE, 5e5 + 10 * SIZE, 4e6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "map.tif"], "map.tif: expected a folder"),
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
