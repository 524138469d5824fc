"""Rasters that GDAL opens."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio

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
