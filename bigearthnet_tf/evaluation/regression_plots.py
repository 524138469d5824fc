"""The picture of a regression: what was predicted against what was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bigearthnet_tf.pictures import GREY, INK, LIGHT, OKABE_ITO

_MARGIN = 0.05  # of the range, around the points


def scatter(
    target: NDArray[np.float64],
    predicted: NDArray[np.float64],
    folds: NDArray[np.int64],
    name: str,
    headline: Sequence[str],
) -> Figure:
    """Draws predictions against targets, with equal scales.

    Args:
        target: (points,).
        predicted: likewise, of models that have not seen a point's block.
        folds: likewise, numbers.
        name: of the quantity.
        headline: lines with the errors.
    """
    figure = Figure(figsize=(6.4, 6.2), layout="constrained", dpi=160)
    axes = figure.subplots()
    low = min(target.min(), predicted.min())
    high = max(target.max(), predicted.max())
    margin = _MARGIN * (high - low) or 1.0
    ends = np.array([low - margin, high + margin])
    axes.plot(ends, ends, color=GREY, linestyle="--", linewidth=1, label="as measured")
    axes.scatter(
        target,
        predicted,
        s=16,
        color=OKABE_ITO[0],
        alpha=0.55,
        linewidth=0,
        label=f"{len(target):,} points, {folds.max() + 1} folds of whole blocks",
    )
    if np.ptp(target) > 0:
        slope, height = np.polyfit(target, predicted, 1)
        axes.plot(
            ends,
            slope * ends + height,
            color=OKABE_ITO[1],
            linewidth=1.5,
            label=f"line of best fit, slope {slope:.2f}",
        )
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_aspect("equal")
    axes.set_xlabel(f"{name}, measured")
    axes.set_ylabel(f"{name}, predicted from embeddings")
    axes.text(
        0.03,
        0.97,
        "\n".join(headline),
        transform=axes.transAxes,
        verticalalignment="top",
        fontsize=9,
        color=INK,
        bbox={"facecolor": "white", "edgecolor": LIGHT, "boxstyle": "round,pad=0.4"},
    )
    axes.grid(color=LIGHT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure
