"""The LMDBs of v1 from the call of their users to a trained model."""

import json

import lmdb
import numpy as np
import pytest
import v1_lmdbs

import bigearthnet_tf
from bigearthnet_tf.archive import bands, labels
from bigearthnet_tf.records import reader

SPLITS = ("train", "val", "test")


def read(folder, split):
    """Patch name -> band groups and labels of the records of a split."""
    pattern = str(folder / f"{split}-*.tfrecord")
    names = reader.read_names(reader.open_records(pattern))
    data = bigearthnet_tf.load_dataset(pattern, 1, "all_full", label_type="original")
    return {
        name: ({k: group.numpy()[0] for k, group in groups.items()}, own.numpy()[0])
        for name, (groups, own) in zip(names, data, strict=True)
    }


def prepare_genuine(call, shared, records):
    """Prepares records of the genuine LMDB; returns it and the lists."""
    source = shared / "data/v1_lmdb"
    lists = [source / f"{split}.csv" for split in SPLITS]
    path = source / "BigEarthNetEncoded.lmdb"
    outcome = call("prep_splits", "--lmdb", path, "-n", *lists, "-o", records)
    assert outcome.status == 0, outcome.err
    return path, lists


def test_the_genuine_lmdb(call, shared, tmp_path):
    records = tmp_path / "records"
    path, lists = prepare_genuine(call, shared, records)
    with lmdb.open(str(path), readonly=True, lock=False) as env, env.begin() as stored:
        values = {key.decode(): value for key, value in stored.cursor()}
    for split, own in zip(SPLITS, lists, strict=True):
        facts = json.loads((records / f"{split}.manifest.json").read_text())
        assert facts["archive_version"] == "v1"
        assert list(facts["label_order"]) == ["original", "BigEarthNet-19"]
        found = read(records, split)
        assert sorted(found) == sorted(own.read_text().split())
        for name, (groups, vector) in found.items():
            arrays, names = v1_lmdbs.python_reads(values[name])
            assert vector.tolist() == labels.to_multi_hot(names, "original").tolist()
            for group, members in bands.group_bands(tuple(bands.BANDS)).items():
                stacked = [arrays[f"band{m.removeprefix('B')}"] for m in members]
                np.testing.assert_array_equal(groups[group], np.stack(stacked))
    outcome = call("bigearthnet-tf", "inspect", records, "--verify")
    assert outcome.status == 0 and "30 records in 3 files: all whole" in outcome.out


@pytest.mark.long
def test_training_on_the_genuine_lmdb(call, shared, write_config, tmp_path):
    prepare_genuine(call, shared, tmp_path / "records")
    outcome = call("train", write_config(tmp_path / "records"), "--test-run")
    assert outcome.status == 0, outcome.err


def test_the_lmdbs_of_the_cbir_project_give_the_19_labels(call, tmp_path):
    pixels = {}
    for number, band in enumerate(bands.BANDS.values(), 1):
        value = -number if band.sensor == "S1" else number
        pixels[band.name] = np.full((band.pixels, band.pixels), value, band.dtype)
    name = "S2A_MSIL2A_20170613T101031_87_48"
    name_s1 = "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48"
    vector = np.eye(19)[4]
    optical = v1_lmdbs.write(tmp_path / "s2", {name: v1_lmdbs.cbir_s2(pixels, vector)})
    radar = v1_lmdbs.write(tmp_path / "s1", {name_s1: v1_lmdbs.cbir_s1(pixels, vector)})
    (tmp_path / "train.csv").write_text(f"{name},{name_s1}\n")
    out = tmp_path / "records"
    outcome = call(
        *("prep_splits", "--lmdb", optical, radar, "-o", out),
        *("-n", tmp_path / "train.csv"),
    )
    assert outcome.status == 0, outcome.err
    facts = json.loads((out / "train.manifest.json").read_text())
    assert facts["archive_version"] == "v1"
    assert list(facts["label_order"]) == ["BigEarthNet-19"]
    data = bigearthnet_tf.load_dataset(str(out / "train-*"), 1, "all_full")
    ((groups, own),) = data
    assert own.numpy().tolist() == [vector.tolist()]
    for group, members in bands.group_bands(tuple(bands.BANDS)).items():
        assert [int(g[0, 0]) for g in groups[group].numpy()[0]] == [
            pixels[member][0, 0] for member in members
        ]
    source = reader.open_records(str(out / "train-*"))
    assert (source.form.name_s1, reader.read_names(source)) == ("patch_name_s1", [name])
    outcome = call("bigearthnet-tf", "inspect", out, "--verify")
    assert outcome.status == 0, outcome.err
    with pytest.raises(ValueError, match="original"):
        bigearthnet_tf.load_dataset(str(out / "train-*"), 1, label_type="original")
