"""A picture of a map of embeddings: its first bands side by side."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import rasterio
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray
from rasterio.enums import Resampling

from bigearthnet_tf.pictures import GREY, INK, LIGHT
from bigearthnet_tf.serving import map_picture

_BANDS, _COLUMNS = 6, 3  # as many as btfm draws
_PIXELS = 500  # of the longer side of a band
_STRETCH = (2, 98)


def draw(path: Path | str, title: str) -> Figure:
    """Draws the first bands of a map, each stretched on its own.

    Bytes are drawn as the embeddings they stand for. Read from the overviews, so that
    memory does not grow with the map.

    Args:
        path: of the GeoTIFF.
        title: above the picture.
    """
    with rasterio.open(path) as dataset:
        count, bounds, crs = min(_BANDS, dataset.count), dataset.bounds, dataset.crs
        images = [_read(dataset, band) for band in range(1, count + 1)]
        total = dataset.count
    columns = min(_COLUMNS, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(3.1 * columns, 2.9 * rows + 0.8), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[count:]:
        axes.set_axis_off()
    extent = (bounds.left, bounds.right, bounds.bottom, bounds.top)
    if crs and crs.is_projected:
        map_picture.scale_bar(panels[0, 0], extent)
    for number, (axes, image) in enumerate(zip(panels.flat, images, strict=False)):
        low, high = np.nanpercentile(image, _STRETCH)
        drawn = axes.imshow(
            image,
            extent=extent,
            vmin=low,
            vmax=high,
            cmap="cividis",
            interpolation="nearest",
        )
        axes.set_title(f"embedding {number}", fontsize=9, color=INK)
        axes.set_facecolor("white")
        bar = figure.colorbar(drawn, ax=axes, shrink=0.8, pad=0.02)
        bar.ax.tick_params(labelsize=7, colors=INK)
        bar.outline.set_edgecolor(LIGHT)
        axes.tick_params(labelsize=7, colors=INK)
        axes.spines[:].set_color(GREY)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(3))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    named = crs.to_epsg() if crs else None
    where = f"EPSG:{named}" if named else "map" if crs else "pixel"
    figure.supxlabel(f"{where} coordinates; bands 1 to {count} of {total}", fontsize=9)
    figure.suptitle(title, fontsize=10, color=INK)
    return figure


def _read(dataset: rasterio.DatasetReader, band: int) -> NDArray[np.float32]:
    """Returns a band in few pixels, NaN where there is no data."""
    factor = max(1.0, max(dataset.height, dataset.width) / _PIXELS)
    shape = math.ceil(dataset.height / factor), math.ceil(dataset.width / factor)
    image = dataset.read(
        band, out_shape=shape, resampling=Resampling.average, masked=True
    )
    image = np.ma.masked_invalid(image.astype(np.float32))
    scaled = image * dataset.scales[band - 1] + dataset.offsets[band - 1]
    return scaled.filled(np.nan).astype(np.float32)
