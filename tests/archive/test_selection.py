"""Filters against the same choice made row by row."""

import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearthnet_tf.archive import labels, metadata, patch_set, selection
from bigearthnet_tf.archive.selection import Filters

COUNTRIES = ("Austria", "Finland", "Portugal")
MONTHS = {"01": "Winter", "04": "Spring", "07": "Summer", "10": "Fall", "12": "Winter"}
TILES = ("33UUP", "33UVP", "35VPK")


def make_row(index, country, month, tile, own, snow, cloud):
    place = f"{index // 90:02}_{index % 90:02}"
    return {
        "patch_id": f"S2A_MSIL2A_2017{month}13T101031_N9999_R022_T{tile}_{place}",
        "labels": list(own),
        "split": "train",
        "country": country,
        "s1_name": f"S1B_IW_GRDH_1SDV_2017{month}12T165809_{tile}_"
        f"{index // 90}_{index % 90}",
        "s2v1_name": f"S2A_MSIL2A_2017{month}13T101031_{index // 90}_{index % 90}",
        patch_set.SNOW: snow,
        patch_set.CLOUD: cloud,
    }


def make_set(rows, folder):
    path = folder / "metadata.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return patch_set.from_metadata(metadata.read_metadata(path))


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    names = labels.label_names("BigEarthNet-19")
    return [
        make_row(
            index,
            *(rng.choice(values) for values in (COUNTRIES, list(MONTHS), TILES)),
            rng.choice(names, rng.integers(1, 4), replace=False),
            bool(rng.random() < 0.2),
            bool(rng.random() < 0.2),
        )
        for index in range(200)
    ]


@pytest.fixture(scope="module")
def patches(rows, tmp_path_factory):
    return make_set(rows, tmp_path_factory.mktemp("rows"))


@given(
    st.sets(st.sampled_from(COUNTRIES)),
    st.sets(st.sampled_from(sorted(set(MONTHS.values())))),
    st.sets(st.sampled_from(labels.label_names("BigEarthNet-19"))),
    st.sets(st.sampled_from(TILES)),
    st.sets(st.sampled_from(["snow", "cloud"])),
    st.sets(st.sampled_from(["snow", "cloud"])),
)
def test_filters_row_by_row(
    rows, patches, countries, seasons, wanted, tiles, only, exclude
):
    flags = selection.BUILT_IN
    expected = [
        row["patch_id"]
        for row in rows
        if (not countries or row["country"] in countries)
        and (not seasons or MONTHS[row["patch_id"][15:17]] in seasons)
        and (not wanted or wanted & set(row["labels"]))
        and (not tiles or row["patch_id"].split("_")[5][1:] in tiles)
        and (not only or any(row[flags[word]] for word in only))
        and not any(row[flags[word]] for word in exclude)
    ]
    filters = Filters(*map(sorted, (countries, seasons, wanted, tiles, only, exclude)))
    if not expected:
        with pytest.raises(ValueError, match="none of the 200 patches"):
            selection.select(patches, filters)
        return
    chosen = selection.select(patches, filters)
    assert chosen.table["name"].tolist() == expected
    kept = patches.table["name"].isin(expected).to_numpy()
    np.testing.assert_array_equal(chosen.multi_hot, patches.multi_hot[kept])


def select(patches, **filters):
    return selection.select(patches, Filters(**filters)).table


def test_spellings(patches):
    assert set(select(patches, countries=["AUSTRIA"])["country"]) == {"Austria"}
    assert set(select(patches, seasons=["fall"])["season"]) == {"Fall"}
    assert set(select(patches, tiles=["T33U*"])["tile"]) == {"33UUP", "33UVP"}
    assert select(patches, labels=["MW"]).equals(
        select(patches, labels=["Marine waters"])
    )


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"countries": ["Austia"]}, "did you mean 'Austria'"),
        ({"seasons": ["Sumer"]}, "did you mean 'Summer'"),
        ({"tiles": ["33UUX"]}, "no patch on tile '33UUX': did you mean '33UUP'"),
        ({"labels": ["Pasture"]}, "did you mean 'Pastures'"),
    ],
)
def test_unknown_values(patches, filters, message):
    with pytest.raises(ValueError, match=message):
        select(patches, **filters)


@pytest.mark.parametrize("column", ["patch_id", "s2v1_name"])
def test_lists_hold_names_of_either_version(rows, patches, tmp_path, column):
    path = tmp_path / "snow.csv"
    path.write_text("".join(f"{row[column]}\r\n" for row in rows[:5]))
    expected = [row["patch_id"] for row in rows[:5]]
    assert select(patches, only=[path])["name"].tolist() == expected
    assert len(select(patches, exclude=[path])) == 195


def test_lists_that_name_nobody(rows, patches, tmp_path, caplog):
    path = tmp_path / "snow.csv"
    path.write_text("S2A_MSIL2A_20170613T101031_90_90\n")
    with caplog.at_level(logging.WARNING):
        assert len(select(patches, exclude=[path])) == 200
    assert "none of its 1 names is here" in caplog.text
    stripped = make_set([{**rows[0]}], tmp_path)
    del stripped.table[patch_set.V1_NAME], stripped.table[patch_set.SNOW]
    with pytest.raises(ValueError, match="list of v1 names, but the patches have v2"):
        select(stripped, exclude=[path])
    with pytest.raises(ValueError, match="which patches have snow is not known"):
        select(stripped, exclude=["snow"])
    with pytest.raises(FileNotFoundError, match="no such list of patches; 'snow'"):
        select(stripped, exclude=[tmp_path / "none.csv"])


def test_what_lists_do_not_say(tmp_path, caplog):
    pair = (
        "S2A_MSIL2A_20170613T101031_87_48,S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48"
    )
    path = tmp_path / "train.csv"
    path.write_text(f"{pair}\nS2B_MSIL2A_20170924T93020_69_24\n")
    listed = patch_set.from_lists([path])
    with pytest.raises(ValueError, match="the country of the patches is not known"):
        select(listed, countries=["Austria"])
    with pytest.raises(ValueError, match="the labels of the patches are not known"):
        select(listed, labels=["Pastures"])
    with caplog.at_level(logging.WARNING):
        assert len(select(listed, tiles=["33UUP"])) == 1
    assert "the tile of 1 patches is not known: left out" in caplog.text


@pytest.mark.slow
def test_snow_and_clouds_of_the_real_metadata(shared):
    tables = [
        shared / "data/v2" / name
        for name in (
            "metadata.parquet",
            "metadata_for_patches_with_snow_cloud_or_shadow.parquet",
        )
    ]
    patches = patch_set.from_metadata(metadata.read_tables(tables))
    clean = selection.select(patches, Filters(exclude=["snow", "cloud"]))
    assert len(clean) == 480_038
    assert len(selection.select(patches, Filters(only=["snow"]))) == 60_773
    assert len(selection.select(patches, Filters(only=["cloud"]))) == 8_677
    # The lists of v1 leave out the same patches, by the old names.
    lists = [
        str(shared / "data/v1" / f"patches_with_{what}.csv")
        for what in ("seasonal_snow", "cloud_and_shadow")
    ]
    by_list = selection.select(patches, Filters(exclude=lists))
    assert by_list.table["name"].tolist() == clean.table["name"].tolist()
    assert len(selection.select(clean, Filters(countries=["kosovo"]))) == 1_616
