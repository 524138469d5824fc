"""What labelled pixels are told apart by: embeddings, and medians of the months."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bigearthnet_tf.data import time_series
from bigearthnet_tf.tasks import base, pixels

MONTHS = 12
# First day of each month in a year of 365 days.
_STARTS = np.cumsum([1, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30])


@dataclass(frozen=True, eq=False)
class Labelled:
    """Features of labelled pixels of a split.

    Attributes:
        features: (pixels, dimensions) float32.
        classes: (pixels,) int32, none below 0.
        places: (pixels, 3) int32: number of the tile, row, column.
    """

    features: NDArray[np.float32]
    classes: NDArray[np.int32]
    places: NDArray[np.int32]


def embed(model: keras.Model, task: pixels.PixelTask, split: str) -> Labelled:
    """Returns the embeddings of labelled pixels, means of `evaluation_draws` views.

    Args:
        model: gives `h_s2`.
        task: of a run.
        split: `train`, `val` or `test`.

    Raises:
        ValueError: no pixel of it has a label.
    """
    draws = task.config.evaluation_draws

    @tf.function
    def step(series: Mapping[str, tf.Tensor]) -> tf.Tensor:
        views = [pixels.encode(model, series, view)["h_s2"] for view in range(draws)]
        return tf.add_n(views) / draws

    options = {"sample_size": task.config.sample_size, "views": draws}
    return _collect(task, split, lambda series: step(series).numpy(), options)


def monthly_medians(task: pixels.PixelTask, split: str) -> Labelled:
    """Returns the median of each band and month over all usable dates.

    Args:
        task: of a run.
        split: `train`, `val` or `test`.

    Returns:
        The pixels of `embed`, in the same order, with 12 * bands features.

    Raises:
        ValueError: no pixel of it has a label.
    """

    def medians(series: Mapping[str, tf.Tensor]) -> NDArray[np.float32]:
        bands, doy, mask = (series[k].numpy()[:, 0] for k in ("bands", "doy", "mask"))
        return medians_of_months(bands, doy, mask)

    return _collect(task, split, medians, {"sample_size": None, "views": 1})


def medians_of_months(
    bands: NDArray[Any], doy: NDArray[Any], mask: NDArray[Any]
) -> NDArray[np.float32]:
    """Returns medians by month; a month without a date has those of the nearest one.

    Args:
        bands: (pixels, dates, bands).
        doy: (pixels, dates), from 1.
        mask: (pixels, dates), 1 where observed.

    Returns:
        (pixels, 12 * bands) float32, month by month.
    """
    month = np.searchsorted(_STARTS, doy, side="right") - 1
    count, _, width = bands.shape
    found = np.full((count, MONTHS, width), np.nan, np.float32)
    series = bands.astype(np.float32)
    for number in range(MONTHS):
        chosen = (month == number) & (mask > 0)
        has = chosen.any(axis=1)
        if has.any():
            values = np.where(chosen[has, :, None], series[has], np.nan)
            found[has, number] = np.nanmedian(values, axis=1)
    known = ~np.isnan(found[:, :, :1])
    filled = np.where(known, found, 0.0)
    for distance in range(1, MONTHS // 2 + 1):
        for shift in (distance, -distance):
            there = np.roll(known, shift, axis=1)
            take = ~known & there & np.isnan(found[:, :, :1])
            filled = np.where(take, np.roll(np.nan_to_num(found), shift, 1), filled)
            found = np.where(take, filled, found)
    return filled.reshape(count, -1).astype(np.float32)


def _collect(
    task: pixels.PixelTask, split: str, features: Any, options: dict[str, Any]
) -> Labelled:
    found: dict[str, list[NDArray[Any]]] = {"x": [], "y": [], "places": []}
    for series, codes, weights in _batches(task, split, options):
        present = weights.numpy() > 0
        classes = task.class_numbers(codes).numpy()
        keep = present & (classes >= 0)
        places = np.stack([series[k].numpy() for k in ("tile", "row", "column")], 1)
        found["x"].append(features(series)[keep])
        found["y"].append(classes[keep])
        found["places"].append(places[keep])
    x, y, places = (np.concatenate(parts) for parts in found.values())
    return Labelled(x, y, places)


def _batches(
    task: pixels.PixelTask, split: str, options: dict[str, Any]
) -> Iterator[tuple[Any, Any, Any]]:
    """Yields the same pixels in the same order, whatever is drawn of them."""
    source = task.source(split)
    if not source.num_labelled:
        raise ValueError(
            f"{split}: no pixel has a label, which probes need; write the records from "
            "tiles with labels, or name others in the config"
        )
    most = -(-task.config.probe_pixels // source.num_blocks)
    data = time_series.pixel_batches(
        source,
        task.config.batch_size,
        labelled=True,
        places=True,
        pixels_per_block=most,
        shuffle_buffer_size=0,
        seed=task.config.seed,
        pad=True,
        **options,
    )
    with base.reading(task, split):
        yield from data
