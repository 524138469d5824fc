"""btfm's input of pixel time series, rewritten from its description.

Tile by tile: the whole tile is standardised, its valid pixels are walked in raster
order, and for each of them two sorted subsets of its usable dates are drawn by NumPy.
Samples gather in a list, which is shuffled when it is full and cut into batches.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE_SIZE, MIN_VALID, BUFFER = 16, 32, 600_000

Batch = tuple[NDArray[np.float32], NDArray[np.int64]]


def batches(
    folders: Sequence[Path], batch_size: int, seed: int = 42
) -> Iterator[Batch]:
    """Yields (views (batch, 2, dates, bands), weeks (batch, 2, dates)) of tiles."""
    rng = np.random.default_rng(seed)
    buffer: list[Any] = []
    for folder in folders:
        for sample in _samples(folder, rng):
            buffer.append(sample)
            if len(buffer) == BUFFER:
                random.shuffle(buffer)
                yield from _collate(buffer, batch_size)
                buffer = []
    random.shuffle(buffer)
    yield from _collate(buffer, batch_size)


def _samples(folder: Path, rng: np.random.Generator) -> Iterator[Any]:
    bands = np.load(folder / "bands.npy")
    masks = np.load(folder / "masks.npy")
    weeks = np.load(folder / "doys.npy").astype(np.int64) // 7
    mean, std = (np.load(folder / f"band_{name}.npy") for name in ("mean", "std"))
    bands = (bands - mean.astype(np.float32)) / std.astype(np.float32)
    for row, column in np.argwhere(masks.sum(axis=0) > MIN_VALID):
        valid = np.nonzero(masks[:, row, column])[0]
        views = []
        for _ in range(2):
            dates = np.sort(rng.choice(valid, SAMPLE_SIZE, replace=False))
            views.append((bands[dates, row, column], weeks[dates]))
        yield np.stack([v for v, _ in views]), np.stack([w for _, w in views])


def _collate(samples: Sequence[Any], batch_size: int) -> Iterator[Batch]:
    for start in range(0, len(samples) - batch_size + 1, batch_size):
        part = samples[start : start + batch_size]
        yield np.stack([views for views, _ in part]), np.stack([w for _, w in part])


def measure(folders: Sequence[Path], batch_size: int) -> tuple[float, float]:
    """Goes through tiles once.

    Returns:
        Pixels a second, and microseconds of processor time a pixel.
    """
    begun, start, count = time.process_time(), time.perf_counter(), 0
    for views, _ in batches(folders, batch_size):
        count += len(views)
    used, elapsed = time.process_time() - begun, time.perf_counter() - start
    return count / elapsed, used / count * 1e6


def measure_processes(
    folders: Sequence[Path], batch_size: int, count: int
) -> tuple[float, float]:
    """Measures processes at once, which send nothing to anybody.

    Each goes through the tiles twice and the second time counts: the first is half as
    slow again, as the process asks the system for memory.

    Returns:
        Pixels a second of all, and microseconds of processor time a pixel.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(count) as pool:
        pool.starmap(measure, [(folders[:1], batch_size)] * count)  # they have come up
        rates, used = zip(
            *pool.starmap(measure, [(folders, batch_size)] * count, chunksize=1),
            strict=True,
        )
    return sum(rates), sum(used) / count
