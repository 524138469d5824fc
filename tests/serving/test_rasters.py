"""Maps that are written window by window."""

import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import closeness
import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from bigearthnet_tf.serving import rasters
from bigearthnet_tf.serving.rasters import RasterForm, ResumableRaster

PLACE = Affine(10.0, 0.0, 600000.0, 0.0, -10.0, 5900040.0)


def form_of(array, **options):
    count, height, width = array.shape
    return RasterForm(
        "EPSG:32629", PLACE, width, height, count, str(array.dtype), **options
    )


def windows_of(height, width, side):
    for row in range(0, height, side):
        for column in range(0, width, side):
            yield Window(
                column, row, min(side, width - column), min(side, height - row)
            )


def cut(array, window):
    rows, columns = window.toslices()
    return array[:, rows, columns]


def write(path, array, windows, key="k", **options):
    block_size = options.pop("block_size", 512)
    form = form_of(array, **options)
    with ResumableRaster(path, form, key, block_size) as raster:
        for window in windows:
            raster.write(window, cut(array, window))
        raster.finish()


@given(
    dtype=st.sampled_from(["uint8", "int8", "uint16", "int16", "float32"]),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    count=st.integers(1, 3),
    side=st.integers(5, 80),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=25, deadline=None)
def test_what_is_written_is_read(
    tmp_path_factory, dtype, height, width, count, side, seed
):
    path = tmp_path_factory.mktemp("raster") / "map.tif"
    random = np.random.default_rng(seed)
    array = (random.random((count, height, width)) * 200 - 90).astype(dtype)
    windows = list(windows_of(height, width, side))
    random.shuffle(windows)
    write(path, array, windows)
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(), array)
        assert dataset.transform == PLACE
        assert dataset.crs.to_epsg() == 32629
    assert [p.name for p in path.parent.iterdir()] == ["map.tif"]


def test_a_finished_map_is_cloud_optimised(tmp_path):
    random = np.random.default_rng(0)
    array = random.random((2, 300, 280), dtype=np.float32)
    array[0, :64, :64] = np.nan
    write(
        tmp_path / "map.tif",
        array,
        windows_of(300, 280, 64),
        block_size=64,
        nodata=np.nan,
        descriptions=["Pastures", "Öl & <Wein>"],
        scales=[0.5, 2.0],
        offsets=[0.0, -1.5],
        tags={"model": "resnet50"},
    )
    with rasterio.open(tmp_path / "map.tif") as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.compression.name == "deflate"
        assert dataset.block_shapes == [(64, 64)] * 2
        assert dataset.overviews(1) == [2, 4, 8]
        assert np.isnan(dataset.nodata)
        assert dataset.descriptions == ("Pastures", "Öl & <Wein>")
        assert dataset.scales == (0.5, 2.0)
        assert dataset.offsets == (0.0, -1.5)
        assert dataset.tags()["model"] == "resnet50"
        half = dataset.read(2, out_shape=(150, 140))
        masked = dataset.read(1, masked=True).mask
    expected = array[1].reshape(150, 2, 140, 2).mean((1, 3))
    closeness.assert_close(half, expected, closeness.FORMULA)
    np.testing.assert_array_equal(masked, np.isnan(array[0]))


def test_classes_keep_their_values_in_overviews(tmp_path):
    array = np.random.default_rng(0).choice(
        np.array([1, 9, 255], np.uint8), size=(1, 256, 256)
    )
    colours = {1: (230, 0, 77), 9: (0, 166, 0)}
    write(
        tmp_path / "map.tif",
        array,
        windows_of(256, 256, 256),
        block_size=64,
        nodata=255,
        colours=colours,
    )
    with rasterio.open(tmp_path / "map.tif") as dataset:
        table = dataset.colormap(1)
        assert table[1] == (230, 0, 77, 255) and table[9] == (0, 166, 0, 255)
        assert dataset.colorinterp[0].name == "palette"
        small = dataset.read(1, out_shape=(64, 64))
        assert dataset.overviews(1)
    assert set(np.unique(small)) <= {1, 9, 255}


def test_red_green_and_blue(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (3, 20, 20), np.uint8)
    write(tmp_path / "map.tif", array, windows_of(20, 20, 20), is_rgb=True)
    with rasterio.open(tmp_path / "map.tif") as dataset:
        assert [c.name for c in dataset.colorinterp] == ["red", "green", "blue"]
        np.testing.assert_array_equal(dataset.read(), array)


def test_what_is_begun_goes_on(tmp_path):
    array = np.arange(1 * 40 * 40, dtype=np.uint16).reshape(1, 40, 40)
    windows = list(windows_of(40, 40, 10))
    path = tmp_path / "map.tif"
    with ResumableRaster(path, form_of(array), "k") as raster:
        for window in windows[:7]:
            raster.write(window, cut(array, window))
        assert all(map(raster.is_done, windows[:7]))
    assert not path.exists()
    with ResumableRaster(path, form_of(array), "k") as raster:
        assert [raster.is_done(w) for w in windows] == [True] * 7 + [False] * 9
        for window in windows[7:]:
            raster.write(window, cut(array, window))
        raster.finish()
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(), array)
    assert rasters.is_finished(path, "k") and not rasters.is_finished(path, "j")
    assert not rasters.is_finished(tmp_path / "none.tif", "k")


def test_what_is_begun_of_something_else_is_thrown_away(tmp_path, caplog):
    array = np.ones((1, 20, 20), np.uint8)
    window = Window(0, 0, 20, 10)
    with ResumableRaster(tmp_path / "map.tif", form_of(array), "k") as raster:
        raster.write(window, cut(array, window))
    caplog.set_level(logging.INFO)
    with ResumableRaster(tmp_path / "map.tif", form_of(array), "other") as raster:
        assert not raster.is_done(window)
        with pytest.raises(ValueError, match="400 pixels, got 0"):
            raster.finish()
    assert "something else" in caplog.text
    # Another form under the same key is something else as well.
    with ResumableRaster(
        tmp_path / "map.tif", form_of(array, nodata=7), "other"
    ) as raster:
        assert raster.num_done == 0


KILLED = """
import os, signal, sys
import numpy as np
from affine import Affine
from rasterio.windows import Window
from bigearthnet_tf.serving import rasters
rasters._SYNC_BYTES = 1
form = rasters.RasterForm("EPSG:32629", Affine.scale(10), 8, 8, 1, "uint8")
raster = rasters.ResumableRaster(sys.argv[1], form, "k")
raster.write(Window(0, 0, 8, 3), np.full((1, 3, 8), 5, np.uint8))
with open(raster._folder / "journal", "a") as journal:
    journal.write("3 0 5")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_what_it_wrote(tmp_path):
    path = tmp_path / "map.tif"
    done = subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    assert done.returncode == -signal.SIGKILL
    form = RasterForm("EPSG:32629", Affine.scale(10), 8, 8, 1, "uint8")
    with ResumableRaster(path, form, "k") as raster:
        assert raster.is_done(Window(0, 0, 8, 3)) and raster.num_done == 1
        raster.write(Window(0, 3, 8, 5), np.full((1, 5, 8), 6, np.uint8))
        raster.finish()
    with rasterio.open(path) as dataset:
        assert dataset.read(1)[:, 0].tolist() == [5] * 3 + [6] * 5


@pytest.mark.parametrize(
    ("window", "array", "message"),
    [
        (Window(0, 0, 4, 4), np.zeros((1, 4, 4), np.int16), "uint8 of shape"),
        (Window(0, 0, 4, 4), np.zeros((1, 4, 5), np.uint8), r"\(1, 4, 5\)"),
        (Window(6, 0, 4, 4), np.zeros((1, 4, 4), np.uint8), "reaches out"),
        (Window(0.5, 0, 4, 4), np.zeros((1, 4, 4), np.uint8), "whole pixels"),
    ],
)
def test_windows_that_do_not_fit(tmp_path, window, array, message):
    form = form_of(np.zeros((1, 8, 8), np.uint8))
    with (
        ResumableRaster(tmp_path / "map.tif", form, "k") as raster,
        pytest.raises(ValueError, match=message),
    ):
        raster.write(window, array)


def test_forms_that_can_not_be_written(tmp_path):
    array = np.zeros((2, 8, 8), np.uint8)
    for form, block_size, message in (
        (form_of(array.astype("int64")), 512, "got int64"),
        (form_of(array[:0]), 512, "at least one pixel"),
        (form_of(array, descriptions=["one"]), 512, "all 2 bands"),
        (form_of(array, is_rgb=True), 512, "got 2 of uint8"),
        (form_of(array), 100, "multiple of 16, got 100"),
    ):
        with pytest.raises(ValueError, match=message):
            ResumableRaster(tmp_path / "map.tif", form, "k", block_size)
    assert not list(tmp_path.iterdir())


def test_nothing_but_an_earlier_map_is_replaced(tmp_path):
    foreign, picture = tmp_path / "scene.tif", tmp_path / "best.png"
    facts = {"width": 4, "height": 4, "count": 1, "dtype": "uint8", "transform": PLACE}
    with rasterio.open(foreign, "w", driver="GTiff", **facts) as dataset:
        dataset.write(np.ones((1, 4, 4), np.uint8))
    text = tmp_path / "text.tif"
    text.write_text("precious")
    for path, message in (
        (foreign, "was not written by this command"),
        (text, "was not written by this command"),
        (picture, r"ends in \.tif"),
    ):
        before = path.read_bytes() if path.exists() else None
        with pytest.raises((ValueError, OSError), match=message):
            rasters.check_free(path)
        assert before == (path.read_bytes() if path.exists() else None)


def test_one_process_writes_a_map(tmp_path):
    form = form_of(np.zeros((1, 8, 8), np.uint8))
    with (
        ResumableRaster(tmp_path / "map.tif", form, "k"),
        pytest.raises(OSError, match="another process is writing it"),
    ):
        ResumableRaster(tmp_path / "map.tif", form, "k")


def test_a_disk_without_room(tmp_path, monkeypatch):
    form = form_of(np.zeros((1, 8, 8), np.uint8))
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(rasters.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"needs 128 bytes .* has 100 bytes free"):
        ResumableRaster(tmp_path / "map.tif", form, "k")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_a_disk_that_fills_up(tmp_path):
    form = form_of(np.zeros((1, 8, 8), np.uint8))
    with ResumableRaster(tmp_path / "map.tif", form, "k") as raster:
        full = os.open("/dev/full", os.O_WRONLY)
        kept = os.dup(raster._pixels)
        os.dup2(full, raster._pixels)
        with pytest.raises(OSError, match=r"the disk is full .* what is written stays"):
            raster.write(Window(0, 0, 8, 8), np.zeros((1, 8, 8), np.uint8))
        os.dup2(kept, raster._pixels)
        os.close(kept)
        os.close(full)
        assert raster.num_done == 0
