"""What the numbers of tiles mean: the same evidence and no-data as in scenes."""

import json

import numpy as np
import pytest
import rasterio
import scene_files
import tile_folders

from bigearthnet_tf.archive import tiles
from bigearthnet_tf.archive.tile_facts import TileFacts

PRODUCT = "S2A_MSIL2A_{}T101021_{}_R022_T32UMA"
RAW = np.full((8, 8), 1600, np.uint16)
CLEAR = np.full((8, 8), 4, np.uint8)


def write(path, planes, names=None, scales=None, **options):
    planes = np.asarray(planes)
    planes = planes[None] if planes.ndim == 2 else planes
    tile_folders.write_tif(path, planes, names, **options)
    if scales:
        with rasterio.open(path, "r+") as dataset:
            dataset.scales, dataset.offsets = scales
    return path


def acquire(folder, day="20220512", baseline=None, numbers=RAW, **options):
    """Writes B04 and SCL of a day, in a folder of a product or not."""
    if baseline:
        folder = folder / PRODUCT.format(day, baseline)
    write(folder / f"T32UMA_{day}T101021_B04_10m.tif", numbers, **options)
    write(folder / f"T32UMA_{day}T101021_SCL_20m.tif", CLEAR)


def read(folder, **facts):
    tile = tiles.open_tile(folder, TileFacts(**facts))
    return tile.read(0, 0, tile.height, tile.width)


def numbers_of(folder, **facts):
    """The numbers of each date where there are data."""
    block = read(folder, **facts)
    usable = block.mask.astype(bool)
    return [
        sorted(set(block.bands[:, :, date][usable[:, :, date]].ravel().tolist()))
        for date in range(usable.shape[2])
    ]


@pytest.mark.parametrize(
    ("baseline", "number"),
    [("N0400", 600), ("N0511", 600), ("N0301", 1600), ("N0214", 1600)],
)
def test_baselines_of_esa_say_the_offset(tmp_path, baseline, number):
    acquire(tmp_path / "t", baseline=baseline)
    assert numbers_of(tmp_path / "t") == [[number]]


@pytest.mark.parametrize("baseline", ["N9999", "N9900", None])
def test_dates_since_2022_without_evidence_are_asked_about(tmp_path, baseline):
    acquire(tmp_path / "t", baseline=baseline)
    with pytest.raises(ValueError, match=r"2022-05-12.*--dn-offset 1000 or 0") as error:
        read(tmp_path / "t")
    assert str(tmp_path / "t") in str(error.value) and len(str(error.value)) < 500
    assert numbers_of(tmp_path / "t", dn_offset=0) == [[1600]]
    assert numbers_of(tmp_path / "t", dn_offset=1000) == [[600]]


def test_user_runs_of_sen2cor_before_2022_have_no_offset(tmp_path):
    acquire(tmp_path / "t", "20210512", "N9999")
    acquire(tmp_path / "t", "20210517")
    assert numbers_of(tmp_path / "t") == [[1600], [1600]]


def test_series_over_both_sides_of_the_change(tmp_path):
    acquire(tmp_path / "t", "20210512", "N0301", RAW - 1000)
    acquire(tmp_path / "t", "20210517", "N0500")
    acquire(tmp_path / "t", "20220512", "N0400")
    assert numbers_of(tmp_path / "t") == [[600]] * 3
    acquire(tmp_path / "t", "20220517")
    with pytest.raises(ValueError, match=r"offset of an acquisition of 2022-05-17"):
        read(tmp_path / "t")
    given = [0, 1000, 1000, 1000]
    assert numbers_of(tmp_path / "t", dn_offset=given) == [[600]] * 4
    (tmp_path / "t/tile.json").write_text(json.dumps({"dn_offset": given}))
    assert numbers_of(tmp_path / "t") == [[600]] * 4
    with pytest.raises(ValueError, match="one offset for each of 4 dates, got 2"):
        read(tmp_path / "t", dn_offset=[0, 1000])
    with pytest.raises(ValueError, match=r"dn_offset of 0 or more, .* got -1000"):
        read(tmp_path / "t", dn_offset=-1000)


@pytest.mark.parametrize(
    ("scales", "numbers"),
    [
        (((1e-4,), (-0.1,)), RAW),
        (((1.0,), (-1000.0,)), RAW),
        (((1e-5,), (0.0,)), RAW // 16 * 60),
        (((1e-4,), (0.0,)), (RAW - 1000).astype("i2")),
        (((1e-4,), (-0.1,)), RAW.astype("f4")),
        (((1.0,), (-0.1,)), (RAW / 1e4).astype("f4")),
        (((10000.0,), (0.0,)), ((RAW - 1000) / 1e4).astype("f4")),
    ],
)
def test_tags_say_scale_and_offset(tmp_path, scales, numbers):
    acquire(tmp_path / "t", numbers=numbers, scales=scales)
    assert numbers_of(tmp_path / "t") == [[600]]


def test_metadata_of_the_product_lie_beside_its_images(tmp_path):
    acquire(tmp_path / "t", baseline="N9999")
    folder = next((tmp_path / "t").iterdir())
    scene_files.write_safe(folder, {}, baseline="99.99")
    assert numbers_of(tmp_path / "t") == [[600]]


def test_reflectance_as_floats_with_nan(tmp_path):
    """As Earth Engine exports it, in one file a day."""
    planes = np.full((5, 8, 8), 0.06, np.float32)
    planes[:, :2] = np.nan
    planes[1, 2] = np.inf
    planes[1, 3] = -9999
    planes[2] = np.where(np.isnan(planes[2]), np.nan, 4)
    names = ["B2", "B8A", "SCL", "QA60", "AOT"]
    write(tmp_path / "t/20210512.tif", planes, names)
    with pytest.raises(ValueError, match=r"band 1: .* give --dn-scale 10000"):
        read(tmp_path / "t")
    block = read(tmp_path / "t", dn_scale=10000)
    assert tiles.open_tile(tmp_path / "t", TileFacts(dn_scale=1e4)).bands == (
        *("B02", "B8A"),
    )
    usable = block.mask[:, :, 0].astype(bool)
    assert not usable[:4].any() and usable[4:].all()
    assert set(block.bands[:, :, 0][usable].ravel()) == {600}
    assert not block.bands[:2].any()


def test_every_band_has_its_own_no_data_and_scale(tmp_path):
    planes = np.stack([CLEAR, RAW, RAW, RAW]).astype(np.uint16)
    planes[1, 0], planes[2, 1], planes[3, 2] = 0, 0, 7
    path = write(
        tmp_path / "t/20220512.tif", planes, ["SCL", "B02", "B03", "B04"], nodata=4,
        scales=((1.0, 1e-4, 1e-4, 1e-4), (0.0, -0.1, -0.1, -0.1)),
    )  # fmt: skip
    assert path.exists()
    block = read(tmp_path / "t")
    # 4 is vegetation in SCL and no data in the bands, where 0 is data then.
    assert block.mask.all()
    assert block.bands[0, 0, 0].tolist() == [0, 600, 600]
    assert block.bands[7, 7, 0].tolist() == [600, 600, 600]


def test_zero_is_no_data_without_a_tag(tmp_path):
    numbers = RAW.copy()
    numbers[0] = 0
    acquire(tmp_path / "t", "20210512", numbers=numbers)
    assert read(tmp_path / "t").mask[:, :, 0].sum() == 56
    acquire(tmp_path / "u", "20210512", numbers=numbers, nodata=65535)
    assert read(tmp_path / "u").mask.all()


@pytest.mark.parametrize("form", ["position", "order of files", "lower case"])
def test_the_scene_classification_is_no_band(tmp_path, form):
    planes = np.stack([RAW, RAW + 100, CLEAR]).astype(np.uint16)
    if form == "lower case":
        write(tmp_path / "t/20210512.tif", planes, ["b2", "b8a", "scl"])
        tile = tiles.open_tile(tmp_path / "t")
    else:
        write(tmp_path / "t/20210512.tif", planes)
        names = ["B02", "B8A", "SCL"] if form == "position" else ["b2", "B8A", "scl"]
        tile = tiles.open_tile(tmp_path / "t", bands=names)
    assert tile.bands == ("B02", "B8A")
    assert tile.read(0, 0, 8, 8).bands[0, 0, 0].tolist() == [1600, 1700]


@pytest.mark.parametrize("name", ["TCI", "AOT", "WVP", "MSK_CLDPRB_20m", "QA60", "CLD"])
@pytest.mark.parametrize("count", [1, 3])
def test_layers_beside_the_bands_are_passed_over(tmp_path, name, count):
    acquire(tmp_path / "t", "20210512")
    write(tmp_path / f"t/T32UMA_20210512T101021_{name}.tif", [CLEAR] * count)
    tile = tiles.open_tile(tmp_path / "t")
    assert tile.bands == ("B04",) and tile.read(0, 0, 8, 8).mask.all()


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        (["B04", "TCI"], "expected spectral bands, but TCI is none"),
        (["SCL"], "expected different names of bands, got"),
        (["B04", "b4"], "expected different names of bands, got B04 B04"),
    ],
)
def test_other_layers_are_no_bands_of_a_model(tmp_path, bands, message):
    acquire(tmp_path / "t", "20210512")
    with pytest.raises(ValueError, match=message):
        tiles.open_tile(tmp_path / "t", bands=bands)
    folder = tile_folders.write_npy(tmp_path / "n", num_bands=len(bands))
    with pytest.raises(ValueError, match=r"expected .*(spectral|names)"):
        tiles.open_tile(folder, bands=bands)


@pytest.mark.parametrize(
    ("numbers", "facts", "message"),
    [
        ((RAW / 1e4).astype("f4"), {}, "give --dn-scale 10000"),
        (RAW, {"dn_scale": 10000}, "100% of the pixels reach it"),
        (RAW - 1000, {"dn_offset": None, "baseline": "N0509"}, "give --dn-offset 0"),
        ((RAW // 10).astype("u1"), {}, "a byte can't hold"),
    ],
)
def test_numbers_that_cannot_be_are_refused(tmp_path, numbers, facts, message):
    baseline = facts.pop("baseline", None)
    acquire(tmp_path / "t", "20210512", baseline, numbers=numbers)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "t", **facts)


def test_an_offset_that_was_taken_away_before_is_told(tmp_path, caplog):
    numbers = RAW.copy()
    numbers[0] = 600
    for day in ("20220512", "20220517"):
        acquire(tmp_path / "t", day, "N0509", numbers=numbers)
    read(tmp_path / "t")
    assert "12% of the pixels fall below 0" in caplog.text
    assert "(and 1 more like it)" in caplog.text
    caplog.clear()
    assert numbers_of(tmp_path / "t", dn_offset=0)[0] == [600, 1600]
    assert not caplog.text


def test_npy_tiles_have_years_and_an_option(tmp_path, caplog):
    old = tile_folders.write_npy(tmp_path / "old", years=2021)
    assert tiles.open_tile(old).meaning is None
    new = tile_folders.write_npy(tmp_path / "new", years=2022)
    with pytest.raises(ValueError, match=r"of 2022-.*bands\.npy has none: .*dn_offset"):
        tiles.open_tile(new)
    assert tiles.open_tile(new, TileFacts(dn_offset=0)).meaning is None
    shifted = tiles.open_tile(new, TileFacts(dn_offset=1000))
    assert shifted.meaning == [(1.0, -1000.0)] * 40
    plain = np.load(new / "bands.npy").transpose(1, 2, 0, 3).astype(int)
    block = shifted.read(0, 0, 30, 50)
    np.testing.assert_array_equal(block.bands, np.maximum(plain - 1000, 0))
    np.save(new / "bands.npy", np.load(new / "bands.npy") % 900 + 1)
    tiles.open_tile(new, TileFacts(dn_offset=1000))
    assert "100% of the pixels fall below 0" in caplog.text
    assert "(40 of 40 dates)" in caplog.text


@pytest.mark.parametrize("name", ["tiles.zip", "tile.tar.gz", "MTD_MSIL2A.xml"])
def test_packed_tiles_are_to_be_unpacked(tmp_path, name):
    (tmp_path / name).write_bytes(scene_files.packed(name))
    for find in (tiles.find_tiles, tiles.open_tile):
        with pytest.raises(ValueError, match=r"unpack it|got its metadata"):
            find(tmp_path / name)


@pytest.mark.parametrize(
    ("product", "message"),
    [
        ("HLS.L30.T32UMA.2021132T101021.v2.0", "Landsat"),
        ("LC08_L2SP_195026_20210512_20210518_02_T1", "Landsat"),
        ("S2A_MSIL1C_20210512T101021_N0300_R022_T32UMA", "level 1C"),
    ],
)
def test_other_sensors_and_levels_are_refused(tmp_path, product, message):
    write(tmp_path / "t" / product / "20210512_B04.tif", RAW)
    write(tmp_path / "t" / product / "20210512_SCL.tif", CLEAR)
    with pytest.raises(ValueError, match=message):
        tiles.open_tile(tmp_path / "t", TileFacts())


@pytest.mark.parametrize(
    "transform",
    [
        rasterio.Affine(10, 0, 600_005, 0, -10, 5_300_000),
        rasterio.Affine(0, 10, 600_000, -10, 0, 5_300_000),
        rasterio.Affine(10, 0, 600_000, 0, 10, 5_299_920),
    ],
)
def test_bands_half_a_pixel_off_or_turned_are_refused(tmp_path, transform):
    straight = rasterio.Affine(10, 0, 600_000, 0, -10, 5_300_000)
    acquire(tmp_path / "t", "20210512", transform=straight)
    write(tmp_path / "t/20210512_B03.tif", RAW, transform=transform)
    with pytest.raises(ValueError, match="must cover the same area"):
        tiles.open_tile(tmp_path / "t", TileFacts())


def test_fill_in_bulk_is_seen_in_digital_numbers(tmp_path, caplog):
    half = np.where(np.arange(8) < 4, 65535, RAW).astype(np.uint16)
    acquire(tmp_path / "t", "20210512", numbers=half)
    with pytest.raises(ValueError, match="65535"):
        tiles.open_tile(tmp_path / "t", TileFacts())
    acquire(tmp_path / "u", "20210512", numbers=RAW * (half == RAW), nodata=65535)
    tiles.open_tile(tmp_path / "u", TileFacts())
    assert "50% of the pixels are 0" in caplog.text


def write_array(folder, zeros=0):
    """A date of 1600 everywhere but in some rows, all usable."""
    tile_folders.write_npy(folder, dates=1, height=8, width=8)
    numbers = np.full((1, 8, 8, 11), 1600, np.uint16)
    numbers[:, :zeros] = 0
    np.save(folder / "bands.npy", numbers)
    np.save(folder / "masks.npy", np.ones((1, 8, 8), np.uint8))


def test_zeros_that_a_mask_calls_usable_are_named(tmp_path, caplog):
    write_array(tmp_path / "t", zeros=4)
    tiles.open_tile(tmp_path / "t", TileFacts())
    assert "50% of the usable pixels are 0" in caplog.text


def test_web_mercator_is_no_ground_of_tiles(tmp_path):
    write_array(tmp_path / "t")
    place = {"transform": (10, 0, 1e6, 0, -10, 6e6)}
    with pytest.raises(ValueError, match="metres on the ground"):
        tiles.open_tile(tmp_path / "t", TileFacts(crs="EPSG:3857", **place))
    place = {"transform": (10, 0, 6e5, 0, -10, 5.3e6)}
    tiles.open_tile(tmp_path / "t", TileFacts(crs="EPSG:32632", **place))
