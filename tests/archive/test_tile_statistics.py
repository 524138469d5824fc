"""Means and deviations that lie beside the bands of a tile."""

import json
import logging

import numpy as np
import pytest
import tile_folders

from bigearthnet_tf.archive import tiles


def usable(folder):
    bands, masks = (np.load(folder / f"{name}.npy") for name in ("bands", "masks"))
    return bands[masks == 1].astype(np.float64)


@pytest.fixture
def folder(tmp_path):
    """A tile with its own statistics in float32."""
    path = tile_folders.write_npy(tmp_path / "a", dates=12, height=8, width=9)
    pixels = usable(path)
    np.save(path / "band_mean.npy", pixels.mean(axis=0).astype(np.float32))
    np.save(path / "band_std.npy", pixels.std(axis=0).astype(np.float32))
    return path


def test_they_are_those_of_the_files(folder, caplog):
    found = tiles.open_tile(folder).file_statistics()
    assert found.mean == tuple(np.load(folder / "band_mean.npy").tolist())
    assert found.std == tuple(np.load(folder / "band_std.npy").tolist())
    assert "band_mean.npy" not in caplog.text


def test_they_follow_scale_and_offset_of_the_numbers(folder):
    (folder / "tile.json").write_text(json.dumps({"dn_offset": 1000, "dn_scale": 0.5}))
    found = tiles.open_tile(folder).file_statistics()
    mean, std = (np.load(folder / f"band_{name}.npy") for name in ("mean", "std"))
    # reflectance x 10,000 = number x scale - dn_offset
    np.testing.assert_allclose(found.mean, mean.astype(np.float64) * 0.5 - 1000)
    np.testing.assert_allclose(found.std, std.astype(np.float64) * 0.5)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "band_std.npy").unlink(), r"band_std\.npy: no such file"),
        (
            lambda f: np.save(f / "band_std.npy", np.arange(11.0)),
            r"band_std\.npy: expected numbers above 0.* got 0 for band 0",
        ),
        (
            lambda f: np.save(f / "band_mean.npy", np.load(f / "band_mean.npy") / 4e4),
            r"band_mean\.npy: expected means of digital numbers.*of reflectance",
        ),
        (
            lambda f: (f / "tile.json").write_text(
                json.dumps({"dn_offset": [0] * 6 + [1000] * 6})
            ),
            r"band_mean\.npy: one mean for dates of different dn_offset",
        ),
    ],
    ids=["missing", "zero", "reflectance", "offsets"],
)
def test_what_cannot_standardise_is_refused_when_asked_for(folder, spoil, message):
    spoil(folder)
    tile = tiles.open_tile(folder)
    with pytest.raises((ValueError, OSError), match=message) as error:
        tile.file_statistics()
    assert len(str(error.value)) < 400
    assert "--statistics measured" in str(error.value)


@pytest.mark.parametrize(
    "array", [np.ones(10), np.ones((11, 1)), np.full(11, np.inf), np.array(["1"] * 11)]
)
def test_files_of_another_form_are_refused_at_once(folder, array):
    np.save(folder / "band_std.npy", array)
    with pytest.raises(ValueError, match=r"band_std\.npy: expected 11 finite numbers"):
        tiles.open_tile(folder)


def test_those_of_another_tile_are_doubted(folder, caplog):
    np.save(folder / "band_std.npy", np.load(folder / "band_std.npy") / 9)
    tiles.open_tile(folder).file_statistics()
    (said,) = [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and "band_mean.npy" in record.getMessage()
    ]
    assert "look whether they are of this tile" in said


def test_an_order_that_is_assumed_is_said_once(tmp_path, caplog):
    unnamed = [
        tile_folders.write_npy(tmp_path / name, dates=3, height=4, width=4)
        for name in "ab"
    ]
    named = tile_folders.write_npy(
        tmp_path / "c", dates=3, height=4, width=4, bands="tiles_11"
    )
    opened = [tiles.open_tile(path) for path in (*unnamed, named)]
    assert [tile.assumes_bands for tile in opened] == [True, True, False]
    tiles.say_assumed_bands(opened, "give --bands")
    tiles.say_assumed_bands(opened[2:], "give --bands")
    (said,) = [r.getMessage() for r in caplog.records if "order" in r.getMessage()]
    assert said.startswith("a and 1 more: no file names the 11 bands")
    assert "B04 B02 B03 B08 B8A B09 B05 B06 B07 B11 B12; give --bands" in said
