"""Patch names of the three forms, and the folders that follow from them."""

from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearthnet_tf.archive import metadata, names


@pytest.mark.parametrize(
    ("name", "sensor", "satellite", "acquired", "tile", "column", "row", "version"),
    [
        (
            "S2A_MSIL2A_20170613T101031_87_48",
            *("S2", "S2A", datetime(2017, 6, 13, 10, 10, 31), None, 87, 48, "v1"),
        ),
        (
            "S2B_MSIL2A_20170924T93020_69_4",
            *("S2", "S2B", datetime(2017, 9, 24, 9, 30, 20), None, 69, 4, "v1"),
        ),
        (  # 61 seconds: limited to 59
            "S2B_MSIL2A_20180204T94161_57_38",
            *("S2", "S2B", datetime(2018, 2, 4, 9, 41, 59), None, 57, 38, "v1"),
        ),
        (
            "S2A_MSIL2A_20170617T113321_N9999_R080_T29UPU_04_55",
            *("S2", "S2A", datetime(2017, 6, 17, 11, 33, 21), "29UPU", 4, 55, "v2"),
        ),
        (
            "S1A_IW_GRDH_1SDV_20170617T064724_29UPU_4_55",
            *("S1", "S1A", datetime(2017, 6, 17, 6, 47, 24), "29UPU", 4, 55, None),
        ),
    ],
)
def test_names_of_each_form(
    name, sensor, satellite, acquired, tile, column, row, version
):
    parsed = names.parse_name(name)
    expected = names.PatchName(
        name, sensor, satellite, acquired, tile, column, row, version
    )
    assert parsed == expected


@pytest.mark.parametrize(
    "name",
    [
        "",
        "patch",
        "S2A_MSIL2A_20170613T101031",
        "S2A_MSIL2A_20170613T101031_87_48_B02",
        "S2A_MSIL2A_20171313T101031_87_48",  # month 13
        "S2A_MSIL2A_20170613T251031_87_48",  # hour 25
        "S2C_MSIL2A_20170613T101031_87_48",
        "S2A_MSIL2A_20170617T113321_N9999_R080_T29UPU_4_55",  # v2 pads to two digits
        "S1A_IW_GRDH_1SDV_20170617T064724_T29UPU_4_55",
        "S1A_IW_GRDH_1SDV_20170617T064724",
        " S2A_MSIL2A_20170613T101031_87_48",
        "S2A_MSIL2A_20170613T101031_87_48\n",
    ],
)
def test_other_strings_are_refused(name):
    with pytest.raises(ValueError, match="not a patch name"):
        names.parse_name(name)


@given(
    st.datetimes(datetime(2017, 6, 1), datetime(2018, 5, 31)).map(
        lambda time: time.replace(microsecond=0)
    ),
    st.integers(0, 90),
    st.integers(0, 90),
)
def test_v1_and_v2_names_of_any_time_and_place(time, column, row):
    hour = f"{time:%H}".lstrip("0") or "0"
    v1 = f"S2A_MSIL2A_{time:%Y%m%d}T{hour}{time:%M%S}_{column}_{row}"
    v2 = f"S2A_MSIL2A_{time:%Y%m%dT%H%M%S}_N9999_R022_T33UUP_{column:02}_{row:02}"
    for name in (v1, v2):
        parsed = names.parse_name(name)
        assert (parsed.acquired, parsed.column, parsed.row) == (time, column, row)


@pytest.mark.parametrize(
    ("month", "season"),
    [
        *[(1, "Winter"), (2, "Winter"), (3, "Spring"), (5, "Spring"), (6, "Summer")],
        *[(8, "Summer"), (9, "Fall"), (11, "Fall"), (12, "Winter")],
    ],
)
def test_seasons(month, season):
    assert names.season(date(2017, month, 1)) == season


def test_tile_folders(shared):
    for sensor in ("S1", "S2"):
        for folder in (shared / f"data/v2/BigEarthNet-{sensor}").glob("*/*"):
            assert names.tile_folder(folder.name) == folder.parent.name
            assert names.folder_version(folder.parent.name) == "v2"


def test_a_v1_name_has_no_tile_folder():
    with pytest.raises(ValueError, match="v1 name"):
        names.tile_folder("S2A_MSIL2A_20170613T101031_87_48")


@pytest.mark.parametrize(
    ("folder", "version"),
    [
        ("S2A_MSIL2A_20170613T101031_87_48", "v1"),
        ("S1A_IW_GRDH_1SDV_20170617T064724_29UPU_4_55", "v1"),
        ("S2A_MSIL2A_20170617T113321_N9999_R080_T29UPU", "v2"),
        ("S1A_IW_GRDH_1SDV_20170617T064724", "v2"),
        ("S2A_MSIL2A_20170617T113321_N9999_R080_T29UPU_04_55", None),
        ("BigEarthNet-v1.0", None),
    ],
)
def test_folder_versions(folder, version):
    assert names.folder_version(folder) == version


def test_all_names_of_the_snow_and_cloud_lists_parse(shared):
    snow = metadata.read_name_list(shared / "data/v1/patches_with_seasonal_snow.csv")
    cloud = metadata.read_name_list(
        shared / "data/v1/patches_with_cloud_and_shadow.csv"
    )
    assert (len(set(snow)), len(set(cloud))) == (61_707, 9_280)
    assert not set(snow) & set(cloud)
    assert {names.parse_name(name).version for name in cloud} == {"v1"}
