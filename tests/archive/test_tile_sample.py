import numpy as np
import pytest

from bigearthnet_tf.archive import phenology, tile_sample, tiles


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_seed_same_bytes(tmp_path):
    options = {"size": 24, "dates": 20}
    for name, tiles_, seed in (("a", 2, 1), ("b", 3, 1), ("c", 2, 2)):
        tile_sample.write_tiles(tmp_path / name, tiles_, seed=seed, **options)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert b"GENERATED" in a.pop("README.txt")
    assert all(b[name] == data for name, data in a.items())
    assert a["tile_01/bands.npy"] != c["tile_01/bands.npy"]
    assert a["tile_01/bands.npy"] != a["tile_02/bands.npy"]


def test_tiles_have_seasons_clouds_years_labels_and_a_place(tmp_path):
    tile_sample.write_tiles(tmp_path / "a", tiles=2, size=64)
    first, second = map(tiles.open_tile, tiles.find_tiles(tmp_path / "a"))
    assert set(first.years) == {2020, 2021}
    assert first.num_dates != second.num_dates
    # They lie side by side, not upon one another.
    assert second.transform.c >= first.transform.c + 64 * 10
    block = first.read(0, 0, 64, 64)
    assert 0.4 < block.mask.mean() < 0.75
    assert {10, 30, 40, 255} <= set(np.unique(block.labels))
    red, near_infrared = block.bands[..., 0] / 1e4, block.bands[..., 3] / 1e4
    index = (near_infrared - red) / (near_infrared + red)
    summer = (block.doys > 170) & (block.doys < 230)
    winter = (block.doys < 60) | (block.doys > 330)

    def greenness(code, dates):
        usable = block.mask[..., dates].astype(bool)
        wanted = usable & (block.labels == code)[..., None]
        return np.median(index[..., dates][wanted])

    assert greenness(10, summer) > greenness(10, winter) + 0.15
    assert greenness(10, summer) > greenness(60, summer) + 0.15


def test_shares_of_materials_sum_to_one():
    frequencies = np.tile(phenology.FREQUENCIES, (200, 1)).astype(np.float32)
    parcels = phenology.draw_parcels(200, frequencies, np.random.default_rng(0))
    for doy in (1, 90, 200, 366):
        shares = phenology.shares(parcels, doy, 5.0)
        assert shares.min() >= 0
        np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tiles": 0}, "expected 1 to 999 tiles, got 0"),
        ({"size": 8}, "pixels a side, got 8"),
        ({"dates": 3}, "dates, got 3"),
        ({"years": 0}, "years, got 0"),
        ({"seed": -1}, "seed of 0 or more"),
    ],
)
def test_wrong_arguments(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        tile_sample.write_tiles(tmp_path / "a", **options)
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(ValueError, match="something is there"):
        tile_sample.write_tiles(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
