"""`bigearthnet-tf inspect`: what it prints, draws and complains about."""

import json
import shutil

import numpy as np
import pytest
import toy
from PIL import Image


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspect") / "records"
    toy.write_records(folder, "train", count=9, shard_size_mb=1, seed=7)
    toy.write_records(folder, "val", count=3, first=100, bands=toy.ALL_BANDS[2:])
    return folder


@pytest.fixture
def records(written, tmp_path):
    return shutil.copytree(written, tmp_path / "records")


@pytest.fixture
def inspect(call):
    return lambda *arguments: call("bigearthnet-tf", "inspect", *arguments)


SHARD = "train-00001-of-00003.tfrecord"


def fail(outcome, *parts):
    assert outcome.status == 1
    assert "Traceback" not in outcome.err
    assert outcome.complaint.startswith("error: ")
    for part in parts:
        assert part in outcome.complaint


def test_the_listing(inspect, records):
    outcome = inspect(records)
    assert outcome.status == 0, outcome.err
    text = " ".join(outcome.out.split())
    for fact in (
        f"{records}, train: records 9 in 3 files", "form bytes", "archive v1",
        "s1_10m VV VH: float32, 120 x 120", "B01 B09: uint16, 20 x 20",
        "order of seed 7", "original_labels_multi_hot: int64, 43, order O43",
        "manifest agrees in names and sizes", f"{SHARD} records 3 bytes 827,",
        f"{records}, val: records 3 in 1 file",
    ):  # fmt: skip
        assert fact in text, fact
    size = sum(path.stat().st_size for path in records.glob("train-*"))
    assert f"bytes {size:,}" in text


def test_whole_records(inspect, records):
    outcome = inspect(records, "--verify", "--workers", 1)
    assert outcome.status == 0, outcome.err
    assert outcome.out.strip().endswith("12 records in 4 files: all whole")
    assert "Pastures" not in outcome.out


def test_label_counts(inspect, records):
    outcome = inspect(records, "--labels", "--workers", 1)
    assert outcome.status == 0, outcome.err
    rows = {}
    for line in filter(str.strip, outcome.out.splitlines()):
        name, *counts = line.rsplit(maxsplit=2)
        rows.setdefault(name.strip(), counts)
    assert rows["original"] == ["train", "val"]
    for name in ("Pastures", "Airports", "Sea and ocean"):
        expected = [
            str(sum(name in toy.patch(number).labels for number in numbers))
            for numbers in (range(9), range(100, 103))
        ]
        assert rows[name] == expected


def test_json(inspect, records):
    outcome = inspect(records, "--json", "--labels", "--workers", 1)
    content = json.loads(outcome.out)
    train, val = content["splits"]
    assert (train["num_records"], val["num_records"]) == (9, 3)
    assert len(train["shards"]) == 3
    assert train["manifest"]["seed"] == 7
    assert sum(train["label_counts"]["original"].values()) == 18
    assert (content["faults"], content["overlaps"]) == ([], [])
    (records / SHARD).unlink()
    outcome = inspect(records, "--json")
    assert SHARD in json.loads(outcome.out)["faults"][0]
    fail(outcome, SHARD, "it is not there")


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_one_fault_is_one_line(inspect, records):
    flip(records / SHARD, -100)
    assert inspect(records).status == 0  # which looks at the first records only
    outcome = inspect(records, "--verify", "--workers", 1)
    fail(outcome, f"{SHARD}: record 2 is damaged")
    assert len(outcome.err.strip().splitlines()) == 1
    assert "all whole" not in outcome.out


def test_several_faults_are_a_line_each(inspect, records):
    flip(records / SHARD, 0)
    flip(records / "val-00000-of-00001.tfrecord", 400_000)
    outcome = inspect(records, "--verify", "--workers", 1)
    fail(outcome, "2 files are not as they should be")
    first, second, _ = outcome.err.strip().splitlines()
    assert f"{SHARD}: record 0 is damaged" in first
    assert "val-00000-of-00001.tfrecord: record 2 is damaged" in second


def test_a_patch_in_two_splits_is_told(inspect, records):
    toy.write_records(records, "test", count=3, first=8)
    outcome = inspect(records, "--verify", "--workers", 1)
    assert outcome.status == 0, outcome.err
    name = toy.patch(8).name_s2
    assert f"note: 1 patch is both in test and in train, such as {name}" in outcome.out


@pytest.mark.parametrize("how", ["number", "name"])
def test_a_record(inspect, records, how):
    facts = json.loads(inspect(records, "--record", 10, "--json").out)
    choice = ("--record", 10) if how == "number" else ("--name", facts["name_s2"])
    outcome = inspect(records, *choice)
    assert outcome.status == 0, outcome.err
    number = int(facts["name_s2"].split("_")[-1]) + 91
    patch = toy.patch(number, bands=toy.ALL_BANDS[2:])
    assert patch.name_s2 == facts["name_s2"]
    text = " ".join(outcome.out.split())
    assert f"Sentinel-2 {patch.name_s2} Sentinel-1 {patch.name_s1}" in text
    for label in patch.labels:
        assert label in text
    raster = patch.bands["B8A"]
    assert f"B8A uint16 60 x 60 {raster.min()} {raster.mean():.6g}" in text
    assert "VV" not in facts["bands"]


def test_the_sheet(inspect, records, tmp_path):
    out = tmp_path / "new" / "sheet.png"
    outcome = inspect(records, "--sheet", out, "--count", 5, "--seed", 3)
    assert outcome.status == 0, outcome.err
    assert f"{out}: train, val: 5 of 12 records" in outcome.out
    with Image.open(out) as image:
        picture = np.asarray(image.convert("RGB"))
    assert picture.std() > 10
    first = out.read_bytes()
    assert inspect(records, "--sheet", out, "--count", 5, "--seed", 3).status == 0
    assert out.read_bytes() == first
    outcome = inspect(records / "val*", "--sheet", out)
    assert "no Sentinel-1 composite: the records hold no VV, VH" in outcome.out


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "record"),
        (b"some text\n" * 100, "no TFRecord file"),
        (b"PK\x03\x04" * 100, "packed file: unpack it"),
    ],
)
@pytest.mark.parametrize(
    "arguments", [(), ("--verify",), ("--record", 0), ("--sheet", "{}/a.png")]
)
def test_files_without_records(inspect, tmp_path, content, complaint, arguments):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(content)
    outcome = inspect(path, *(str(a).format(tmp_path) for a in arguments))
    fail(outcome, complaint)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tfrecord"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("{records}/none*",), ("none*: no such records",)),
        (("{tmp}",), ("no records there",)),
        (("{records}", "--record", 12), ("no record 12: there are 12",)),
        (("{records}", "--name", "S2A"), ("no patch S2A among 12 records",)),
        (("{records}", "--sheet", "a.pdf"), ("a.pdf: expected a path", ".png")),
        (("{records}", "--sheet", "{tmp}/file/a.png"), ("can't write into",)),
        (("{records}", "--sheet", "a.png", "--count", 241), ("1 to 240", "got 241")),
    ],
)
def test_bad_calls(inspect, records, tmp_path, arguments, parts, monkeypatch):
    working = tmp_path / "empty"
    working.mkdir()
    monkeypatch.chdir(working)
    (tmp_path / "file").touch()
    places = {"records": records, "tmp": working if "tmp" in arguments[0] else tmp_path}
    outcome = inspect(*(str(argument).format(**places) for argument in arguments))
    fail(outcome, *parts)
    assert list(working.iterdir()) == []


def test_wrong_calls_have_status_2(inspect):
    assert inspect().status == 2
    assert inspect("x", "--record", 1, "--name", "y").status == 2
    for number in ("one", -1):
        assert inspect("x", "--record", number).status == 2
    assert inspect("x", "--sheet", "a.png", "--count", 0).status == 2
