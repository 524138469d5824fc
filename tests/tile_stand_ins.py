"""A tile with a known class in each quadrant, and an encoder that tells them apart."""

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf import files
from bigearthnet_tf.archive import tiles
from bigearthnet_tf.archive.land_cover import WORLD_COVER
from bigearthnet_tf.serving import tile_source
from bigearthnet_tf.serving.pixel_model import PixelModel

BANDS = ("B02", "B03", "B04", "B08")
# Of the quadrants: upper left, upper right, lower left, lower right.
CODES = (10, 40, 80, 50)
CRS, ORIGIN, PIXEL = "EPSG:32633", (399960, 5_300_040), 10
DATES = 20
CLASSES = tuple(c for c in WORLD_COVER if c.code in CODES)


def write_tile(
    folder, size=40, seed=0, *, place=True, labels=True, crs=CRS, dates=DATES, shift=0
):
    """Writes a tile folder; a strip of pixels has too few dates, one has no label."""
    rng = np.random.default_rng(seed)
    half = size // 2
    codes = np.zeros((size, size), np.uint8)
    for code, (rows, columns) in zip(CODES, quadrants(half), strict=True):
        codes[rows, columns] = code
    level = {code: 1000 * (1 + i) for i, code in enumerate(CODES)}
    series = np.empty((dates, size, size, len(BANDS)), np.uint16)
    base = np.vectorize(level.get)(codes)
    for date in range(dates):
        for band in range(len(BANDS)):
            noise = rng.normal(scale=60, size=base.shape)
            series[date, ..., band] = base * (1 + 0.1 * band) + 10 * date + noise
    mask = (rng.random((dates, size, size)) < 0.8).astype(np.uint8)
    mask[:10] = 1  # enough dates everywhere but in the strip
    mask[:, 5:8, :] = 0
    mask[:3, 5:8, :] = 1
    folder.mkdir(parents=True)
    np.save(folder / "bands.npy", series)
    np.save(folder / "masks.npy", mask)
    np.save(folder / "doys.npy", np.linspace(3, 360, dates).astype(np.uint16))
    if labels:
        told = codes.copy()
        told[:, 12:14] = 0
        # The reference is wrong here: says 50 where the pixels say 10.
        told[0:2, 0:2] = 50
        np.save(folder / "labels.npy", told)
    facts = {"bands": list(BANDS), "years": 2021}
    if place:
        east, north = ORIGIN[0] + shift, ORIGIN[1]
        facts |= {"crs": crs, "transform": [PIXEL, 0, east, 0, -PIXEL, north]}
    files.write_json(folder / "tile.json", facts)
    return folder


def quadrants(half):
    return [
        (slice(r, r + half), slice(c, c + half)) for r in (0, half) for c in (0, half)
    ]


def open_tile(folder, block_size=16):
    return tile_source.of_folder(tiles.open_tile(folder), folder, block_size)


def forward(inputs) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Means of the valid dates as embedding; classes by the nearest level."""
    weights = inputs["mask"][..., None].astype(np.float64)
    sums = (inputs["bands"] * weights).sum(axis=1)
    means = sums / np.maximum(weights.sum(axis=1), 1)
    days = (inputs["doy"] * weights[..., 0]).sum(axis=1) / weights[..., 0].sum(axis=1)
    embedding = np.concatenate([means / 1000, days[:, None] / 366], axis=1)
    order = [CODES.index(c.code) for c in CLASSES]
    levels = 1000.0 * (1 + np.array(order))
    logits = -np.abs(means[:, :1] - 100 - levels) / 300
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    return embedding.astype(np.float32), scores.astype(np.float32)


def model(classes=CLASSES, takes_all=False, key="k", calls=None):
    def count(inputs):
        if calls is not None:
            calls.append(len(inputs["mask"]))
        found, scores = forward(inputs)
        return found, scores if classes else None

    return PixelModel(
        forward=count,
        bands=BANDS,
        dimensions=len(BANDS) + 1,
        sample_size=6,
        min_valid=8,
        takes_all_dates=takes_all,
        classes=classes,
        key=key,
        title="stand-in",
    )
