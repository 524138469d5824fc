"""Tiles of time series that tests make on disk."""

import json
from pathlib import Path

import numpy as np
import rasterio
from rasterio import Affine

CRS = "EPSG:32613"
TRANSFORM = (10.0, 0.0, 300_000.0, 0.0, -10.0, 4_500_000.0)


def write_npy(
    folder: Path,
    dates=40,
    height=30,
    width=50,
    num_bands=11,
    seed=0,
    labels=True,
    **facts,
) -> Path:
    """A folder of `.npy` files with numbers up to 65535; `facts` go to tile.json."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    numbers = rng.integers(0, 65_536, (dates, height, width, num_bands), np.uint16)
    numbers[0, 0, 0] = 65_535
    np.save(folder / "bands.npy", numbers)
    mask = rng.random((dates, height, width)) < 0.6
    np.save(folder / "masks.npy", mask.astype(np.uint8))
    days = np.sort(rng.integers(1, 366, dates)).astype(np.uint16)
    np.save(folder / "doys.npy", days)
    if labels:
        codes = rng.choice([0, 10, 40, 95, 100], (height, width))
        np.save(folder / "labels.npy", codes.astype(np.uint8))
    if facts:
        (folder / "tile.json").write_text(json.dumps(facts))
    return folder


def write_tif(path: Path, array, names=None, metres=10.0, tags=None, **options) -> None:
    """A GeoTIFF of (bands, rows, columns) at the corner of `TRANSFORM`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    transform = Affine(metres, 0, TRANSFORM[2], 0, -metres, TRANSFORM[5])
    profile = {
        "driver": "GTiff",
        "count": array.shape[0],
        "height": array.shape[1],
        "width": array.shape[2],
        "dtype": array.dtype.name,
        "crs": CRS,
        "transform": transform,
        **options,
    }
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(array)
        for number, name in enumerate(names or (), start=1):
            dataset.set_band_description(number, name)
        dataset.update_tags(**(tags or {}))
