"""Split lists: both forms, and every way in which one can be wrong."""

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


def test_files_that_are_no_lists(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv: no such list"):
        splits.read_split_csv(tmp_path / "none.csv")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"S2A\xff\x00")
    with pytest.raises(ValueError, match="byte 3 is not text"):
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
