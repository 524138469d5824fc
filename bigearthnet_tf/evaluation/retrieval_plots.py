"""Pictures of what is found with features."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bigearthnet_tf.evaluation.directions import TITLES, arrow
from bigearthnet_tf.pictures import GREY, INK, LIGHT, OKABE_ITO

_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)))
_MARKERS = "osD^v"


def curves(series: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> Figure:
    """Draws each metric over the number of hits, a line for each direction.

    Args:
        series: metric to `k` (ks,), and direction to (ks, 3): mean, and the ends of its
            interval.
    """
    count = len(series)
    figure = Figure(figsize=(3.4 * count + 0.6, 3.9), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    # In the order of the directions, as the other picture has them.
    names = [name for name in next(iter(series.values())) if name != "k"]
    for axes, (metric, lines) in zip(panels, series.items(), strict=True):
        ks = lines["k"]
        for number, name in enumerate(names):
            if name not in lines:
                continue
            mean, low, high = lines[name].T
            colour = OKABE_ITO[number]
            axes.fill_between(ks, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(
                ks,
                mean,
                color=colour,
                linestyle=_DASHES[number],
                marker=_MARKERS[number],
                markersize=4,
                label=name,
                clip_on=False,
            )
        axes.set_xscale("log")
        axes.set_xticks(ks, [f"{k:g}" for k in ks])
        axes.minorticks_off()
        axes.set_xlabel("hits")
        axes.set_title(TITLES[metric][1], fontsize=10)
        axes.set_ylim(0, 1)
        axes.grid(color=LIGHT, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    # Not every direction has partners to find: the first panel has all.
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(names), frameon=False
    )
    return figure


def per_class(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws what queries with each label find, a marker for each direction.

    Args:
        rows: `label`, `queries`, and columns `<direction>_map@<k>` with numbers, empty
            where no query has the label.
    """
    shown = [row for row in rows if row["queries"]]
    columns = [name for name in rows[0] if "_map@" in name]
    figure = Figure(figsize=(8.5, 1.4 + 0.3 * len(shown)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(shown))
    for number, column in enumerate(columns):
        axes.plot(
            [row[column] for row in shown],
            places,
            linestyle="none",
            marker=_MARKERS[number],
            color=OKABE_ITO[number],
            markersize=5,
            label=_direction(column),
            # Whole also at 0 and 1.
            clip_on=False,
            zorder=3,
        )
    axes.set_yticks(
        places,
        [textwrap.fill(f"{row['label']} ({row['queries']:,})", 46) for row in shown],
        fontsize=8,
    )
    axes.invert_yaxis()
    lowest = min((row[column] for column in columns for row in shown), default=0.0)
    axes.set_xlim(max(0.0, np.floor(10 * lowest - 0.5) / 10), 1)
    axes.set_xlabel(f"mAP@{columns[0].partition('@')[2]} of the queries with a label")
    axes.grid(color=LIGHT, linewidth=0.8)
    axes.tick_params(colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    figure.legend(loc="outside lower center", ncols=len(columns), frameon=False)
    return figure


def _direction(column: str) -> str:
    query, archive = column.partition("_map")[0].split("_")
    return arrow(query, archive)
