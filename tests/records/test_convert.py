import dataclasses
import shutil

import pytest
import tensorflow as tf
import toy

from bigearthnet_tf.records import convert, manifest, reader
from bigearthnet_tf.records.plan import plan_split


def contents(folder) -> dict:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_manifest_says_what_the_shards_hold(tmp_path):
    written = toy.write_records(tmp_path, count=10, shard_size_mb=1)
    assert written.num_records == 10
    assert len(written.shards) == 4
    assert manifest.load(tmp_path / "train.manifest.json") == written
    for shard in written.shards:
        path = tmp_path / shard.file
        records = list(tf.data.TFRecordDataset(str(path)))
        assert len(records) == shard.num_records
        assert path.stat().st_size == shard.num_bytes <= 1e6
    assert len(written.label_order["original"]) == 43
    assert written.bands["B11"].shape == (60, 60)


def test_order_is_shuffled_by_the_seed_alone(tmp_path):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        toy.write_records(tmp_path / folder, count=8, seed=seed)
    a, b, c = (
        reader.read_names(reader.open_records(str(tmp_path / f / "train-*.tfrecord")))
        for f in "abc"
    )
    listed = [entry.name for entry in toy.entries(8)]
    assert a == b != c
    assert a != listed
    assert sorted(a) == sorted(c) == sorted(listed)


@pytest.fixture
def many_workers(monkeypatch):
    """Starts as many workers as are asked for, for however few patches."""
    monkeypatch.setattr(convert, "PATCHES_PER_WORKER", 1)


@pytest.mark.slow
def test_shards_do_not_depend_on_the_number_of_workers(tmp_path, many_workers):
    archive = toy.Memory()
    plan = plan_split(archive, toy.entries(9), "train", shard_size_mb=1)
    for workers in (1, 2, 3):
        convert.convert(
            archive, [plan], tmp_path / str(workers), convert.Local(workers)
        )
    one, two, three = (contents(tmp_path / w) for w in "123")
    assert one == two == three


class Failing(toy.Memory):
    """Fails at one patch, until it is mended."""

    def __init__(self, bad: str):
        super().__init__()
        self.bad = bad

    def read(self, entry):
        if entry.name == self.bad:
            raise ValueError(f"{entry.name}: is broken")
        return super().read(entry)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_failed_conversion_leaves_finished_shards_and_continues(
    tmp_path, workers, many_workers
):
    good = toy.Memory()
    plan = plan_split(good, toy.entries(9), "train", shard_size_mb=1)
    bad = Failing(plan.shards[-1][0].name)
    with pytest.raises(ValueError, match="is broken"):
        convert.convert(bad, [plan], tmp_path / "out", convert.Local(workers))
    (partial,) = (tmp_path / "out").iterdir()
    assert partial.name == ".train.partial"
    assert not list(partial.glob(".*.tmp"))
    finished = {p: p.stat().st_mtime_ns for p in partial.glob("*.tfrecord")}
    assert len(finished) == (2 if workers == 1 else len(finished))

    class Counting(toy.Memory):
        reads = 0

        def read(self, entry):
            Counting.reads += 1
            return super().read(entry)

    convert.convert(Counting(), [plan], tmp_path / "out")
    assert Counting.reads == 9 - 3 * len(finished)
    convert.convert(good, [plan], tmp_path / "undisturbed")
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


def test_a_failure_in_the_only_shard_leaves_nothing(tmp_path):
    archive = toy.Memory()
    plan = plan_split(archive, toy.entries(4), "train")
    with pytest.raises(ValueError, match="is broken"):
        convert.convert(Failing(toy.entries(4)[2].name), [plan], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_is_not_written_again(tmp_path):
    toy.write_records(tmp_path, count=4)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    toy.write_records(tmp_path, count=4)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == before


def test_other_records_are_replaced_on_request_only(tmp_path):
    toy.write_records(tmp_path, count=9, shard_size_mb=1)
    with pytest.raises(FileExistsError, match="--overwrite"):
        toy.write_records(tmp_path, count=4)
    archive = toy.Memory()
    plan = plan_split(archive, toy.entries(4), "train")
    convert.convert(archive, [plan], tmp_path, overwrite=True)
    assert sorted(contents(tmp_path)) == [
        "train-00000-of-00001.tfrecord",
        "train.manifest.json",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "no patches"),
        ({"count": 2, "shard_size_mb": 0.1}, "can't hold one record"),
        ({"count": 2, "record_format": "png"}, "expected one of"),
    ],
)
def test_impossible_plans_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        toy.write_records(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_too_little_room_is_noticed_before_the_start(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"need 1 MB, but 0 MB are free"):
        toy.write_records(tmp_path, count=2)


def test_what_is_finished_needs_no_room_again(tmp_path, monkeypatch):
    plan = plan_split(toy.Memory(), toy.entries(9), "train", shard_size_mb=1)
    with pytest.raises(ValueError, match="is broken"):
        convert.convert(Failing(plan.shards[-1][0].name), [plan], tmp_path)
    (partial,) = tmp_path.iterdir()
    written = sum(path.stat().st_size for path in partial.glob("*.tfrecord"))
    assert 0 < written < plan.num_bytes
    for missing, enough in ((1, False), (0, True)):
        free = plan.num_bytes - written - missing
        usage = shutil.disk_usage(tmp_path)._replace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        if enough:
            convert.convert(toy.Memory(), [plan], tmp_path)
        else:
            with pytest.raises(OSError, match="make room"):
                convert.convert(toy.Memory(), [plan], tmp_path)
    assert (tmp_path / "train.manifest.json").exists()


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OSError, match="can't be written to"):
        toy.write_records(tmp_path / "out", count=2)


def test_shards_without_a_manifest_are_not_touched(tmp_path):
    toy.write_records(tmp_path, count=9, shard_size_mb=1)
    (tmp_path / "train.manifest.json").unlink()
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match="without a manifest"):
        toy.write_records(tmp_path, count=4)
    assert contents(tmp_path) == before


def test_unfinished_work_from_another_source_is_not_taken_up(tmp_path):
    first, second = toy.Memory(), toy.Memory()
    first.origin, second.origin = ("here",), ("there",)
    plan = plan_split(first, toy.entries(9), "train", shard_size_mb=1)
    bad = Failing(plan.shards[-1][0].name)
    with pytest.raises(ValueError, match="is broken"):
        convert.convert(bad, [plan], tmp_path / "out")
    other = plan_split(second, toy.entries(9), "train", shard_size_mb=1)
    reads = []

    class Counting(toy.Memory):
        def read(self, entry):
            reads.append(entry.name)
            return super().read(entry)

    convert.convert(Counting(), [other], tmp_path / "out")
    assert len(reads) == 9


def test_what_was_skipped_does_not_pass_for_all(tmp_path):
    plan = plan_split(toy.Memory(), toy.entries(9), "train", shard_size_mb=1)
    bad = Failing(plan.shards[0][0].name)
    out = tmp_path / "out"
    convert.convert(bad, [plan], out, skip_errors=True)
    with pytest.raises(FileExistsError, match="that lack 1 patches"):
        convert.convert(toy.Memory(), [plan], out)
    (again,) = convert.convert(bad, [plan], out, skip_errors=True)
    assert again.left_out == 1
    (whole,) = convert.convert(toy.Memory(), [plan], out, overwrite=True)
    assert (whole.left_out, whole.num_records) == (0, 9)
    assert not (out / "train.left_out.csv").exists()


def test_a_shard_with_left_out_patches_is_written_again(tmp_path):
    plan = plan_split(toy.Memory(), toy.entries(9), "train", shard_size_mb=1)

    class Twice(Failing):
        def read(self, entry):
            if entry.name == plan.shards[-1][0].name:
                raise KeyboardInterrupt
            return super().read(entry)

    with pytest.raises(KeyboardInterrupt):
        bad = Twice(plan.shards[0][0].name)
        convert.convert(bad, [plan], tmp_path / "out", skip_errors=True)
    (whole,) = convert.convert(toy.Memory(), [plan], tmp_path / "out")
    assert (whole.left_out, whole.num_records) == (0, 9)


class Brighter(toy.Memory):
    """The same patches under the same names, with other pixels."""

    def read(self, entry):
        patch = super().read(entry)
        bands = {name: band + 1 for name, band in patch.bands.items()}
        return dataclasses.replace(patch, bands=bands)


def test_overwriting_takes_nothing_of_an_archive_that_has_changed(tmp_path):
    plan = plan_split(toy.Memory(), toy.entries(9), "train", shard_size_mb=1)
    bad = Failing(plan.shards[-1][0].name)
    with pytest.raises(ValueError, match="is broken"):
        convert.convert(bad, [plan], tmp_path / "out")
    convert.convert(Brighter(), [plan], tmp_path / "out", overwrite=True)
    convert.convert(Brighter(), [plan], tmp_path / "undisturbed")
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


def test_patches_left_out_before_a_kill_are_tried_again(tmp_path):
    plan = plan_split(toy.Memory(), toy.entries(9), "train", shard_size_mb=1)

    class Stopped(Failing):
        def read(self, entry):
            if entry.name == plan.shards[-1][0].name:
                raise KeyboardInterrupt
            return super().read(entry)

    with pytest.raises(KeyboardInterrupt):
        bad = Stopped(plan.shards[0][0].name)
        convert.convert(bad, [plan], tmp_path / "out", skip_errors=True)
    repaired = toy.Memory()
    (whole,) = convert.convert(repaired, [plan], tmp_path / "out", skip_errors=True)
    assert (whole.left_out, whole.num_records) == (0, 9)


@pytest.mark.parametrize("list_is_lost", [False, True])
def test_patches_left_out_of_whole_records_are_tried_again(tmp_path, list_is_lost):
    plan = plan_split(toy.Memory(), toy.entries(9), "train", shard_size_mb=1)
    bad = Failing(plan.shards[0][0].name)
    convert.convert(bad, [plan], tmp_path, skip_errors=True)
    if list_is_lost:
        (tmp_path / "train.left_out.csv").unlink()
    (whole,) = convert.convert(toy.Memory(), [plan], tmp_path, skip_errors=True)
    assert (whole.left_out, whole.num_records) == (0, 9)
    assert not (tmp_path / "train.left_out.csv").exists()


def test_if_no_patch_can_be_read_the_report_says_why(tmp_path):
    class Nothing(toy.Memory):
        def read(self, entry):
            raise ValueError(f"{entry.name}: is broken")

    plan = plan_split(toy.Memory(), toy.entries(3), "train")
    with pytest.raises(ValueError, match="no patch could be read"):
        convert.convert(Nothing(), [plan], tmp_path, skip_errors=True)
    report = (tmp_path / "train.left_out.csv").read_text()
    assert report.count("is broken") == 3


def test_a_local_folder_by_its_scheme_is_locked_too(tmp_path):
    from bigearthnet_tf.records.unfinished import exclusive

    with exclusive(tmp_path), pytest.raises(OSError, match="another conversion"):
        toy.write_records(f"file://{tmp_path}", count=2)
