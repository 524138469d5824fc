"""Scenes of many origins: the same numbers and no-data, or a clear question."""

import shutil

import numpy as np
import pytest
import rasterio
import scene_files
from affine import Affine
from rasterio.warp import transform_bounds

from bigearthnet_tf.serving.scene_map import find_bands
from bigearthnet_tf.serving.scenes import Scene

BANDS = ("B02", "B04")
L2A = "S2B_MSIL2A_20240601T113321_{}_R080_T29UPU_20240601T150000"


def read(path, bands=BANDS, size=(120, 120), at=(0, 0), **options):
    """The bands of a region and their masks."""
    with Scene(find_bands(bands, path, options), path) as scene:
        return scene.read(*at, *size)


def tag(path, scale=1.0, offset=0.0, **tags):
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (scale,) * dataset.count
        dataset.offsets = (offset,) * dataset.count
        dataset.update_tags(**tags)
    return path


@pytest.fixture(scope="module")
def raised():
    """Digital numbers with ESA's 1000 in them; 0 where there are no data."""
    bands = {n: v + np.uint16(1000) for n, v in scene_files.noise(120, 120).items()}
    for name in BANDS:
        bands[name][:7, :30] = 0
        bands[name][9, 9] = 990  # noise below zero
    return {name: bands[name] for name in BANDS}


@pytest.fixture
def product(tmp_path, raised):
    folder = tmp_path / (L2A.format("N0510") + ".SAFE")
    return scene_files.write_safe(folder, raised)


def write(folder, bands, **facts):
    tags = {k: facts.pop(k) for k in list(facts) if k in ("scale", "offset", "tags")}
    scene_files.write_bands(folder, bands, **facts)
    for path in folder.glob("*.tif"):
        tag(path, tags.get("scale", 1), tags.get("offset", 0), **tags.get("tags", {}))
    return folder


SOURCES = {
    "SAFE": lambda here, product, raised: product,
    "R10m in it": lambda here, product, raised: next(product.rglob("R10m")),
    "copied with its metadata": lambda here, product, raised: _copied(here, product),
    "name of the folder": lambda here, product, raised: write(
        here / L2A.format("N0510"), raised
    ),
    "tag of the baseline": lambda here, product, raised: write(
        here / "20240601", raised, tags={"PROCESSING_BASELINE": "05.10"}
    ),
    "tag of the offset": lambda here, product, raised: write(
        here / "20240601", raised, tags={"BOA_ADD_OFFSET": "-1000"}
    ),
    "COG of a cloud": lambda here, product, raised: write(
        here / "20240601", raised, scale=1e-4, offset=-0.1, nodata=0
    ),
    "scale 1": lambda here, product, raised: write(
        here / "20240601", raised, scale=1.0, offset=-1000.0
    ),
    "option": lambda here, product, raised: (
        write(here / "20240601", raised),
        {"offset": -1000.0},
    ),
    "int16": lambda here, product, raised: (
        write(here / "20240601", {n: v.astype("i2") for n, v in raised.items()}),
        {"offset": -1000.0},
    ),
    "reflectance": lambda here, product, raised: (
        write(here / "20240601", _reflectance(raised)),
        {"offset": 0.0, "scale": 10000.0},
    ),
    "scaled tenfold": lambda here, product, raised: write(
        here / "a", {n: v * np.uint16(10) for n, v in raised.items()},
        scale=1e-5, offset=-0.1,
    ),
}  # fmt: skip


def _copied(here, product):
    (here / "flat").mkdir()
    for path in (*product.rglob("*.jp2"), product / "MTD_MSIL2A.xml"):
        shutil.copy(path, here / "flat")
    return here / "flat"


def _reflectance(raised):
    return {
        name: np.where(v == 0, np.nan, v / 1e4 - 0.1).astype("f4")
        for name, v in raised.items()
    }


@pytest.mark.parametrize("source", SOURCES)
def test_every_form_of_a_product_gives_the_same(tmp_path, product, raised, source):
    made = SOURCES[source](tmp_path, product, raised)
    path, options = made if isinstance(made, tuple) else (made, {})
    found = read(path, **options)
    for name in BANDS:
        valid = raised[name] != 0
        expected = np.where(valid, np.clip(raised[name].astype(int) - 1000, 0, None), 0)
        np.testing.assert_array_equal(found.valid[name], valid)
        np.testing.assert_array_equal(found.bands[name][valid], expected[valid])
        assert found.bands[name].dtype == np.uint16


def test_a_single_image_of_a_product(product, raised):
    path = next(product.rglob("*_B04_10m.jp2"))
    found = read(path, ("B04",)).bands["B04"]
    assert found[50, 50] == raised["B04"][50, 50] - 1000
    alone = product.parent / path.name
    shutil.copy(path, alone)
    with pytest.raises(ValueError, match=r"of 2024-06-01, but .* give --offset -1000"):
        read(alone, ("B04",))
    np.testing.assert_array_equal(
        read(alone, ("B04",), offset=-1000.0).bands["B04"], found
    )


def test_bands_have_their_own_tags_and_no_data(tmp_path):
    """As Earth Engine exports: several bands of one type, the classification first."""
    planes = np.full((4, 120, 120), 1600, np.float32)
    planes[0], planes[3] = 4, -12
    planes[1:3, :60] = np.nan
    planes[2, 60:, :20] = 9
    path = scene_files.write_tiff(
        tmp_path / "x.tif", planes, 10, ["SCL", "B2", "B4", "VV"], nodata=4
    )
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (1, 1e-4, 1, 1), (0, -0.1, -1000, 0)
    found = read(path, ("B02", "B04", "VV"))
    assert set(found.bands["B02"][found.valid["B02"]]) == {600}
    assert not found.valid["B02"][:60].any() and found.valid["B02"][60:].all()
    assert found.bands["B04"][119, 119] == 600 and found.bands["B04"][119, 0] == 0
    assert (found.bands["VV"] == -12).all() and found.valid["VV"].all()


def test_one_band_without_evidence_beside_others_is_asked_about(tmp_path):
    bands = {name: np.full((120, 120), 1600, np.uint16) for name in BANDS}
    folder = write(tmp_path / "a", bands)
    tag(folder / "scene_B04.tif", 1e-4, -0.1)
    with pytest.raises(ValueError, match=r"scene_B04.* -1000 .* of scene_B02.tif: ESA"):
        read(folder)
    found = read(folder, offset=-1000.0)
    assert {int(found.bands[name][0, 0]) for name in BANDS} == {600}


@pytest.mark.parametrize("fill", [-9999.0, 0.0, -32768.0, np.nan, -np.inf])
@pytest.mark.parametrize("crs", ["EPSG:32629", "EPSG:32630", "EPSG:4326"])
def test_no_data_of_sentinel_1_does_not_leak(tmp_path, fill, crs):
    """Nothing but -12 comes out of -12 beside a border, on whichever grid."""
    optical = {"B02": np.full((120, 120), 600, np.uint16)}
    scene_files.write_bands(tmp_path / "s2", optical)
    corner = scene_files.LEFT - 300, scene_files.TOP + 300
    bounds = (corner[0], corner[1] - 2000, corner[0] + 2000, corner[1])
    west, south, east, north = transform_bounds(scene_files.CRS, crs, *bounds)
    to = Affine((east - west) / 200, 0, west, 0, (south - north) / 200, north)
    values = np.full((200, 200), -12, np.float32)
    values[:100] = fill
    values[:, ::9] = fill
    scene_files.write_bands(tmp_path / "s1", {"VV": values}, transform=to, crs=crs)
    found = read(tmp_path / "s2", ("VV", "B02"), s1=tmp_path / "s1")
    valid = found.valid["VV"]
    np.testing.assert_allclose(found.bands["VV"][valid], -12, atol=1e-5)
    assert 0.2 < valid.mean() < 0.9
    # Read in parts it is the same.
    parts = [
        read(tmp_path / "s2", ("VV", "B02"), (60, 60), at, s1=tmp_path / "s1").valid
        for at in ((0, 0), (0, 60), (60, 0), (60, 60))
    ]
    upper, lower = (np.hstack([p["VV"] for p in parts[i : i + 2]]) for i in (0, 2))
    np.testing.assert_array_equal(np.vstack([upper, lower]), valid)


def test_the_option_for_no_data_reaches_sentinel_1(tmp_path):
    scene_files.write_bands(tmp_path / "s2", {"B02": np.full((120, 120), 9, "u2")})
    values = np.full((120, 120), -12, np.float32)
    values[:60] = 7.5
    scene_files.write_bands(tmp_path / "s1", {"VV": values})
    found = read(tmp_path / "s2", ("VV", "B02"), s1=tmp_path / "s1", nodata=7.5)
    assert set(found.bands["VV"][found.valid["VV"]]) == {-12}
    # And none of what Sentinel-2 has of its own.
    assert found.valid["B02"].all() and found.valid["VV"].mean() == 0.5


@pytest.mark.parametrize(("day", "warns"), [("20180607", False), ("20190915", True)])
def test_sensors_far_apart_in_time_are_told(tmp_path, caplog, day, warns):
    optical = {"B02": np.full((120, 120), 900, "u2")}
    scene_files.write_bands(tmp_path / "S2_20180601", optical)
    radar = {"VV": np.full((120, 120), -12, "f4")}
    scene_files.write_bands(tmp_path / f"S1_{day}", radar)
    read(tmp_path / "S2_20180601", ("VV", "B02"), s1=tmp_path / f"S1_{day}")
    assert ("Sentinel-1 is of 2019-09-15, Sentinel-2 of" in caplog.text) == warns


def test_decibels_as_whole_numbers_by_their_tag(tmp_path):
    numbers = np.full((120, 120), -1234, np.int16)
    numbers[:60] = -32768
    scene_files.write_bands(tmp_path / "s1", {"VV": numbers}, nodata=-32768)
    with pytest.raises(ValueError, match=r"int16 without a scale.*-scale 0\.01"):
        read(tmp_path / "s1", ("VV",))
    tag(tmp_path / "s1/scene_VV.tif", 0.01)
    found = read(tmp_path / "s1", ("VV",))
    np.testing.assert_allclose(found.bands["VV"][found.valid["VV"]], -12.34, atol=1e-5)
    assert found.bands["VV"].dtype == np.float32 and found.valid["VV"].mean() == 0.5


def test_means_leave_no_data_out(tmp_path):
    fine = np.full((240, 240), 0.06, np.float32)
    fine[::2, ::2] = -9999  # one of four
    fine[:120, :120] = np.nan
    path = scene_files.write_tiff(tmp_path / "x.tif", fine[None], 5, ["B2"])
    found = read(path, ("B02",), scale=10000.0)
    valid = found.valid["B02"]
    assert valid.mean() == 0.75 and set(found.bands["B02"][valid]) == {600}


@pytest.mark.parametrize("kind", ["internal", "beside", "alpha"])
@pytest.mark.parametrize("crs", [scene_files.CRS, "EPSG:32630"])
def test_masks_hide_pixels(tmp_path, kind, crs):
    """A border in the file has numbers, which a mask says are none."""
    values = np.full((2, 120, 120), 600, np.uint16)
    mask = np.full((120, 120), 255, np.uint8)
    values[:, :, :40], mask[:, :40] = 7777, 0
    names = ["B02", "B04"]
    if kind == "alpha":
        values, names = np.concatenate([values, mask[None]]), [*names, ""]
    path = scene_files.write_tiff(tmp_path / "x.tif", values, 10, names)
    internal = "YES" if kind == "internal" else "NO"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(path, "r+") as f:
        if kind == "alpha":
            f.colorinterp = [*f.colorinterp[:2], rasterio.enums.ColorInterp.alpha]
        else:
            f.write_mask(mask)
    assert path.with_name("x.tif.msk").exists() == (kind == "beside")
    found = read(path, ("B02",), crs=crs)
    valid = found.valid["B02"]
    # Bilinear weights of equal numbers sum to 1.
    np.testing.assert_allclose(found.bands["B02"][valid], 600, atol=1)
    if crs == scene_files.CRS:
        np.testing.assert_array_equal(valid, mask > 0)
    else:
        assert 0 < valid.mean() < 1


def test_a_named_band_in_the_place_of_alpha_hides_nothing(tmp_path):
    values = np.full((2, 120, 120), 600, np.uint16)
    values[1, 5] = 0
    path = scene_files.write_tiff(tmp_path / "x.tif", values, 10, ["B02", "B04"])
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [
            rasterio.enums.ColorInterp.gray,
            rasterio.enums.ColorInterp.alpha,
        ]
    assert read(path, ("B02",)).valid["B02"].all()


def test_names_that_contradict_each_other(tmp_path):
    values = np.full((1, 120, 120), 600, np.uint16)
    path = scene_files.write_tiff(tmp_path / "x_B04.tif", values, 10, ["b1"])
    with pytest.raises(ValueError, match="named after B04, but its band is described"):
        read(path, ("B04",))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.zip", "unpack it"),
        ("S2A_MSIL2A_20240601.SAFE.zip", "unpack it"),
        ("x.tar", "unpack it"),
        ("x.tar.gz", "unpack it"),
        ("MTD_MSIL2A.xml", "got its metadata: give"),
    ],
)
def test_packed_products_are_to_be_unpacked(tmp_path, name, message):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(scene_files.packed(name))
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "in" / name)
    if not name.endswith("xml"):
        with pytest.raises(ValueError, match=message):
            read(tmp_path / "in")


def test_reading_leaves_a_product_as_it_is(product):
    before = sorted(product.rglob("*"))
    read(product)
    assert sorted(product.rglob("*")) == before


def test_feet_are_no_metres(tmp_path):
    values = {"B02": np.full((120, 120), 600, np.uint16)}
    place = Affine(10, 0, 2e6, 0, -10, 7e5)
    folder = scene_files.write_bands(
        tmp_path / "a", values, crs="EPSG:2263", transform=place
    )
    with pytest.raises(ValueError, match="expected coordinates in metres"):
        read(folder, ("B02",))
