"""Pictures of a classification while it is learnt: counts of labels, sample patches."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from bigearthnet_tf import pictures
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import composites

# A label is predicted from this score on, as everywhere.
_THRESHOLD = 0.5
_BLUE, _VERMILION, _GREEN = pictures.OKABE_ITO[:3]
_DPI = 100
# Of the sheet: patches a row, inches, points, characters that fit under a patch.
_COLUMNS, _SIDE, _GAP, _MARGIN = 4, 1.9, 0.25, 0.2
_TEXT, _LINE, _CHARACTERS = 7.0, 0.13, 34
# False alarms named under a patch; in its first epochs a model raises many.
_NAMED = 5


@dataclass(frozen=True)
class _Verdict:
    """How a score and the truth go together: a sign, a colour, its meaning."""

    sign: str
    colour: str
    meaning: str


_HIT = _Verdict("✓", _GREEN, "right")
_MISSED = _Verdict("–", _VERMILION, "missed")
_FALSE = _Verdict("+", _BLUE, "false alarm")


def composite(
    groups: Mapping[str, NDArray[Any]], bands: Sequence[str]
) -> NDArray[np.float32]:
    """Returns patches of a batch as people see them.

    In true colour where the bands for it are there, else as the composite of
    Sentinel-1, else the first band in grey, from its 2nd to its 98th percentile over
    these patches.

    Args:
        groups: (patches, bands, rows, columns) of each group, as stored.
        bands: that they hold.

    Returns:
        float32 (patches, rows, columns, 3), from 0 to 1.

    Raises:
        ValueError: groups that do not go with the bands.
    """
    order = band_facts.group_bands(bands)
    shapes = {group: np.shape(groups.get(group, ())) for group in order}
    for group, names in order.items():
        if len(shapes[group]) != 4 or shapes[group][1] != len(names):
            raise ValueError(
                f"expected {group} to be (patches, {len(names)}, rows, columns) for "
                f"{' '.join(names)}, got {shapes[group]}"
            )
    planes = {
        name: groups[group][:, index]
        for group, names in order.items()
        for index, name in enumerate(names)
    }
    for needed, paint in (
        (composites.TRUE_COLOUR, composites.true_colour),
        (composites.RADAR, composites.radar_composite),
    ):
        if planes.keys() >= set(needed):
            count = len(planes[needed[0]])
            painted = [paint({n: planes[n][i] for n in needed}) for i in range(count)]
            return (np.stack(painted) / 255).astype(np.float32)
    return _grey(planes[bands[0]])


def _grey(plane: NDArray[Any]) -> NDArray[np.float32]:
    low, high = np.nanpercentile(plane, (2, 98))
    scaled = (plane - low) / max(high - low, np.finfo(np.float32).tiny)
    grey = np.nan_to_num(scaled).clip(0, 1).astype(np.float32)
    return np.repeat(grey[..., np.newaxis], 3, axis=-1)


def label_counts(
    labels: NDArray[Any], scores: NDArray[Any], names: Sequence[str]
) -> Figure:
    """Returns how many patches have each label, and how many are given it.

    Two bars a label, in the order of the labels, on an axis that is linear up to one
    and logarithmic beyond; the numbers stand beside them.

    Args:
        labels: (patches, labels) of 0 and 1.
        scores: likewise, from 0 to 1; a label is given from 0.5 on.
        names: of the labels.

    Raises:
        ValueError: arrays of other shapes.
    """
    labels, scores = _checked(labels, scores, names)
    counts = {
        "have the label": (labels > 0.5).sum(axis=0),
        "are given it": (scores >= _THRESHOLD).sum(axis=0),
    }
    figure = Figure(
        figsize=(8.0, 0.9 + 0.3 * len(names)), dpi=_DPI, layout="constrained"
    )
    axes, table = figure.subplots(1, 2, sharey=True, width_ratios=(1, 0.28))
    places = np.arange(len(names))
    looks = (
        {"color": pictures.GREY, "edgecolor": pictures.GREY},
        {"color": "white", "edgecolor": _BLUE, "hatch": "//////"},
    )
    for shift, look, (what, values) in zip(
        (-0.2, 0.2), looks, counts.items(), strict=True
    ):
        axes.barh(places + shift, values, 0.36, linewidth=0.8, label=what, **look)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(0, max(1.5, 1.3 * max(values.max() for values in counts.values())))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel(f"patches, of {len(labels):,}", fontsize=9)
    axes.set_yticks(places, [textwrap.fill(name, 48) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", color=pictures.LIGHT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    table.set_axis_off()
    for x, title, values in zip(
        (0.45, 1.0), ("have", "given"), counts.values(), strict=True
    ):
        _write_column(table, x, title, [f"{value:,}" for value in values])
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside upper center",
        ncols=2,
        fontsize=8,
        frameon=False,
        title="patches that",
        title_fontsize=8,
    )
    return figure


def _write_column(axes: Axes, x: float, title: str, texts: Sequence[str]) -> None:
    """Writes texts at the places 0, 1, ..., aligned at the right, and a title above."""
    for place, text in enumerate([title, *texts], -1):
        axes.text(
            x,
            max(place, -0.75),
            text,
            transform=axes.get_yaxis_transform(),
            horizontalalignment="right",
            verticalalignment="center",
            fontsize=8,
            color=pictures.INK if place >= 0 else pictures.GREY,
        )


def sample_sheet(
    images: NDArray[Any],
    labels: NDArray[Any],
    scores: NDArray[Any],
    names: Sequence[str],
) -> Figure:
    """Returns patches with what they have and what the model sees in them.

    Under each stand its labels with their scores, the right and the missed ones by a
    sign and a colour, then the false alarms with the highest scores.

    Args:
        images: (patches, rows, columns, 3), from 0 to 1.
        labels: (patches, labels) of 0 and 1.
        scores: likewise, from 0 to 1; a label is given from 0.5 on.
        names: of the labels.

    Raises:
        ValueError: no patch, or arrays of other shapes.
    """
    labels, scores = _checked(labels, scores, names)
    if np.ndim(images) != 4 or np.shape(images)[3] != 3 or len(images) != len(labels):
        raise ValueError(
            f"expected images (patches, rows, columns, 3) of {len(labels)} patches, "
            f"got {np.shape(images)}"
        )
    captions = [_caption(*row, names) for row in zip(labels, scores, strict=True)]
    columns = min(_COLUMNS, len(images))
    rows = [
        range(i, min(i + columns, len(images))) for i in range(0, len(images), columns)
    ]
    heights = [
        _SIDE + _LINE * max(len(captions[i]) for i in row) + _GAP for row in rows
    ]
    width = max(columns, 2) * (_SIDE + _GAP) - _GAP + 2 * _MARGIN
    head = 2 * _LINE
    height = sum(heights) + head + 2 * _MARGIN - _GAP
    figure = Figure(figsize=(width, height), dpi=_DPI)
    page = figure.add_axes((0, 0, 1, 1))
    page.set_axis_off()
    page.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    _write_legend(page)
    for number, row in enumerate(rows):
        top = _MARGIN + head + sum(heights[:number])
        for column, index in enumerate(row):
            left = _MARGIN + column * (_SIDE + _GAP)
            page.imshow(
                np.clip(images[index], 0, 1),
                extent=(left, left + _SIDE, top + _SIDE, top),
                aspect="auto",
                interpolation="nearest",
            )
            for line, (text, colour) in enumerate(captions[index], 1):
                page.text(
                    left, top + _SIDE + line * _LINE, text, fontsize=_TEXT, color=colour
                )
    return figure


def _write_legend(page: Axes) -> None:
    for index, verdict in enumerate((_HIT, _MISSED, _FALSE)):
        page.text(
            _MARGIN + index * 1.1,
            _MARGIN + 0.5 * _LINE,
            f"{verdict.sign} {verdict.meaning}",
            fontsize=_TEXT + 1,
            color=verdict.colour,
        )


def _caption(
    labels: NDArray[np.float64], scores: NDArray[np.float64], names: Sequence[str]
) -> list[tuple[str, str]]:
    """Returns lines of text and their colours."""
    true, given = labels > 0.5, scores >= _THRESHOLD
    by_score = np.argsort(-scores, kind="stable")
    alarms = [j for j in by_score if given[j] and not true[j]]
    verdicts = [(j, _HIT if given[j] else _MISSED) for j in by_score if true[j]]
    verdicts += [(j, _FALSE) for j in alarms[:_NAMED]]
    lines = []
    for j, verdict in verdicts:
        text = f"{verdict.sign} {scores[j]:.2f} {names[j]}"
        wrapped = textwrap.wrap(text, _CHARACTERS, subsequent_indent=" " * 10)
        lines += [(line, verdict.colour) for line in wrapped]
    if len(alarms) > _NAMED:
        lines.append((f"+ {len(alarms) - _NAMED} more", _FALSE.colour))
    return lines or [("no label, and none given", pictures.GREY)]


def _checked(
    labels: NDArray[Any], scores: NDArray[Any], names: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    labels, scores = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    expected = (len(labels), len(names))
    if not len(labels) or labels.shape != expected or scores.shape != expected:
        raise ValueError(
            f"expected labels and scores (patches, {len(names)}) of at least one "
            f"patch, got {labels.shape} and {scores.shape}"
        )
    return labels, scores
