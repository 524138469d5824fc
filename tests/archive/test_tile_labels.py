import logging

import numpy as np
import pytest
import rasterio
import tile_folders
from rasterio import Affine

from bigearthnet_tf.archive import tiles

SHAPE = (20, 28)
CODES = np.full((1, *SHAPE), 30, np.uint8)
CODES[0, 0, 0] = 95


@pytest.fixture
def folder(tmp_path):
    """A tile of two dates without labels."""
    rng = np.random.default_rng(0)
    for date in ("2021-01-04", "2021-05-12"):
        image = rng.integers(1, 9000, (1, *SHAPE)).astype(np.uint16)
        tile_folders.write_tif(tmp_path / "tile" / f"{date}_b.tif", image, ["B04"])
        scene = np.full((1, *SHAPE), 4, np.uint8)
        tile_folders.write_tif(tmp_path / "tile" / f"{date}_SCL.tif", scene)
    return tmp_path / "tile"


def write(folder, codes=CODES, **options):
    tile_folders.write_tif(folder / "labels.tif", codes, **options)


def moved(east=0.0, north=0.0, metres=10.0, flipped=False):
    _, _, west, _, _, top = tile_folders.TRANSFORM
    if flipped:
        return Affine(metres, 0, west, 0, metres, top - metres * SHAPE[0])
    return Affine(metres, 0, west + east, 0, -metres, top + north)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crs": "EPSG:32614"}, "expected the coordinate system of the bands"),
        ({"transform": moved(east=280)}, "expected the transform of the bands"),
        ({"transform": moved(north=-10)}, "expected the transform of the bands"),
        ({"transform": moved(east=5)}, "expected the transform of the bands"),
        ({"transform": moved(metres=20)}, "expected the transform of the bands"),
        ({"transform": moved(flipped=True)}, "expected the transform of the bands"),
        ({"codes": CODES[:, :-1]}, "expected 20 x 28 pixels as the bands"),
        ({"codes": CODES.repeat(3, axis=0)}, "expected one band of class codes, got 3"),
    ],
)
def test_labels_on_another_grid_are_refused(folder, options, message):
    write(folder, **options)
    with pytest.raises(ValueError, match=message) as error:
        tiles.open_tile(folder)
    assert "labels.tif" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"transform": moved(east=1e-6, north=-1e-6)},
        {"crs": rasterio.CRS.from_epsg(32613).to_wkt(version="WKT2_2018")},
        {"crs": None},
    ],
)
def test_labels_on_the_same_grid_are_read(folder, options):
    write(folder, **options)
    labels = tiles.open_tile(folder).read(0, 0, *SHAPE).labels
    np.testing.assert_array_equal(labels, CODES[0])


@pytest.mark.filterwarnings("ignore:The given matrix")
def test_labels_without_georeference_are_taken_with_a_warning(folder, caplog):
    write(folder, crs=None, transform=Affine.identity())
    with caplog.at_level(logging.WARNING):
        tile = tiles.open_tile(folder)
    assert "has no georeference" in caplog.text
    np.testing.assert_array_equal(tile.read(0, 0, *SHAPE).labels, CODES[0])


@pytest.mark.parametrize(
    ("dtype", "nodata", "empty"),
    [("uint8", 30, 30), ("int16", -9999, -9999), ("float32", np.nan, np.nan)],
)
def test_no_data_of_labels_is_no_class(folder, dtype, nodata, empty):
    codes = CODES.astype(dtype)
    codes[0, 1:] = empty
    write(folder, codes, nodata=nodata)
    labels = tiles.open_tile(folder).read(0, 0, *SHAPE).labels
    assert (labels[1:] == 255).all()
    assert labels[0, 0] == 95


def test_no_data_of_the_bands_is_not_that_of_the_labels(folder):
    for date in ("2021-01-04", "2021-05-12"):
        image = np.full((1, *SHAPE), 30, np.uint16)
        image[0, :2] = 700
        tile_folders.write_tif(folder / f"{date}_b.tif", image, ["B04"], nodata=30)
    write(folder)
    block = tiles.open_tile(folder).read(0, 0, *SHAPE)
    assert block.mask[..., 0].sum() == 2 * SHAPE[1]
    np.testing.assert_array_equal(block.labels, CODES[0])


def test_a_band_that_only_later_dates_have_is_asked_about(folder):
    image = np.ones((1, *SHAPE), np.uint16)
    tile_folders.write_tif(folder / "2021-05-12_more.tif", image, ["B08"])
    with pytest.raises(ValueError, match="2021-05-12 has band B08, which 2021-01-04"):
        tiles.open_tile(folder)
    assert tiles.open_tile(folder, bands=["B04"]).bands == ("B04",)
