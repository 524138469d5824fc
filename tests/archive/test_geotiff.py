"""Reading single bands: real files against rasterio, and every kind of damage."""

import logging
import os
import threading

import numpy as np
import pytest
import rasterio
import tifffile
from affine import Affine
from rasterio.crs import CRS

from bigearthnet_tf.archive import bands, geotiff, metadata

rng = np.random.default_rng(0)
PLACE = Affine(10, 0, 331_200, 0, -10, 5_331_600)
B02 = rng.integers(0, 20_000, (120, 120), np.uint16)


def write(path, image, **options):
    """Writes a GeoTIFF with rasterio; `image` is (height, width) or (count, ...)."""
    image = image if image.ndim == 3 else image[None]
    count, height, width = image.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width,
        dtype=image.dtype, crs="EPSG:32633",
        transform=PLACE, **options,
    ) as dataset:  # fmt: skip
        dataset.write(image)
    return path


def real_files(shared, pattern):
    paths = sorted((shared / "data").glob(pattern))
    assert paths
    return paths


@pytest.mark.parametrize("band", bands.BANDS)
def test_real_bands_equal_those_of_rasterio(shared, band):
    found = real_files(shared, f"v1/*/*/*_{band}.tif")
    found += real_files(shared, f"v2/BigEarthNet-S?/*/*/*_{band}.tif")
    assert len(found) == 12 + (bands.BANDS[band].sensor == "S2")
    for path in found:
        own = geotiff.read_tiff(path, band)
        with rasterio.open(path) as dataset:
            other = dataset.read(1)
        assert own.dtype == other.dtype == bands.BANDS[band].dtype
        assert own.shape == other.shape
        assert own.tobytes() == other.tobytes()


def test_real_reference_map(shared):
    (path,) = real_files(shared, "v2/Reference_Maps/*/*/*.tif")
    own = geotiff.read_reference_map(path)
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(own, dataset.read(1), strict=True)


def test_georeference_is_that_of_the_json(shared):
    for path in real_files(shared, "v1/BigEarthNet-v1.0/*/*_B0[125].tif"):
        geo = geotiff.read_georeference(path)
        known = metadata.read_v1_json(
            path.with_name(f"{path.parent.name}_labels_metadata.json")
        )
        assert geo.bounds == known.bounds
        assert geo.crs.startswith("EPSG:326")
        assert CRS.from_string(geo.crs) == CRS.from_wkt(known.crs)


@pytest.mark.parametrize(
    "pattern",
    [
        "v1/*/S1A*33UUP*/*_VV.tif",
        "v1/*/*T101031*/*_B02.tif",
        "v1/*/*T101031*/*_B05.tif",
        "v1/*/*T101031*/*_B01.tif",
        "v2/Reference_Maps/*/*/*.tif",
    ],
)
def test_a_file_cut_short_anywhere_is_refused_or_read_whole(shared, tmp_path, pattern):
    (original,) = real_files(shared, pattern)
    band = original.stem.split("_")[-1]
    read = (
        geotiff.read_reference_map
        if band == "map"
        else lambda path: geotiff.read_tiff(path, band)
    )
    content, whole = original.read_bytes(), read(original)
    cut = tmp_path / "cut.tif"
    refused = 0
    last = range(len(content) - 3, len(content))
    for size in {
        *range(0, len(content), len(content) // 60),
        *range(0, 400, 13),
        *last,
    }:
        cut.write_bytes(content[:size])
        try:
            np.testing.assert_array_equal(read(cut), whole, strict=True)
        except ValueError as error:
            assert "cut.tif: expected a GeoTIFF" in str(error)
            assert "extract it from the archive again" in str(error)
            refused += 1
    assert refused >= 60


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compress": "deflate", "predictor": 2},
        {"compress": "lzw"},
        {"compress": "zstd"},
        {"tiled": True, "blockxsize": 64, "blockysize": 64},
        {"ENDIANNESS": "BIG"},
        {"BIGTIFF": "YES"},
    ],
    ids=str,
)
def test_other_ways_to_store_the_same_pixels(tmp_path, options):
    path = write(tmp_path / "B02.tif", B02, **options)
    np.testing.assert_array_equal(geotiff.read_tiff(path, "B02"), B02, strict=True)


def test_overviews_are_not_taken_for_bands(tmp_path):
    path = write(tmp_path / "B02.tif", B02)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2])
    np.testing.assert_array_equal(geotiff.read_tiff(path, "B02"), B02)


def test_a_sparse_file_is_left_to_rasterio(tmp_path):
    path = tmp_path / "B02.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=120, width=120, dtype="uint16",
        SPARSE_OK=True, transform=PLACE,
    ):  # fmt: skip
        pass
    assert np.unique(geotiff.read_tiff(path, "B02")).tolist() == [0]


def test_nan_and_infinity_are_left_in(tmp_path):
    image = rng.normal(-12, 5, (120, 120)).astype(np.float32)
    image[0, :3] = np.nan, np.inf, -np.inf
    path = write(tmp_path / "VV.tif", image)
    assert geotiff.read_tiff(path, "VV").tobytes() == image.tobytes()


@pytest.mark.parametrize(
    ("band", "image", "message"),
    [
        ("B05", B02, "band B05: expected 60 x 60 pixels of uint16, got 120 x 120 of u"),
        ("B02", B02.astype(np.int16), "expected .* of uint16, got 120 x 120 of int16"),
        ("VV", B02, "expected .* of float32, got 120 x 120 of uint16"),
        ("VV", B02.astype(np.float64), "expected .* of float32, got .* of float64"),
        ("B02", np.stack([B02, B02]), "expected 120 x 120 pixels"),
    ],
)
def test_another_shape_or_dtype_is_refused(tmp_path, band, image, message):
    path = write(tmp_path / "file.tif", image)
    with pytest.raises(ValueError, match=rf"file\.tif: .*{message}"):
        geotiff.read_tiff(path, band)


def test_several_pages_are_refused(tmp_path):
    path = tmp_path / "pages.tif"
    tifffile.imwrite(path, np.stack([B02, B02]), photometric="minisblack")
    with pytest.raises(ValueError, match=r"pages\.tif: band B02.*got 2 x 120 x 120"):
        geotiff.read_tiff(path, "B02")


def test_a_wrong_reference_map_is_refused(tmp_path):
    path = write(tmp_path / "map.tif", B02[:60, :60])
    with pytest.raises(ValueError, match="reference map: expected 120 x 120"):
        geotiff.read_reference_map(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"II", "2 bytes do not decode"),
        (b"GIF89a, not a TIFF at all" * 20, "500 bytes do not decode"),
        (b"\0" * 1000, "1000 bytes do not decode"),
    ],
)
@pytest.mark.parametrize(
    "read", [geotiff.read_georeference, geotiff.read_reference_map]
)
def test_what_is_no_tiff_is_refused(tmp_path, read, content, message):
    path = tmp_path / "file.tif"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"file\.tif: expected a GeoTIFF, .*{message}"
    ):
        read(path)


def test_a_broken_compressed_stream_is_refused(tmp_path):
    path = write(tmp_path / "B02.tif", B02, compress="deflate")
    with tifffile.TiffFile(path) as file:
        start = file.pages[0].dataoffsets[1]
    content = bytearray(path.read_bytes())
    content[start : start + 100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"B02\.tif: expected a GeoTIFF.*damaged"):
        geotiff.read_tiff(path, "B02")


def test_missing_files(tmp_path):
    for read in (geotiff.read_georeference, geotiff.read_reference_map):
        with pytest.raises(
            FileNotFoundError, match=r"none\.tif: no such file: extract"
        ):
            read(tmp_path / "none.tif")


def test_a_tiff_without_a_place_has_pixels_but_no_georeference(tmp_path):
    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, B02)
    np.testing.assert_array_equal(geotiff.read_tiff(path, "B02"), B02)
    with pytest.raises(ValueError, match=r"plain\.tif: expected a coordinate system"):
        geotiff.read_georeference(path)


def test_the_decoder_keeps_quiet(shared, tmp_path, caplog, capfd):
    (path,) = real_files(shared, "v1/*/*T101031*/*_B05.tif")
    geotiff.read_tiff(path, "B05")
    broken = tmp_path / "B05.tif"
    broken.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="do not decode"):
        geotiff.read_tiff(broken, "B05")
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelname != "DEBUG"]


def test_quiet_of_two_threads_ends_with_each(caplog):
    logger = logging.getLogger("rasterio._env")
    inside, outside = threading.Event(), threading.Event()

    def other():
        with geotiff.quiet():
            inside.set()
            assert outside.wait(10)
            logger.warning("of the other")

    with geotiff.quiet():
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(10)
    logger.warning("of this one")
    outside.set()
    thread.join()
    logger.warning("after both")
    told = [r.message for r in caplog.records if r.name == logger.name]
    assert told == ["of this one", "after both"]


def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "a_B02.tif"
    tifffile.imwrite(path, np.zeros((120, 120), np.uint16))
    data = bytearray(path.read_bytes())
    directory = int.from_bytes(data[4:8], "little")
    for entry in range(int.from_bytes(data[directory : directory + 2], "little")):
        place = directory + 2 + 12 * entry
        if int.from_bytes(data[place : place + 2], "little") in (256, 257):
            data[place + 2 : place + 4] = (4).to_bytes(2, "little")
            data[place + 8 : place + 12] = (10**6).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(ValueError, match="declares 1,000,000,000,000 values"):
        geotiff.read_tiff(path, "B02")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a_B02.tif")
    with pytest.raises(ValueError, match="got a pipe"):
        geotiff.read_tiff(tmp_path / "a_B02.tif", "B02")
