"""Numbers that can't be what they are taken for, and metres that are none."""

import re

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from bigearthnet_tf.archive import pixel_checks, pixel_values
from bigearthnet_tf.archive.pixel_values import Given

PLACE = {"crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
OPTIONS = ("--scale", "--offset")
RNG = np.random.default_rng(0)
DECIBELS = RNG.normal(-12, 4, 4000).astype("f4")
LAND = RNG.integers(200, 3000, 4000).astype("u2")
ESA = (1.0, -1000.0, "MTD_MSIL2A.xml")


S2 = pixel_values.PixelValues("S2")


def with_share(values, fill, share=0.3):
    filled = values.copy()
    filled[: round(share * len(values))] = fill
    return filled


def judge_s1(numbers, tags=(1.0, 0.0), nodata=None, **given):
    values = pixel_values.of_backscatter(
        numbers.dtype.name, tags, nodata, Given(**given)
    )
    return pixel_checks.judge(numbers, values, "f", OPTIONS)


def judge_s2(numbers, tags=(1.0, 0.0), nodata=None, product=None, **given):
    values = pixel_values.of_reflectance(
        numbers.dtype.name, tags, nodata, Given(**given), product
    )
    return pixel_checks.judge(numbers, values, "f", OPTIONS)


@pytest.mark.parametrize(
    ("numbers", "facts"),
    [
        (DECIBELS, {}),
        (DECIBELS - 6, {}),
        (DECIBELS - 23, {}),  # calm water
        (DECIBELS + 11, {}),  # a city centre
        (with_share(DECIBELS, 0), {}),
        (with_share(DECIBELS, 0, 0.9), {}),
        (with_share(DECIBELS, -9999, 0.9), {}),
        (with_share(DECIBELS, np.nan), {}),
        (with_share(DECIBELS, -np.inf), {}),
        (with_share(DECIBELS, -32768), {"nodata": -32768}),
        (with_share(DECIBELS, 30, 0.01), {}),  # ships
        (np.rint(100 * DECIBELS).astype("i2"), {"tags": (0.01, 0.0)}),
        (DECIBELS.astype("f8"), {}),
        (np.full(9, np.nan, "f4"), {}),
        (np.zeros(9, "f4"), {}),
    ],
)
def test_decibels_pass(numbers, facts):
    assert judge_s1(numbers, **facts) is None


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (10 ** (DECIBELS / 10), "of linear power take 10 log10"),
        (with_share(10 ** (DECIBELS / 10), 0, 0.6), "of linear power take 10 log10"),
        (with_share(10 ** (DECIBELS / 10), -9999), "of linear power take 10 log10"),
        (10 ** (DECIBELS / 20), "of amplitudes 20 log10"),
        (500 * 10 ** (DECIBELS / 20), "got a median of"),
        (np.full(99, 180, "f4"), "got a median of 180"),
        (np.full(99, -9999, "f4"), "got a median of -9999"),
        (100 * DECIBELS, "got a median of -1"),
        (np.rint(100 * DECIBELS).astype("i2"), "x 100 set the scale with gdal_edit"),
        (np.rint(DECIBELS).astype("i2"), "int16 without a scale"),
        (RNG.integers(20, 900, 4000).astype("u2"), "uint16 without a scale"),
        (with_share(RNG.integers(20, 900, 400).astype("u2"), 0, 0.95), "calibrate"),
    ],
)
def test_other_backscatter_is_refused(numbers, message):
    with pytest.raises(ValueError, match=f"f: expected decibels.*{message}"):
        judge_s1(np.asarray(numbers).astype(numbers.dtype))


@pytest.mark.parametrize(
    ("numbers", "facts"),
    [
        (LAND, {}),
        (LAND + 1000, {"product": ESA}),
        (LAND + 1000, {"tags": (1e-4, -0.1)}),
        (with_share(LAND + 1000, 0), {"product": ESA}),  # no data
        (with_share(LAND + 1000, 990, 0.009), {"product": ESA}),  # noise around zero
        (LAND.astype("f4"), {}),
        (LAND / np.float32(1e4), {"scale": 1e4}),
        (with_share(LAND / np.float32(1e4), -9999), {"scale": 1e4}),
        (with_share(LAND / np.float32(1e4), np.nan), {"scale": 1e4}),
        (with_share(LAND, 28000, 0.2), {}),  # snow and clouds
        (with_share(LAND, 65535), {"nodata": 65535}),
        (np.ones(99, "u2"), {}),  # black water
        (np.zeros(99, "u2"), {}),
        (LAND / 100 + 0.25, {"scale": 100}),
        (np.arange(99, dtype="f4"), {}),  # water, not resampled
        (with_share(LAND.astype("i2"), -10000), {}),
    ],
)
def test_reflectance_passes(numbers, facts):
    assert judge_s2(np.asarray(numbers), **facts) is None


@pytest.mark.parametrize(
    ("numbers", "facts", "message"),
    [
        (LAND / np.float32(1e4), {}, "reflectance itself: give --scale 10000"),
        (with_share(LAND / 1e4, 2.4, 0.01), {}, "give --scale 10000"),
        (with_share(LAND / 1e4, 65535, 0.3), {}, "give --scale 10000"),
        (with_share(LAND / 1e4, -9999, 0.6), {}, "give --scale 10000"),
        (LAND / np.float32(1e4), {"tags": (1e-4, 0.0)}, "give --scale 10000"),
        (LAND / 100 + 0.25, {}, "looks like percent: give --scale 100"),
        (LAND, {"scale": 10000}, "100% of the pixels reach it"),
        (LAND, {"tags": (10000.0, 0.0)}, "reach it"),
        (with_share(LAND, 65535, 0.02), {}, "2% of the pixels reach it"),
        (with_share(LAND / 1e4, 65535, 0.3), {"scale": 1e4}, "30% of the pixels"),
        (LAND // 4, {"product": ESA}, "offset was taken away before give --offset 0"),
        (LAND // 4, {"tags": (1e-4, -0.1)}, "by its scale and offset tags"),
        ((LAND // 12).astype("u1"), {}, "which a byte can't hold"),
    ],
)
def test_other_reflectance_is_refused(numbers, facts, message):
    with pytest.raises(ValueError, match=message):
        judge_s2(np.asarray(numbers), **facts)


@pytest.mark.parametrize(
    ("numbers", "facts", "message"),
    [
        (LAND, {"product": ESA}, "% of the pixels fall below 0.*give --offset 0; they"),
        (with_share(LAND + 1000, 400, 0.02), {"product": ESA}, "2% of the pixels fall"),
        (LAND // 4, {"offset": -1000}, "100% of the pixels fall below 0"),
        (with_share(LAND, 0), {"nodata": 65535}, "30% of the pixels are 0"),
    ],
)
def test_doubts_are_told(numbers, facts, message):
    assert re.search(message, judge_s2(np.asarray(numbers), **facts))


@pytest.mark.parametrize(
    ("crs", "x", "y", "stretch"),
    [
        (32633, 500_000, 5_900_000, None),
        (32633, 250_000, 9_200_000, None),
        (32733, 700_000, 6_000_000, None),
        (3035, 4_300_000, 3_200_000, None),
        (3035, 2_700_000, 1_600_000, None),
        (2154, 700_000, 6_600_000, None),
        (27700, 400_000, 400_000, None),
        (3413, 0, -2_000_000, None),
        (3857, 1_000_000, 100_000, None),  # at the equator they are
        (3857, 1_000_000, 6_500_000, 0.64),
        (3395, 1_000_000, 6_000_000, 0.676),
        (6933, 1_000_000, 5_000_000, 0.844),
        (32633, 6_000_000, 5_000_000, 0.6),
    ],
)
def test_metres_are_metres_on_the_ground(crs, x, y, stretch):
    arguments = (
        *(CRS.from_epsg(crs), Affine(10, 0, x, 0, -10, y), (500, 700), "scene"),
    )
    if stretch is None:
        pixel_checks.check_ground_metres(*arguments)
        return
    with pytest.raises(ValueError, match="scene: expected metres on the ground"):
        pixel_checks.check_ground_metres(*arguments)


def test_a_place_that_nobody_knows_is_refused():
    local = CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')
    with pytest.raises(ValueError, match=r"PROJ can't place .* gdal_edit"):
        pixel_checks.check_ground_metres(
            local, Affine(10, 0, 0, 0, -10, 0), (9, 9), "f"
        )


@pytest.mark.parametrize("side", [40, 1500])
def test_samples_come_from_all_over(tmp_path, side):
    values = np.arange(side * side, dtype="u4").reshape(1, side, side)
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint32"} | PLACE
    path = tmp_path / "x.tif"
    with rasterio.open(path, "w", width=side, height=side, **profile) as out:
        out.write(values)
    with rasterio.open(path) as dataset:
        found = pixel_checks.sample(dataset, 1, S2)
    assert found.min() == 0 and found.max() == side * side - 1
    assert len(found) == (side * side if side < 1024 else 16 * 64 * 64)


def test_headers_that_claim_a_giant_are_refused(tmp_path):
    path = tmp_path / "x.tif"
    facts = {"driver": "GTiff", "count": 1, "dtype": "uint8", "tiled": True}
    size = {"width": 200_000, "height": 200_000, "blockxsize": 65_536}
    with rasterio.open(
        path, "w", **facts, **size, **PLACE, blockysize=65_536, SPARSE_OK=True
    ):
        pass
    with (
        rasterio.open(path) as dataset,
        pytest.raises(ValueError, match="200000 x 200000 pixels in blocks of 65536"),
    ):
        pixel_checks.sample(dataset, 1, S2)


def test_a_valid_minority_is_looked_at_where_squares_are_empty(tmp_path):
    image = np.zeros((2048, 2048), np.float32)
    # A corner of a swath between the squares.
    image[100:600, 100:600] = 0.05
    profile = {"driver": "GTiff", "count": 1, "height": 2048, "width": 2048,
               "dtype": "float32", "compress": "deflate", "crs": "EPSG:32632",
               "transform": Affine(10, 0, 6e5, 0, -10, 5.3e6)}  # fmt: skip
    with rasterio.open(tmp_path / "vv.tif", "w", **profile) as dataset:
        dataset.write(image, 1)
    radar = pixel_values.of_backscatter("float32")
    with rasterio.open(tmp_path / "vv.tif") as dataset:
        found = pixel_checks.sample(dataset, 1, radar)
    with pytest.raises(ValueError, match="decibels"):
        pixel_checks.judge(found, radar, "vv.tif", ("--scale", "--offset"))
