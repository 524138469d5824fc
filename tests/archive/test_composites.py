"""Composites against pixel-by-pixel arithmetic in exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bigearthnet_tf.archive import composites, labels
from bigearthnet_tf.archive.geotiff import read_reference_map
from bigearthnet_tf.archive.statistics import band_statistics

RASTERS = hnp.arrays(np.uint16, (3, 4))
DECIBELS = hnp.arrays(
    np.float32, (3, 4), elements=st.floats(-75, 35, width=32, allow_subnormal=False)
)


def expected(value, low, high):
    """The nearest of 0 to 255; two of them where it lies half-way between."""
    exact = (Fraction(float(value)) - low) * 255 / (high - low)
    clipped = min(max(exact, Fraction(0)), Fraction(255))
    return {n for n in range(256) if abs(n - clipped) <= Fraction(1, 2) + 1e-9}


@given(red=RASTERS, green=RASTERS, blue=RASTERS)
def test_true_colour_is_linear_up_to_white(red, green, blue):
    bands = {"B02": blue, "B03": green, "B04": red, "VV": np.zeros(1)}
    picture = composites.true_colour(bands)
    assert picture.dtype == np.uint8
    assert picture.shape == (3, 4, 3)
    for row, column in np.ndindex(3, 4):
        for channel, raster in enumerate((red, green, blue)):
            value = picture[row, column, channel]
            assert value in expected(raster[row, column], 0, 2000)


@given(vv=DECIBELS, vh=DECIBELS)
def test_radar_channels_are_vv_vh_and_their_difference(vv, vh):
    picture = composites.radar_composite({"VH": vh, "VV": vv})
    assert (picture.dtype, picture.shape) == (np.uint8, (3, 4, 3))
    for row, column in np.ndindex(3, 4):
        a, b = float(vv[row, column]), float(vh[row, column])
        ranges = ((a, -23, -2), (b, -30, -8), (a - b, 0, 13))
        for channel, (value, low, high) in enumerate(ranges):
            assert picture[row, column, channel] in expected(value, low, high)


def test_what_is_no_number_is_black():
    odd = np.array([[np.nan, -np.inf, np.inf]], np.float32)
    picture = composites.radar_composite({"VV": odd, "VH": odd})
    assert picture[0, 0].tolist() == [0, 0, 0]
    assert picture[0, 1].tolist() == [0, 0, 0]
    assert picture[0, 2].tolist() == [255, 255, 0]


def test_radar_ranges_are_two_deviations_about_the_mean():
    of = band_statistics("v2_120_nearest")
    for band in composites.RADAR:
        low, high = composites.RADAR_DECIBELS[band]
        assert low == pytest.approx(of.mean[band] - 2 * of.std[band], abs=0.6)
        assert high == pytest.approx(of.mean[band] + 2 * of.std[band], abs=0.6)
    low, high = composites.RADAR_DECIBELS["VV - VH"]
    difference = of.mean["VV"] - of.mean["VH"]
    assert (low + high) / 2 == pytest.approx(difference, abs=0.6)


def test_most_of_a_real_patch_is_neither_black_nor_saturated(shared):
    from bigearthnet_tf.archive import archives, splits

    root = shared / "data" / "v1"
    archive = archives.open_archive(
        root / "BigEarthNet-v1.0", root / "BigEarthNet-S1-v1.0"
    )
    pixels, differences = [], []
    for split in ("train", "val", "test"):
        for entry in archive.complete(splits.read_split_csv(root / f"{split}.csv")):
            bands = archive.read(entry).bands
            pixels.append(composites.radar_composite(bands))
            differences.append(bands["VV"] - bands["VH"])
    for channel in np.moveaxis(np.stack(pixels), -1, 0):
        assert ((channel > 0) & (channel < 255)).mean() > 0.9
    assert np.std(differences) == pytest.approx(3.3, abs=0.05)


def test_missing_bands_are_named():
    red = np.zeros((2, 2), np.uint16)
    with pytest.raises(ValueError, match="B03, B02 is not there; there are B04"):
        composites.true_colour({"B04": red})
    with pytest.raises(ValueError, match="VV, VH is not there; there are none"):
        composites.radar_composite({})


@pytest.mark.parametrize("label_type", labels.LABELS)
def test_maps_have_the_colours_of_their_labels(label_type):
    table = labels.TABLES[label_type]
    colours = {code: label.colour for label in table for code in label.clc_codes}
    codes = np.array([[*colours, 999, 335, 0]], np.uint16)
    picture = composites.reference_map_colours(codes, label_type)
    assert picture.shape == (*codes.shape, 3)
    for code, pixel in zip(codes[0].tolist(), picture[0], strict=True):
        name = "#" + "".join(f"{value:02x}" for value in pixel)
        assert name == colours.get(code, composites.UNLABELLED)


def test_the_genuine_map_is_all_labelled(shared):
    path = next((shared / "data" / "v2" / "Reference_Maps").rglob("*.tif"))
    codes = read_reference_map(path)
    picture = composites.reference_map_colours(codes, "BigEarthNet-19")
    by_code = composites.labels_by_code("BigEarthNet-19")
    for code in np.unique(codes).tolist():
        found = {tuple(pixel) for pixel in picture[codes == code].tolist()}
        wanted = by_code[code].colour if code in by_code else composites.UNLABELLED
        assert found == {tuple(bytes.fromhex(wanted[1:]))}


def test_an_unknown_nomenclature_is_refused():
    with pytest.raises(ValueError, match="unknown label_type"):
        composites.labels_by_code("BigEarthNet-20")
