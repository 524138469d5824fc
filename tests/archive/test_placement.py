import shutil

import numpy as np
import pytest
import rasterio
from rasterio import Affine

from bigearthnet_tf.archive import archives, geotiff, metadata, placement, sample
from bigearthnet_tf.archive.patch_content import check_finite

PLACE = Affine(10, 0, 404_400, 0, -10, 5_342_400)


def write(path, crs="EPSG:32633", transform=PLACE, **options):
    image = np.ones((120, 120), np.uint16)
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=120, width=120, dtype="uint16",
        crs=crs, transform=transform, **options,
    ) as dataset:  # fmt: skip
        dataset.write(image, 1)
    return path


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"BIGTIFF": "YES"},
        {"ENDIANNESS": "BIG"},
        {"transform": Affine(10, 0, 404_400, 0, 10, 5_341_200)},
        {"transform": Affine(10, 1, 404_400, 1, -10, 5_342_400)},
        {"crs": "+proj=laea +lat_0=52 +lon_0=10 +ellps=GRS80"},
        {"crs": None},
        {"crs": "EPSG:4326", "transform": Affine(1e-4, 0, 13, 0, -1e-4, 48)},
        {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"},
    ],
)
def test_places_are_those_of_gdal(tmp_path, options):
    path = write(tmp_path / "x.tif", **options)
    _, place = geotiff.read_band(path, "B02")
    with rasterio.open(path) as dataset:
        assert place == placement.of_dataset(dataset)


@pytest.mark.parametrize("tag", ["AREA_OR_POINT"])
def test_points_for_pixels(tmp_path, tag):
    path = write(tmp_path / "x.tif")
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(**{tag: "Point"})
    _, place = geotiff.read_band(path, "B02")
    with rasterio.open(path) as dataset:
        assert place == placement.of_dataset(dataset)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return sample.write_archive(
        tmp_path_factory.mktemp("made") / "v2", 2, "v2", seed=1, workers=1
    )


@pytest.fixture
def opened(made, tmp_path):
    """An archive that a test may change, and a patch of it."""
    root = shutil.copytree(made, tmp_path / "v2")
    table = metadata.read_metadata(root / "metadata.parquet")
    entry = metadata.entries_from_metadata(table)[0]
    archive = archives.open_archive(
        root / "BigEarthNet-S2",
        root / "BigEarthNet-S1",
        metadata=table,
        maps_root=root / "Reference_Maps",
    )
    archive.read(entry)
    return root, archive, entry


def change(root, pattern, entry, change):
    (path,) = (
        p for p in root.rglob(pattern) if p.parent.name in (entry.name, entry.name_s1)
    )
    with rasterio.open(path) as dataset:
        image, profile = dataset.read(), dataset.profile
    profile.update(change(profile["transform"]))
    path.unlink()
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(image)
    return path


def moved(east, north=0):
    return lambda t: {"transform": Affine.translation(east, north) @ t}


@pytest.mark.parametrize("pattern", ["*_VH.tif", "*_B09.tif", "*_reference_map.tif"])
@pytest.mark.parametrize(
    "what",
    [
        moved(1200),
        moved(0, -10),
        moved(5),
        lambda t: {"crs": "EPSG:32601"},
        lambda t: {"transform": t @ Affine.translation(0, 120) @ Affine.scale(1, -1)},
    ],
)
def test_files_at_other_places_are_refused(opened, pattern, what):
    root, archive, entry = opened
    path = change(root, pattern, entry, what)
    with pytest.raises(
        ValueError, match="all files of a patch cover the same"
    ) as error:
        archive.read(entry)
    assert path.stem in str(error.value)


@pytest.mark.parametrize("what", [moved(1e-6), lambda t: {"crs": None}])
def test_files_that_lie_together_or_nowhere_are_read(opened, what):
    root, archive, entry = opened
    change(root, "*_VH.tif", entry, what)
    assert archive.read(entry).bands["VH"].shape == (120, 120)


def test_codes_of_maps(opened):
    root, archive, entry = opened
    path = change(root, "*_reference_map.tif", entry, lambda t: {})
    for code in (0, 335, 523, 990, 999, 1, 44, 110, 255):
        with rasterio.open(path, "r+") as dataset:
            codes = dataset.read(1)
            codes[5, 5] = code
            dataset.write(codes, 1)
        if code not in (1, 44, 110, 255):
            assert archive.read(entry).reference_map[5, 5] == code
        else:
            with pytest.raises(ValueError, match=f"level 3.*got {code}") as error:
                archive.read(entry)
            assert ("grid codes" in str(error.value)) == (code <= 48)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite(value):
    bands = {"B02": np.ones((4, 4), np.uint16), "VV": np.ones((4, 4), np.float32)}
    check_finite(bands, "patch x")
    bands["VV"][1, 2:] = value
    with pytest.raises(ValueError, match="patch x: 2 of 16 pixels of VV are NaN or"):
        check_finite(bands, "patch x")


def test_all_real_patches_lie_together(shared):
    for root in sorted((shared / "data/v1/BigEarthNet-v1.0").iterdir()):
        (partner,) = (shared / "data/v1/BigEarthNet-S1-v1.0").glob(
            f"*_{'_'.join(root.name.split('_')[-2:])}"
        )
        names = ("VV", "VH", "B01", "B02", "B05")
        assert len(archives.read_bands({"S2": root, "S1": partner}, names)) == 5


def test_a_turned_square_lies_elsewhere(tmp_path):
    straight = geotiff.read_band(write(tmp_path / "a.tif"), "B02")[1]
    turned = Affine(0, 10, PLACE.c, -10, 0, PLACE.f)
    places = [
        geotiff.read_band(write(tmp_path / name, transform=turned), "B02")[1]
        for name in ("b.tif", "c.tif")
    ]
    assert places[0].is_at(places[1])
    assert not places[0].is_at(straight)
