"""Split lists: both forms, and every way in which one can be wrong."""

import errno
import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet_tf.archive import splits
from bigearthnet_tf.archive.patch import PatchEntry

S2 = "S2A_MSIL2A_20170613T101031_87_48"
S2_V2 = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_87_48"
S1 = "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48"


def write(tmp_path, text, name="train.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "split"),
    [("train.csv", "train"), ("a/val.v2.csv", "val"), ("fold_0", "fold_0")],
)
def test_split_name(name, split):
    assert splits.split_name(name) == split


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{S2}\n", (S2, None)),
        (f"{S2_V2}", (S2_V2, None)),
        (f"{S2},{S1}\n", (S2, S1)),
        (f"\ufeff\r\n {S2} , {S1} \r\n\r\n", (S2, S1)),
        (f"{S2},\n", (S2, None)),
    ],
)
def test_both_forms_are_read(tmp_path, text, expected):
    (entry,) = splits.read_split_csv(write(tmp_path, text))
    assert (entry.name, entry.name_s1) == expected
    assert entry.split == "train"
    assert entry.labels is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n \r\n", "is empty"),
        (f"{S2}\npatch\n", r"train\.csv:2: not a patch name: 'patch'"),
        (f"{S2}\n\n{S2_V2}\n{S2}\n", r"train\.csv:4: .* twice, first in .*csv:1"),
        (f"{S1},{S2}\n", r"csv:1: expected a Sentinel-2 name, then"),
        (f"{S1}\n", r"csv:1: expected a Sentinel-2 name"),
        (f",{S2}\n", r"csv:1: expected a Sentinel-2 name"),
        (f"{S2},{S1},train\n", r"csv:1: expected one or two columns.*got 3"),
        (f"{S2},{S2}\n", r"csv:1: expected a Sentinel-2 name, then"),
    ],
)
def test_wrong_lists_are_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        splits.read_split_csv(write(tmp_path, text))


def test_several_lists_are_splits_without_common_patches(tmp_path):
    first = write(tmp_path, f"{S2},{S1}\n")
    second = write(tmp_path, f"{S2_V2}\n", "val.csv")
    lists = splits.read_split_lists([first, second])
    assert {split: [e.name for e in lists[split]] for split in lists} == {
        "train": [S2],
        "val": [S2_V2],
    }
    splits.check_disjoint(lists)
    write(tmp_path, f"{S2_V2}\n{S2}\n", "val.csv")
    with pytest.raises(ValueError, match=f"{S2} is in split 'train' and in 'val'"):
        splits.read_split_lists([first, second])
    with pytest.raises(ValueError, match=r"train.v2: a second list .*, after .*n\.csv"):
        splits.read_split_lists([first, tmp_path / "train.v2"])


def test_files_that_are_no_lists(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv: no such list"):
        splits.read_split_csv(tmp_path / "none.csv")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"S2A\xff\x00")
    with pytest.raises(ValueError, match="byte 3 is not"):
        splits.read_split_csv(binary)


@settings(deadline=None)  # writes files
@given(st.lists(st.tuples(st.integers(0, 90), st.booleans()), min_size=1, unique=True))
def test_what_is_written_is_read_again(tmp_path_factory, rows):
    entries = [
        PatchEntry(
            name=f"S2A_MSIL2A_20170613T1010{paired:02}_{column}_0",
            name_s1=f"{S1[:-6]}_{column}_0" if paired else None,
            split="test",
        )
        for column, paired in rows
    ]
    path = tmp_path_factory.mktemp("lists") / "test.csv"
    splits.write_split_csv(path, entries)
    assert splits.read_split_csv(path) == entries


def test_an_empty_list_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="at least one patch"):
        splits.write_split_csv(tmp_path / "train.csv", [])
    assert not list(tmp_path.iterdir())


def test_the_lists_of_the_sample(shared):
    counts = {
        name: len(splits.read_split_csv(shared / f"data/v1/{name}.csv"))
        for name in ("train", "val", "test")
    }
    assert counts == {"train": 3, "val": 1, "test": 2}


LISTS = {"train": f"{S2},{S1}\n", "val": f"{S2_V2}\n"}


def write_folder(folder, lists=LISTS, **options):
    splits.write_folder(folder, lists, {"seed": 0}, {"report.md": b"text"}, **options)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_holds_lists_and_report(tmp_path):
    write_folder(tmp_path / "new/split")
    found = content(tmp_path / "new/split")
    assert found.keys() == {"train.csv", "val.csv", "report.md", "report.json"}
    assert found["train.csv"].decode() == LISTS["train"]
    report = json.loads(found["report.json"])
    assert report["seed"] == 0
    assert report[splits.LISTS]["val.csv"] == sha256(found["val.csv"]).hexdigest()


def test_another_split_is_not_replaced_unasked(tmp_path):
    write_folder(tmp_path)
    before = content(tmp_path)
    write_folder(tmp_path)  # the same split
    assert content(tmp_path) == before
    other = {"train": LISTS["val"]}
    with pytest.raises(ValueError, match=r"another split already \(train.csv, rep"):
        write_folder(tmp_path, other)
    assert content(tmp_path) == before
    write_folder(tmp_path, other, overwrite=True)
    # The list that the new split does not have is gone.
    assert content(tmp_path).keys() == {"train.csv", "report.md", "report.json"}


def test_lists_of_somebody_else_are_kept(tmp_path):
    write(tmp_path, S2)
    with pytest.raises(ValueError, match=r"another split already \(train\.csv\)"):
        write_folder(tmp_path)
    with pytest.raises(FileExistsError, match=r"holds train\.csv, which no report"):
        write_folder(tmp_path, overwrite=True)
    assert list(content(tmp_path)) == ["train.csv"]


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"sha256_of_lists": 1}', '{"sha256_of_lists": ["a"]}']
)
def test_a_report_that_is_none(tmp_path, text):
    (tmp_path / splits.REPORT).write_text(text)
    before = content(tmp_path)
    with pytest.raises(ValueError, match="another split already"):
        write_folder(tmp_path)
    with pytest.raises(FileExistsError, match=r"holds report\.json, which no report"):
        write_folder(tmp_path, overwrite=True)
    assert content(tmp_path) == before


def test_a_list_that_was_changed_since_is_not_replaced_unasked(tmp_path):
    write_folder(tmp_path)
    write(tmp_path, S2_V2)
    before = content(tmp_path)
    with pytest.raises(ValueError, match="another split already"):
        write_folder(tmp_path)
    assert content(tmp_path) == before
    write_folder(tmp_path, overwrite=True)
    assert content(tmp_path)["train.csv"].decode() == LISTS["train"]


def test_a_list_beside_an_earlier_split_is_kept(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "lakes.csv").write_text(LISTS["val"])
    before = content(tmp_path)
    with pytest.raises(FileExistsError, match=r"holds lakes\.csv, which no report"):
        write_folder(tmp_path, {"lakes": LISTS["train"]}, overwrite=True)
    assert content(tmp_path) == before


def test_only_lists_in_the_folder_are_removed(tmp_path):
    (tmp_path / "precious.csv").write_text("")
    (tmp_path / "precious.txt").write_text("")
    out = tmp_path / "out"
    out.mkdir()
    claimed = {"../precious.csv": "", "precious.txt": "", "old.csv": ""}
    (out / splits.REPORT).write_text(json.dumps({splits.LISTS: claimed}))
    (out / "precious.txt").write_text("")
    write_folder(out, overwrite=True)
    assert (tmp_path / "precious.csv").exists()
    assert (out / "precious.txt").exists()


@pytest.mark.parametrize("full_at", [1, 2, 3, 4])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, full_at):
    write_folder(tmp_path)
    before = content(tmp_path)
    real, calls = Path.write_bytes, []

    def fail(path, data):
        calls.append(path)
        if len(calls) == full_at:
            real(path, data[:1])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match=r"can't be written to \(.*No space left"):
        write_folder(tmp_path, {"train": LISTS["val"]} | {"a": S2}, overwrite=True)
    monkeypatch.undo()
    assert content(tmp_path) == before
