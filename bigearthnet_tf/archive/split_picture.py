"""The picture of a split: how often each label is, and how evenly it is divided.

Shapes tell the splits apart in print without colour.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from bigearthnet_tf.archive.split_report import SplitReport
from bigearthnet_tf.pictures import GREY, INK, LIGHT, OKABE_ITO

_BAR = "#c3cad2"
_STYLES = tuple(zip(OKABE_ITO, "oD^sv", strict=False))
_DPI = 300


def label_figure(report: SplitReport) -> Figure:
    """Returns a figure of two panels over the labels, the most frequent first.

    Above, patches with the label: bars for all, a marker for each split, on a
    logarithmic axis. Below, how far the label's frequency in each split is from that
    in the whole, in per cent; hollow markers are a random division. More than five
    splits share one marker. Labels that no patch has are left out.

    Raises:
        ValueError: no patch has a label.
    """
    totals = report.balance.counts.sum(axis=0)
    order = np.argsort(-totals, kind="stable")
    order = order[totals[order] > 0]
    if not len(order):
        raise ValueError("expected at least one patch with a label, got none")
    width = max(6.4, 1.2 + 0.24 * len(order))
    figure = Figure(figsize=(width, 4.8), dpi=_DPI, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.2, 1))
    _draw_counts(above, report, order)
    _draw_deviations(below, report, order)
    below.set_xticks(
        np.arange(len(order)),
        np.array(report.acronyms)[order],
        rotation=60,
        horizontalalignment="right",
        rotation_mode="anchor",
    )
    below.set_xlim(-0.7, len(order) - 0.3)
    handles = {
        label: handle
        for axes in (above, below)
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside upper center",
        ncols=5 if len(handles) <= 5 else 4,
        fontsize=8,
        columnspacing=1.2,
        handletextpad=0.3,
        frameon=False,
    )
    figure.align_ylabels()
    return figure


def _draw_counts(axes: Axes, report: SplitReport, order: NDArray[np.intp]) -> None:
    counts = report.balance.counts[:, order]
    places = np.arange(len(order))
    for index, own in enumerate(counts):
        # A logarithmic axis has no place for 0.
        shown = np.where(own, own, np.nan)
        axes.plot(places + _shift(report, index), shown, **_style(report, index))
    total = report.balance.sizes.sum()
    axes.bar(places, counts.sum(axis=0), 0.8, color=_BAR, label=f"all ({total:,})")
    axes.set_yscale("log")
    axes.set_ylim(bottom=max(0.7, counts[counts > 0].min() / 2))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("patches with the label", fontsize=9)
    _finish(axes)


def _draw_deviations(axes: Axes, report: SplitReport, order: NDArray[np.intp]) -> None:
    places = np.arange(len(order))
    axes.axhline(0, color=GREY, linewidth=0.8)
    own, random = report.balance.deviation, report.random.deviation
    for index in range(len(own)):
        shifted = places + _shift(report, index)
        style = _style(report, index)
        axes.plot(shifted, 100 * own[index, order], **style)
        hollow = {"markerfacecolor": "none", "markeredgecolor": GREY, "zorder": 4}
        style |= {**hollow, "markeredgewidth": 0.7, "label": "random division"}
        axes.plot(shifted, 100 * random[index, order], **style)
    axes.set_ylabel("deviation of frequency, %", fontsize=9)
    _finish(axes)


def _shift(report: SplitReport, split: int) -> float:
    """Returns how far aside the markers of a split stand, in widths of a label."""
    splits = len(report.division.splits)
    return 0.7 * ((split + 0.5) / splits - 0.5)


def _style(report: SplitReport, split: int) -> dict[str, Any]:
    """Returns how the markers of a split look, and their entry in the legend."""
    names = report.division.splits
    many = len(names) > len(_STYLES)
    colour, marker = _STYLES[0 if many else split]
    label = f"{names[split]} ({report.balance.sizes[split]:,})"
    return {
        "linestyle": "none",
        "marker": marker,
        "markersize": 2.5 if many else 4,
        "markerfacecolor": colour,
        "markeredgecolor": "white",
        "markeredgewidth": 0.3,
        "zorder": 3,
        "label": f"each of {len(names)} splits" if many else label,
    }


def _finish(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.grid(axis="y", color=LIGHT, linewidth=0.6)
    axes.tick_params(colors=INK, labelsize=8)
    axes.tick_params(axis="x", length=0)
    axes.set_axisbelow(True)
