"""The course of runs, drawn from what they wrote down while they were trained.

Runs differ in colour and in line style. The colours are told apart under every common
colour blindness, the styles in print without colour.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from bigearthnet_tf import pictures, registry
from bigearthnet_tf import runs as run_folders
from bigearthnet_tf.evaluation import generated
from bigearthnet_tf.evaluation.histories import Run, epochs_per_iteration
from bigearthnet_tf.training import stopping

Axis = Literal["iteration", "epoch"]

# Shown of a validation unless others are asked for; with them each run's `monitor`.
MAIN_METRICS = (
    "macro_average_precision",
    "micro_average_precision",
    "macro_f1_score_class_avg",
    "micro_f1_score",
    "s1_s2_map@10",
    "s2_s1_map@10",
    # Of balanced-bigearthnet's event files, in percent.
    "accuracy",
)
COLOURS = (*pictures.OKABE_ITO[:-1], pictures.INK)
# Lengths of strokes and gaps in widths of the line. Their number and that of the
# colours have no common divisor: 35 runs look different.
DASHES: tuple[tuple[float, ...], ...] = (
    (),
    (5, 2),
    (1.2, 1.4),
    (6, 1.6, 1.4, 1.6),
    (3, 1.2, 1.2, 1.2, 1.2, 1.2),
)
_THROUGHPUT = {
    "images per second": "images_per_second",
    "share of time waiting for input": "input_wait_share",
    "memory, GB": "memory_gb",
    "memory of the GPU, GB": "gpu_memory_gb",
}
_WIDTH = 1.5
# A curve is smoothed over this share of its points, and has a marker on each if they
# are no more than these.
_SMOOTHED_SHARE, _MARKED_POINTS = 1 / 30, 40
# A loss that falls further than by this factor has a logarithmic axis.
_LOGARITHMIC = 50
_DPI = 200
_TITLE_WIDTH = 40  # characters
_PANEL = (3.5, 2.5)  # inches


@dataclass(frozen=True)
class Panel:
    """A picture with a curve for each run.

    Attributes:
        title: words above it.
        split: `training` or `validation`.
        measure: name of the scalar.
        smoothed: whether a smooth curve is drawn over the points.
        from_zero: whether the scale begins at zero.
    """

    title: str
    split: str
    measure: str
    smoothed: bool = False
    from_zero: bool = False


def choose_metrics(runs: Sequence[Run], asked: Sequence[str] = ()) -> list[str]:
    """Returns which measures of the validation are shown.

    Args:
        runs: at least one.
        asked: by name; empty for the main ones and each run's `monitor`.

    Raises:
        ValueError: no run has measured what is asked for.
    """
    known = list(dict.fromkeys(m for run in runs for m in run.measures("validation")))
    for name in asked:
        if name not in known:
            raise ValueError(
                f"no validation has measured {name!r}: "
                f"{registry.nearest_names(name, known)}"
            )
    if asked:
        return list(dict.fromkeys(asked))
    monitors = [run.config.get("monitor") or "" for run in runs]
    wanted = dict.fromkeys([*MAIN_METRICS, *monitors])
    return [name for name in wanted if name in known]


def panels(runs: Sequence[Run], metrics: Sequence[str]) -> dict[str, list[Panel]]:
    """Returns the panels of each picture, without those that no run has points for.

    Args:
        runs: at least one.
        metrics: of the validation; those that are of training too come first.

    Returns:
        Name of the picture to its panels: `losses`, `metrics`, `optimization`,
        `throughput`.
    """
    losses = dict.fromkeys(
        measure
        for run in runs
        for measure in run.measures("training")
        if is_loss(measure)
    )
    trained = [n for n in metrics if any(len(r.series("training", n)) for r in runs)]
    wanted = {
        "losses": _pairs(losses),
        "metrics": [
            *_pairs(trained),
            *(Panel(_words(n), "validation", n) for n in metrics if n not in trained),
        ],
        "optimization": [
            Panel("learning rate", "training", "learning_rate"),
            Panel("norm of the gradients", "training", "gradient_norm", True),
            Panel("norm of the weights", "training", "weight_norm"),
        ],
        "throughput": [
            Panel(title, "training", measure, smoothed=True, from_zero=True)
            for title, measure in _THROUGHPUT.items()
        ],
    }
    filled = {
        name: [
            panel
            for panel in of
            if any(len(run.series(panel.split, panel.measure)) for run in runs)
        ]
        for name, of in wanted.items()
    }
    return {name: of for name, of in filled.items() if of}


def is_loss(measure: str) -> bool:
    """Tells whether a measure is a loss."""
    return measure == "loss" or measure.endswith("_loss")


def _pairs(measures: Iterable[str]) -> list[Panel]:
    """Returns two panels of each measure: of training and of validation."""
    return [
        Panel(f"{split}: {_words(name)}", split, name, split == "training")
        for name in measures
        for split in ("training", "validation")
    ]


def best(series: NDArray[np.float64], measure: str) -> NDArray[np.float64]:
    """Returns iteration and value of the first best point of (points, 2)."""
    found = series[0]
    for point in series[1:]:
        if stopping.is_better(measure, float(point[1]), float(found[1])):
            found = point
    return found


def draw(
    runs: Sequence[Run], drawn: Sequence[Panel], axis: Axis = "iteration"
) -> Figure:
    """Returns a picture for a paper: panels in rows of two, one legend for all.

    Args:
        runs: at least one.
        drawn: the panels.
        axis: what the curves are drawn against.

    Raises:
        ValueError: epochs that nobody can tell.
    """
    columns = min(2, len(drawn))
    rows = -(-len(drawn) // columns)
    width, height = _PANEL
    figure = Figure(
        figsize=(max(columns * width, 4.5), rows * height + 0.4),
        dpi=_DPI,
        layout="constrained",
    )
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(grid, drawn, strict=False):
        draw_panel(axes, runs, panel, axis)
    for axes in grid[len(drawn) :]:
        axes.set_axis_off()
    share_scales(grid, drawn)
    lines = [
        Line2D([], [], label=run.name, **style(number))
        for number, run in enumerate(runs)
    ]
    longest = max(len(run.name) for run in runs)
    figure.legend(
        handles=lines,
        loc="outside upper center",
        ncols=max(1, min(len(runs), 80 // (longest + 6))),
        fontsize=8,
        frameon=False,
        handlelength=3.2,
    )
    generated.mark(figure, generated.is_marked(run.config for run in runs))
    return figure


def share_scales(grid: Iterable[Axes], drawn: Sequence[Panel]) -> None:
    """Gives the panels of one measure one scale: training beside validation."""
    by_measure: dict[str, list[Axes]] = {}
    for axes, panel in zip(grid, drawn, strict=False):
        by_measure.setdefault(panel.measure, []).append(axes)
    for alike in by_measure.values():
        if any(axes.get_yscale() == "log" for axes in alike):
            for axes in alike:
                axes.set_yscale("log")
        limits = np.array([axes.get_ylim() for axes in alike])
        for axes in alike:
            axes.set_ylim(limits.min(), limits.max())


def draw_panel(axes: Axes, runs: Sequence[Run], panel: Panel, axis: Axis) -> None:
    """Draws the curves of all runs; where points are few, each has a marker."""
    smallest, largest = np.inf, -np.inf
    for number, run in enumerate(runs):
        series = run.series(panel.split, panel.measure)
        if not len(series):
            continue
        x, y = series.T
        if axis == "epoch":
            x = x * epochs_per_iteration(run)
        look = style(number)
        if panel.smoothed and len(y) > _MARKED_POINTS:
            # Below the smooth curves of all runs.
            axes.plot(x, y, color=look["color"], linewidth=0.5, alpha=0.3, zorder=1.5)
            y = smooth(y)
        elif len(y) <= _MARKED_POINTS:
            look |= {"marker": "o", "markersize": 2.8}
        axes.plot(x, y, **look)
        smallest, largest = min(smallest, y.min()), max(largest, y.max())
    if panel.measure.endswith("loss") and largest > _LOGARITHMIC * smallest > 0:
        axes.set_yscale("log")
    if panel.from_zero:
        # Noise of a tenth is not to look like trouble.
        axes.set_ylim(0, 1 if panel.measure.endswith("_share") else 1.1 * largest)
    axes.set_title(panel.title, fontsize=9, color=pictures.INK, loc="left")
    units = sorted({run.unit for run in runs}) if axis == "iteration" else [axis]
    axes.set_xlabel(" or ".join(units), fontsize=8, color=pictures.INK)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    if largest >= 1000 and axes.get_yscale() == "linear":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(color=pictures.LIGHT, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(pictures.GREY)
    axes.tick_params(colors=pictures.INK, labelsize=8)
    axes.set_axisbelow(True)


def style(number: int) -> dict[str, Any]:
    """Returns colour and strokes of a run's curves, by its place among the runs."""
    dashes = DASHES[number % len(DASHES)]
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": (0, dashes) if dashes else "-",
        "linewidth": _WIDTH,
    }


def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the mean of the points around each, a thirtieth of all of them.

    At the ends it is that of the points that there are.
    """
    reach = int(len(values) * _SMOOTHED_SHARE / 2)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    begins = np.maximum(places - reach, 0)
    ends = np.minimum(places + reach + 1, len(values))
    return (sums[ends] - sums[begins]) / (ends - begins)


def differences(runs: Iterable[Run]) -> dict[str, list[Any]]:
    """Returns the keys in which configs differ, with the value of each run.

    `out_dir` always differs and is left out; a run that has no such key has None.
    """
    return run_folders.config_differences([run.config for run in runs])


def _words(name: str) -> str:
    """Returns a key as words, in lines that fit over a panel: labels are long."""
    return textwrap.fill(name.replace("_", " "), _TITLE_WIDTH)
