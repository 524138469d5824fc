"""What all pictures share: colours, and PNGs that are the same for the same figure.

Figures are built on `matplotlib.figure.Figure` without pyplot, so that drawing changes
no global state.
"""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from bigearthnet_tf import files

INK, GREY, LIGHT = "#1b1f24", "#5c6670", "#d8dde3"


def to_png(figure: Figure) -> bytes:
    """Returns a figure as a PNG, in its own resolution.

    It names no program and no time: the same figure gives the same bytes.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def save_png(figure: Figure, path: Path | str) -> None:
    """Writes a figure as PNG, atomically.

    Raises:
        OSError: the file can't be written.
    """
    with files.write_atomically(path) as temporary:
        temporary.write_bytes(to_png(figure))
