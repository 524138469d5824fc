"""What a segmentation has to beat: the commonest label, and a linear model of a pixel.

Both give a confusion matrix over the very pixels that the network is measured on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from bigearthnet_tf import console
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.data import pipeline
from bigearthnet_tf.metrics import pixels as metrics
from bigearthnet_tf.tasks import base
from bigearthnet_tf.tasks.segmentation import Segmentation

MAJORITY, LINEAR = "commonest label", "logistic regression of single pixels"
# Training pixels of the linear model, and the most patches that they are drawn from:
# a dozen of bands leaves nothing to learn from more.
_PIXELS, _PATCHES = 40_000, 2_000
# Newton's method on the exact Hessian, which is small: a few hundred rows.
_SOLVER = "newton-cholesky"


def majority(
    confused: NDArray[np.int64], train_counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Returns the confusion if every pixel were given the commonest training label.

    Args:
        confused: (labels, labels) of anything on the same pixels, rows the truth.
        train_counts: (labels,) pixels of the training split.
    """
    found = np.zeros_like(confused)
    found[:, np.argmax(train_counts)] = confused.sum(axis=1)
    return found


def linear(task: Segmentation) -> NDArray[np.int64]:
    """Returns the confusion of a logistic regression on the bands of single pixels.

    Fitted on pixels drawn at random from the first training records, which lie in
    random order.

    Args:
        task: whose training and test records are read.

    Returns:
        (labels, labels), rows the truth.

    Raises:
        ValueError: damaged records, or fewer than two labels among the pixels drawn.
    """
    values, classes = draw_pixels(task)
    if len(np.unique(classes)) < 2:
        raise ValueError(
            "baselines: the training maps have fewer than two labels to tell apart; "
            "set baselines to false, or prepare other records"
        )
    model = fit(values, classes)
    labels = len(task.labels)
    confused = np.zeros((labels, labels), np.int64)
    with base.reading(task, "test"):
        for groups, truth in _batches(task, "test", task.num_records("test")):
            given = model.predict(stack(groups).reshape(-1, len(task.bands)))
            confused += metrics.confusion(truth, given, labels)
    return confused


def fit(values: NDArray[np.float32], classes: NDArray[np.uint8]) -> Pipeline:
    """Returns a standardisation with a multinomial logistic regression behind it.

    Args:
        values: (pixels, bands).
        classes: (pixels,), of two labels at least.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(solver=_SOLVER))
    return model.fit(values, classes)


def draw_pixels(
    task: Segmentation,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Returns bands and labels of some labelled training pixels.

    The same number of each patch, or all that it has.

    Args:
        task: whose training records are read; its seed is that of the draw.

    Returns:
        (pixels, bands) float32 as stored, and (pixels,) uint8.

    Raises:
        ValueError: damaged records, or no labelled pixel.
    """
    rng = np.random.default_rng(task.config.seed)
    patches = min(_PATCHES, task.num_records("train"))
    each = -(-_PIXELS // patches)
    values, classes = [], []
    with base.reading(task, "train"):
        for groups, truth in _batches(task, "train", patches):
            for image, own in zip(stack(groups), truth, strict=True):
                places = np.flatnonzero(own.ravel() < len(task.labels))
                places = rng.permutation(places)[:each]
                values.append(image.reshape(-1, image.shape[-1])[places])
                classes.append(own.ravel()[places])
    found = np.concatenate(values), np.concatenate(classes)
    if not len(found[1]):
        raise ValueError("no pixel of the training records has a label")
    return found


def stack(groups: Mapping[str, Any]) -> NDArray[np.float32]:
    """Returns band groups as one array (batch, 120, 120, bands) float32.

    Coarser pixels are repeated; the bands come in the order of the groups.

    Args:
        groups: (batch, bands, rows, columns) of each, as stored.
    """
    side = band_facts.PATCH_METRES // 10
    fine = []
    for group in groups.values():
        pixels = np.asarray(group, np.float32)
        times = side // pixels.shape[-1]
        fine.append(pixels.repeat(times, axis=2).repeat(times, axis=3))
    return np.moveaxis(np.concatenate(fine, axis=1), 1, -1)


def _batches(
    task: Segmentation, split: str, patches: int
) -> Iterator[tuple[dict[str, NDArray[Any]], NDArray[np.uint8]]]:
    """Yields band groups and maps of the first patches of a split."""
    data = pipeline.batches(
        task.source(split),
        task.config.batch_size,
        task.bands,
        task.label_type,
        parser=task.parser,
    )
    total = -(-patches // task.config.batch_size)
    what = f"logistic regression, {split}"
    batches = data.take(total).as_numpy_iterator()
    yield from console.progress(
        batches, total=total, desc=what, unit="batch", leave=False, disable=None
    )
