"""What names, tags and metadata say of the numbers in a file."""

from datetime import date
from pathlib import Path

import pytest
import scene_files

from bigearthnet_tf.archive import band_names, pixel_evidence, pixel_values, safe
from bigearthnet_tf.archive.pixel_values import Given
from bigearthnet_tf.archive.raster_header import Header

L2A = "S2A_MSIL2A_20220512T101021_{}_R022_T32UMA_20220512T143012"


def header(path="B04.tif", tags=None, scale=1.0, offset=0.0, band_tags=None):
    return Header(
        *(Path(path), ("uint16",), (None,), (scale,), (offset,)),
        *(tags or {}, (band_tags or {},)),
    )


def meaning(path="B04.tif", given=pixel_values.NOTHING_GIVEN, **facts):
    return pixel_evidence.read(header(path, **facts), 1, "B04", "S2", given)


@pytest.mark.parametrize(
    ("path", "offset", "is_open"),
    [
        (f"{L2A.format('N0400')}/B04.tif", -1000, False),
        (f"{L2A.format('N0511')}.SAFE/x/y/z/B04.tif", -1000, False),
        (f"{L2A.format('N0510')}_B04.tif", -1000, False),
        (f"{L2A.format('N0301')}/B04.tif", 0, False),
        # Runs of sen2cor by users, and BigEarthNet's own names.
        (f"{L2A.format('N9999')}/B04.tif", 0, True),
        (f"{L2A.format('N9900')}_B04.tif", 0, True),
        ("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_87_48_B04.tif", 0, False),
        ("N4500_E0090_B04.tif", 0, False),
        ("T32UMA_20220512T101021_B04_10m.jp2", 0, True),
        ("20210512_B04.tif", 0, False),
        ("B04.tif", 0, False),
        ("2022-05-12/B04.tif", 0, True),
        ("HLS.S30.T32UMA.2022132T101021.v2.0.B04.tif", 0, True),
        ("SENTINEL2A_20220512-103456-789_L2A_T32UMA_C_V3-1_FRE_B4.tif", 0, True),
        ("openEO_2022-05-12Z.tif", 0, True),
        ("20220512T101021_20220512T101021_T32UMA.tif", 0, True),
        # Composites.
        ("S2_median_2023.tif", 0, True),
        ("S2_2022-07_B04.tif", 0, True),
        ("2023/07/mosaic_B04.tif", 0, False),
        ("S2_2021_B04.tif", 0, False),
        ("tile_2048_B04.tif", 0, False),
        ("median_2021-2023_B04.tif", 0, True),
        ("S2_20210601_20230601_median_B04.tif", 0, True),
        ("S2_2021-06-01_2023-06-01_B04.tif", 0, True),
        ("S2_2019-06-01_2021-06-01_B04.tif", 0, False),
        ("mosaic_2019_to_2024_B04.tif", 0, True),
        ("a_2023Q2_B04.tif", 0, True),
        ("june2023_B04.tif", 0, True),
        ("export_20210101/s_2023_B04.tif", 0, True),
        ("export_20240101/s_20180601_B04.tif", 0, False),
        ("export_20240101/B04.tif", 0, True),
        # A latitude.
        ("site_N0512_E01330_B04.tif", 0, False),
        ("site_N0512W013_B04.tif", 0, False),
    ],
)
def test_names_say_offset_and_day(path, offset, is_open):
    found = meaning(path)
    assert (found.scale, found.offset, found.is_open) == (1, offset, is_open)


@pytest.mark.parametrize(
    ("facts", "scale", "offset"),
    [
        ({"tags": {"PROCESSING_BASELINE": "05.09"}}, 1, -1000),
        ({"tags": {"PROCESSING_BASELINE": "02.14"}}, 1, 0),
        ({"tags": {"BOA_ADD_OFFSET": "-1000"}}, 1, -1000),
        ({"band_tags": {"BOA_ADD_OFFSET": "-900"}}, 1, -900),
        (
            {"tags": {"PROCESSING_BASELINE": "05.09"},
             "band_tags": {"BOA_ADD_OFFSET": "0"}}, 1, 0,
        ),
        (
            {"tags": {"BOA_ADD_OFFSET": "-100", "QUANTIFICATION_VALUE": "1000"}},
            10, -1000,
        ),
        ({"tags": {"BOA_QUANTIFICATION_VALUE": "10000"}}, 1, 0),
        ({"tags": {"PROCESSING_BASELINE": "05.09"}, "scale": 1e-4}, 1, 0),
        ({"tags": {"PROCESSING_BASELINE": "0500"}}, 1, -1000),
        ({"tags": {"PROCESSING_BASELINE": "0214"}}, 1, 0),
        ({"tags": {"PROCESSING_BASELINE": "99.99"}, "path": "N0509_B4.tif"}, 1, -1000),
    ],
)  # fmt: skip
def test_tags_say_scale_and_offset(facts, scale, offset):
    found = meaning(**facts)
    assert (found.scale, found.offset) == pytest.approx((scale, offset))


def test_a_difference_of_the_evidence_is_told(caplog):
    assert meaning(f"{L2A.format('N0509')}/B04.tif", scale=1e-4).offset == 0
    assert "its scale and offset tags say an offset of 0" in caplog.text
    assert "N0509 in its name one of -1000" in caplog.text
    caplog.clear()
    assert meaning("x_N0509_B04.tif", Given(offset=0.0), scale=1e-4).offset == 0
    assert not caplog.text


@pytest.mark.parametrize(
    ("facts", "won", "lost"),
    [
        ({"tags": {"PROCESSING_BASELINE": "02.14"}, "path": "x_N0509_B04.tif"},
         "the metadata in its tags say an offset of 0", "N0509 in its name one of"),
        ({"path": "N0509/x_N0301_B04.tif"},
         "N0301 in its name say an offset of 0", "N0509 in its name one of -1000"),
    ],
)  # fmt: skip
def test_a_difference_between_metadata_and_names_is_told(facts, won, lost, caplog):
    assert meaning(**facts).offset == 0
    assert won in caplog.text
    assert lost in caplog.text


def test_two_baselines_in_one_name_are_asked_about():
    with pytest.raises(ValueError, match=r"one processing baseline .* N0301 and N0509"):
        meaning("g_N0301_repro_N0509_B04.tif")
    assert meaning("g_N0500_repro_N0509_B04.tif").offset == -1000


@pytest.mark.parametrize(
    ("path", "tags", "is_open"),
    [
        ("export_20210101/B04.tif", {"ACQUISITION_DATE": "2023-05-01"}, True),
        ("B04.tif", {"ACQUISITION_DATE": "01.06.2023"}, True),
        ("B04.tif", {"ACQUISITION_DATE": "01.06.2019"}, False),
        (
            "B04.tif",
            {"ACQUISITION_DATE": "2021-06-01", "PRODUCT_START_TIME": "2023-06-01"},
            True,
        ),
        ("20180601/B04.tif", {"TIFFTAG_DATETIME": "2024:05:01 10:00:00"}, False),
        ("B04.tif", {"TIFFTAG_DATETIME": "2024:05:01 10:00:00"}, True),
    ],
)
def test_the_last_day_of_file_and_tags_counts(path, tags, is_open):
    assert meaning(path, tags=tags).is_open == is_open


def test_name_and_tag_of_an_acquisition_must_agree():
    path = Path("2021-05-12_bands.tif")
    find = pixel_evidence.acquisition_day
    assert find(path, {"ACQUISITION_DATE": "2021-05-13"}) == date(2021, 5, 12)
    assert find(path, {"TIFFTAG_DATETIME": "2024-01-01"}) == date(2021, 5, 12)
    assert find(Path("a.tif"), {"TIFFTAG_DATETIME": "2024-01-01"}) == date(2024, 1, 1)
    with pytest.raises(ValueError, match="says 2021-05-12 and the tag date 2023-05-01"):
        find(path, {"date": "2023-05-01"})


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"PROCESSING_BASELINE": "x"}, "expected a number such as 04.00 as PROCESSING"),
        ({"PROCESSING_BASELINE": "nan"}, "expected a number such as 04.00"),
        ({"PROCESSING_BASELINE": "500"}, "expected a number such as 04.00"),
        ({"PROCESSING_BASELINE": "N0500"}, "expected a number such as 04.00"),
        ({"BOA_ADD_OFFSET": "1000"}, "expected BOA_ADD_OFFSET of 0 or below"),
        ({"BOA_ADD_OFFSET": "inf"}, "expected a number .* as BOA_ADD_OFFSET"),
        ({"QUANTIFICATION_VALUE": "0"}, "expected a quantification above 0"),
    ],
)
def test_tags_that_say_nothing_are_refused(tags, message):
    with pytest.raises(ValueError, match=f"B04.tif: band B04: {message}"):
        meaning(tags=tags)


@pytest.mark.parametrize(
    ("facts", "offset"),
    [
        ({"baseline": "05.10"}, -1000),
        ({"baseline": "05.10", "offsets": False}, -1000),
        ({"baseline": "02.14", "offsets": False}, 0),
        ({"baseline": "99.99"}, -1000),
        # Nothing but the day is left, which is in the names below.
        ({"baseline": "99.99", "offsets": False}, None),
    ],
)
def test_metadata_beside_and_above(tmp_path, facts, offset):
    (tmp_path / "x.SAFE").mkdir()
    product = scene_files.write_safe(tmp_path / "x.SAFE", {}, **facts)
    inside = product / "GRANULE/L2A_T29UPU_A1_20240601T1/IMG_DATA/R10m/T29_B04_10m.jp2"
    for path in (inside, product / "B04.tif"):
        (found,) = pixel_evidence.find_products(path, "B04", {})
        assert found == (1.0, offset, found[2])
        assert (found[2] == safe.METADATA) == (offset is not None)
    # What lies elsewhere below is another thing.
    assert pixel_evidence.find_products(product / "made/B04.tif", "B04", {}) == []
    assert safe.find_metadata(product / "made/B04.tif") is None


def test_metadata_of_another_quantification_or_a_band_short(tmp_path):
    (tmp_path / "x.SAFE").mkdir()
    product = scene_files.write_safe(tmp_path / "x.SAFE", {}, quantification=1000)
    path = product / safe.METADATA
    assert pixel_evidence.find_products(product / "B04.tif", "B04", {})[0][:2] == (
        *(10, -10000),
    )
    text = path.read_text()
    path.write_text(text.replace('<BOA_ADD_OFFSET band_id="3">-1000<', "<X>0<", 1))
    with pytest.raises(ValueError, match="expected XML"):
        pixel_evidence.find_products(product / "B04.tif", "B04", {})
    path.write_text(text.replace('band_id="3"', 'band_id="0"', 1))
    with pytest.raises(ValueError, match=r"BOA_ADD_OFFSET of every band, but .* B04"):
        pixel_evidence.find_products(product / "B04.tif", "B04", {})
    path.write_text(text.replace(">1000<", ">0<", 1))
    with pytest.raises(ValueError, match="expected PROCESSING_BASELINE"):
        pixel_evidence.find_products(product / "B04.tif", "B04", {})


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("S2A_MSIL2A_20210512T101021_N0500_R022_T32UMA_20230105T000000", (2021, 5, 12)),
        ("2021-05-12_2023-01-01", (2021, 5, 12)),
        ("2021_05_12", (2021, 5, 12)),
        ("2021:05:12 10:11:12", (2021, 5, 12)),
        ("HLS.S30.T32UMA.2021132T101021.v2.0", (2021, 5, 12)),
        ("20211399_20210512", (2021, 5, 12)),
        ("2021366T101021", None),
        ("1098020210512", None),
        ("T32UMA_B04_10m", None),
    ],
)
def test_first_date_in_a_text(text, day):
    assert pixel_evidence.day_in(text) == (date(*day) if day else None)


def test_an_acquisition_is_settled_as_a_whole():
    plain, shifted = meaning("B02.tif"), meaning("N0509_B04.tif")
    check = pixel_evidence.check_settled
    check([("a", plain), ("b", plain)], "scene", "say so")
    check([("a", shifted), ("b", shifted)], "scene", "say so")
    with pytest.raises(
        ValueError, match=r"scene: b has .* -1000 by N0509 .* of a: ESA"
    ):
        check([("a", plain), ("b", shifted)], "scene", "say so")
    with pytest.raises(ValueError, match=r"of 2022-05-12, but a has none: .* say so$"):
        check([("a", meaning("20220512_B04.tif"))], "scene", "say so")
    tagged = meaning("B02.tif", scale=1e-4)
    with pytest.raises(ValueError, match=r"a has .* 0 by its scale.* b one of -1000"):
        check([("a", tagged), ("b", shifted)], "scene", "say so")
    check([("a", tagged), ("b", meaning("N0301_B04.tif"))], "scene", "say so")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("S2A_MSIL1C_20220512T101021_N0400_R022_T32UMA/B04.tif", "level 1C"),
        ("LC08_L2SP_193026_20220512_20220518_02_T1_SR_B4.TIF", "Landsat's"),
        ("HLS.L30.T32UMA.2022132T101021.v2.0.B05.tif", "Landsat's"),
    ],
)
def test_other_images_under_the_same_names_are_refused(path, message):
    with pytest.raises(ValueError, match=message):
        pixel_evidence.check_is_level_2a(Path(path))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("B4", "B04"),
        ("b8a", "B8A"),
        ("B4, central wavelength 665 nm", "B04"),
        ("T32UMA_20220512T101021_B04_10m", "B04"),
        ("S1A_IW_GRDH_VV_dB", "VV"),
        ("SCL", "SCL"),
        ("T32UMA_20220512T101021_SCL_20m", "SCL"),
        ("T32UMA_20220512T101021_TCI_10m", None),
        ("MSK_QUALIT_B04", None),
        ("TCI_R", None),
        ("B4_B8", None),
        ("B04_std", None),
        ("B04 count", None),
        ("B04 cloud mask", None),
        ("country_B04", "B04"),
        ("QA60", None),
        ("", None),
        (None, None),
    ],
)
def test_names_of_layers(text, name):
    assert band_names.layer_name(text) == name


def test_a_band_that_is_named_twice_has_one_name():
    path = Path("x_B04.tif")
    assert band_names.one_name(None, path) == "B04"
    assert band_names.one_name("Gray", path) == "B04"
    assert band_names.one_name("B4", path) == "B04"
    with pytest.raises(ValueError, match=r"named after B04, but .* described as 'b1'"):
        band_names.one_name("b1", path)
