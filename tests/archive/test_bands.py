"""The band table, the band sets and the orders of the published projects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearthnet_tf.archive import bands

# The table of channel orders, transcribed from the projects' documentation.
PUBLISHED = {
    "s1": "VV VH",
    "s2": "B02 B03 B04 B05 B06 B07 B08 B8A B11 B12",
    "all": "VV VH B02 B03 B04 B05 B06 B07 B08 B8A B11 B12",
    "all_full": "VV VH B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B11 B12",
    "s2_full": "B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B11 B12",
    "s2_no_rgb": "B01 B05 B06 B07 B08 B8A B09 B11 B12",
    "all_no_rgb": "VV VH B01 B05 B06 B07 B08 B8A B09 B11 B12",
    "rgb": "B04 B03 B02",
    "rgb_ir": "B02 B03 B04 B08",
    "tf_s2": "B04 B03 B02 B08 B05 B06 B07 B8A B11 B12",
    "tf_mm": "B04 B03 B02 B08 B05 B06 B07 B8A B11 B12 VV VH",
    "k_branch": "B04 B03 B02 B08 B05 B06 B07 B8A B11 B12 B01 B09",
    "ilm_v1_s1": "VH VV",
    "ilm_v1_s2": "B02 B03 B04 B08 B05 B06 B07 B11 B12 B8A",
    "ilm_v1_all": "B02 B03 B04 B08 B05 B06 B07 B11 B12 B8A VH VV",
    "torchgeo_all": "VH VV B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B11 B12",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_sets_have_the_published_order(name):
    assert bands.resolve_bands(name) == tuple(PUBLISHED[name].split())


def test_every_band_covers_the_patch_and_has_the_dtype_of_its_sensor():
    for name, band in bands.BANDS.items():
        assert band.name == name
        assert band.pixels * band.metres == 1200
        assert band.dtype == {"S1": "float32", "S2": "uint16"}[band.sensor]
        assert (band.wavelength_nm is None) == (band.sensor == "S1")
    assert "B10" not in bands.BANDS


def test_wavelengths_rise_along_the_channel_order():
    wavelengths = [b.wavelength_nm for b in bands.BANDS.values() if b.sensor == "S2"]
    assert wavelengths == sorted(wavelengths)
    assert bands.BANDS["B02"].wavelength_nm == pytest.approx(492.4)


@pytest.mark.parametrize("name", bands.BAND_SETS)
def test_sets_name_known_bands_once(name):
    members = bands.BAND_SETS[name]
    assert set(members) <= set(bands.BANDS)
    assert len(set(members)) == len(members)


def test_groups_of_all_bands():
    assert bands.group_bands(bands.BANDS) == {
        "s1_10m": ("VV", "VH"),
        "s2_10m": ("B02", "B03", "B04", "B08"),
        "s2_20m": ("B05", "B06", "B07", "B8A", "B11", "B12"),
        "s2_60m": ("B01", "B09"),
    }
    assert tuple(bands.group_bands(bands.BANDS)) == bands.GROUPS


some_bands = st.lists(st.sampled_from(list(bands.BANDS)), min_size=1, unique=True)


@given(some_bands)
def test_a_list_of_bands_keeps_its_order(names):
    assert bands.resolve_bands(names) == tuple(names)


@given(some_bands)
def test_groups_partition_any_selection(names):
    groups = bands.group_bands(names)
    members = [band for group in groups.values() for band in group]
    assert sorted(members) == sorted(names)
    for group, inside in groups.items():
        assert {bands.BANDS[name].group for name in inside} == {group}
        assert len({bands.BANDS[name].dtype for name in inside}) == 1
        assert len({bands.BANDS[name].pixels for name in inside}) == 1
        assert list(inside) == sorted(inside, key=list(bands.BANDS).index)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ("s3", "unknown band set 's3'.*'s[12]'"),
        ("B04", r'write \["B04"\]'),
        (["B8a"], "unknown band 'B8a': did you mean 'B8A'"),
        (["B10"], "unknown band 'B10'"),
        (["VV", "VH", "VV"], "more than once: VV"),
        ([], "empty"),
    ],
)
def test_bad_selections_are_refused(selection, message):
    with pytest.raises(ValueError, match=message):
        bands.resolve_bands(selection)
