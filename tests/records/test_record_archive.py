import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import toy

from bigearthnet_tf.records import convert, manifest, reader, schema
from bigearthnet_tf.records.plan import plan_split
from bigearthnet_tf.records.record_archive import (
    RecordArchive,
    check_elsewhere,
    plan_copy,
)


def contents(folder) -> dict:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def shards(folder) -> dict:
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*.tfrecord"))}


def open_archive(pattern) -> RecordArchive:
    return RecordArchive(reader.open_records(str(pattern)))


def copy(source, target, record_format, **options) -> list[manifest.Manifest]:
    archive = open_archive(Path(source) / "*.tfrecord")
    return convert.convert(
        archive, plan_copy(archive, record_format, **options), target
    )


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_there_and_back_again_records_are_the_same_bytes(tmp_path, version):
    for split, count in (("train", 7), ("val", 3)):
        toy.write_records(
            tmp_path / "a", split, count, version, shard_size_mb=1, seed=7
        )
    copy(tmp_path / "a", tmp_path / "b", "int64")
    copy(tmp_path / "b", tmp_path / "c", "bytes")
    assert shards(tmp_path / "a") == shards(tmp_path / "c")
    assert len(shards(tmp_path / "b")) == len(shards(tmp_path / "a")) == 4
    middle = manifest.load(tmp_path / "b" / "train.manifest.json")
    assert (middle.record_format, middle.seed, middle.num_records) == ("int64", 7, 7)
    first, last = (
        manifest.load(tmp_path / folder / "train.manifest.json").model_dump(
            exclude={"plan", "sources"}
        )
        for folder in "ac"
    )
    assert first == last


def test_the_order_of_label_names_is_kept(tmp_path):
    class Sorted(toy.Memory):
        def read(self, entry):
            patch = super().read(entry)
            object.__setattr__(patch, "labels", patch.labels[::-1])
            return patch

    plan = plan_split(Sorted(), toy.entries(3), "train")
    convert.convert(Sorted(), [plan], tmp_path / "a")
    copy(tmp_path / "a", tmp_path / "b", "int64")
    copy(tmp_path / "b", tmp_path / "c", "bytes")
    assert shards(tmp_path / "a") == shards(tmp_path / "c")


def test_shards_can_be_divided_anew(tmp_path):
    toy.write_records(tmp_path / "a", count=9)
    (made,) = copy(tmp_path / "a", tmp_path / "b", "bytes", shard_size_mb=1)
    assert [shard.num_records for shard in made.shards] == [3, 3, 3]
    names = [
        reader.read_names(reader.open_records(str(tmp_path / f / "*.tfrecord")))
        for f in "ab"
    ]
    assert names[0] == names[1]


def test_records_written_again_are_another_source(tmp_path):
    toy.write_records(tmp_path / "a", count=4)
    (before,) = plan_copy(open_archive(tmp_path / "a" / "*.tfrecord"), "int64")
    (path,) = (tmp_path / "a").glob("*.tfrecord")
    os.utime(path, ns=(0, 0))
    (after,) = plan_copy(open_archive(tmp_path / "a" / "*.tfrecord"), "int64")
    assert before.shards == after.shards
    assert before.fingerprint() == after.fingerprint()
    assert before.identity() != after.identity()


def test_a_damaged_record_is_named(tmp_path):
    toy.write_records(tmp_path / "a", count=3)
    (path,) = (tmp_path / "a").glob("*.tfrecord")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"00001.tfrecord: record 1 is damaged"):
        copy(tmp_path / "a", tmp_path / "b", "int64")
    assert not (tmp_path / "b").exists()


def test_an_archive_goes_to_another_process_while_a_file_is_open(tmp_path):
    toy.write_records(tmp_path, count=2)
    archive = open_archive(tmp_path / "*.tfrecord")
    (entry, _) = archive.entries(archive.source.files[0])
    first = archive.read(entry)
    again = pickle.loads(pickle.dumps(archive)).read(entry)
    assert first.name_s2 == again.name_s2
    only = archive.read(entry, ["B02"])
    assert list(only.bands) == ["B02"]
    np.testing.assert_array_equal(only.bands["B02"], first.bands["B02"])
    archive.close()


def test_records_are_not_written_over_themselves(tmp_path):
    toy.write_records(tmp_path, count=2)
    archive = open_archive(tmp_path / "*.tfrecord")
    with pytest.raises(ValueError, match="lie there themselves"):
        check_elsewhere(archive, tmp_path / ".." / tmp_path.name)
    check_elsewhere(archive, tmp_path / "elsewhere")


@pytest.mark.parametrize("pattern", ["*"])
def test_older_records_become_ours_with_the_same_tensors(shared, tmp_path, pattern):
    files = sorted((shared / "data" / "legacy_tfrecords").rglob("*.tfrecord"))
    assert files
    for file in files:
        archive = open_archive(file)
        out = tmp_path / file.stem
        (made,) = convert.convert(archive, plan_copy(archive, "bytes"), out)
        new = reader.open_records(str(out / "*.tfrecord"))
        assert new.num_records == made.num_records == archive.source.num_records
        for source in (archive.source, new):
            assert source.archive_version == "v1"
        old_entries = archive.entries(str(file))
        copied = RecordArchive(new)
        for one, other in zip(old_entries, copied.entries(new.files[0]), strict=True):
            a, b = archive.read(one), copied.read(other)
            assert (a.name_s2, a.name_s1, a.labels) == (b.name_s2, b.name_s1, b.labels)
            assert a.bands.keys() == b.bands.keys()
            for name in a.bands:
                np.testing.assert_array_equal(a.bands[name], b.bands[name])


def test_reference_maps_travel(tmp_path):
    class WithMaps(toy.Memory):
        def read(self, entry):
            patch = super().read(entry)
            codes = np.full((120, 120), 312, np.uint16)
            object.__setattr__(patch, "reference_map", codes)
            return patch

    archive = WithMaps("v2")
    plan = plan_split(archive, toy.entries(2), "train", reference_maps=True)
    convert.convert(archive, [plan], tmp_path / "a")
    copy(tmp_path / "a", tmp_path / "b", "int64")
    copy(tmp_path / "b", tmp_path / "c", "bytes")
    assert shards(tmp_path / "a") == shards(tmp_path / "c")
    record = open_archive(tmp_path / "b" / "*.tfrecord")
    assert record.source.form.has_map
    (entry, _) = record.entries(record.source.files[0])
    assert (record.read(entry).reference_map == 312).all()
    assert schema.REFERENCE_MAP == "reference_map"
