"""Pictures of learning from pixels: correlations, and classes that are confused."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bigearthnet_tf.pictures import GREY, INK

# Inches: a cell of the confusion matrix, and room for names on the left and below.
_CELL, _NAMES = 0.62, 2.1


def correlations(correlation: NDArray[Any]) -> Figure:
    """Draws how the dimensions of two views' projections correlate.

    Where a training works, the diagonal is dark and the rest is white.

    Args:
        correlation: (dimensions, dimensions), -1 to 1; drawn without its sign.
    """
    figure = Figure(figsize=(5.6, 4.8), layout="constrained")
    axes = figure.subplots()
    size = np.abs(correlation)
    image = axes.imshow(size, cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, shrink=0.9)
    bar.set_label("correlation, without its sign")
    is_diagonal = np.eye(len(size), dtype=bool)
    others = size[~is_diagonal] if len(size) > 1 else np.zeros(1)
    axes.set_title(
        f"on average {size[is_diagonal].mean():.2f} on the diagonal, "
        f"{others.mean():.3f} beside it",
        fontsize=10,
    )
    axes.set_xlabel("dimension of the second view's projection")
    axes.set_ylabel("dimension of the first view's projection")
    return figure


def confusion(counts: NDArray[np.int64], names: Sequence[str]) -> Figure:
    """Draws which class is taken for which, rows the truth, in per cent of a row.

    Classes that occur neither in truth nor in prediction are left out. To the right
    stands how many pixels a row has.

    Args:
        counts: (classes, classes), rows the truth.
        names: of the classes.
    """
    occurs = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    counts = counts[np.ix_(occurs, occurs)]
    names = [names[int(i)] for i in occurs]
    true = counts.sum(axis=1)
    shares = 100 * counts / np.maximum(true, 1)[:, None]
    side = _CELL * len(names)
    figure = Figure(figsize=(side + _NAMES + 2.2, side + _NAMES), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    # Beside the column of pixels, which is as wide whatever the number of classes.
    beside = 1.1 / (side + 2)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=beside, fraction=beside / 2)
    bar.set_label("per cent of the pixels of a true class")
    for row, column in np.ndindex(*counts.shape):
        share = shares[row, column]
        axes.text(
            column,
            row,
            _percent(float(share), int(counts[row, column])),
            ha="center",
            va="center",
            fontsize=8,
            fontweight="bold" if row == column else "normal",
            color="white" if share > 55 else INK,
        )
    for row, count in enumerate(true):
        axes.text(
            len(names) - 0.35, row, f"{count:,}", va="center", fontsize=8, color=GREY
        )
    axes.text(len(names) - 0.35, -0.75, "pixels", va="center", fontsize=8, color=GREY)
    places = range(len(names))
    axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, [textwrap.fill(name, 16) for name in names])
    axes.tick_params(length=0, labelsize=8)
    axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    return figure


def _percent(share: float, count: int) -> str:
    if not count:
        return ""
    return f"{share:.0f}" if share >= 1 else "<1"
