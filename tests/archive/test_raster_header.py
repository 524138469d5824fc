"""Rasters that GDAL opens."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from bigearthnet_tf.archive import raster_header

ROOT = Path(__file__).parents[2]

THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from rasterio import Affine
from rasterio.warp import reproject

from bigearthnet_tf.archive import raster_header

PLACE = Affine(10, 0, 500000, 0, -10, 5000000)


def read(_):
    ones, out = np.ones((2, 8, 8), "float32")
    reproject(
        ones,
        out,
        src_transform=PLACE,
        src_crs="EPSG:32633",
        dst_transform=PLACE,
        dst_crs="EPSG:32632",
    )
    with raster_header.open_raster(Path(sys.argv[1])) as dataset:
        return dataset.read(1).sum()


with ThreadPoolExecutor(8) as pool:
    print(sum(pool.map(read, range(400))))
"""


VRT = """<VRTDataset rasterXSize="4" rasterYSize="2">
{bands}</VRTDataset>"""
BAND = """<VRTRasterBand dataType="Byte" band="{number}">
<SimpleSource><SourceFilename relativeToVRT="1">data.tif</SourceFilename>
<SourceBand>{number}</SourceBand></SimpleSource>{mask}</VRTRasterBand>"""
MASK = """<MaskBand><VRTRasterBand dataType="Byte"><SimpleSource>
<SourceFilename relativeToVRT="1">data.tif</SourceFilename><SourceBand>3</SourceBand>
</SimpleSource></VRTRasterBand></MaskBand>"""


def test_a_band_may_have_a_mask_of_its_own(tmp_path):
    image = np.ones((3, 2, 4), np.uint8)
    image[2, :, 2:] = 0
    form = {"driver": "GTiff", "dtype": "uint8", "count": 3, "width": 4, "height": 2}
    with rasterio.open(tmp_path / "data.tif", "w", **form) as made:
        made.write(image)
    vrt = tmp_path / "data.vrt"
    parts = [BAND.format(number=n, mask=m) for n, m in ((1, ""), (2, MASK))]
    vrt.write_text(VRT.format(bands="\n".join(parts)))
    with raster_header.open_raster(vrt) as dataset:
        assert raster_header.read_mask(dataset, [1]) is True
        for indexes in ([2], [1, 2]):
            found = raster_header.read_mask(dataset, indexes)
            np.testing.assert_array_equal(found, image[2] == 1)


@pytest.mark.parametrize(
    ("name", "masks"),
    [(None, True), ("dataMask", True), ("alpha", True), ("cloud mask", False)],
)
def test_a_band_of_alpha_masks_unless_it_is_named_otherwise(tmp_path, name, masks):
    image = np.ones((2, 2, 4), np.uint8)
    image[1, :, 2:] = 0
    form = {"driver": "GTiff", "dtype": "uint8", "count": 2, "width": 4, "height": 2}
    with rasterio.open(tmp_path / "a.tif", "w", ALPHA="YES", **form) as made:
        made.write(image)
        made.colorinterp = ColorInterp.gray, ColorInterp.alpha
        if name:
            made.set_band_description(2, name)
    with raster_header.open_raster(tmp_path / "a.tif") as dataset:
        found = raster_header.read_mask(dataset, [1])
    expected = image[1] == 1 if masks else np.ones((2, 4), bool)
    np.testing.assert_array_equal(np.broadcast_to(found, (2, 4)), expected)


def test_threads_do_not_warn_of_a_missing_place(tmp_path):
    """Each thread's own `catch_warnings` would end that of another one."""
    form = {"driver": "GTiff", "dtype": "float32", "count": 1, "width": 8, "height": 8}
    with rasterio.open(tmp_path / "plain.tif", "w", **form) as made:
        made.write(np.ones((1, 8, 8), np.float32))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", THREADS, tmp_path / "plain.tif"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("25600.0\n", "")
