"""The metadata of v2 in the three CSV files of reBEN's earlier scripts."""

import csv
import logging

import pandas as pd
import pytest

from bigearthnet_tf.archive import metadata, metadata_csv

TILE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
A, B, C = (f"{TILE}_26_5{number}" for number in (7, 8, 9))
PARTNER = "S1B_IW_GRDH_1SDV_20170612T165809_33UUP"
LONG = (
    "Land principally occupied by agriculture, with significant areas of natural "
    "vegetation"
)
SPLITS = [("patch_id", "split"), (A, "validation"), (B, "train"), (C, "test")]
PARTNERS = [("patch_id", "s1_name")] + [
    (name, f"{PARTNER}_26_5{number}") for number, name in ((9, C), (7, A), (8, B))
]
LABELS = [
    ("patch_id", "label"),
    (A, "Pastures"),
    (A, "Arable land"),
    (C, LONG),
    (B, "Marine waters"),
]
COUNTRIES = [("patch_id", "country"), (A, "Austria"), (B, "Finland"), (C, "Ireland")]


def write(folder, *contents):
    """Writes CSV files as Python's own module does; returns their paths."""
    paths = []
    for number, rows in enumerate(contents):
        paths.append(folder / f"{number}.csv")
        with paths[-1].open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return paths


def test_three_files_are_one_table(tmp_path):
    frame = metadata.read_tables(write(tmp_path, SPLITS, PARTNERS, LABELS))
    assert frame["patch_id"].tolist() == [A, B, C]
    assert frame["split"].tolist() == ["val", "train", "test"]
    assert frame["s1_name"].str[-2:].tolist() == ["57", "58", "59"]
    assert frame["labels"].tolist() == [
        ("Arable land", "Pastures"),
        ("Marine waters",),
        (LONG,),
    ]


def test_they_may_come_in_any_order_with_an_index_and_with_the_countries(tmp_path):
    numbered = [("", *SPLITS[0]), *((n, *row) for n, row in enumerate(SPLITS[1:]))]
    capitals = [("Patch_ID ", " LABEL"), *LABELS[1:]]
    paths = write(tmp_path, COUNTRIES, capitals, PARTNERS, numbered)
    frame = metadata.read_tables(paths)
    assert frame["patch_id"].tolist() == [A, B, C]
    assert frame["country"].tolist() == ["Austria", "Finland", "Ireland"]
    assert frame["labels"].str.len().tolist() == [2, 1, 1]


def test_real_metadata_are_the_same_in_both_forms(shared, tmp_path):
    table = pd.read_parquet(shared / "data/v2/metadata.parquet").iloc[::97]
    table.to_parquet(tmp_path / "metadata.parquet")
    known = metadata.read_metadata(tmp_path / "metadata.parquet")
    paths = [tmp_path / f"{n}.csv" for n in ("split", "s1", "label", "country", "v1")]
    for path, column in zip(
        paths, ("split", "s1_name", "labels", "country", "s2v1_name"), strict=True
    ):
        rows = table[["patch_id", column]].explode(column)
        # Each in an order of its own but the splits, whose order is that of the table.
        rows = rows if column == "split" else rows.sort_values(column)
        rows.rename(columns={"labels": "label"}).to_csv(path, index=False)
    found = metadata.read_tables(paths)
    wanted = known[list(found)]
    pd.testing.assert_frame_equal(found, wanted)
    assert len(found) > 4000


def test_patches_without_a_split_are_left_out_and_counted(tmp_path, caplog):
    paths = write(tmp_path, SPLITS[:-1], PARTNERS, LABELS)
    with caplog.at_level(logging.WARNING):
        frame = metadata.read_tables(paths)
    assert frame["patch_id"].tolist() == [A, B]
    said = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert said == [
        f"{path}: 1 patches left out, which {paths[0]} has no split for, first {C}"
        for path in paths[1:]
    ]


def test_clean_and_cloudy_patches_in_different_forms(tmp_path):
    paths = write(tmp_path, SPLITS, PARTNERS, LABELS)
    cloudy = metadata.read_tables(paths).iloc[:1].assign(patch_id=f"{TILE}_26_60")
    cloudy["s1_name"] = f"{PARTNER}_26_60"
    cloudy.to_parquet(tmp_path / "cloudy.parquet")
    frame = metadata.read_tables([*paths, tmp_path / "cloudy.parquet"])
    assert sorted(frame["patch_id"].str[-2:]) == ["57", "58", "59", "60"]
    twice = write(tmp_path, SPLITS, PARTNERS, LABELS)
    metadata.read_tables(twice).to_parquet(tmp_path / "same.parquet")
    with pytest.raises(ValueError, match="is in two tables"):
        metadata.read_tables([*twice, tmp_path / "same.parquet"])


WRONG = {
    "one is missing": ([SPLITS, LABELS], r"three files.*s1_name \(s1_mapping_csv\)"),
    "two are missing": ([LABELS], r"split \(split_csv\), s1_name"),
    "one comes twice": ([SPLITS, SPLITS, PARTNERS, LABELS], "column split, got"),
    "other columns": (
        [SPLITS, PARTNERS, [("patch", "label"), *LABELS[1:]]],
        r"2\.csv: expected the column patch_id and one of split .*; got 'patch'",
    ),
    "labels in lists": (
        [SPLITS, PARTNERS, [("patch_id", "labels"), (A, "['Pastures']")]],
        "label .*a row for each label",
    ),
    "two mappings in one": (
        [[(*s, *p[1:]) for s, p in zip(SPLITS, PARTNERS, strict=True)], LABELS],
        "got split and s1_name: give a file for each",
    ),
    "no header": ([SPLITS[1:], PARTNERS, LABELS], "expected the column patch_id"),
    "no rows": ([SPLITS[:1], PARTNERS, LABELS], "row for each patch"),
    "no labels of a patch": (
        [SPLITS, PARTNERS, LABELS[:-1]],
        rf"2\.csv: lacks 1 of the 3 patches of \S+0\.csv, first {B}",
    ),
    "no partner of a patch": ([SPLITS, PARTNERS[:-1], LABELS], rf"1\.csv.*first {B}"),
    "an empty partner": (
        [SPLITS, [*PARTNERS[:-1], (B, "")], LABELS],
        r"1\.csv:4: expected a value in s1_name",
    ),
    "a patch twice": (
        [[*SPLITS, (A, "train")], PARTNERS, LABELS],
        rf"0\.csv:5: {A} occurs twice",
    ),
    "a label twice": (
        [SPLITS, PARTNERS, [*LABELS, (A, "Pastures")]],
        rf"2\.csv:6: {A} with Pastures occurs twice",
    ),
    "an unknown split": (
        [[*SPLITS[:-1], (C, "valid")], PARTNERS, LABELS],
        "split is not train, validation or test",
    ),
    "an unknown label": (
        [SPLITS, PARTNERS, [*LABELS[:-1], (B, "Marine water")]],
        "did you mean 'Marine waters'",
    ),
    "names of v1": (
        [
            [SPLITS[0], ("S2A_MSIL2A_20170613T101031_87_48", "train")],
            [PARTNERS[0], ("S2A_MSIL2A_20170613T101031_87_48", f"{PARTNER}_87_48")],
            [LABELS[0], ("S2A_MSIL2A_20170613T101031_87_48", "Pastures")],
        ],
        "not a v2 patch name",
    ),
    "partners of other patches": (
        [SPLITS, [PARTNERS[0], *((n, f"{PARTNER}_1_1") for n in (A, B, C))], LABELS],
        "no partner of patch_id",
    ),
}


@pytest.mark.parametrize("contents, says", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(tmp_path, contents, says):
    with pytest.raises(ValueError, match=says) as error:
        metadata.read_tables(write(tmp_path, *contents))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_the_ending_decides_what_a_file_is(tmp_path):
    assert metadata_csv.is_csv("a/b.CSV") and not metadata_csv.is_csv("csv.parquet")
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        metadata.read_tables([tmp_path / "none.csv"])
