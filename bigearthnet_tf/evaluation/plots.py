"""The pictures of a report.

Where label colours are given, position and text carry the meaning and colour only
recalls the maps.
"""

from __future__ import annotations

import base64
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from sklearn.metrics import precision_recall_curve

from bigearthnet_tf import pictures
from bigearthnet_tf.metrics import ranking
from bigearthnet_tf.pictures import GREY, INK, LIGHT, OKABE_ITO

# Shape, size in points and face of the baselines' markers, so that of two on one place
# both can be seen.
_MARKERS = (
    ("D", 6.5, "white"),
    ("o", 4.5, INK),
    ("s", 8.0, "none"),
    ("^", 5.0, "white"),
)
_CURVE_POINTS = 400  # more than the pixels of a panel; a curve may have 100,000 points
_MARKED_POINTS = 40  # a curve of no more has a marker on each
_SHARED = "metrics"  # panel of all measures within [0, 1]
_DPI = 160
# Measures whose values can lie in [0, 1] and yet have a scale of their own.
_OWN_SCALE = ("loss", "rate")


def per_label_bars(
    names: Sequence[str],
    average_precision: Sequence[float] | np.ndarray,
    counts: Sequence[int] | np.ndarray,
    baselines: Mapping[str, Sequence[float] | np.ndarray] | None,
    colours: Sequence[str],
    bounds: Sequence[tuple[float, float]] | None = None,
    *,
    measure: str = "average precision",
    counted: str = "positives",
) -> Figure:
    """Returns one bar per label, from top to bottom in the given order.

    To the right stand the average precision in digits and the number of positives;
    baselines are markers on the bars, the mean over labels is a dashed line.

    Args:
        names: label names; long ones are broken into lines.
        average_precision: of each label, in [0, 1].
        counts: positives of each label in the evaluated split.
        baselines: name of each baseline to its average precision per label.
        colours: colour of each label's bar, as matplotlib takes it.
        bounds: lower and upper bound of each label, a thin line on its bar.
        measure: what the bars are, where they are not average precisions.
        counted: what was counted.

    Raises:
        ValueError: no label, or lists of different lengths.
    """
    baselines = baselines or {}
    per_label = {
        "average_precision": average_precision,
        "counts": counts,
        "colours": colours,
        **({} if bounds is None else {"bounds": bounds}),
        **baselines,
    }
    check_lengths(names, per_label)
    places = np.arange(len(names))
    figure = new_page(9.0, 1.1 + 0.36 * len(names))
    numbers = [f"{count:,}" for count in counts]
    # Of the table, in widths of the axes: room for numbers of many digits.
    width = 0.2 + 0.025 * max(max(map(len, numbers)) - 7, 0)
    axes, table = figure.subplots(1, 2, sharey=True, width_ratios=(1, width))
    axes.barh(
        places, average_precision, 0.72, color=colours, edgecolor=INK, linewidth=0.6
    )
    if bounds is not None:
        low, high = np.array(bounds).T
        axes.hlines(places, low, high, color=INK, linewidth=1.1, label="95 % interval")
    mean = float(np.mean(average_precision))
    axes.axvline(
        mean, color=INK, linestyle="--", linewidth=1.2, label=f"macro mean {mean:.3f}"
    )
    for index, (name, values) in enumerate(baselines.items()):
        marker, size, face = _MARKERS[index % len(_MARKERS)]
        axes.plot(
            values,
            places,
            linestyle="none",
            marker=marker,
            markersize=size,
            markerfacecolor=face,
            markeredgecolor=INK,
            clip_on=False,
            zorder=3,
            label=name,
        )
    axes.set_yticks(places, [textwrap.fill(name, 50) for name in names], fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel(measure, fontsize=10)
    axes.grid(axis="x", color=LIGHT, linewidth=0.8)
    finish(axes)
    axes.tick_params(axis="y", length=0, pad=7)
    table.set_axis_off()
    short = "AP" if measure == "average precision" else measure
    digits = [f"{value:.3f}" for value in average_precision]
    _add_column(table, 0.06 / width, short, digits)
    _add_column(table, 1.0, counted, numbers)
    figure.legend(loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    return laid_out(figure)


def _add_column(axes: Axes, x: float, title: str, texts: Sequence[str]) -> None:
    """Writes a right-aligned column of a table; `x` in widths of the axes."""
    for place, text in [(-1.0, title), *enumerate(texts)]:
        axes.text(
            x,
            place,
            text,
            transform=axes.get_yaxis_transform(),
            horizontalalignment="right",
            verticalalignment="center",
            fontsize=9,
            color=GREY if place < 0 else INK,
        )


def precision_recall_curves(
    labels: np.ndarray, scores: np.ndarray, names: Sequence[str]
) -> Figure:
    """Returns one panel per label with its precision-recall curve.

    The area of the filled steps is the average precision; the dashed line is the
    label's frequency, the precision of a random order. A label without positives has
    an empty panel that says so.

    Args:
        labels: (samples, labels) of 0 and 1.
        scores: (samples, labels).
        names: of the labels.

    Raises:
        ValueError: no label, or names or scores that don't match the labels.
    """
    labels, scores = np.asarray(labels).astype(bool), np.asarray(scores)
    if labels.shape != scores.shape or labels.ndim != 2 or len(labels) == 0:
        raise ValueError(
            "expected labels and scores of one shape (samples, labels), got "
            f"{labels.shape} and {scores.shape}"
        )
    check_lengths(names, {"labels": labels.T})
    columns = min(len(names), 5 if len(names) <= 25 else 6)
    rows = math.ceil(len(names) / columns)
    figure = new_page(2.0 * max(columns, 2) + 0.4, 2.1 * rows + 0.5)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = grid.ravel()
    for panel, name, truth, ranked in zip(
        panels, names, labels.T, scores.T, strict=False
    ):
        _draw_curve(panel, truth, ranked)
        panel.set_title(textwrap.fill(name, 30), fontsize=8, color=INK)
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    # Panels above an empty place carry the axis that the place would have had.
    for panel in panels[max(len(names) - columns, 0) : len(names)]:
        panel.tick_params(labelbottom=True)
    handles = {
        label: handle
        for panel in panels
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside upper center",
        ncols=2,
        fontsize=9,
        frameon=False,
    )
    figure.supxlabel("recall", fontsize=10)
    figure.supylabel("precision", fontsize=10)
    return laid_out(figure)


def _draw_curve(axes: Axes, labels: np.ndarray, scores: np.ndarray) -> None:
    """Draws the curve of one label, thinned to what can be seen."""
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.03)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.grid(color=LIGHT, linewidth=0.6)
    finish(axes)
    positives = int(labels.sum())
    if positives == 0:
        note(axes, "no positives", top_right=True)
        return
    precision, recall, _ = precision_recall_curve(labels, scores)
    precision, recall = precision[::-1], recall[::-1]  # recall now rises from 0
    kept = np.searchsorted(recall, np.linspace(0, 1, _CURVE_POINTS))
    kept = np.unique(np.append(kept, len(recall) - 1))
    curve = recall[kept], precision[kept]
    blue, vermilion = OKABE_ITO[:2]
    axes.fill_between(*curve, step="pre", color=blue, alpha=0.15, linewidth=0)
    axes.plot(
        *curve, drawstyle="steps-pre", color=blue, linewidth=1.4, label="model's scores"
    )
    axes.axhline(
        labels.mean(),
        color=vermilion,
        linestyle="--",
        linewidth=1,
        label="random order (frequency of the label)",
    )
    average_precision, _ = ranking.curve_areas(labels, scores)
    # A curve leaves free the corner that lies on the other side of the diagonal.
    note(
        axes,
        f"AP {average_precision:.3f}\nn = {positives:,}",
        top_right=average_precision < 0.5,
    )


def note(axes: Axes, text: str, *, top_right: bool) -> None:
    """Writes a few words into the top right or the bottom left corner."""
    axes.text(
        *((0.96, 0.95) if top_right else (0.05, 0.06)),
        text,
        transform=axes.transAxes,
        horizontalalignment="right" if top_right else "left",
        verticalalignment="top" if top_right else "bottom",
        fontsize=8,
        color=INK,
        bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5},
    )


def history_curves(
    history: Mapping[str, Sequence[tuple[float, float]]], title: str
) -> Figure:
    """Returns the course of a run: losses, rates, and metrics, a panel each.

    Series are named `<split>/<measure>`. Measures within [0, 1] share one panel, where
    training is dashed; a measure that leaves it, or has "loss" or "rate" in its name,
    has a panel of its own with a curve for each split.

    Args:
        history: name of each series to its (iteration, value) pairs.
        title: of the figure.

    Raises:
        ValueError: no series with a point in it.
    """
    curves = {name: np.asarray(points) for name, points in history.items() if points}
    if not curves:
        raise ValueError("expected a history with at least one point, got none")
    measures = {name: name.rpartition("/")[2] for name in curves}
    own = {
        measures[name]
        for name, curve in curves.items()
        if curve[:, 1].min() < 0
        or curve[:, 1].max() > 1
        or any(word in measures[name] for word in _OWN_SCALE)
    }
    panels: dict[str, dict[str, np.ndarray]] = {}
    for name, curve in curves.items():
        panel = measures[name] if measures[name] in own else _SHARED
        panels.setdefault(panel, {})[name] = curve
    columns = len(panels) if len(panels) <= 3 else 2
    rows = math.ceil(len(panels) / columns)
    figure = new_page(max(4.2 * columns, 5.0), 3.3 * rows + 0.3)
    figure.suptitle(title, fontsize=11, color=INK)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (panel, series) in zip(grid, panels.items(), strict=False):
        _draw_history(axes, panel, series)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return laid_out(figure)


def _draw_history(axes: Axes, panel: str, series: Mapping[str, np.ndarray]) -> None:
    """Draws one panel of a history."""
    shared = panel == _SHARED
    for index, (name, curve) in enumerate(series.items()):
        split = name.rpartition("/")[0]
        axes.plot(
            *curve.T,
            color=OKABE_ITO[index % len(OKABE_ITO)],
            linestyle="--" if shared and split.startswith("train") else "-",
            linewidth=1.3,
            marker="o" if len(curve) <= _MARKED_POINTS else None,
            markersize=3.5,
            label=_words(name if shared else split or name),
        )
    if shared:
        axes.set_ylim(0, 1)
    axes.set_title(_words(panel), fontsize=10, color=INK)
    axes.set_xlabel("iteration", fontsize=9)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(color=LIGHT, linewidth=0.8)
    axes.legend(fontsize=8, framealpha=0.8, edgecolor="none")
    finish(axes)


def _words(name: str) -> str:
    """Returns a key as words."""
    return name.replace("_", " ").replace("/", " ").strip()


def check_lengths(names: Sequence[str], per_label: Mapping[str, Any]) -> None:
    """Raises ValueError unless there is one of everything for each label."""
    if not len(names):
        raise ValueError("expected at least one label, got none")
    for what, values in per_label.items():
        if len(values) != len(names):
            raise ValueError(
                f"expected {len(names)} {what}, one per label name, got {len(values)}"
            )


def new_page(width: float, height: float) -> Figure:
    """Returns an empty figure of a size in inches."""
    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def laid_out(figure: Figure) -> Figure:
    """Places everything on the page for good.

    Each drawing would place it anew, starting from the last: the second drawing of a
    figure would differ from the first by some pixels.
    """
    pictures.without_formulas(figure)
    if (engine := figure.get_layout_engine()) is not None:
        for _ in range(2):  # text beside the axes settles in the second round
            engine.execute(figure)
    # None, since matplotlib lets even the engine "none" draw once before each PNG.
    figure.set_layout_engine(None)
    return figure


def finish(axes: Axes) -> None:
    """Gives axes the look that all figures share."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=8 if axes.get_title() else 9)
    axes.set_axisbelow(True)


def to_data_uri(png: bytes) -> str:
    """Returns a PNG as a `data:` address, to stand inside an HTML page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
