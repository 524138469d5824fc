import json

import numpy as np
import pytest
import tile_folders

from bigearthnet_tf.archive import tiles
from bigearthnet_tf.archive.tile import windows
from bigearthnet_tf.archive.tile_facts import BAND_ORDERS, TileFacts

FACTS = {"crs": tile_folders.CRS, "transform": tile_folders.TRANSFORM, "years": 2021}


def test_npy_tile_is_read_window_by_window(tmp_path):
    folder = tile_folders.write_npy(tmp_path / "12TYN", **FACTS)
    tile = tiles.open_tile(folder)
    assert (tile.name, tile.height, tile.width, tile.num_dates) == ("12TYN", 30, 50, 40)
    assert tile.bands == BAND_ORDERS["tiles_11"]
    assert tuple(tile.transform)[:6] == tile_folders.TRANSFORM
    assert "32613" in tile.crs
    assert set(tile.years) == {2021}
    block = tile.read(20, 33, 10, 17)
    rows, columns = slice(20, 30), slice(33, 50)
    bands = np.load(folder / "bands.npy")[:, rows, columns]
    np.testing.assert_array_equal(block.bands, bands.transpose(1, 2, 0, 3))
    mask = np.load(folder / "masks.npy")[:, rows, columns]
    np.testing.assert_array_equal(block.mask, mask.transpose(1, 2, 0))
    np.testing.assert_array_equal(tile.read_mask(20, 33, 10, 17), block.mask)
    codes = np.load(folder / "labels.npy")[rows, columns]
    np.testing.assert_array_equal(block.labels, np.where(codes == 0, 255, codes))
    valid = mask.sum(axis=0) > 24
    np.testing.assert_array_equal(block.valid(24), valid)
    assert 0 < valid.sum() < valid.size


def test_arguments_come_before_the_sidecar(tmp_path):
    folder = tile_folders.write_npy(tmp_path / "a", num_bands=2, **FACTS)
    years = [2020] * 40
    tile = tiles.open_tile(folder, year=years, bands=["B04", "B08"], crs="EPSG:32632")
    assert "32632" in tile.crs
    assert set(tile.years) == {2020}
    assert tuple(tile.transform)[:6] == tile_folders.TRANSFORM
    assert tile.bands == ("B04", "B08")


def test_offset_of_newer_baselines_is_subtracted(tmp_path):
    folder = tile_folders.write_npy(tmp_path / "a")
    plain = tiles.open_tile(folder).read(0, 0, 30, 50).bands.astype(int)
    facts = TileFacts(dn_offset=[0] * 20 + [1000] * 20)
    shifted = tiles.open_tile(folder, facts).read(0, 0, 30, 50).bands
    np.testing.assert_array_equal(shifted[:, :, :20], plain[:, :, :20])
    expected = np.maximum(plain[:, :, 20:] - 1000, 0)
    np.testing.assert_array_equal(shifted[:, :, 20:], expected)


def test_windows_cover_a_tile_once():
    seen = np.zeros((70, 130), int)
    for window in windows(70, 130, 32):
        seen[window.slices] += 1
    assert (seen == 1).all()


def test_tiles_are_found_by_their_files(tmp_path):
    tile_folders.write_npy(tmp_path / "b")
    tile_folders.write_npy(tmp_path / "a")
    (tmp_path / "notes").mkdir()
    assert [path.name for path in tiles.find_tiles(tmp_path)] == ["a", "b"]
    assert tiles.find_tiles(tmp_path / "a") == [tmp_path / "a"]


def change(name, edit):
    def fault(folder):
        array = np.load(folder / name)
        np.save(folder / name, edit(array))

    return fault


def set_first(value):
    def edit(array):
        array = array.copy()
        array.flat[0] = value
        return array

    return edit


def facts(**content):
    return lambda folder: (folder / "tile.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda f: (f / "masks.npy").unlink(), r"masks\.npy: no such file"),
        (lambda f: (f / "doys.npy").unlink(), r"doys\.npy: no such file"),
        (lambda f: (f / "bands.npy").write_bytes(b"x" * 100), "a whole .npy file"),
        (
            lambda f: (f / "bands.npy").write_bytes(
                (f / "bands.npy").read_bytes()[:5000]
            ),
            "a whole .npy file",
        ),
        (
            lambda f: np.save(f / "doys.npy", np.array([{}] * 40), allow_pickle=True),
            "a whole .npy file",
        ),
        (change("masks.npy", lambda a: a[:-1]), r"expected shape \(40, 30, 50\)"),
        (change("doys.npy", lambda a: a[:-1]), r"expected shape \(40,\)"),
        (change("labels.npy", lambda a: a.T), r"expected shape \(30, 50\)"),
        (change("bands.npy", lambda a: a.astype(np.float32)), "expected uint16"),
        (change("bands.npy", lambda a: a[..., :7]), "no names are known for 7 bands"),
        (change("doys.npy", lambda a: a[::-1]), "in order of time"),
        (change("doys.npy", set_first(0)), "from 1 to 366, got 0 at date 0"),
        (change("doys.npy", lambda a: np.sort(a + 300)), "from 1 to 366, got 3"),
        (facts(years=2021, bands="tiles_12"), "unknown order of bands"),
        (facts(years=[2021, 2022]), "one year for each of 40 dates, got 2"),
        (facts(crs="EPSG:1"), "no coordinate system that PROJ knows"),
        (facts(transform=[0, 0, 1, 0, 0, 1]), "expected a transform such as"),
        (facts(transform=[1, 2]), "transform"),
        (facts(year=2021), "year"),
        (facts(bands=["B04"] * 11), "expected 11 different names"),
        (
            lambda f: np.save(f / "band_mean.npy", np.full(11, np.nan)),
            r"band_mean\.npy: expected 11 finite numbers",
        ),
    ],
)
def test_damaged_tiles_are_refused_in_one_line(tmp_path, fault, message):
    folder = tile_folders.write_npy(tmp_path / "a")
    fault(folder)
    with pytest.raises((ValueError, OSError), match=message) as error:
        tiles.open_tile(folder)
    assert str(tmp_path) in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (change("labels.npy", set_first(17)), "expected class codes 10, 20.*got 17"),
        (change("masks.npy", set_first(2)), "expected 1 .usable. and 0"),
    ],
)
def test_wrong_values_are_refused_when_read(tmp_path, fault, message):
    folder = tile_folders.write_npy(tmp_path / "a")
    fault(folder)
    tile = tiles.open_tile(folder)
    with pytest.raises(ValueError, match=message):
        tile.read(0, 0, 5, 5)
    tile.read(5, 5, 5, 5)
    with pytest.raises(ValueError, match="not within the tile of 30 x 50"):
        tile.read(28, 0, 5, 5)


def test_leap_days_need_a_leap_year(tmp_path):
    folder = tile_folders.write_npy(tmp_path / "a")
    days = np.load(folder / "doys.npy")
    days[-1] = 366
    np.save(folder / "doys.npy", days)
    assert tiles.open_tile(folder, year=2020).doys[-1] == 366
    with pytest.raises(ValueError, match="from 1 to 365, got 366 at date 39"):
        tiles.open_tile(folder, year=2021)


def test_other_classes_by_the_sidecar(tmp_path):
    folder = tile_folders.write_npy(tmp_path / "a", classes={"7": "Rice"})
    codes = np.full((30, 50), 7, np.uint8)
    np.save(folder / "labels.npy", codes)
    block = tiles.open_tile(folder).read(0, 0, 30, 50)
    np.testing.assert_array_equal(block.labels, codes)
    assert tiles.classes_of([folder]) == {7: "Rice"}


def test_no_tile_at_all(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        tiles.open_tile(tmp_path / "a")
    with pytest.raises(ValueError, match="no tile"):
        tiles.open_tile(tmp_path)
    with pytest.raises(ValueError, match="no tiles in it"):
        tiles.find_tiles(tmp_path)
