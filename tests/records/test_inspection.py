"""What `inspect` tells of shards, and every way in which they can be wrong."""

import dataclasses
import json
import shutil
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
import toy

from bigearthnet_tf.archive import labels
from bigearthnet_tf.records import inspection, schema, verification

SHARDS = [f"train-0000{i}-of-00003.tfrecord" for i in range(3)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Nine patches of `train` in three shards, and three of `val` in one."""
    folder = tmp_path_factory.mktemp("records")
    toy.write_records(folder, "train", count=9, shard_size_mb=1)
    toy.write_records(folder, "val", count=3, first=100)
    assert {*SHARDS, "val-00000-of-00001.tfrecord"} < {p.name for p in folder.iterdir()}
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "records")


def faults_seen(*paths):
    """The faults that a look shows, and those that reading everything shows."""
    splits = inspection.look([str(path) for path in paths])
    seen = [
        fault
        for split in splits
        for fault in (*split.faults, *(shard.fault for shard in split.shards))
        if fault
    ]
    return seen, verification.verify(splits).faults


def test_a_folder_stands_for_its_splits(folder):
    (folder / ".train.partial").mkdir()
    (folder / ".lock").touch()
    (folder / "train.left_out.csv").write_text("patch,reason\n")
    train, val = inspection.look([str(folder)])
    assert (train.name, train.num_records, len(train.shards)) == ("train", 9, 3)
    assert (val.name, val.num_records, len(val.shards)) == ("val", 3, 1)
    assert train.folder == val.folder == str(folder)
    assert train.manifest.seed == 42
    assert train.form.bands == toy.ALL_BANDS
    sizes = [path.stat().st_size for path in folder.glob("train-*")]
    assert train.num_bytes == sum(sizes)
    assert faults_seen(folder) == ([], [])
    # As a shell expands `folder/*`, and as a wildcard that nobody expanded.
    shelled = inspection.look([str(path) for path in folder.glob("[!.]*")])
    assert shelled == inspection.look([str(folder / "*")]) == [train, val]


def test_a_part_of_a_split_is_not_at_fault(folder):
    (split,) = inspection.look([str(folder / SHARDS[1])])
    assert split.num_records == 3
    assert faults_seen(folder / SHARDS[1]) == ([], [])


def test_labels_are_counted_in_both_nomenclatures(folder):
    splits = inspection.look([str(folder)])
    told = []
    result = verification.verify(splits, on_records=told.append)
    assert sum(told) == 12
    for counts, numbers in zip(
        result.label_counts, (range(9), range(100, 103)), strict=True
    ):
        names = [toy.patch(number).labels for number in numbers]
        assert counts["original"] == Counter(sum(names, ()))
        fewer = [labels.convert_43_to_19(each) for each in names]
        assert counts["BigEarthNet-19"] == Counter(sum(fewer, ()))


@pytest.mark.slow
def test_workers_find_the_same(folder, monkeypatch):
    monkeypatch.setattr(verification, "RECORDS_PER_WORKER", 1)
    flip(folder / SHARDS[1], 5000)
    splits = inspection.look([str(folder)])
    assert verification.verify(splits, 2) == verification.verify(splits, 1)


def flip(path, place, bit=1):
    data = bytearray(path.read_bytes())
    data[place] ^= bit
    path.write_bytes(data)


def rewrite(folder, split, change):
    path = folder / f"{split}.manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def check(found, *expected):
    """Compares faults with pairs of a file and words, in any order."""
    assert len(found) == len(expected), found
    for file, words in expected:
        lines = [line for line in found if str(file) in line.split(": ")[0]]
        assert len(lines) == 1, found
        assert words in lines[0]
        assert "\n" not in lines[0]


@pytest.mark.parametrize("place", [0, 9, 12, 5000, -1])
def test_a_flipped_bit_is_found(folder, place):
    """In the length, its checksum, the data, and the last checksum."""
    flip(folder / SHARDS[1], place)
    seen, read = faults_seen(folder)
    number = 2 if place == -1 else 0
    check(read, (SHARDS[1], f"record {number} is damaged"))
    # The first record is looked at in any case.
    assert bool(seen) == (place != -1)


def test_a_length_that_leads_out_of_the_file(folder):
    flip(folder / SHARDS[1], 5)
    _, read = faults_seen(folder)
    check(read, (SHARDS[1], "truncated"))


def test_all_faulty_files_are_named(folder):
    flip(folder / SHARDS[0], -20)
    whole = (folder / SHARDS[1]).read_bytes()
    (folder / SHARDS[1]).write_bytes(whole[:-7])
    (folder / SHARDS[2]).write_bytes(b"")
    (folder / "val-00000-of-00001.tfrecord").write_bytes(b"PK\x03\x04" * 100)
    truncated = (SHARDS[1], f"expected {len(whole)} bytes by its manifest")
    others = (SHARDS[2], "got 0"), ("val-00000", "got 400")
    seen, read = faults_seen(folder)
    check(seen, truncated, *others)
    check(read, (SHARDS[0], "record 2 is damaged"), truncated, *others)


def test_missing_and_left_over_shards(folder):
    (folder / SHARDS[2]).rename(folder / "train-00000-of-00007.tfrecord")
    expected = (
        (SHARDS[2], "names this shard, but it is not there"),
        ("train-00000-of-00007", "does not name this shard"),
    )
    for found in faults_seen(folder):
        check(found, *expected)
    for found in faults_seen(folder / SHARDS[0]):
        check(found, *expected)


def test_a_manifest_whose_shards_are_all_gone(folder):
    for name in SHARDS:
        (folder / name).unlink()
    check(faults_seen(folder)[0], *((name, "not there") for name in SHARDS))


def test_records_without_their_manifest(folder):
    (folder / "train.manifest.json").unlink()
    expected = [(name, "no train.manifest.json beside it") for name in SHARDS]
    for found in faults_seen(folder):
        check(found, *expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(schema_version=99), "schema version 99"),
        (lambda m: m["label_order"]["original"].reverse(), "labels in another order"),
        (lambda m: m.pop("shards"), "not a manifest that this version reads"),
        (lambda m: m.update(num_records=8), "of 8 records, but its shards of 9"),
    ],
)
def test_manifests_of_another_kind(folder, change, words):
    rewrite(folder, "train", change)
    for found in faults_seen(folder):
        check(found, ("train.manifest.json", words))


def test_a_manifest_that_is_no_json(folder):
    (folder / "train.manifest.json").write_text("{")
    for found in faults_seen(folder):
        check(found, ("train.manifest.json", "expected JSON"))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["bands"].pop("B01"),
        lambda m: m["label_order"].pop("original"),
        lambda m: m.update(record_format="int64"),
        lambda m: m.update(reference_maps=True),
    ],
)
def test_manifests_that_speak_of_other_records(folder, change):
    rewrite(folder, "val", change)
    for found in faults_seen(folder):
        check(found, ("val-00000", "its manifest speaks of something else"))


@pytest.mark.parametrize("key", ["num_records", "crc32"])
def test_other_counts_and_checksums_are_found_by_reading(folder, key):
    def change(content):
        shard = content["shards"][1]
        shard[key] = {"num_records": 4, "crc32": "00000000"}[key]
        content["num_records"] = sum(s["num_records"] for s in content["shards"])

    rewrite(folder, "train", change)
    seen, read = faults_seen(folder)
    assert seen == []
    promise = "expected 4 records" if key == "num_records" else "CRC-32 00000000"
    check(read, (SHARDS[1], promise))


def write(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def old(number, **changes):
    patch = dataclasses.replace(toy.patch(number), **changes)
    return schema.encode(patch, "int64")


def test_a_patch_that_is_there_twice(tmp_path):
    write(tmp_path / "old.tfrecord", [old(0), old(1), old(0)])
    seen, read = faults_seen(tmp_path)
    assert seen == []
    check(read, ("old.tfrecord", "is patch S2A_MSIL2A_20170613T101031_0_0 again"))


def test_a_patch_in_two_splits_is_told_but_no_fault(folder):
    toy.write_records(folder, "test", count=4, first=102)
    # Another form of the same patches is another preparation.
    write(folder / "old.tfrecord", [old(0), old(1)])
    result = verification.verify(inspection.look([str(folder)]))
    assert result.faults == []
    (overlap,) = result.overlaps
    assert (overlap.splits, overlap.count) == (("test", "val"), 1)
    assert overlap.example == toy.patch(102).name_s2


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (b"no example", "record 1: expected tf.train.Example records"),
        (
            old(1, bands=toy.patch(1, bands=("B02", "B03")).bands),
            "record 1: holds int64 records of B02 B03",
        ),
        (
            old(1, bands=toy.patch(1).bands | {"B01": np.zeros((4, 4), np.uint16)}),
            "record 1: expected 20 x 20 values of B01, got 16",
        ),
        (old(1, name_s2=None, name_s1=None), None),
    ],
)
def test_what_stands_in_each_record(tmp_path, record, words):
    write(tmp_path / "old.tfrecord", [old(0), record])
    seen, read = faults_seen(tmp_path)
    assert seen == []
    check(read, *([("old.tfrecord", words)] if words else []))


def test_a_name_that_is_no_text(tmp_path):
    example = tf.train.Example.FromString(old(0))
    example.features.feature["patch_name_s2"].bytes_list.value[0] = b"\xff"
    write(tmp_path / "old.tfrecord", [old(1), example.SerializeToString()])
    _, read = faults_seen(tmp_path)
    check(read, ("old.tfrecord", "record 1: 'utf-8' codec"))


def test_shards_of_a_split_that_differ(folder):
    other = folder.parent / "other"
    toy.write_records(other, count=3, bands=toy.ALL_BANDS[2:])
    shutil.copy(other / "train-00000-of-00001.tfrecord", folder / SHARDS[2])
    (folder / "train.manifest.json").unlink()
    seen, _ = faults_seen(folder)
    assert len(seen) == 3  # without their manifest
    write(folder / "a-00000-of-00002.tfrecord", [old(0)])
    few = old(1, bands=toy.patch(1, bands=("B02",)).bands)
    write(folder / "a-00001-of-00002.tfrecord", [few])
    check(faults_seen(folder / "a-*")[0], ("a-00001", "the shards before it hold"))


def test_a_file_that_can_not_be_read(folder):
    (folder / SHARDS[1]).unlink()
    (folder / SHARDS[1]).mkdir()
    _, read = faults_seen(folder)
    assert len([line for line in read if SHARDS[1] in line]) == 1


def test_paths_without_records(tmp_path):
    with pytest.raises(FileNotFoundError, match="no records there"):
        inspection.look([str(tmp_path)])
    with pytest.raises(FileNotFoundError, match=r"x\*: no such records"):
        inspection.look([str(tmp_path / "x*")])


def test_real_older_records_are_whole(shared):
    legacy = shared / "data" / "legacy_tfrecords"
    splits = inspection.look([str(legacy)])
    assert [split.num_records for split in splits] == [3, 3, 3]
    assert {split.form.encoding for split in splits} == {"int64"}
    result = verification.verify(splits)
    assert (result.faults, result.overlaps) == ([], [])
    mm_19, s2_19, _ = result.label_counts
    assert mm_19 == s2_19


def numbers_in_order(splits):
    """The toy numbers of all records, as TensorFlow reads the files."""
    for split in splits:
        for shard in split.shards:
            for record in tf.data.TFRecordDataset(shard.path):
                example = tf.train.Example.FromString(record.numpy())
                name = example.features.feature["patch_name_s2"].bytes_list.value[0]
                column, row = name.decode().split("_")[-2:]
                yield int(column) * 91 + int(row)


def test_records_are_numbered_over_all_files(folder):
    splits = inspection.look([str(folder)])
    numbers = list(numbers_in_order(splits))
    assert sorted(numbers) == [*range(9), 100, 101, 102]
    for place, number in enumerate(numbers):
        where, patch = inspection.read_record(splits, place)
        assert patch.name_s2 == toy.patch(number).name_s2
        assert where.endswith(f"record {place % 3}")
        for name, raster in toy.patch(number).bands.items():
            np.testing.assert_array_equal(patch.bands[name], raster)
    for beyond in (12, -1):
        with pytest.raises(ValueError, match=f"no record {beyond}: there are 12"):
            inspection.read_record(splits, beyond)


def test_a_file_that_can_not_be_counted_has_no_numbers(tmp_path):
    (tmp_path / "a.tfrecord").write_bytes(b"some text\n" * 100)
    splits = inspection.look([str(tmp_path)])
    with pytest.raises(ValueError, match="no TFRecord file"):
        inspection.read_record(splits, 0)


def test_records_are_found_by_either_name(folder):
    splits = inspection.look([str(folder)])
    expected = toy.patch(101)
    for name in (expected.name_s2, expected.name_s1):
        where, patch = inspection.find_record(splits, name)
        assert (patch.name_s2, patch.name_s1) == (expected.name_s2, expected.name_s1)
        assert "val-00000-of-00001.tfrecord: record" in where
    read = []
    with pytest.raises(ValueError, match=r"no patch S2A_MSIL2A .*among 12 records"):
        inspection.find_record(splits, "S2A_MSIL2A", lambda: read.append(1))
    assert len(read) == 12


def test_the_description_of_a_record():
    codes = np.full((120, 120), 312, np.uint16)
    codes[:30] = 999
    patch = dataclasses.replace(
        toy.patch(3, "BigEarthNet-19", ("VV", "B01")), reference_map=codes
    )
    facts = json.loads(json.dumps(inspection.describe_record(patch)))
    assert facts["labels"] == list(patch.labels)
    assert (facts["name_s2"], facts["name_s1"]) == (patch.name_s2, patch.name_s1)
    for name, dtype, side in (("VV", "float32", 120), ("B01", "uint16", 20)):
        band, raster = facts["bands"][name], patch.bands[name].astype(np.float64)
        assert (band["dtype"], band["shape"]) == (dtype, [side, side])
        assert band["min"] == raster.min()
        assert band["max"] == raster.max()
        assert band["mean"] == pytest.approx(raster.mean(), rel=1e-12)
    assert facts["reference_map"] == [
        {"code": 312, "label": "Coniferous forest", "share": 0.75},
        {"code": 999, "label": None, "share": 0.25},
    ]
