"""The conversion on Beam's direct runner; needs the extra `beam`."""

import re
import sys
from pathlib import Path

import pytest
import toy

from bigearthnet_tf import extras
from bigearthnet_tf.archive import archives, sample
from bigearthnet_tf.archive.patch import PatchEntry
from bigearthnet_tf.records import convert, storage
from bigearthnet_tf.records.plan import plan_split

pytest.importorskip("apache_beam", reason="the extra beam is not installed")

from bigearthnet_tf.records import beam

DIRECT = ["--runner", "DirectRunner"]
TWO_PROCESSES = [
    "--direct_num_workers",
    "2",
    "--direct_running_mode",
    "multi_processing",
]


def contents(folder) -> dict:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    sample.write_archive(folder / "v1", 9, version="v1", seed=3, workers=1)
    root = folder / "v1"
    return archives.open_archive(
        root / "BigEarthNet-v1.0", root / "BigEarthNet-S1-v1.0"
    )


@pytest.mark.parametrize(
    "options",
    [DIRECT, pytest.param(DIRECT + TWO_PROCESSES, marks=pytest.mark.slow)],
    ids=["one", "two processes"],
)
def test_the_shards_are_those_of_one_process(tmp_path, archive, options):
    entries = [PatchEntry(p.name) for p in sorted(archive.root_s2.iterdir())]
    plan = plan_split(archive, entries, "train", shard_size_mb=1)
    assert len(plan.shards) == 3
    convert.convert(archive, [plan], tmp_path / "here")
    convert.convert(archive, [plan], tmp_path / "beam", beam.Runner(options))
    assert contents(tmp_path / "beam") == contents(tmp_path / "here")


class Failing(toy.Memory):
    def __init__(self, bad: str):
        super().__init__()
        self.bad = bad

    def read(self, entry):
        if entry.name == self.bad:
            raise ValueError(f"{entry.name}: is broken")
        return super().read(entry)


def test_a_damaged_patch_is_named_and_the_rest_is_kept(tmp_path):
    good = toy.Memory()
    plan = plan_split(good, toy.entries(9), "train", shard_size_mb=1)
    bad = plan.shards[0][0].name
    with pytest.raises(ValueError, match=f"^{bad}: is broken$"):
        convert.convert(Failing(bad), [plan], tmp_path / "out", beam.Runner(DIRECT))
    (partial,) = (tmp_path / "out").iterdir()
    assert len(list(partial.glob("*.tfrecord"))) == 2
    assert not [p for p in partial.iterdir() if p.suffix in (".entries", ".failure")]
    convert.convert(good, [plan], tmp_path / "out")
    convert.convert(good, [plan], tmp_path / "undisturbed")
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


def test_damaged_patches_can_be_skipped(tmp_path):
    plan = plan_split(toy.Memory(), toy.entries(9), "train", shard_size_mb=1)
    source = Failing(plan.shards[0][0].name)
    for folder, execute in (("a", None), ("b", beam.Runner(DIRECT))):
        made = convert.convert(
            source, [plan], tmp_path / folder, execute, skip_errors=True
        )
        assert made[0].left_out == 1
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_shard_that_is_not_whole_is_written_again(tmp_path):
    plan = plan_split(toy.Memory(), toy.entries(9), "train", shard_size_mb=1)
    with pytest.raises(ValueError, match="is broken"):
        source = Failing(plan.shards[2][0].name)
        convert.convert(source, [plan], tmp_path / "out")
    shard = next((tmp_path / "out").rglob("train-00000-*.tfrecord"))
    shard.write_bytes(shard.read_bytes()[:-1])
    convert.convert(toy.Memory(), [plan], tmp_path / "out", beam.Runner(DIRECT))
    convert.convert(toy.Memory(), [plan], tmp_path / "undisturbed")
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


def test_an_unwritable_folder_is_said_in_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr(beam, "write_shard", full)
    plan = plan_split(toy.Memory(), toy.entries(2), "train")
    with pytest.raises(ValueError, match=r"^somewhere: No space left on device$"):
        convert.convert(toy.Memory(), [plan], tmp_path, beam.Runner(DIRECT))
    assert storage.list_folder(tmp_path) == []


def test_an_option_that_beam_does_not_know():
    with pytest.raises(ValueError, match="does not know the option --nonsense"):
        beam.Runner([*DIRECT, "--nonsense", "3"])


def test_beam_knows_the_options_in_the_readme():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    calls = re.findall(r"prep_splits.py \.\.\. (--runner (?:\\\n|.)+)", readme)
    assert len(calls) == 4
    for call in calls:
        beam.Runner(call.replace("\\\n", " ").split())


def test_without_beam_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ValueError, match=r"pip install '\.\[beam\]'"):
        extras.load("apache_beam", extra="beam")
