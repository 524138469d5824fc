import shutil

import numpy as np
import pytest
import rasterio
import tile_folders

from bigearthnet_tf.archive import tiles
from bigearthnet_tf.archive.tile_facts import TileFacts

DATES = ("2020-12-30", "2021-01-04", "2021-05-12")
NAMES = ("B04", "B03", "B08")


@pytest.fixture
def stack(tmp_path, rng):
    """Three dates of three bands at 10 m, with a classification at 20 m, and labels."""
    folder = tmp_path / "T13TDE"
    images = rng.integers(1, 9000, (3, 3, 20, 28)).astype(np.uint16)
    images[1, 2, 0, 0] = 0  # no data
    scenes = rng.choice([0, 3, 4, 5, 6, 8, 9, 11], (3, 1, 10, 14)).astype(np.uint8)
    for date, image, scene in zip(DATES, images, scenes, strict=True):
        tile_folders.write_tif(folder / f"{date}_bands.tif", image, NAMES)
        tile_folders.write_tif(folder / f"{date}_SCL.tif", scene, metres=20.0)
    codes = rng.choice([0, 30, 95], (1, 20, 28)).astype(np.uint8)
    tile_folders.write_tif(folder / "labels.tif", codes)
    return folder, images, scenes[:, 0], codes[0]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_stack_is_read_as_it_is(stack):
    folder, images, scenes, codes = stack
    tile = tiles.open_tile(folder)
    assert (tile.bands, tile.height, tile.width) == (NAMES, 20, 28)
    assert tile.doys.tolist() == [365, 4, 132]
    assert tile.years.tolist() == [2020, 2021, 2021]
    assert "32613" in tile.crs
    assert tuple(tile.transform)[:6] == tile_folders.TRANSFORM
    # A window that begins and ends within pixels of the classification.
    block = tile.read(3, 5, 12, 18)
    rows, columns = slice(3, 15), slice(5, 23)
    expected = images[:, :, rows, columns].transpose(2, 3, 0, 1)
    np.testing.assert_array_equal(block.bands, expected)
    fine = scenes.repeat(2, axis=1).repeat(2, axis=2)[:, rows, columns]
    usable = np.isin(fine, [4, 5, 6, 7, 11]).transpose(1, 2, 0)
    np.testing.assert_array_equal(block.mask, usable)
    labels = np.where(codes == 0, 255, codes)[rows, columns]
    np.testing.assert_array_equal(block.labels, labels)


def test_endings_in_capitals_are_dates_too(stack):
    folder, images = stack[:2]
    for path in folder.glob("2021-01-04*"):
        path.rename(path.with_suffix(".TIF"))
    tile = tiles.open_tile(folder)
    assert tile.num_dates == len(images)


def test_stacks_side_by_side_are_tiles_of_their_own(stack):
    folder = stack[0]
    shutil.copytree(folder, folder.parent / "T13TDF")
    found = tiles.find_tiles(folder.parent)
    assert [path.name for path in found] == ["T13TDE", "T13TDF"]
    assert tiles.find_tiles(folder) == [folder]
    # A folder for each date is part of the tile.
    (folder / "20210512").mkdir()
    for path in folder.glob("*.tif"):
        if path.name != "labels.tif":
            path.rename(folder / "20210512" / path.name)
    assert tiles.find_tiles(folder) == [folder]


def test_pixels_without_data_are_not_usable(stack):
    folder, _, scenes, _ = stack
    scenes[:] = 4
    for date, scene in zip(DATES, scenes, strict=True):
        tile_folders.write_tif(folder / f"{date}_SCL.tif", scene[None], metres=20.0)
    mask = tiles.open_tile(folder).read(0, 0, 20, 28).mask
    assert mask.sum() == mask.size - 1
    assert mask[0, 0, 1] == 0


def test_masked_pixels_are_not_usable_and_masked_labels_are_none(stack):
    folder, _, scenes, codes = stack
    scenes[:] = 4
    for date, scene in zip(DATES, scenes, strict=True):
        tile_folders.write_tif(folder / f"{date}_SCL.tif", scene[None], metres=20.0)
    for name, shape in (
        (f"{DATES[0]}_bands.tif", (20, 28)),
        (f"{DATES[2]}_SCL.tif", (10, 14)),
        ("labels.tif", (20, 28)),
    ):
        mask = np.full(shape, 255, np.uint8)
        mask[2:4] = 0
        with rasterio.open(folder / name, "r+") as dataset:
            dataset.write_mask(mask)
    found = tiles.open_tile(folder).read(0, 0, 20, 28)
    expected = np.ones((20, 28, 3), bool)
    expected[2:4, :, 0] = expected[4:8, :, 2] = expected[0, 0, 1] = False
    np.testing.assert_array_equal(found.mask, expected)
    labels = np.where(codes == 0, 255, codes)
    labels[2:4] = 255
    np.testing.assert_array_equal(found.labels, labels)


def test_bands_and_scene_classes_can_be_chosen(stack):
    folder, images, scenes, _ = stack
    facts = TileFacts(bands=["B08", "B04"], usable_scene_classes=(9,))
    block = tiles.open_tile(folder, facts).read(0, 0, 20, 28)
    expected = images[:, [2, 0]].transpose(2, 3, 0, 1)
    np.testing.assert_array_equal(block.bands, expected)
    nine = (scenes == 9).repeat(2, axis=1).repeat(2, axis=2).transpose(1, 2, 0)
    nine[0, 0, 1] = False
    np.testing.assert_array_equal(block.mask, nine)


@pytest.mark.parametrize("told", ["name", "tag", "scale", "option"])
def test_added_offset_is_subtracted(tmp_path, rng, told):
    """One file a band, in a folder a product, as the genuine products have it."""
    image = rng.integers(1, 9000, (1, 8, 8)).astype(np.uint16)
    image[0, 0, 0] = 400
    baseline = "N0500" if told == "name" else "N0301"
    folder = tmp_path / "tile" / f"S2A_MSIL2A_20220512T101021_{baseline}_R022_T32UMA"
    tags = {"PROCESSING_BASELINE": "05.09"} if told == "tag" else {}
    path = folder / "T32UMA_20220512T101021_B04_10m.tif"
    tile_folders.write_tif(path, image, tags=tags)
    if told == "scale":
        import rasterio

        with rasterio.open(path, "r+") as dataset:
            dataset.scales, dataset.offsets = (1e-4,), (-0.1,)
    scene = np.full((1, 4, 4), 4, np.uint8)
    tile_folders.write_tif(
        folder / "T32UMA_20220512T101021_SCL_20m.tif", scene, metres=20.0
    )
    given = TileFacts(dn_offset=1000) if told == "option" else None
    tile = tiles.open_tile(tmp_path / "tile", given)
    assert tile.bands == ("B04",)
    bands = tile.read(0, 0, 8, 8).bands[:, :, 0, 0]
    np.testing.assert_array_equal(bands, np.maximum(image[0].astype(int) - 1000, 0))
    assert bands[0, 0] == 0


def remove(name):
    return lambda folder: (folder / name).unlink()


def add(name, array, names=None, **options):
    return lambda folder: tile_folders.write_tif(folder / name, array, names, **options)


IMAGE = np.ones((3, 20, 28), np.uint16)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (remove("2021-01-04_SCL.tif"), "2021-01-04 has no scene classification"),
        (add("2021-06-01_SCL.tif", IMAGE[:1]), "2021-06-01 has no band B04"),
        (
            add("2021-05-12_more.tif", IMAGE[:1], ["B08"]),
            "band B08 of 2021-05-12 is in",
        ),
        (add("2021-06-01_bands.tif", IMAGE[:, :10], NAMES), "must cover the same area"),
        (add("2021-06-01_bands.tif", IMAGE, NAMES, crs="EPSG:32614"), "the same area"),
        (add("2021-05-12_bands.tif", IMAGE * 0.5, NAMES), "give --dn-scale 10000"),
        (add("more.tif", IMAGE, NAMES), "expected a date in the name"),
        (add("2021-06-01_x.tif", IMAGE), "expected 3 different names"),
        (add("labels.tif", IMAGE[:1, :5]), "expected 20 x 28 pixels as the bands"),
        (
            add(
                "2021-05-12_a.tif",
                IMAGE[:1],
                ["B02"],
                tags={"PROCESSING_BASELINE": "x"},
            ),
            "expected a number such as 04.00",
        ),
        (
            lambda folder: (folder / "2021-05-12_bands.tif").write_bytes(b"II*\0abc"),
            "can't be read",
        ),
    ],
)
def test_stacks_with_faults_are_refused_in_one_line(stack, fault, message):
    folder, *_ = stack
    fault(folder)
    with pytest.raises((ValueError, OSError), match=message) as error:
        tiles.open_tile(folder)
    assert str(folder) in str(error.value)
