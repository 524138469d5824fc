"""`bigearthnet-tf sample --time-series`, `tiles`, and `inspect` of what it writes."""

import json
import os
import shutil

import numpy as np
import pytest
import tile_folders


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiles")
    place = {"crs": tile_folders.CRS, "transform": tile_folders.TRANSFORM}
    for number, name in enumerate("abc"):
        tile_folders.write_npy(folder / name, 40, 40, 48, seed=number, **place)
    return folder


def test_generated_tiles_become_records_that_are_told_of(call, tmp_path):
    result = call(
        *("bigearthnet-tf", "sample", "--time-series", "--out", tmp_path / "tiles"),
        *("--tiles", 3, "--size", 32, "--dates", 80),
    )
    assert result.status == 0, result.err
    assert "3 generated tiles of time series, not real ones" in result.out
    assert "GENERATED" in (tmp_path / "tiles" / "README.txt").read_text()
    command = (
        *("bigearthnet-tf", "tiles", tmp_path / "tiles", "-o", tmp_path / "records"),
        *("--val", "tile_02", "--test", "tile_03", "--block-size", 16),
    )
    result = call(*command)
    assert result.status == 0, result.err
    written = json.loads((tmp_path / "records" / "test.manifest.json").read_text())
    assert list(written["tiles"]) == ["tile_03"]
    assert "32632" in written["tiles"]["tile_03"]["crs"]
    assert written["num_labelled"] > 500
    again = call(*command)
    assert "4 blocks are there already" in again.out
    told = call("bigearthnet-tf", "inspect", tmp_path / "records", "--verify")
    assert told.status == 0, told.err
    assert "tile tile_01: 32 x 32 pixels" in told.out
    assert "2020 to 2021, placed" in told.out
    assert "12 records of time series: all whole" in told.out
    drawn = call("bigearthnet-tf", "inspect", tmp_path / "records", "--record", 0)
    assert drawn.status == 1
    assert "are for patches" in drawn.complaint
    shard = next((tmp_path / "records").glob("test-*.tfrecord"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    told = call("bigearthnet-tf", "inspect", tmp_path / "records", "--verify")
    assert told.status == 1
    assert "is damaged: its checksum differs" in told.complaint


def test_squares_of_the_same_tiles(call, root, tmp_path):
    result = call(
        *("bigearthnet-tf", "tiles", root, "-o", tmp_path, "--min-valid", 24),
        *("--block-size", 8, "--squares", 16, "--ratios", 0.5, 0.25, 0.25),
    )
    assert result.status == 0, result.err
    counts = {
        split: json.loads((tmp_path / f"{split}.manifest.json").read_text())
        for split in ("train", "val", "test")
    }
    assert sum(facts["num_records"] for facts in counts.values()) == 3 * 5 * 6


def test_a_tile_that_has_changed_is_noticed(call, root, tmp_path):
    tile = shutil.copytree(root / "a", tmp_path / "tiles" / "a")
    command = ("bigearthnet-tf", "tiles", tile, "-o", tmp_path / "out")
    options = ("--min-valid", 24, "--block-size", 16)
    assert call(*command, *options).status == 0
    assert "blocks are there already" in call(*command, *options).out
    for name in ("labels.npy", "tile.json"):
        os.utime(tile / name, ns=(0, (tile / name).stat().st_mtime_ns + 10**6))
        result = call(*command, *options)
        assert result.status == 1
        assert "files that have changed since" in result.complaint
        assert call(*command, *options, "--overwrite").status == 0
    manifest = tmp_path / "out" / "train.manifest.json"
    facts = json.loads(manifest.read_text())
    del facts["source"]
    manifest.write_text(json.dumps(facts))
    os.utime(tile / "labels.npy")
    assert "blocks are there already" in call(*command, *options).out


def test_points_of_a_table(call, root, tmp_path):
    west, north = tile_folders.TRANSFORM[2], tile_folders.TRANSFORM[5]
    rows = [f"{west + 5 + 10 * n},{north - 5},10" for n in range(30)]
    (tmp_path / "points.csv").write_text("\n".join(["x,y,label", *rows]))
    command = ("bigearthnet-tf", "tiles", root / "a", "-o", tmp_path / "out")
    given = ("--points", tmp_path / "points.csv", "--min-valid", 20)
    result = call(*command, *given)
    assert result.status == 0, result.err
    assert "30 points of 1 tile(s)" in result.out
    told = call("bigearthnet-tf", "inspect", tmp_path / "out", "--verify")
    assert "30 points of pixel time series" in told.out
    result = call(*command, *given, "--squares", 64, "--ratios", 0.5, 0.5)
    assert result.status == 2
    assert "divided by tiles" in result.complaint
    result = call(*command, "--points", tmp_path / "none.csv")
    assert result.status == 1
    assert "none.csv" in result.complaint


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--val", "d"), 1, "no tile 'd'"),
        (("--val", "a", "--test", "a"), 1, "both val and test"),
        (("--ratios", "0.5", "0.5"), 2, "--ratios is for --squares alone"),
        (("--squares", "48", "--ratios", "1", "1"), 2, "expected a multiple of 32"),
        (("--squares", "64", "--ratios", "1", "1"), 2, "sum to 1"),
        (("--squares", "64", "--val", "a"), 2, "--val and --test tiles"),
        (("--transform", *"123456"), 2, "places a single tile, but there are 3"),
        (("--min-valid", "40"), 1, "a: 40 dates, but a pixel needs more than 40"),
        (("--min-valid", "39"), 1, "a: all cloud"),
        (("--min-valid", "-1"), 2, "expected a whole number, 0 or more"),
        (("--block-size", "0"), 2, "expected a whole number, 1 or more"),
        (("--bands", "B02"), 1, "unknown order of bands 'B02'"),
        (("--crs", "EPSG:1"), 1, "no coordinate system that PROJ knows"),
        (("--val", "a", "b", "c", "--bands", "x", "y"), 1, "11 different names"),
    ],
)
def test_wrong_calls_get_one_line(call, root, tmp_path, arguments, status, message):
    result = call("bigearthnet-tf", "tiles", root, "-o", tmp_path / "out", *arguments)
    assert result.status == status
    assert message in result.complaint
    assert "Traceback" not in result.err
    assert not list(tmp_path.rglob("*.tfrecord"))


def test_faults_within_a_tile_leave_nothing_behind(call, tmp_path):
    folder = tile_folders.write_npy(tmp_path / "tiles" / "a")
    labels = np.load(folder / "labels.npy")
    labels[-1, -1] = 42
    np.save(folder / "labels.npy", labels)
    result = call(
        *("bigearthnet-tf", "tiles", folder, "-o", tmp_path / "out"),
        *("--min-valid", 20),
    )
    assert result.status == 1
    assert "expected class codes 10, 20" in result.complaint
    assert "got 42" in result.complaint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--patches", "3", "--tiles", "2"), "--tiles is for --time-series alone"),
        (("--time-series", "--version", "v1"), "--version is for --patches alone"),
        (("--time-series", "--patches", "3"), "not allowed with"),
        ((), "one of the arguments --patches --time-series is required"),
    ],
)
def test_sample_refuses_what_does_not_fit(call, tmp_path, arguments, message):
    result = call("bigearthnet-tf", "sample", "--out", tmp_path / "x", *arguments)
    assert result.status == 2
    assert message in result.complaint
