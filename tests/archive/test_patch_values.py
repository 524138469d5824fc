"""Patches of other people: the same rules as for scenes, with tags and names."""

import dataclasses

import lmdb_patches
import numpy as np
import pytest
import rasterio
import scene_files
from affine import Affine

from bigearthnet_tf.archive import archives, bands, lmdb_store, safe
from bigearthnet_tf.archive.patch import PatchEntry

RNG = np.random.default_rng(0)
DN = RNG.integers(1100, 4000, (120, 120)).astype(np.uint16)
DECIBELS = RNG.normal(-12, 4, (120, 120)).astype(np.float32)
OWN = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_87_48"
RAISED = OWN.replace("2017", "2022").replace("N9999", "N0509")


def write(folder, band, image, scales=None, tags=None, **options):
    path = folder / f"{folder.name}_{band}.tif"
    folder.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff", "count": 1, "height": image.shape[0],
        "width": image.shape[1], "dtype": image.dtype, "crs": "EPSG:32633",
        "transform": Affine(10, 0, 3e5, 0, -10, 5e6), **options,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(image, 1)
        dataset.update_tags(**(tags or {}))
        if scales:
            dataset.scales, dataset.offsets = ((number,) for number in scales)
    return path


def read(folder, band="B02"):
    sensor = bands.BANDS[band].sensor
    return archives.read_bands({sensor: folder}, [band])[band]


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        (OWN, 0),
        (RAISED, -1000),
        (RAISED.replace("N0509", "N0301"), 0),
        ("S2A_MSIL2A_20170613T101031_87_48", 0),
        ("my_patch", 0),
    ],
)
def test_names_say_the_offset(tmp_path, name, offset):
    write(tmp_path / name, "B02", DN)
    found = read(tmp_path / name)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, DN.astype(int) + offset)


def test_patches_since_2022_without_a_baseline_are_asked_about(tmp_path):
    name = RAISED.replace("N0509", "N9999")
    write(tmp_path / name, "B02", DN)
    with pytest.raises(ValueError, match=r"got one of 2022-06-13: .* put N0400 into"):
        read(tmp_path / name)
    # Sentinel-1 has no such offset.
    write(tmp_path / name, "VV", DECIBELS)
    np.testing.assert_array_equal(read(tmp_path / name, "VV"), DECIBELS)


@pytest.mark.parametrize(
    ("image", "scales"),
    [
        (DN, (1e-4, -0.1)),
        (DN, (1.0, -1000.0)),
        ((DN - 1000).astype("i2"), (1e-4, 0.0)),
        ((DN / 1e4).astype("f4"), (1.0, -0.1)),
    ],
)
@pytest.mark.parametrize("name", [OWN, RAISED.replace("N0509", "N9999")])
def test_tags_say_scale_and_offset(tmp_path, image, scales, name):
    write(tmp_path / name, "B02", image, scales)
    found = read(tmp_path / name)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, DN - 1000)


@pytest.mark.parametrize(
    ("tags", "name", "offset"),
    [
        ({"BOA_ADD_OFFSET": "-1000"}, OWN, -1000),
        ({"PROCESSING_BASELINE": "05.00"}, OWN, -1000),
        ({"PROCESSING_BASELINE": "0500"}, "my_patch", -1000),
        ({"PROCESSING_BASELINE": "02.14"}, RAISED, 0),
        ({"PROCESSING_BASELINE": "05.00"}, RAISED.replace("N0509", "N9999"), -1000),
        ({"PROCESSING_BASELINE": "99.99"}, OWN, 0),
        ({"STATISTICS_MEAN": "7"}, OWN, 0),
    ],
)
def test_metadata_in_tags_say_the_offset(tmp_path, tags, name, offset):
    write(tmp_path / name, "B02", DN, tags=tags)
    np.testing.assert_array_equal(read(tmp_path / name), DN.astype(int) + offset)


def test_a_date_in_the_tags_is_asked_about(tmp_path):
    write(tmp_path / "mine", "B02", DN, tags={"ACQUISITION_DATE": "2023-05-01"})
    with pytest.raises(ValueError, match="mine: expected a patch of before 2022-01-25"):
        read(tmp_path / "mine")


SIDECAR = """<PAMDataset><PAMRasterBand band="1">{}</PAMRasterBand></PAMDataset>"""


def test_files_beside_a_patch_say_what_numbers_mean(tmp_path):
    path = write(tmp_path / OWN, "B02", DN)
    beside = path.with_name(f"{path.name}.aux.xml")
    beside.write_text(SIDECAR.format("<Metadata><MDI key='STATISTICS_MAXIMUM'/>"
                                     "</Metadata>"))  # fmt: skip
    np.testing.assert_array_equal(read(tmp_path / OWN), DN)
    beside.write_text(SIDECAR.format("<Offset>-0.1</Offset><Scale>0.0001</Scale>"))
    np.testing.assert_array_equal(read(tmp_path / OWN), DN - 1000)
    beside.write_text(SIDECAR.format(f"<NoDataValue>{DN[0, 0]}</NoDataValue>"))
    with pytest.raises(ValueError, match=rf"are no data \({DN[0, 0]}\)"):
        read(tmp_path / OWN)


def test_metadata_of_a_product_beside_a_patch(tmp_path):
    write(tmp_path / OWN, "B02", DN)
    scene_files.write_safe(tmp_path / OWN, {}, baseline="05.10")
    assert (tmp_path / OWN / safe.METADATA).exists()
    np.testing.assert_array_equal(read(tmp_path / OWN), DN - 1000)


@pytest.mark.parametrize(("band", "fill"), [("B02", 65535), ("B02", 1), ("VV", -30)])
def test_the_number_for_no_data_is_none(tmp_path, band, fill):
    image = (DN if band == "B02" else DECIBELS).copy()
    write(tmp_path / OWN, band, image, nodata=fill)
    np.testing.assert_array_equal(read(tmp_path / OWN, band), image)
    image[3, :7] = fill
    write(tmp_path / OWN, band, image, nodata=fill)
    with pytest.raises(ValueError, match=rf"7 of 14400 pixels are no data \({fill}\)"):
        read(tmp_path / OWN, band)


def test_zeros_of_genuine_patches_are_numbers_whatever_the_tag(tmp_path):
    image = DN.copy()
    image[:60] = 0
    for options in ({"nodata": 0}, {"nodata": 0, "ENDIANNESS": "BIG"}):
        write(tmp_path / OWN, "B02", image, **options)
        np.testing.assert_array_equal(read(tmp_path / OWN), image)


@pytest.mark.parametrize("inside", [True, False])
def test_masked_pixels_are_none(tmp_path, inside):
    path = write(tmp_path / OWN, "B02", DN)
    mask = np.full(DN.shape, 255, np.uint8)
    for hidden in (0, 60):
        mask[:hidden] = 0
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside),
            rasterio.open(path, "r+") as dataset,
        ):
            dataset.write_mask(mask)
        assert path.with_name(f"{path.name}.msk").exists() != inside
        if not hidden:
            np.testing.assert_array_equal(read(tmp_path / OWN), DN)
    with pytest.raises(ValueError, match="B02: 7200 of 14400 pixels are no data"):
        read(tmp_path / OWN)


def test_decibels_as_whole_numbers_by_their_tag(tmp_path):
    numbers = np.rint(DECIBELS * 100).astype(np.int16)
    write(tmp_path / OWN, "VV", numbers, (0.01, 0.0))
    np.testing.assert_allclose(read(tmp_path / OWN, "VV"), numbers / 100, atol=1e-5)


@pytest.mark.parametrize(
    "image",
    [
        10 ** (DECIBELS / 10),
        10 ** (DECIBELS / 20),
        DECIBELS * 100,
        RNG.integers(20, 900, (120, 120)).astype(np.float32),
    ],
)
def test_sentinel_1_that_is_no_decibels_is_refused(tmp_path, image):
    path = write(tmp_path / OWN, "VV", image.astype(np.float32))
    with pytest.raises(ValueError, match="band VV: expected decibels") as error:
        read(tmp_path / OWN, "VV")
    assert str(path) in str(error.value)
    patch = lmdb_patches.make_patch()
    odd = dataclasses.replace(patch, bands=patch.bands | {"VV": image.astype("f4")})
    folder = lmdb_patches.write_lmdb(tmp_path / "lmdb", [odd])
    entry = PatchEntry(odd.name_s2, odd.name_s1, ("Pastures",), "BigEarthNet-19")
    with pytest.raises(ValueError, match="expected decibels"):
        lmdb_store.open_lmdb(folder).read(entry, ["VV"])


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((120, 120), "f4"),
        np.full((120, 120), np.nan, "f4"),
        np.where(DECIBELS < -12, np.nan, DECIBELS),
        DECIBELS + 11,
        DECIBELS - 23,
    ],
)
def test_odd_decibels_pass(tmp_path, image):
    write(tmp_path / OWN, "VV", image.astype("f4"))
    np.testing.assert_array_equal(read(tmp_path / OWN, "VV"), image.astype("f4"))


def test_an_lmdb_has_names_alone(tmp_path):
    patch = lmdb_patches.make_patch()
    name = patch.name_s2.replace("2017", "2022").replace("N9999", "N0509")
    raised = {
        n: np.maximum(a, 1000) if n != "VV" else a for n, a in patch.bands.items()
    }
    partner = patch.name_s1.replace("2017", "2022")
    renamed = dataclasses.replace(patch, name_s2=name, name_s1=partner, bands=raised)
    folder = lmdb_patches.write_lmdb(tmp_path / "lmdb", [renamed])
    entry = PatchEntry(name, partner, ("Pastures",), "BigEarthNet-19")
    found = lmdb_store.open_lmdb(folder).read(entry, ["B02", "VV"]).bands
    np.testing.assert_array_equal(found["B02"], raised["B02"] - 1000)
    np.testing.assert_array_equal(found["VV"], raised["VV"])


@pytest.mark.parametrize("fill", [-9999, np.nan, -np.inf])
def test_gaps_of_tagged_patches_are_no_numbers(tmp_path, fill):
    image = DN.astype(np.float32) / 1e4
    image[3, 4] = fill
    write(tmp_path / OWN, "B02", image, (1.0, 1e-9), nodata=-9999)
    with pytest.raises(ValueError, match="1 of 14400 pixels are no data"):
        read(tmp_path / OWN)


@pytest.mark.parametrize(
    ("fill", "rows"), [(-9999, 1), (9999, 1), (-32768, 30), (0, 30), (3.4e38, 1)]
)
def test_fill_is_no_backscatter_of_patches(tmp_path, fill, rows):
    image = DECIBELS.copy()
    image[:rows] = fill
    write(tmp_path / OWN, "VV", image)
    with pytest.raises(ValueError, match=f"{rows * 120} of 14400 pixels are no data"):
        read(tmp_path / OWN, "VV")


def test_a_pixel_of_0_decibels_is_one(tmp_path):
    image = DECIBELS.copy()
    image[5, 5] = 0
    write(tmp_path / OWN, "VV", image)
    np.testing.assert_array_equal(read(tmp_path / OWN, "VV"), image)
