"""`bigearthnet-tf statistics` as a user calls it, and a run that uses its file."""

import json

import numpy as np
import pytest
import toy

from bigearthnet_tf import config as configs
from bigearthnet_tf.archive import patch_content
from bigearthnet_tf.archive import statistics as band_statistics
from bigearthnet_tf.tasks import base


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        toy.write_records(folder, split, count, version="v2", shard_size_mb=0.6)
    return folder


def measure(call, records, *more):
    return call("bigearthnet-tf", "statistics", records / "train-*.tfrecord", *more)


def test_file_table_and_picture(call, records, tmp_path):
    out, plot = tmp_path / "new" / "own.json", tmp_path / "own.png"
    done = measure(
        *(call, records, "-o", out, "--plot", plot, "--bands", "rgb", "--workers", 2),
        *("--resampling", "no_interpolation", "120_nearest", "--percentiles", 98, 2, 2),
    )
    assert done.status == 0, done.err
    content = json.loads(out.read_text())
    assert list(content["resamplings"]) == ["no_interpolation", "120_nearest"]
    found = content["resamplings"]["no_interpolation"]
    assert list(found["mean"]) == ["B02", "B03", "B04"]
    assert list(found["percentiles"]) == ["2", "98"]
    pixels = np.stack([toy.patch(number).bands["B02"] for number in range(8)])
    np.testing.assert_allclose(found["mean"]["B02"], pixels.mean(), rtol=1e-9)
    assert found["percentiles"]["98"]["B02"] == np.percentile(pixels, 98)
    assert f"{pixels.mean():,.2f}" in done.out
    assert f'"statistics": "{out}#no_interpolation"' in done.out
    assert "8 patches of BigEarthNet v2, train" in done.out
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {"new", "own.png"}


def test_a_run_is_standardised_by_the_file(call, records, tmp_path, write_config):
    out = tmp_path / "own.json"
    done = measure(call, records, "-o", out, "--resampling", "128_bilinear")
    assert done.status == 0, done.err
    path = write_config(records, statistics=str(out), modality="MM", nb_epoch=1)
    task = base.open_task(configs.load(path))
    facts = band_statistics.band_statistics(str(out))
    model = task.build_model()
    for group, names in {"s1_10m": ("VV", "VH"), "s2_10m": ("B02", "B03")}.items():
        layer = model.get_layer(f"preprocessing_standardize_{group}")
        assert layer.mean[:2] == [facts.mean[name] for name in names]
        assert layer.std[:2] == [facts.std[name] for name in names]
    trained = call("train", path)
    assert trained.status == 0, trained.err
    assert str(out) in trained.out


def test_what_is_odd_is_said(call, records, tmp_path, monkeypatch):
    patch = toy.patch(0)
    patch.bands["VV"][0] = np.nan
    patch.bands["VH"][0] = -9999
    patch.bands["B01"][:] = 0
    monkeypatch.setattr(toy.Memory, "read", lambda *_: patch)
    # Our own conversion writes no such records, others do.
    monkeypatch.setattr(patch_content, "check_finite", lambda *_: None)
    toy.write_records(tmp_path, "train", 1)
    done = measure(call, tmp_path, "-o", tmp_path / "own.json")
    assert done.status == 0, done.err
    assert "120 pixels of VV are NaN or infinite" in done.out
    assert "120 pixels of VH are no decibels" in done.out
    (row,) = [line.split() for line in done.out.splitlines() if line[:3] == "B01"]
    assert row[1:5] == ["400", "400", "0.00", "0.00"]
    assert "all pixels of B01 are 0" in done.out
    with pytest.raises(ValueError, match="std above 0, it is not in B01"):
        band_statistics.band_statistics(str(tmp_path / "own.json"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--bands", "rgbx"), "did you mean 'rgb'"),
        (("--bands", "B02", "B99"), "unknown band 'B99'"),
        (("--resampling", "120_bilinea"), "did you mean 'bilinear'"),
        (("--resampling", "bilinear"), "such as 120_bilinear"),
    ],
)
def test_wrong_names(call, records, tmp_path, more, message):
    done = measure(call, records, "-o", tmp_path / "own.json", *more)
    assert done.status == 1
    assert message in done.complaint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("-o", "own.txt"), "ends with .json"),
        (("--plot", "own.jpg"), "ends with .png"),
        (("--percentiles", "101"), "0 to 100"),
        (("--percentiles", "half"), "half"),
        (("--workers", "0"), "1 or more"),
    ],
)
def test_wrong_calls(call, records, more, message):
    done = measure(call, records, *more)
    assert done.status == 2
    assert message in done.complaint


def test_files_that_cannot_be_written_are_refused_first(call, records, tmp_path):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file").touch()
    for out, message in (
        (tmp_path / "folder.json", "folder.json: is a folder"),
        (tmp_path / "file" / "own.json", "can't write into"),
    ):
        done = measure(call, records, "-o", out)
        assert done.status == 1
        assert message in done.complaint
        assert "patches of BigEarthNet" not in done.out


def test_missing_and_damaged_records(call, tmp_path):
    done = measure(call, tmp_path)
    assert done.status == 1
    assert "no such records" in done.complaint
    toy.write_records(tmp_path, count=2)
    (path,) = tmp_path.glob("*.tfrecord")
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    done = measure(call, tmp_path, "-o", tmp_path / "own.json")
    assert done.status == 1
    assert "record 1 is damaged" in done.complaint
    assert not (tmp_path / "own.json").exists()
