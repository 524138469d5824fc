"""Pictures of probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from bigearthnet_tf.pictures import GREY, LIGHT, OKABE_ITO

_MARKERS = ("o", "s", "D", "^")


def label_efficiency(rows: Sequence[Mapping[str, Any]], metric: str) -> Figure:
    """Draws a metric over the labels a class, a line for each kind of features.

    Args:
        rows: of `probes.label_efficiency`.
        metric: of them; bars are a deviation of the draws to either side.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(dict.fromkeys(row["features"] for row in rows)):
        own = [row for row in rows if row["features"] == name]
        axes.errorbar(
            [row["labels"] for row in own],
            [row[metric] for row in own],
            [row[f"{metric}_std"] for row in own],
            color=OKABE_ITO[number % len(OKABE_ITO)],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=5,
            capsize=3,
            linewidth=1.6,
            label=name,
        )
    counts = sorted({row["labels"] for row in rows})
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("labels a class")
    axes.set_ylabel(metric.replace("_", " "))
    axes.grid(color=LIGHT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    # Above the lines, wherever they run.
    axes.legend(
        frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2
    )
    return figure
