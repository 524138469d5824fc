"""What all pictures share: colours, and PNGs that are the same for the same figure.

Figures are built on `matplotlib.figure.Figure` without pyplot, so that drawing changes
no global state.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure
from matplotlib.text import Text

from bigearthnet_tf import files, outputs

INK, GREY, LIGHT = "#1b1f24", "#5c6670", "#d8dde3"
# Of Okabe and Ito ("Color Universal Design", 2008), told apart under every common
# colour blindness: without their yellow, which is too light for lines on white.
OKABE_ITO = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)


def without_formulas(figure: Figure) -> None:
    """Draws dollar signs in names as they are, not as the marks of a formula.

    Formulas of matplotlib's own, such as the powers of logarithmic axes, stay.
    """
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_ticklabels(which="both")  # which get their texts by that
    for text in figure.findobj(Text):
        if "$" in text.get_text() and r"\mathdefault" not in text.get_text():
            text.set_parse_math(False)


def to_png(figure: Figure, dpi: float | Literal["figure"] = "figure") -> bytes:
    """Returns a figure as a PNG on white.

    It names this package, by which later calls know their own pictures, and no version
    and no time: the same figure gives the same bytes.

    Args:
        figure: what to draw.
        dpi: pixels an inch; those that the figure was made with.
    """
    without_formulas(figure)
    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format="png",
        dpi=dpi,
        facecolor="white",
        metadata={"Software": outputs.PNG_SOFTWARE},
    )
    return buffer.getvalue()


def save_png(figure: Figure, path: Path | str) -> None:
    """Writes a figure as PNG, atomically.

    Raises:
        OSError: the file can't be written.
    """
    with files.write_atomically(path) as temporary:
        temporary.write_bytes(to_png(figure))
