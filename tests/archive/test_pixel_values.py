"""What numbers mean: evidence in its order, arithmetic against float64, no-data."""

import math
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet_tf.archive import pixel_values
from bigearthnet_tf.archive.pixel_values import Given

ESA = (1.0, -1000.0, "MTD_MSIL2A.xml")
SILENT = (1.0, None, "its metadata")
OLD, NEW = date(2021, 5, 12), date(2022, 5, 12)


@pytest.mark.parametrize(
    ("facts", "scale", "offset"),
    [
        ({}, 1, 0),
        ({"product": ESA}, 1, -1000),
        ({"product": (10.0, -10000.0, "x")}, 10, -10000),
        ({"tags": (1e-4, -0.1)}, 1, -1000),
        ({"tags": (1.0, -1000.0)}, 1, -1000),
        ({"tags": (1.0, -0.1)}, 10000, -1000),
        ({"tags": (10000.0, 0.0)}, 10000, 0),
        ({"tags": (1.0, 32768.0), "dtype": "int16"}, 1, 32768),
        ({"tags": (2.75e-5, -0.2)}, 0.275, -2000),
        # Tags come before the product, options before both.
        ({"tags": (1e-4, 0.0), "product": ESA}, 1, 0),
        ({"tags": (1e-4, -0.1), "product": (1.0, 0.0, "N0301")}, 1, -1000),
        ({"product": ESA, "given": Given(offset=0.0)}, 1, 0),
        ({"tags": (1e-4, -0.1), "given": Given(offset=0.0)}, 1, 0),
        ({"tags": (1e-4, -0.1), "given": Given(scale=1.0)}, 1, -1000),
        ({"tags": (0.01, 5.0), "given": Given(2.0, 3.0)}, 2, 3),
        ({"dtype": "float32", "given": Given(scale=10000.0)}, 10000, 0),
        ({"product": SILENT, "given": Given(scale=10000.0)}, 10000, 0),
    ],
)
def test_evidence_counts_in_its_order(facts, scale, offset):
    found = pixel_values.of_reflectance(**{"dtype": "uint16", "day": OLD} | facts)
    assert (found.scale, found.offset) == pytest.approx((scale, offset), rel=1e-12)
    assert not found.is_open


@pytest.mark.parametrize(
    ("facts", "is_open"),
    [
        ({"day": NEW}, True),
        ({"day": date(2022, 1, 25)}, True),
        ({"day": date(2022, 1, 24)}, False),
        ({"day": None}, False),
        ({"day": NEW, "product": SILENT}, True),
        ({"day": NEW, "product": ESA}, False),
        ({"day": NEW, "tags": (1e-4, 0.0)}, False),
        ({"day": NEW, "given": Given(scale=10000.0)}, True),
        ({"day": NEW, "given": Given(offset=0.0)}, False),
    ],
)
def test_acquisitions_since_2022_without_evidence_are_open(facts, is_open):
    assert pixel_values.of_reflectance("uint16", **facts).is_open == is_open


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"tags": (0.0, 0.0)}, "scale tag above 0"),
        ({"tags": (math.nan, 0.0)}, "scale tag above 0"),
        ({"tags": (-1e-4, 0.0)}, "scale tag above 0"),
        ({"tags": (1.0, math.inf)}, "scale tag above 0"),
        ({"tags": (0.01, 0.0)}, "give --scale and --offset"),
        ({"tags": (1e-4, -0.1), "given": Given(scale=10000.0)}, "give the offset too"),
        ({"product": ESA, "given": Given(scale=2.0)}, "give the offset too"),
        ({"dtype": "complex64"}, "complex"),
        ({"dtype": "complex_int16"}, "complex"),
    ],
)
def test_what_leaves_scale_or_offset_open_is_refused(facts, message):
    with pytest.raises(ValueError, match=message):
        pixel_values.of_reflectance(**{"dtype": "uint16"} | facts)


@pytest.mark.parametrize(
    "wrong", [{"scale": 0}, {"scale": -1}, {"scale": math.nan}, {"offset": math.inf}]
)
def test_options_that_scale_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=r"--(scale|offset): expected a"):
        Given(**wrong)


@pytest.mark.parametrize(
    ("dtype", "tag", "given_nodata", "nodata"),
    [
        ("uint16", None, None, (0,)),
        ("uint16", 65535, None, (65535,)),
        ("uint16", math.nan, None, (0,)),
        ("uint16", -9999, None, (0,)),
        ("uint16", 0.5, None, (0,)),
        ("uint16", 65535, 0, (0,)),
        # What the type can't hold is said of the other sensor.
        ("uint16", 65535, -9999, (65535,)),
        ("int16", None, -9999, (-9999,)),
        ("float32", math.nan, None, (0,)),
        ("float32", -9999, None, (-9999,)),
    ],
)
def test_no_data_of_reflectance(dtype, tag, given_nodata, nodata):
    values = pixel_values.of_reflectance(
        dtype, (1.0, 0.0), tag, Given(None, None, given_nodata)
    )
    assert values.nodata == nodata


def test_no_data_of_backscatter_are_the_option_the_tag_and_zero():
    values = pixel_values.of_backscatter(
        "float32", nodata=-32768, given=Given(None, None, 7)
    )
    numbers = np.array(
        [7, -32768, 0, -9999, np.nan, np.inf, -np.inf, 9e9, -12, 3], "f4"
    )
    expected = [False] * 8 + [True] * 2
    assert values.has_data(numbers).tolist() == expected
    scaled = pixel_values.of_backscatter("int16", (0.01, 0.0), -32768)
    numbers = np.array([-32768, -1234, 0, -20000, 500], "i2")
    assert scaled.has_data(numbers).tolist() == [False, True, False, False, True]
    archive = scaled.to_archive(numbers, scaled.has_data(numbers))
    assert archive.tolist() == pytest.approx([0, -12.34, 0, 0, 5])


def test_no_data_in_the_type_of_the_file():
    lowest = float(np.finfo("f4").min)  # as GDAL writes it, in float64
    values = pixel_values.of_reflectance("float32", nodata=lowest)
    numbers = np.array([lowest, 5], "f4")
    assert values.has_data(numbers).tolist() == [False, True]
    beyond = pixel_values.of_reflectance("float32", nodata=1e300)
    assert beyond.has_data(numbers[1:]).all()


@pytest.mark.parametrize("fill", [-9999, -10000, -32768])
def test_fill_values_of_reflectance_are_no_data_without_a_tag(fill):
    numbers = np.array([fill, 600, -200], "i2")
    values = pixel_values.of_reflectance("int16")
    assert values.has_data(numbers).tolist() == [False, True, True]
    # Of reflectance as floats too, whose scale is given.
    values = pixel_values.of_reflectance("float32", given=Given(scale=10000))
    assert values.has_data(np.array([fill, 0.06, -0.02], "f4")).tolist() == [
        *(False, True, True)
    ]


DTYPES = ("uint8", "int16", "uint16", "int32", "float32", "float64")


@settings(max_examples=300, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES),
    raw=st.lists(st.integers(0, 255), min_size=1, max_size=40),
    spread=st.sampled_from([1, 13, 120, 257]),
    scale=st.floats(1e-3, 1e4),
    offset=st.floats(-5000, 5000),
    nodata=st.integers(0, 255),
)
def test_arithmetic_is_that_of_float64(dtype, raw, spread, scale, offset, nodata):
    numbers = np.array(raw, np.int64)
    if dtype != "uint8":
        numbers = np.minimum(numbers * spread, 32767)
    numbers = numbers.astype(dtype)
    values = pixel_values.of_reflectance(
        dtype, (1.0, 0.0), float(nodata), Given(scale, offset)
    )
    valid = values.has_data(numbers)
    for number, is_valid in zip(numbers.tolist(), valid.tolist(), strict=True):
        archive = number * scale + offset
        possible = archive >= -5000 or math.isclose(archive, -5000, abs_tol=1e-6)
        if not math.isclose(archive, -5000, abs_tol=1e-3):
            assert is_valid == (number != nodata and possible)
    exact = np.where(valid, numbers.astype(np.float64) * scale + offset, 0)
    np.testing.assert_allclose(values.to_archive(numbers, valid), exact, rtol=1e-15)
    stored = values.stored(numbers, valid, "uint16")
    assert stored.dtype == np.uint16
    clipped = np.clip(exact, 0, 65535)
    # Rounding, and where it falls on a half the neighbour.
    assert (np.abs(stored - clipped) <= 0.5 + 1e-9).all()
    assert not stored[~valid].any()


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=40))
def test_plain_numbers_stay_what_they_are(raw):
    numbers = np.array(raw, np.uint16)
    values = pixel_values.of_reflectance("uint16")
    stored = values.stored(numbers, values.has_data(numbers), "uint16")
    np.testing.assert_array_equal(stored, numbers)
    assert stored.dtype == np.uint16


@given(
    st.lists(st.integers(-4000, 2000), min_size=1, max_size=40),
    st.sampled_from([0.01, 0.1, 0.001]),
    st.floats(-3, 3),
)
def test_decibels_by_their_tags_are_those_of_float64(raw, scale, offset):
    numbers = np.array(raw, np.int16)
    values = pixel_values.of_backscatter("int16", (scale, offset), -32768)
    exact = numbers.astype(np.float64) * scale + offset
    expected = (numbers != 0) & (np.abs(exact) <= 100)
    valid = values.has_data(numbers)
    clear = np.abs(np.abs(exact) - 100) > 1e-6
    np.testing.assert_array_equal(valid[clear], expected[clear])
    archive = values.to_archive(numbers, valid)
    np.testing.assert_allclose(archive[valid], exact[valid], rtol=1e-14, atol=1e-12)
