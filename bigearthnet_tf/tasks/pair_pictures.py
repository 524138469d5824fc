"""Pictures of contrastive learning while it goes on."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

# Inches: a cell that shows its number, and room around the matrix.
_CELL, _MARGIN = 0.5, 1.6


def similarities(cosines: NDArray[Any]) -> Figure:
    """Draws how alike the Sentinel-1 and Sentinel-2 views of some patches are.

    Where a training works, the diagonal, where both are of one patch, stands out.

    Args:
        cosines: (patches, patches), rows Sentinel-1, columns Sentinel-2, -1 to 1.
    """
    count = len(cosines)
    side = _CELL * count + _MARGIN
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(cosines, cmap="RdBu_r", vmin=-1, vmax=1)
    bar = figure.colorbar(image, ax=axes, shrink=0.85)
    bar.set_label("cosine of the projections")
    for row, column in np.ndindex(count, count):
        value = float(cosines[row, column])
        axes.text(
            column,
            row,
            f"{value:.2f}".replace("0.", "."),
            ha="center",
            va="center",
            fontsize=7,
            fontweight="bold" if row == column else "normal",
            color="white" if abs(value) > 0.6 else "black",
        )
    axes.set_xticks(range(count), [str(i) for i in range(count)])
    axes.set_yticks(range(count), [str(i) for i in range(count)])
    axes.set_xlabel("patch, as Sentinel-2 sees it")
    axes.set_ylabel("patch, as Sentinel-1 sees it")
    axes.set_title("Validation patches: do both sensors agree?", fontsize=10)
    return figure
