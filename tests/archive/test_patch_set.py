"""Patches of every source: what is known of them, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from bigearthnet_tf.archive import archives, labels, metadata, patch_set

ROWS = [
    {
        "patch_id": "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57",
        "labels": ["Pastures", "Arable land"],
        "split": "train",
        "country": "Austria",
        "s1_name": "S1B_IW_GRDH_1SDV_20170612T165809_33UUP_26_57",
    },
    {
        "patch_id": "S2B_MSIL2A_20171221T112501_N9999_R037_T29SND_56_35",
        "labels": ["Marine waters"],
        "split": "validation",
        "country": None,
        "s1_name": "S1A_IW_GRDH_1SDV_20171221T064238_29SND_56_35",
    },
]
V1_PAIR = (
    "S2A_MSIL2A_20170613T101031_87_48,S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48\n"
)


def read(tmp_path, rows=ROWS):
    path = tmp_path / "metadata.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return patch_set.from_metadata(metadata.read_metadata(path))


def everything(patches):
    return list(patches.entries(np.ones(len(patches), bool)))


def test_metadata(tmp_path):
    patches = read(tmp_path)
    table = patches.table
    assert table["split"].tolist() == ["train", "val"]
    assert table["country"].tolist() == ["Austria", ""]
    assert table["season"].tolist() == ["Summer", "Winter"]
    assert table["tile"].tolist() == ["33UUP", "29SND"]
    assert table[["column", "row"]].to_numpy().tolist() == [[26, 57], [56, 35]]
    assert patches.labels == labels.label_names("BigEarthNet-19")
    assert [
        labels.from_multi_hot(vector, "BigEarthNet-19") for vector in patches.multi_hot
    ] == [("Arable land", "Pastures"), ("Marine waters",)]
    assert [entry.name_s1 for entry in everything(patches)] == [
        row["s1_name"] for row in ROWS
    ]


def test_what_only_one_table_says_is_not_known(tmp_path):
    flagged = {patch_set.SNOW: True}
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    pd.DataFrame([ROWS[0] | flagged]).to_parquet(first)
    pd.DataFrame([ROWS[1]]).to_parquet(second)
    both = patch_set.from_metadata(metadata.read_tables([first, second]))
    assert patch_set.SNOW not in both.table
    one = patch_set.from_metadata(metadata.read_tables([first]))
    assert one.table[patch_set.SNOW].tolist() == [True]


def test_lists_know_places_by_their_partners(tmp_path):
    (tmp_path / "train.csv").write_text(V1_PAIR)
    (tmp_path / "val.csv").write_text("S2B_MSIL2A_20170924T93020_69_24\n")
    patches = patch_set.from_lists([tmp_path / "train.csv", tmp_path / "val.csv"])
    assert patches.table["tile"].tolist() == ["33UUP", ""]
    assert patches.table["season"].tolist() == ["Summer", "Fall"]
    assert patches.table["split"].tolist() == ["train", "val"]
    assert patches.multi_hot.shape == (2, 0)
    assert patches.places().zone.tolist() == [33, 0]
    assert [entry.name_s1 for entry in everything(patches)][1] is None


def test_lists_that_share_a_patch_or_a_split(tmp_path):
    (tmp_path / "other").mkdir()
    paths = [tmp_path / name for name in ("train.csv", "val.csv", "other/train.csv")]
    for path in paths:
        path.write_text(V1_PAIR)
    with pytest.raises(ValueError, match="in split 'train' and in 'val'"):
        patch_set.from_lists(paths[:2])
    with pytest.raises(ValueError, match="a second list for split 'train'"):
        patch_set.from_lists([paths[0], paths[2]])


def test_lists_take_labels_from_another_source(tmp_path):
    known = read(tmp_path)
    path = tmp_path / "mine.csv"
    path.write_text(f"{ROWS[1]['patch_id']}\n")
    patches = patch_set.combine(patch_set.from_lists([path]), known)
    assert patches.table["split"].tolist() == ["mine"]
    assert patches.table["name_s1"].tolist() == [ROWS[1]["s1_name"]]
    assert patches.multi_hot[0, labels.label_index("Marine waters", "BigEarthNet-19")]
    path.write_text(V1_PAIR)
    with pytest.raises(
        ValueError, match="missing for 1 of 1 patches, the first is S2A"
    ):
        patch_set.combine(patch_set.from_lists([path]), known)


def test_rows_in_another_order(tmp_path):
    patches = read(tmp_path).take(np.array([1, 0]))
    assert patches.table["name"].tolist() == [row["patch_id"] for row in ROWS[::-1]]
    assert patches.multi_hot.sum(axis=1).tolist() == [1, 2]


def test_the_19_labels_of_the_43(tmp_path):
    original = ["Airports", "Rice fields", "Vineyards", "Olive groves"]
    path = tmp_path / "labels.csv"
    rows = {"patch": [f"S2A_MSIL2A_20170613T101031_{i}_0" for i in range(3)]}
    frame = pd.DataFrame(rows | dict.fromkeys(original, 0))
    frame.loc[0, "Airports"] = 1
    frame.loc[1, ["Airports", "Rice fields"]] = 1
    frame.loc[2, ["Vineyards", "Olive groves"]] = 1
    frame.to_csv(path)
    patches = patch_set.from_label_table(path)
    assert patches.labels == tuple(original)
    converted = patch_set.to_19_labels(patches)
    # The patch that shows nothing but an airport has none of the 19.
    assert converted.table["name"].tolist() == rows["patch"][1:]
    assert [
        labels.from_multi_hot(vector, "BigEarthNet-19")
        for vector in converted.multi_hot
    ] == [("Arable land",), ("Permanent crops",)]
    assert patch_set.to_19_labels(converted) is converted
    with pytest.raises(ValueError, match="no patch has any of the 19"):
        patch_set.to_19_labels(patches.take(np.array([0])))


def test_the_real_v1_pairs(shared):
    root = shared / "data/v1"
    archive = archives.open_archive(
        root / "BigEarthNet-v1.0", root / "BigEarthNet-S1-v1.0"
    )
    patches = patch_set.from_archive(archive, None, None)
    assert len(patches) == 6
    for row, entry in enumerate(everything(patches)):
        found = archive.metadata_of(entry)
        assert labels.from_multi_hot(patches.multi_hot[row], "original") == found.labels
        places = patches.places()
        assert (places.east[row], places.north[row]) == found.bounds[::3]
    listed = patch_set.from_lists([root / "train.csv", root / "test.csv"])
    chosen = patch_set.from_archive(archive, None, listed)
    assert chosen.table["split"].tolist() == ["train"] * 3 + ["test"] * 2
    # Without Sentinel-1 the tiles come from the JSON files.
    alone = archives.open_archive(root / "BigEarthNet-v1.0")
    without = patch_set.from_archive(alone, None, None)
    assert (without.table["name_s1"] == "").all()
    assert without.table["tile"].tolist() == patches.table["tile"].tolist()


def test_a_v2_archive_needs_its_metadata(shared):
    archive = archives.open_archive(shared / "data/v2/BigEarthNet-S2")
    with pytest.raises(ValueError, match="--metadata"):
        patch_set.from_archive(archive, None, None)
