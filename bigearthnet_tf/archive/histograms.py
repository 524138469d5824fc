"""The picture of measured statistics: a histogram of each band.

Drawn as the figures of a report are, the same bytes for the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive.accumulate import Accumulator
from bigearthnet_tf.pictures import GREY, INK, OKABE_ITO

_COLOURS = OKABE_ITO[:-1]  # the marks are black
_DPI = 160
_BARS = 150  # at most, a panel; more can't be told apart
_COLUMNS = 4
# Labels of percentiles stand at least this part of the panel's width apart.
_APART = 0.13


def draw(
    measured: Mapping[str, Mapping[str, Accumulator]], percentages: Sequence[float]
) -> Figure:
    """Returns a panel for each band: share of the pixels, on a logarithmic scale.

    The first resampling is filled, with its percentiles, mean and deviation; the
    others are lines.

    Args:
        measured: name of a resampling -> band -> pixels.
        percentages: of the percentiles to mark.

    Raises:
        ValueError: a band has no finite pixel.
    """
    bands = list(next(iter(measured.values())))
    columns = min(_COLUMNS, len(bands))
    rows = math.ceil(len(bands) / columns)
    figure = Figure(
        figsize=(max(2.9 * columns, 3.6) + 0.3, 2.15 * rows + 0.6),
        dpi=_DPI,
        layout="constrained",
    )
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, band in zip(grid, bands, strict=False):
        of_band = {name: of[band] for name, of in measured.items()}
        _draw_band(axes, band, of_band, percentages)
    for axes in grid[len(bands) :]:
        axes.set_axis_off()
    figure.supylabel("share of pixels per bar", fontsize=10, color=INK)
    handles, labels = grid[0].get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(
        once.values(),
        once.keys(),
        loc="outside lower center",
        ncols=4,
        fontsize=9,
        frameon=False,
    )
    return figure


def _draw_band(
    axes: Axes,
    band: str,
    measured: Mapping[str, Accumulator],
    percentages: Sequence[float],
) -> None:
    """Draws one panel."""
    edges = _edges(list(measured.values()))
    for index, (name, accumulator) in enumerate(measured.items()):
        axes.stairs(
            _shares(accumulator, edges),
            edges,
            color=_COLOURS[index % len(_COLOURS)],
            fill=index == 0,
            alpha=0.45 if index == 0 else 1,
            linewidth=1.2,
            label=_words(name),
        )
    axes.set_yscale("log")
    facts = band_facts.BANDS[band]
    # Digital numbers start at 0, even where no pixel is as dark.
    start = edges[0] if facts.dtype == "float32" else min(edges[0], 0)
    axes.set_xlim(start, edges[-1])
    first = next(iter(measured.values()))
    summary = first.summary(percentages)
    _mark_percentiles(
        axes, summary.percentiles, f"percentiles of {_words(next(iter(measured)))}"
    )
    unit, digits = ("dB", 2) if facts.dtype == "float32" else ("digital numbers", 0)
    mean = f"{summary.mean:,.{digits}f}".replace("-", "−")  # as on the axes
    axes.set_title(
        f"{band}: mean {mean}, std {summary.std:,.{digits}f}",
        fontsize=9,
        color=INK,
        pad=14 if percentages else 6,
    )
    axes.set_xlabel(unit, fontsize=8, color=INK, labelpad=1)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=8)
    axes.set_axisbelow(True)


def _words(name: str) -> str:
    """Returns a key as words."""
    return name.replace("_", " ")


def _mark_percentiles(
    axes: Axes, percentiles: Mapping[float, float], legend: str
) -> None:
    """Draws a line at each percentile and labels those that have room."""
    low, high = axes.get_xlim()
    labelled: list[float] = []
    # From the middle and the ends inwards: those matter most.
    for percentage in sorted(percentiles, key=lambda p: -abs(abs(p - 50) - 25)):
        value = percentiles[percentage]
        axes.axvline(value, color=INK, linestyle=":", linewidth=0.9, label=legend)
        place = (value - low) / (high - low)
        if all(abs(place - other) >= _APART for other in labelled):
            labelled.append(place)
            axes.text(
                place,
                1.02,
                f"{percentage:g} %",
                transform=axes.transAxes,
                fontsize=7,
                color=GREY,
                horizontalalignment="center",
                verticalalignment="bottom",
            )


def _edges(accumulators: Sequence[Accumulator]) -> NDArray[np.float64]:
    """Returns edges of bars that hold whole bins and cover all pixels."""
    low = min(_span(accumulator)[0] for accumulator in accumulators)
    high = max(_span(accumulator)[1] for accumulator in accumulators)
    width = accumulators[0].bins.width
    bins = max(round((high - low) / width) + 1, 2)
    step = math.ceil(bins / _BARS)
    bars = math.ceil(bins / step)
    return low + width * (step * np.arange(bars + 1, dtype=np.float64) - 0.5)


def _span(accumulator: Accumulator) -> tuple[float, float]:
    """Returns the centres of the first and the last bin that has pixels."""
    present = np.flatnonzero(accumulator.counts)
    if not present.size:
        raise ValueError("expected at least one finite pixel to draw, got none")
    low, high = accumulator.bins.centres(present[[0, -1]])
    return float(low), float(high)


def _shares(
    accumulator: Accumulator, edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns the share of the pixels between each two edges; NaN for none."""
    present = np.flatnonzero(accumulator.counts)
    counts, _ = np.histogram(
        accumulator.bins.centres(present), edges, weights=accumulator.counts[present]
    )
    return np.where(counts > 0, counts / accumulator.counts.sum(), np.nan)
