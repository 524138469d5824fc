"""Pictures of how scores turn out: reliability curves, and confusions of labels."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bigearthnet_tf.evaluation import plots
from bigearthnet_tf.metrics import calibration
from bigearthnet_tf.pictures import GREY, INK, LIGHT, OKABE_ITO

_BLUE, _VERMILION = OKABE_ITO[:2]
# Of the confusions: inches a label, and from which share of the scale text is white.
_CELL, _DARK = 0.34, 0.55
_NAME = 34


def reliability_curves(
    labels: NDArray[np.uint8], scores: NDArray[np.float32], names: Sequence[str]
) -> Figure:
    """Returns a panel for all labels and one for each: how often a score comes true.

    On the dashed diagonal scores are frequencies. Dots are as large as the share of
    scores in their bin, on a scale of square roots; the bars below tell it too.

    Args:
        labels: (samples, labels) of 0 and 1.
        scores: (samples, labels) in [0, 1].
        names: of the labels.

    Raises:
        ValueError: no label, or shapes that don't fit.
    """
    labels, scores = np.asarray(labels).astype(bool), np.asarray(scores, np.float64)
    if labels.shape != scores.shape or labels.ndim != 2 or len(labels) == 0:
        raise ValueError(
            "expected labels and scores of one shape (samples, labels), got "
            f"{labels.shape} and {scores.shape}"
        )
    plots.check_lengths(names, {"labels": labels.T})
    found = calibration.reliability(labels, scores)
    gaps, pooled = calibration.calibration_errors(labels, scores)
    panels = [("all labels", tuple(part.sum(axis=0) for part in found), pooled)]
    panels += [
        (name, tuple(part[j] for part in found), gaps[j])
        for j, name in enumerate(names)
    ]
    columns = min(len(panels), 5 if len(panels) <= 25 else 6)
    rows = math.ceil(len(panels) / columns)
    figure = plots.new_page(2.0 * max(columns, 2) + 0.4, 2.1 * rows + 0.5)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, (name, parts, gap) in zip(grid.ravel(), panels, strict=False):
        _draw_reliability(axes, parts, float(gap))
        axes.set_title(textwrap.fill(name, 30), fontsize=8, color=INK)
    for axes in grid.ravel()[len(panels) :]:
        axes.set_axis_off()
    for axes in grid.ravel()[max(len(panels) - columns, 0) : len(panels)]:
        axes.tick_params(labelbottom=True)
    figure.supxlabel("score", fontsize=10)
    figure.supylabel("share that has the label", fontsize=10)
    return plots.laid_out(figure)


def _draw_reliability(
    axes: Axes, parts: tuple[NDArray[np.float64], ...], gap: float
) -> None:
    counts, sums, positives = parts
    axes.set(xlim=(0, 1), ylim=(0, 1.03))
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.grid(color=LIGHT, linewidth=0.6)
    plots.finish(axes)
    axes.plot([0, 1], [0, 1], color=_VERMILION, linestyle="--", linewidth=1)
    some = counts > 0
    share = counts / counts.sum()
    edges = np.arange(len(counts)) / len(counts)
    axes.bar(
        edges, 0.25 * share / share.max(), 1 / len(counts), align="edge", color=LIGHT
    )
    axes.plot(
        sums[some] / counts[some],
        positives[some] / counts[some],
        color=_BLUE,
        linewidth=0.8,
        alpha=0.6,
    )
    axes.scatter(
        sums[some] / counts[some],
        positives[some] / counts[some],
        s=5 + 50 * np.sqrt(share[some]),
        color=_BLUE,
        zorder=3,
        clip_on=False,
        linewidths=0,
    )
    # Scores too high bend the curve below the diagonal, which leaves the top free.
    is_low = positives.sum() < sums.sum()
    place, side, edge = (0.05, 0.96), "left", "top"
    if not is_low:
        place, side, edge = (0.97, 0.3), "right", "bottom"
    axes.text(
        *place, f"ECE {gap:.3f}\nn = {int(positives.sum()):,}", color=INK,
        transform=axes.transAxes, ha=side, va=edge, fontsize=8,
        bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5},
    )  # fmt: skip


def confusion_map(
    together: NDArray[np.int64], missed: NDArray[np.int64], names: Sequence[str]
) -> Figure:
    """Returns the shares of patches that miss a label in which another is given.

    A row is a missed label, a column a false alarm; cells say the share in percent, as
    far as it is at least 1.

    Args:
        together: (labels, labels) of `confusions.matrix`.
        missed: (labels,) patches that miss each label.
        names: of the labels.

    Raises:
        ValueError: no label, or shapes that don't fit.
    """
    plots.check_lengths(names, {"rows": together, "counts": missed})
    shares = together / np.maximum(missed, 1)[:, None]
    side = _CELL * len(names)
    figure = plots.new_page(side + 4.2, side + 3.0)
    axes = figure.subplots()
    top = max(0.05, float(shares.max()))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=top)
    places = np.arange(len(names))
    short = [textwrap.shorten(name, _NAME, placeholder="…") for name in names]
    counted = [f"{n}  ({count:,})" for n, count in zip(short, missed, strict=True)]
    axes.set_yticks(places, counted, fontsize=8)
    axes.set_xticks(places, short, fontsize=8, rotation=90)
    axes.set_xticks(places[:-1] + 0.5, minor=True)
    axes.set_yticks(places[:-1] + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0, colors=INK)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("missed (patches)", fontsize=9, color=GREY)
    axes.set_xlabel("given in the same patch, wrongly", fontsize=9, color=GREY)
    for (i, j), share in np.ndenumerate(shares):
        if share >= 0.01:
            colour = "white" if share > _DARK * top else INK
            axes.text(
                j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=7,
                color=colour,
            )  # fmt: skip
    bar = figure.colorbar(image, ax=axes, shrink=0.5, aspect=30, pad=0.02)
    bar.set_label("share of the patches that miss the label", fontsize=8, color=GREY)
    bar.ax.tick_params(labelsize=8, colors=INK)
    bar.outline.set_visible(False)
    return plots.laid_out(figure)
