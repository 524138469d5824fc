"""A picture of a map: what is where, in map coordinates, with legend and scale.

It is read at the size of the picture from the overviews of the map, so that memory does
not grow with the map.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from bigearthnet_tf.pictures import GREY, INK, LIGHT

# Side of the map in the picture at most, in pixels of the map and in inches.
_PIXELS = 1400
_INCHES = 6.4
# Room at the right for a legend of classes, and for a bar of values.
_LEGEND, _BAR = 3.4, 1.8
# Bands side by side at most, those of the 43 labels among them, and in a row.
_PANELS, _IN_A_ROW = 48, 5
_CLASS_TAG = re.compile(r"CLASS_(\d+)$")
_NO_DATA = "#d5d9de"


@dataclass(frozen=True, eq=False)
class _View:
    """A band of a map, small enough to draw.

    Attributes:
        image: (rows, columns), masked; or (rows, columns, 4) of 0 to 255.
        extent: left, right, bottom and top in map units.
        crs: of the map.
        name: of what is shown.
    """

    image: Any
    extent: tuple[float, float, float, float]
    crs: Any
    name: str


def draw(
    path: Path | str,
    title: str = "",
    *,
    band: int | None = None,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Draws a map by what it says of itself.

    A map with a colour table is one of classes: its legend names those that are there
    (tags `CLASS_<value>`) with their share of the area with data. Three bands of red,
    green and blue are drawn as they are, their descriptions below. Of any other map the
    bands are drawn side by side, or one alone, with a bar of its values.

    Args:
        path: of a GeoTIFF.
        title: above the picture; the name of the file without.
        band: which one alone, from 1, of a map of several quantities.
        limits: of the bar; the second and the 98th percentile without, or 0 to 1 where
            all values lie within.

    Raises:
        ValueError: no map, no such band, or no pixel has data.
    """
    try:
        with rasterio.open(path) as dataset:
            return _draw(dataset, title or Path(path).name, band, limits)
    except RasterioError as error:
        raise ValueError(f"{path}: expected a GeoTIFF, but {error}") from error


def _draw(
    dataset: DatasetReader,
    title: str,
    band: int | None,
    limits: tuple[float, float] | None,
) -> Figure:
    if band is not None and not 1 <= band <= dataset.count:
        raise ValueError(
            f"{dataset.name}: expected a band of 1 to {dataset.count}, got {band}"
        )
    colours, note = dataset.colorinterp[(band or 1) - 1], ""
    if colours == ColorInterp.red and band is None:
        figure, axes = _open(dataset, 0.6)
        view = _read_rgb(dataset)
        _show(axes, view)
        note = _channels(dataset)
    elif colours == ColorInterp.palette:
        figure, axes = _open(dataset, _LEGEND)
        view = _read(dataset, band or 1)
        _show_classes(figure, axes, view, dataset, band or 1)
    elif band is None and 1 < dataset.count <= _PANELS:
        return _draw_panels(dataset, title, limits)
    else:
        figure, axes = _open(dataset, _BAR)
        view = _read(dataset, band or 1)
        image = _show(axes, view, cmap="viridis")
        _limit([image], [view], limits)
        _add_bar(figure, image, axes, view.name)
    _frame(axes, view, note)
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    return figure


def _open(dataset: DatasetReader, room: float) -> tuple[Figure, Axes]:
    """Returns a figure for the map and so many inches at its right."""
    width, height = _inches(dataset, _INCHES)
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=(width + room, height + 0.9), layout=layout)
    return figure, figure.subplots()


def _draw_panels(
    dataset: DatasetReader, title: str, limits: tuple[float, float] | None
) -> Figure:
    """Draws all bands side by side, with one bar for all."""
    columns = min(dataset.count, _IN_A_ROW)
    rows = -(-dataset.count // columns)
    width, height = _inches(dataset, 1.9)
    figure = Figure(
        figsize=(columns * width + 1.0, rows * (height + 0.42) + 0.6),
        layout="constrained",
    )
    cells = figure.subplots(rows, columns, squeeze=False).flatten()
    views, images = [], []
    for number, axes in enumerate(cells, 1):
        if number > dataset.count:
            axes.set_axis_off()
            continue
        views.append(_read(dataset, number, pixels=300, empty=True))
        images.append(_show(axes, views[-1], cmap="viridis"))
        axes.set_title(_wrap(views[-1].name, 26), fontsize=7, color=INK, loc="left")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(GREY)
    _limit(images, views, limits)
    _add_bar(figure, images[0], list(cells), "")
    if _unit(dataset.crs)[1]:
        scale_bar(cells[0], views[0].extent)
    figure.suptitle(
        f"{title}  ({_name(dataset.crs) or 'no coordinate system'})",
        fontsize=10,
        color=INK,
        x=0.01,
        ha="left",
    )
    return figure


def _inches(dataset: DatasetReader, side: float) -> tuple[float, float]:
    """Returns width and height of a map whose longer side is given."""
    ratio = dataset.height / dataset.width
    return side * min(max(1 / ratio, 0.35), 1.0), side * min(max(ratio, 0.35), 1.0)


def _shape(dataset: DatasetReader, pixels: int = _PIXELS) -> tuple[int, int]:
    factor = max(dataset.height / pixels, dataset.width / pixels, 1.0)
    return math.ceil(dataset.height / factor), math.ceil(dataset.width / factor)


def _extent(dataset: DatasetReader) -> tuple[float, float, float, float]:
    bounds = dataset.bounds
    return bounds.left, bounds.right, bounds.bottom, bounds.top


def _read(
    dataset: DatasetReader, band: int, pixels: int = _PIXELS, empty: bool = False
) -> _View:
    """Returns a band at the size of the picture.

    Args:
        dataset: of the map.
        band: from 1.
        pixels: of the longer side at most.
        empty: whether a band without data will do.
    """
    scale, offset = dataset.scales[band - 1], dataset.offsets[band - 1]
    # Whole numbers that stand for themselves are classes, or 0 and 1.
    whole = np.issubdtype(dataset.dtypes[band - 1], np.integer)
    kind = Resampling.nearest if whole and scale == 1 else Resampling.average
    shape = _shape(dataset, pixels)
    image = dataset.read(band, out_shape=shape, resampling=kind, masked=True)
    if not whole:
        image = np.ma.masked_invalid(image)
    if image.mask.all() and not empty:
        raise ValueError(f"{dataset.name}: no pixel has data, there is nothing to draw")
    if (scale, offset) != (1.0, 0.0):
        image = image * scale + offset
    name = dataset.descriptions[band - 1] or f"band {band}"
    return _View(image, _extent(dataset), dataset.crs, name)


def _read_rgb(dataset: DatasetReader) -> _View:
    shape = (3, *_shape(dataset))
    image = dataset.read(
        (1, 2, 3), out_shape=shape, resampling=Resampling.average, masked=True
    )
    shown = ~np.ma.getmaskarray(image).all(axis=0)
    if not shown.any():
        raise ValueError(f"{dataset.name}: no pixel has data, there is nothing to draw")
    alpha = shown.astype(np.uint8) * 255
    merged = np.dstack([*image.filled(0), alpha])
    return _View(merged, _extent(dataset), dataset.crs, "false colour")


def _show(axes: Axes, view: _View, **looks: Any) -> Any:
    # Hatched, since the colours of classes come as light as any plain one.
    axes.patch.set(facecolor="white", edgecolor=_NO_DATA, hatch="////", linewidth=0)
    return axes.imshow(view.image, extent=view.extent, interpolation="nearest", **looks)


def _show_classes(
    figure: Figure, axes: Axes, view: _View, dataset: DatasetReader, band: int
) -> None:
    table = dataset.colormap(band)
    names = {
        int(match[1]): text
        for tag, text in dataset.tags().items()
        if (match := _CLASS_TAG.match(tag))
    }
    values, counts = np.unique(view.image.compressed(), return_counts=True)
    colours = np.zeros((256, 4), np.uint8)
    for value in values:
        colours[value] = (*table.get(int(value), (0, 0, 0, 255))[:3], 255)
    painted = colours[view.image.filled(0)]
    painted[np.ma.getmaskarray(view.image)] = 0
    _show(axes, _View(painted, view.extent, view.crs, view.name))
    handles = [
        Patch(
            facecolor=colours[value] / 255.0,
            edgecolor=GREY,
            linewidth=0.4,
            label=_entry(names.get(int(value), str(value)), count / counts.sum()),
        )
        for count, value in sorted(zip(counts, values, strict=True), reverse=True)
    ]
    if np.ma.getmaskarray(view.image).any():
        none = Patch(facecolor="white", edgecolor=_NO_DATA, hatch="////")
        none.set_label("no data")
        handles.append(none)
    figure.legend(
        handles=handles,
        loc="outside right upper",
        frameon=False,
        fontsize=7.5,
        title="share of the area with data",
        title_fontsize=7.5,
        alignment="left",
        labelcolor=INK,
    )


def _entry(name: str, share: float) -> str:
    """Returns a line of the legend, or two where the name is long."""
    return f"{_wrap(name)}  {100 * share:.{0 if share >= 0.095 else 1}f} %"


def _wrap(name: str, width: int = 34) -> str:
    """Breaks a long name in two."""
    if len(name) <= width:
        return name
    middle = max(name.rfind(" ", 0, width), 0) or width
    rest = name[middle:].lstrip()
    rest = rest if len(rest) <= width else f"{rest[: width - 1].rstrip()}…"
    return f"{name[:middle]}\n{rest}"


def _limit(
    images: list[Any], views: list[_View], limits: tuple[float, float] | None
) -> None:
    """Gives all images the same range of values."""
    if limits is None:
        values = np.concatenate([view.image.compressed() for view in views])
        if not values.size:
            raise ValueError("no pixel of any band has data, there is nothing to draw")
        low, high = np.percentile(values, (2, 98))
        within = values.min() >= 0 and values.max() <= 1
        limits = (0.0, 1.0) if within else (float(low), float(high))
    for image in images:
        image.set_clim(*limits)


def _add_bar(figure: Figure, image: Any, axes: Any, name: str) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.75, pad=0.02, aspect=30)
    bar.set_label(name, color=INK, fontsize=8)
    bar.ax.tick_params(labelsize=7.5, colors=INK)
    bar.outline.set_edgecolor(LIGHT)


def _channels(dataset: DatasetReader) -> str:
    """Returns what red, green and blue stand for."""
    names = dataset.descriptions[:3]
    if not any(names):
        return ""
    channels = zip(("red", "green", "blue"), names, strict=True)
    return "\n" + "\n".join(f"{channel}: {name}" for channel, name in channels)


def _frame(axes: Axes, view: _View, note: str) -> None:
    """Draws coordinates, their system, a scale bar, and a note below."""
    unit, metric = _unit(view.crs)
    for axis, name in ((axes.xaxis, "easting"), (axes.yaxis, "northing")):
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        if not metric:
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            words = ("longitude", "latitude") if view.crs else ("column", "row")
            name = words[name == "northing"]
        below = note if axis is axes.xaxis else ""
        axis.set_label_text(f"{name} ({unit}){below}", color=INK, fontsize=8)
    axes.tick_params(labelsize=7.5, colors=INK)
    for label in axes.get_yticklabels():
        label.set_rotation(90)
        label.set_verticalalignment("center")
    axes.spines[:].set_color(GREY)
    axes.annotate(
        _name(view.crs),
        (1, 1),
        xycoords="axes fraction",
        xytext=(0, 4),
        textcoords="offset points",
        ha="right",
        fontsize=7.5,
        color=GREY,
    )
    if metric:
        scale_bar(axes, view.extent)


def _unit(crs: Any) -> tuple[str, bool]:
    if not crs:
        return "pixels; no coordinate system", False
    return ("°", False) if crs.is_geographic else ("m", True)


def _name(crs: Any) -> str:
    if not crs:
        return ""
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_wkt().split('"')[1])


def scale_bar(axes: Axes, extent: tuple[float, float, float, float]) -> None:
    """Draws a bar of a round length, at most a quarter of the width.

    Args:
        axes: with map coordinates in metres.
        extent: left, right, bottom and top of the map.
    """
    most = (extent[1] - extent[0]) / 4
    power = 10 ** math.floor(math.log10(most))
    length = next(factor * power for factor in (5, 2, 1) if factor * power <= most)
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    bar = AnchoredSizeBar(
        axes.transData,
        length,
        text,
        "lower left",
        pad=0.4,
        borderpad=0.5,
        sep=3,
        color=INK,
        label_top=True,
        size_vertical=0.008 * (extent[3] - extent[2]),
        fill_bar=True,
        fontproperties=FontProperties(size=7.5),
    )
    bar.patch.set(facecolor="white", alpha=0.8, linewidth=0)
    axes.add_artist(bar)
