"""v1 JSON, v2 parquet and name lists."""

import json
from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from bigearthnet_tf.archive import labels, metadata
from bigearthnet_tf.archive.patch import Patch, PatchEntry

S2_JSON = {
    "labels": ["Pastures", "Water bodies"],
    "coordinates": {"ulx": 404400, "uly": 5342400, "lrx": 405600, "lry": 5341200},
    "projection": "EPSG:32633",
    "tile_source": "S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE",
    "acquisition_date": "2017-06-13 10:10:31",
}
ROW = {
    "patch_id": "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57",
    "labels": ["Broad-leaved forest", "Arable land"],
    "split": "validation",
    "country": "Austria",
    "s1_name": "S1B_IW_GRDH_1SDV_20170612T165809_33UUP_26_57",
}
OTHER = {
    "patch_id": "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_58",
    "labels": ["Marine waters"],
    "split": "train",
    "country": "Austria",
    "s1_name": "S1B_IW_GRDH_1SDV_20170612T165809_33UUP_26_58",
}


def write_json(tmp_path, content):
    path = tmp_path / "labels_metadata.json"
    path.write_text(json.dumps(content))
    return path


def write_parquet(tmp_path, rows):
    path = tmp_path / "metadata.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.fixture(scope="session")
def real_table(shared):
    return metadata.read_metadata(shared / "data/v2/metadata.parquet")


def test_both_json_files_of_each_real_pair_agree(shared):
    folders = sorted((shared / "data/v1/BigEarthNet-S1-v1.0").iterdir())
    assert len(folders) == 6
    for folder in folders:
        s1 = metadata.read_v1_json(folder / f"{folder.name}_labels_metadata.json")
        name = s1.corresponding_s2
        s2 = metadata.read_v1_json(
            shared / f"data/v1/BigEarthNet-v1.0/{name}/{name}_labels_metadata.json"
        )
        assert (s1.labels, s1.bounds, s1.crs) == (s2.labels, s2.bounds, s2.crs)
        left, bottom, right, top = s1.bounds
        assert (right - left, top - bottom) == (1200, 1200)
        assert s2.corresponding_s2 is None
        assert s1.source.startswith(folder.name[:32])
        assert abs(s1.acquired - s2.acquired).days <= 3


def test_the_time_of_the_json_is_exact_where_the_name_is_not(shared):
    name = "S2B_MSIL2A_20180204T94161_57_38"
    path = shared / f"data/v1/BigEarthNet-v1.0/{name}/{name}_labels_metadata.json"
    assert metadata.read_v1_json(path).acquired == datetime(2018, 2, 4, 9, 41, 56)


def test_keys_that_users_add_are_ignored(tmp_path):
    content = {**S2_JSON, "BigEarthNet_19_labels": ["Pastures"], "note": 1}
    found = metadata.read_v1_json(write_json(tmp_path, content))
    assert found.labels == ("Pastures", "Water bodies")
    assert found.bounds == (404400.0, 5341200.0, 405600.0, 5342400.0)


@pytest.mark.parametrize("key", S2_JSON)
def test_a_missing_key_is_named(tmp_path, key):
    content = {name: value for name, value in S2_JSON.items() if name != key}
    with pytest.raises(ValueError, match=rf"metadata\.json: .*{key}.*missing"):
        metadata.read_v1_json(write_json(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "'coordinates'.*missing"),
        ({**S2_JSON, "labels": ["Pasture"]}, "'Pasture'.*did you mean 'Pastures'"),
        ({**S2_JSON, "labels": ["Arable land"]}, "unknown label 'Arable land'"),
        ({**S2_JSON, "labels": "Pastures"}, "expected a list of labels"),
        ({**S2_JSON, "labels": []}, "expected a list of labels"),
        ({**S2_JSON, "acquisition_date": "yesterday"}, "'acquisition_date': Invalid"),
        ({**S2_JSON, "coordinates": {"ulx": 1}}, "'lrx'.*missing"),
        ({**S2_JSON, "coordinates": [1, 2]}, "'coordinates'"),
        (
            {**S2_JSON, "coordinates": {"ulx": 2, "lrx": 1, "uly": 2, "lry": 1}},
            "enclose no area",
        ),
    ],
)
def test_wrong_json_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=rf"metadata\.json: .*{message}"):
        metadata.read_v1_json(write_json(tmp_path, content))


def test_unreadable_json_is_refused(tmp_path):
    path = tmp_path / "labels_metadata.json"
    path.write_text('{"labels": ["Past')
    with pytest.raises(ValueError, match=r"metadata\.json: expected JSON"):
        metadata.read_v1_json(path)
    with pytest.raises(FileNotFoundError, match=r"none\.json: no such file: extract"):
        metadata.read_v1_json(tmp_path / "none.json")


def test_the_real_table_has_the_published_counts(real_table):
    assert real_table["split"].value_counts().to_dict() == {
        "train": 237_871,
        "val": 122_342,
        "test": 119_825,
    }
    assert real_table["labels"].map(len).mean() == pytest.approx(2.949, abs=5e-4)
    index = {name: place for place, name in enumerate(labels.LABELS["BigEarthNet-19"])}
    for own in set(real_table["labels"]):
        places = [index[name] for name in own]
        assert places == sorted(set(places))


def test_real_counts_of_each_label(real_table):
    train = real_table[real_table["split"] == "train"]["labels"].explode()
    counts = train.value_counts()
    assert counts["Urban fabric"] == 33_626
    assert counts["Beaches, dunes, sands"] == 738
    assert counts["Marine waters"] == 35_914


def test_entries_of_a_real_split(real_table):
    entries = metadata.entries_from_metadata(real_table, "val")
    rows = real_table[real_table["split"] == "val"]
    assert len(entries) == 122_342
    assert entries[0].name == rows["patch_id"].iloc[0]
    assert entries[0].name_s1 == rows["s1_name"].iloc[0]
    assert {entry.split for entry in entries} == {"val"}
    assert {entry.label_type for entry in entries} == {"BigEarthNet-19"}
    assert entries[-1].country == rows["country"].iloc[-1]


def test_the_snow_and_cloud_table_is_read_as_well(shared):
    table = metadata.read_metadata(
        shared / "data/v2/metadata_for_patches_with_snow_cloud_or_shadow.parquet"
    )
    assert len(table) == 69_450
    flags = table[["contains_seasonal_snow", "contains_cloud_or_shadow"]]
    assert (flags.sum(axis=1) == 1).all()


def test_labels_are_ordered_and_validation_becomes_val(tmp_path):
    table = metadata.read_metadata(write_parquet(tmp_path, [ROW, OTHER]))
    (entry,) = metadata.entries_from_metadata(table, "val")
    assert entry.labels == ("Arable land", "Broad-leaved forest")
    assert entry.split == "val"
    assert len(metadata.entries_from_metadata(table)) == 2


def test_the_four_columns_of_a_test_copy_suffice(tmp_path):
    rows = pd.DataFrame([ROW, OTHER]).drop(columns="country")
    path = tmp_path / "metadata.parquet"
    rows.assign(__index_level_0__=[5, 9]).to_parquet(path)
    table = metadata.read_metadata(path)
    assert list(table) == ["patch_id", "labels", "split", "s1_name"]
    entries = metadata.entries_from_metadata(table)
    assert [entry.country for entry in entries] == [None, None]


def test_a_table_without_rows_is_named(tmp_path):
    path = tmp_path / "metadata.parquet"
    pd.DataFrame([ROW]).iloc[:0].to_parquet(path)
    with pytest.raises(ValueError, match=f"^{path}: expected a row for each patch"):
        metadata.read_metadata(path)


def test_an_unknown_country_is_none(tmp_path):
    rows = [{**ROW, "country": None}, OTHER]
    table = metadata.read_metadata(write_parquet(tmp_path, rows))
    entries = metadata.entries_from_metadata(table)
    assert [entry.country for entry in entries] == [None, "Austria"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"patch_id": "S2A_MSIL2A_20170613T101031_26_57"},
            "not a v2 patch name in 1 of",
        ),
        ({"patch_id": None}, "patch_id is not a v2 patch name"),
        ({"patch_id": OTHER["patch_id"]}, "occurs twice"),
        ({"s1_name": None}, "s1_name is not"),
        ({"split": "dev"}, "split is not.*'dev'"),
        ({"labels": ["Pasture"]}, "T33UUP_26_57: unknown label 'Pasture'"),
        ({"labels": None}, "labels of .*T33UUP_26_57"),
        ({"labels": []}, "labels of .*T33UUP_26_57: .*none"),
    ],
)
def test_wrong_rows_are_refused(tmp_path, changes, message):
    path = write_parquet(tmp_path, [OTHER, {**ROW, **changes}])
    with pytest.raises(ValueError, match=rf"metadata\.parquet: .*{message}"):
        metadata.read_metadata(path)


@pytest.mark.parametrize("column", metadata.REQUIRED_COLUMNS)
def test_a_missing_column_is_named(tmp_path, column):
    rows = [{key: value for key, value in ROW.items() if key != column}]
    with pytest.raises(ValueError, match=f"{column} is missing"):
        metadata.read_metadata(write_parquet(tmp_path, rows))


def test_files_that_are_no_parquet(tmp_path):
    path = tmp_path / "metadata.parquet"
    for content in (b"", b"patch_id,labels\n" * 9):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"metadata\.parquet: expected the parq"):
            metadata.read_metadata(path)
    with pytest.raises(FileNotFoundError, match=r"none\.parquet: no such file"):
        metadata.read_metadata(tmp_path / "none.parquet")


def test_splits_without_patches_are_refused(tmp_path):
    table = metadata.read_metadata(write_parquet(tmp_path, [OTHER]))
    with pytest.raises(ValueError, match="no patch of split 'test'"):
        metadata.entries_from_metadata(table, "test")
    with pytest.raises(ValueError, match=r"unknown split 'validation': .*val"):
        metadata.entries_from_metadata(table, "validation")


def test_name_lists(tmp_path):
    path = tmp_path / "snow.csv"
    names = ["S2A_MSIL2A_20170613T101031_1_2", "S2B_MSIL2A_20170924T93020_69_24"]
    path.write_bytes("\r\n".join([*names, ""]).encode())
    assert metadata.read_name_list(path) == names
    path.write_text(f"{names[0]}\n{names[1]},extra\n")
    with pytest.raises(ValueError, match=r"snow\.csv:2: not a patch name"):
        metadata.read_name_list(path)


def test_labels_of_the_six_pairs_match_across_versions(shared, real_table):
    """v1's labels, converted, lie near v2's: only the map of 2018 changed some."""
    by_v1_name = real_table.set_index("s2v1_name")["labels"]
    shares = []
    for path in (shared / "data/v1/BigEarthNet-v1.0").glob("*/*.json"):
        if path.parent.name in by_v1_name.index:
            v1 = set(labels.convert_43_to_19(metadata.read_v1_json(path).labels))
            v2 = set(by_v1_name[path.parent.name])
            shares.append(len(v1 & v2) / len(v1 | v2))
    assert len(shares) == 5
    assert np.mean(shares) > 0.6


def test_tables_are_put_together_and_overlaps_refused(shared):
    v2 = shared / "data" / "v2"
    clean = v2 / "metadata.parquet"
    cloudy = v2 / "metadata_for_patches_with_snow_cloud_or_shadow.parquet"
    assert len(metadata.read_tables([clean, cloudy])) == 549_488
    with pytest.raises(ValueError, match="is in two tables"):
        metadata.read_tables([cloudy, cloudy])


@pytest.mark.parametrize(
    "name", ["metadata", "metadata_for_patches_with_snow_cloud_or_shadow"]
)
def test_a_published_table_is_written_as_it_was(shared, tmp_path, name):
    """Some thousand rows of each, in another order, of every split and country."""
    path = shared / f"data/v2/{name}.parquet"
    known = metadata.read_metadata(path).iloc[::37]
    entries = metadata.entries_from_metadata(known)
    metadata.write_metadata(tmp_path / "new.parquet", reversed(entries), known)
    written = parquet.read_table(tmp_path / "new.parquet")
    original = parquet.read_table(path)
    assert written.schema.equals(original.schema)
    assert written.equals(original.take(list(range(0, len(original), 37))))
    copy = metadata.read_metadata(tmp_path / "new.parquet")
    assert metadata.entries_from_metadata(copy) == entries


def test_what_nobody_knows_is_left_open(tmp_path):
    entry = PatchEntry(
        ROW["patch_id"],
        ROW["s1_name"],
        ("Broad-leaved forest", "Arable land"),
        "BigEarthNet-19",
        "val",
    )
    path = tmp_path / "metadata.parquet"
    metadata.write_metadata(path, [entry])
    assert [child.name for child in tmp_path.iterdir()] == [path.name]
    (row,) = parquet.read_table(path).to_pylist()
    assert row == {
        "patch_id": ROW["patch_id"],
        "labels": ["Arable land", "Broad-leaved forest"],
        "split": "validation",
        "country": None,
        "s1_name": ROW["s1_name"],
        "s2v1_name": None,
        "contains_seasonal_snow": False,
        "contains_cloud_or_shadow": False,
    }
    known = pd.DataFrame(
        [{**ROW, "contains_seasonal_snow": True, "country": "Ireland"}]
    )
    metadata.write_metadata(path, [entry], known)
    (row,) = parquet.read_table(path).to_pylist()
    assert (row["country"], row["contains_seasonal_snow"]) == ("Ireland", True)
    assert row["s2v1_name"] is None
    metadata.write_metadata(path, [entry], known.iloc[:0])
    (row,) = parquet.read_table(path).to_pylist()
    assert (row["country"], row["contains_seasonal_snow"]) == (None, False)


def test_entries_that_the_published_form_can_not_hold(tmp_path):
    path = tmp_path / "metadata.parquet"
    good = ("Pastures",), "BigEarthNet-19", "train"
    name, name_s1 = OTHER["patch_id"], OTHER["s1_name"]
    for entries, message in (
        ([], "expected patches to write, got none"),
        ([PatchEntry(name, None, *good)], "s1_name is not a Sentinel-1 patch name"),
        ([PatchEntry(name, name_s1, *good)] * 2, "patch_id occurs twice in 1 of 2"),
        ([PatchEntry(name, name_s1, *good[:2], "fold_1")], "split is not .*'fold_1'"),
        ([PatchEntry(name, name_s1, *good[:2])], "split is not train, validation or"),
        ([PatchEntry(name, name_s1, split="val")], f"labels of {name}: .*none"),
        (
            [PatchEntry("S2A_MSIL2A_20170613T101031_87_48", name_s1, *good)],
            "patch_id is not a v2 patch name",
        ),
        (
            [PatchEntry(name, name_s1, ("Sea and ocean",), "original", "val")],
            "unknown label 'Sea and ocean'",
        ),
    ):
        with pytest.raises(ValueError, match=rf"metadata\.parquet: .*{message}"):
            metadata.write_metadata(path, entries)
    assert not path.exists()


def test_a_patch_becomes_a_line_of_a_list():
    patch = Patch("S2", "S1", {}, ("Pastures",), "BigEarthNet-19")
    assert metadata.entry_of(patch, "val") == PatchEntry(
        "S2", "S1", ("Pastures",), "BigEarthNet-19", "val"
    )
