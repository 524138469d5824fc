"""Pictures of patches whose pixels have labels: image, truth, prediction, errors."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colors
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from bigearthnet_tf.archive import composites
from bigearthnet_tf.archive.labels import UNLABELLED, Label
from bigearthnet_tf.pictures import GREY, LIGHT, OKABE_ITO

_COLUMNS = ("patch", "reference map", "prediction", "errors")
_RIGHT, _WRONG = LIGHT, OKABE_ITO[1]
_UNLABELLED: dict[str, Any] = {
    "facecolor": "white",
    "edgecolor": "#b9c0c8",
    "hatch": "////",
    "linewidth": 0,
}
# Inches: a patch with the room around it, the head, a line of the legend.
_SIDE, _HEAD, _LINE = 1.95, 0.35, 0.23
_LEGEND_COLUMNS, _NAME = 3, 42  # characters of a name in the legend
_DPI = 110


def sheet(
    images: NDArray[Any],
    classes: NDArray[Any],
    predicted: NDArray[Any],
    table: Sequence[Label],
    titles: Sequence[str] = (),
) -> Figure:
    """Returns patches, one a row, with their maps, and the legend of both.

    Pixels without a label are hatched in the reference map and among the errors, since
    some labels are as pale as any plain colour.

    Args:
        images: (patches, rows, columns, 3), from 0 to 1.
        classes: (patches, rows, columns) indices of labels, from `UNLABELLED` none.
        predicted: likewise, all of them labels.
        table: the labels.
        titles: above the image of each patch; none where there are none.

    Raises:
        ValueError: no patch, or another number or size of maps.
    """
    if not len(images) or not len(images) == len(classes) == len(predicted):
        raise ValueError(
            f"expected as many images as maps, at least one, got {len(images)}, "
            f"{len(classes)} and {len(predicted)}"
        )
    if np.shape(classes) != np.shape(predicted):
        raise ValueError(
            f"expected maps of one size, got {np.shape(classes)} and "
            f"{np.shape(predicted)}"
        )
    entries = _legend(classes, predicted, table)
    below = _LINE * -(-len(entries) // _LEGEND_COLUMNS) + 0.25
    height = len(images) * (_SIDE + (0.2 if titles else 0.12)) + _HEAD + below
    figure = Figure(
        figsize=(len(_COLUMNS) * (_SIDE + 0.1), height), dpi=_DPI, layout="constrained"
    )
    grid = figure.subplots(len(images), len(_COLUMNS), squeeze=False)
    palette = colours(table)
    for row, (axes, image, truth, given) in enumerate(
        zip(grid, images, classes, predicted, strict=True)
    ):
        is_labelled = truth < len(table)
        wrong = is_labelled & (truth != given)
        errors = np.where(wrong[..., None], _rgb(_WRONG), _rgb(_RIGHT))
        shown = (
            np.clip(image, 0, 1),
            _where(is_labelled, palette[truth]),
            palette[given],
            _where(is_labelled, errors),
        )
        for one, pixels in zip(axes, shown, strict=True):
            one.patch.set(**_UNLABELLED)
            one.imshow(pixels, interpolation="nearest")
            one.set_xticks([])
            one.set_yticks([])
            one.spines[:].set(color=GREY, linewidth=0.5)
        share = wrong.sum() / max(is_labelled.sum(), 1)
        axes[-1].set_xlabel(
            f"{share:.0%} of labelled pixels wrong"
            if is_labelled.any()
            else "no pixel has a label",
            fontsize=7,
            labelpad=2,
        )
        if titles:
            axes[0].set_xlabel(titles[row], fontsize=6.5, labelpad=2, color=GREY)
    for one, title in zip(grid[0], _COLUMNS, strict=True):
        one.set_title(title, fontsize=9)
    figure.legend(
        handles=entries,
        loc="outside lower center",
        ncols=_LEGEND_COLUMNS,
        fontsize=7.5,
        frameon=False,
        handlelength=1.2,
        handleheight=1.0,
    )
    return figure


def colours(table: Sequence[Label]) -> NDArray[np.uint8]:
    """Returns the colour of each index of a map, (256, 3) uint8.

    Args:
        table: the labels; what is beyond them has the colour of no label.
    """
    palette = np.full((UNLABELLED + 1, 3), _rgb(composites.UNLABELLED), np.uint8)
    palette[: len(table)] = [_rgb(label.colour) for label in table]
    return palette


def short_names(table: Sequence[Label], characters: int = 30) -> list[str]:
    """Returns the names of labels, cut where they are long."""
    return [textwrap.shorten(t.name, characters, placeholder=" …") for t in table]


def _where(there: NDArray[np.bool_], pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns an image that can be seen through elsewhere, (rows, columns, 4)."""
    return np.dstack([pixels, np.where(there, 255, 0)]).astype(np.uint8)


def _rgb(colour: str) -> NDArray[np.uint8]:
    return np.round(np.array(colors.to_rgb(colour)) * 255).astype(np.uint8)


def _legend(
    classes: NDArray[Any], predicted: NDArray[Any], table: Sequence[Label]
) -> list[Patch]:
    """Returns the colours of the labels that occur, and of the errors."""
    there = np.union1d(classes, predicted)
    names = short_names(table, _NAME)
    named = {names[i]: table[i].colour for i in there[there < len(table)]}
    named |= {"right": _RIGHT, "wrong": _WRONG}
    entries = [
        Patch(facecolor=colour, edgecolor=GREY, linewidth=0.5, label=name)
        for name, colour in named.items()
    ]
    if there.max() >= len(table):
        entries.append(Patch(**_UNLABELLED, label="without a label"))
    return entries
