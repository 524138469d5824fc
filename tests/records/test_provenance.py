"""Sources that change under the same path: noticed, whatever kind they are of."""

import os
import shutil

import pytest
import toy

from bigearthnet_tf.archive import archives, lmdb_store, metadata, sample
from bigearthnet_tf.archive import splits as split_lists
from bigearthnet_tf.records import convert, lmdb_copy, manifest, reader, record_archive
from bigearthnet_tf.records.plan import plan_split


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A generated archive of each version."""
    folder = tmp_path_factory.mktemp("made")
    for version in ("v1", "v2"):
        sample.write_archive(folder / version, 8, version, seed=3, workers=1)
    return folder


@pytest.fixture(params=["v1", "v2"])
def root(made, request, tmp_path):
    """A copy of an archive, with its times, that a test may change."""
    return shutil.copytree(made / request.param, tmp_path / request.param)


def prepare(root, out, **options):
    """Converts the training patches of an archive, two of them a shard."""
    if root.name == "v1":
        entries = split_lists.read_split_csv(root / "train.csv")
        archive = archives.open_archive(
            root / "BigEarthNet-v1.0", root / "BigEarthNet-S1-v1.0"
        )
    else:
        table = metadata.read_metadata(root / "metadata.parquet")
        entries = metadata.entries_from_metadata(table, "train")
        archive = archives.open_archive(
            root / "BigEarthNet-S2",
            root / "BigEarthNet-S1",
            metadata=table,
            maps_root=root / "Reference_Maps",
        )
    has_maps = root.name == "v2"
    plan = plan_split(
        archive, entries, "train", shard_size_mb=0.6, reference_maps=has_maps
    )
    return convert.convert(archive, [plan], out, **options)[0]


def touch(path):
    """Gives a file another time; its content stays."""
    facts = path.stat()
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1_000_000))


def one(root, pattern, of_split="train"):
    """A file of a patch of the split."""
    if root.name == "v1":
        listed = split_lists.read_split_csv(root / f"{of_split}.csv")
    else:
        table = metadata.read_metadata(root / "metadata.parquet")
        listed = metadata.entries_from_metadata(table, of_split)
    names = {name for entry in listed for name in (entry.name, entry.name_s1)}
    return next(p for p in sorted(root.rglob(pattern)) if p.parent.name in names)


@pytest.mark.parametrize(
    ("root", "pattern"),
    [
        ("v1", "*_B02.tif"),
        ("v1", "*_VH.tif"),
        ("v1", "S2*_labels_metadata.json"),
        ("v2", "*_B09.tif"),
        ("v2", "*_VV.tif"),
        ("v2", "*_reference_map.tif"),
    ],
    indirect=["root"],
)
def test_a_file_that_has_changed_is_noticed(root, tmp_path, pattern):
    written = prepare(root, tmp_path / "out")
    assert prepare(root, tmp_path / "out") == written
    touch(one(root, pattern))
    with pytest.raises(FileExistsError, match="files that have changed since"):
        prepare(root, tmp_path / "out")
    again = prepare(root, tmp_path / "out", overwrite=True)
    assert again.shards == written.shards
    assert again.sources != written.sources


def test_a_file_that_is_gone_is_noticed(root, tmp_path):
    prepare(root, tmp_path / "out")
    one(root, "*_B05.tif").unlink()
    with pytest.raises(FileExistsError, match="files that have changed since"):
        prepare(root, tmp_path / "out")


def test_files_of_other_splits_do_not_matter(root, tmp_path):
    written = prepare(root, tmp_path / "out")
    touch(one(root, "*_B02.tif", "val"))
    assert prepare(root, tmp_path / "out") == written


def test_an_archive_may_move_with_its_times(root, tmp_path):
    written = prepare(root, tmp_path / "out")
    moved = tmp_path / "elsewhere" / root.name
    moved.parent.mkdir()
    root.rename(moved)
    assert prepare(moved, tmp_path / "out") == written


def test_manifests_without_the_files_still_count(root, tmp_path):
    written = prepare(root, tmp_path / "out")
    old = written.model_dump()
    del old["sources"]
    manifest.save(manifest.Manifest.model_validate(old), tmp_path / "out")
    touch(one(root, "*_B02.tif"))
    assert prepare(root, tmp_path / "out").shards == written.shards


class Stopped(Exception):
    """Ends a conversion where a kill would."""


def stop_after(count):
    def execute(source, jobs, on_records):
        for number, job in enumerate(jobs):
            if number == count:
                raise Stopped
            yield job, convert.write_shard(source, job)

    return execute


def test_shards_of_files_that_have_changed_are_written_again(root, tmp_path, caplog):
    whole = prepare(root, tmp_path / "whole")
    assert len(whole.shards) > 1
    out = tmp_path / "out"
    with pytest.raises(Stopped):
        prepare(root, out, execute=stop_after(len(whole.shards) - 1))
    for path in root.rglob("*_B02.tif"):
        path.write_bytes(path.read_bytes()[:-2] + b"\x11\x11")
    caplog.set_level("INFO")
    written = prepare(root, out)
    assert "finished shard(s) have changed" in caplog.text
    assert written == prepare(root, tmp_path / "fresh")
    assert [s.crc32 for s in written.shards] != [s.crc32 for s in whole.shards]


def test_what_has_not_changed_is_not_written_again(root, tmp_path):
    whole = prepare(root, tmp_path / "whole")
    out, written = tmp_path / "out", []

    def rest(source, jobs, on_records):
        written.extend(jobs)
        yield from convert.Local()(source, jobs, on_records)

    with pytest.raises(Stopped):
        prepare(root, out, execute=stop_after(len(whole.shards) - 1))
    assert prepare(root, out, execute=rest) == whole
    assert len(written) == 1


def test_an_lmdb_that_has_changed_is_noticed(made, tmp_path):
    root = shutil.copytree(made / "v2", tmp_path / "v2")
    prepare(root, tmp_path / "records")
    shards = reader.open_records(str(tmp_path / "records" / "train-*.tfrecord"))
    records = record_archive.RecordArchive(shards)
    lmdb_copy.write_lmdb(records, tmp_path / "lmdb")
    table = metadata.read_metadata(tmp_path / "lmdb.metadata.parquet")

    def read(out):
        archive = lmdb_store.open_lmdb(tmp_path / "lmdb", table)
        entries = metadata.entries_from_metadata(table, "train")
        plan = plan_split(archive, entries, "train", reference_maps=True)
        return convert.convert(archive, [plan], out)[0]

    written = read(tmp_path / "out")
    assert read(tmp_path / "out") == written
    touch(tmp_path / "lmdb" / "data.mdb")
    with pytest.raises(FileExistsError, match="files that have changed since"):
        read(tmp_path / "out")


def copy(pattern, out):
    shards = reader.open_records(str(pattern))
    archive = record_archive.RecordArchive(shards)
    plans = record_archive.plan_copy(archive, "int64")
    return convert.convert(archive, plans, out)[0]


class Brighter(toy.Memory):
    """The same patches with other pixels."""

    def read(self, entry, bands=None):
        patch = super().read(entry, bands)
        patch.bands["B02"][0, 0] += 1
        return patch


@pytest.mark.parametrize("described", [True, False])
def test_records_that_have_changed_are_noticed(tmp_path, described):
    source, out = tmp_path / "records", tmp_path / "out"
    record_format = "bytes" if described else "int64"

    def write(archive):
        shutil.rmtree(source, ignore_errors=True)
        plan = plan_split(archive, toy.entries(4), "train", record_format=record_format)
        convert.convert(archive, [plan], source)
        if not described:
            (source / "train.manifest.json").unlink()

    write(toy.Memory())
    written = copy(source / "train-*", out)
    assert copy(source / "train-*", out) == written
    if described:
        # Checksums tell that they are the same, whenever they were written.
        write(toy.Memory())
        assert copy(source / "train-*", out) == written
    write(Brighter())
    with pytest.raises(FileExistsError, match="files that have changed since"):
        copy(source / "train-*", out)
