"""A picture of a map of a tile that is a `.npy`: of ours, or of btfm.

    (rows, columns) uint8         classes from 0, 255 for no data: `bigearthnet-tf map`
    (rows, columns) int64         classes from 1, 0 for no data: btfm
    (rows, columns, dimensions) floats    embeddings; NaN, or 0 in all, for no data

It is mapped into memory and thinned out to the size of the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from affine import Affine
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile

from bigearthnet_tf import arrays, files
from bigearthnet_tf.archive.land_cover import (
    UNLABELLED,
    WORLD_COVER,
    land_cover_classes,
)
from bigearthnet_tf.serving import colour_space, map_picture, tile_arrays

# Side of the picture in pixels of the map, at most.
_PIXELS = 1400
# btfm fills its arrays with that, and counts classes from the next on.
_NONE_OF_BTFM = 0
_MOST_CLASSES = len(WORLD_COVER)
# Rows of embeddings that are painted at once.
_ROWS = 64

Colours = Mapping[int, tuple[int, int, int]]


def draw(path: Path) -> tuple[Figure, str]:
    """Draws a map; see the module.

    Classes of ours have the names that the report beside the array gives them, or
    numbers where there is none; embeddings are shown by their first three principal
    components, stretched from 2 to 98 %.

    Args:
        path: of the `.npy`.

    Returns:
        The picture, and in words what it is of.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no array of plain numbers, of another shape or type, of classes
            that there are not, or without any data.
    """
    array = arrays.open_npy(
        path, "a map as a .npy of numbers", "name one that map -o MAP.npy or btfm wrote"
    )
    if not array.size:
        raise ValueError(f"{path}: no pixels: shape {array.shape}")
    step = -(-max(array.shape[:2]) // _PIXELS) if array.ndim > 1 else 1
    thin = array[::step, ::step] if array.ndim > 1 else array
    is_btfm = array.dtype.kind == "i" and array.dtype.itemsize in (4, 8)
    if array.ndim == 2 and (is_btfm or array.dtype == np.uint8):
        return _draw_classes(path, np.asarray(thin), step)
    if array.ndim == 3 and array.dtype.kind == "f":
        return _draw_embeddings(path, thin, step)
    raise ValueError(
        f"{path}: expected classes (rows, columns) in uint8, or in int64 as btfm has "
        "them, or embeddings (rows, columns, dimensions) in floats, got "
        f"{array.dtype} of shape {array.shape}"
    )


def _draw_classes(path: Path, thin: NDArray[Any], step: int) -> tuple[Figure, str]:
    of_btfm = thin.dtype.kind == "i"
    none = _NONE_OF_BTFM if of_btfm else UNLABELLED
    most = (
        len(land_cover_classes(merge_mangroves=True)) if of_btfm else _MOST_CLASSES - 1
    )
    strange = thin[(thin != none) & ((thin < 0) | (thin > most))]
    if strange.size:
        raise ValueError(
            f"{path}: expected the numbers of classes, 0 to {most}, and {none} for no "
            f"data, got {strange.flat[0]}; a map has numbers, labels have codes of "
            "WorldCover"
        )
    if (thin == none).all():
        raise ValueError(f"{path}: all pixels are {none}, no data: nothing to draw")
    names, colours = _legend(path, of_btfm)
    told = "as btfm numbers them, 0 no data" if of_btfm else f"{UNLABELLED} no data"
    if not of_btfm and not any(names.values()):
        told += f"; {tile_arrays.report_of(path).name} that names them is not beside it"
    figure = _draw(
        thin.astype(np.uint8)[None],
        f"{path.name}: classes, {told}",
        step,
        nodata=none,
        colours=colours,
        tags={f"CLASS_{n}": f"{n} {name}".strip() for n, name in names.items()},
    )
    return figure, f"classes, {told}"


def _legend(path: Path, of_btfm: bool) -> tuple[dict[int, str], Colours]:
    """Returns names and colours of class numbers; names are empty where unknown."""
    if of_btfm:
        classes = dict(enumerate(land_cover_classes(merge_mangroves=True), start=1))
        return {n: c.name for n, c in classes.items()}, {
            n: c.rgb for n, c in classes.items()
        }
    palette = np.rint(255 * mpl.colormaps["tab20"](range(_MOST_CLASSES))).astype(int)
    colours = {n: (r, g, b) for n, (r, g, b, _) in enumerate(palette.tolist())}
    names = dict.fromkeys(colours, "")
    known = {each.code: each.rgb for each in WORLD_COVER}
    for row in _reported(path):
        number, code = row.get("class"), row.get("code")
        are_numbers = isinstance(number, int) and isinstance(code, int)
        if are_numbers and number in colours and code in known:
            names[number], colours[number] = str(row.get("name", "")), known[code]
    return names, colours


def _reported(path: Path) -> list[dict[str, Any]]:
    """Returns what the report beside a map says of its classes."""
    report = tile_arrays.report_of(path)
    content = files.read_json(report) if report.is_file() else None
    rows = content.get("classes") if isinstance(content, dict) else None
    # A file of that name need not be ours.
    rows = rows if isinstance(rows, list) else []
    return [row for row in rows if isinstance(row, dict)]


def _draw_embeddings(path: Path, thin: NDArray[Any], step: int) -> tuple[Figure, str]:
    height, width, dimensions = thin.shape
    valid = np.empty((height, width), bool)
    for rows in _strips(height):
        part = np.asarray(thin[rows])
        valid[rows] = np.isfinite(part).all(axis=2) & (part != 0).any(axis=2)
    places = np.flatnonzero(valid)
    if not len(places):
        raise ValueError(f"{path}: all pixels are NaN or 0, no data: nothing to draw")
    if len(places) > colour_space.SAMPLE_SIZE:
        rng = np.random.default_rng(0)
        places = np.sort(rng.choice(places, colour_space.SAMPLE_SIZE, replace=False))
    try:
        space = colour_space.fit(thin[places // width, places % width], path.name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    image = np.full(
        (height, width, colour_space.COLOURS), colour_space.NODATA, np.uint8
    )
    for rows in _strips(height):
        shown = valid[rows]
        image[rows][shown] = space.paint(np.asarray(thin[rows])[shown])
    told = f"principal components of {dimensions} dimensions"
    figure = _draw(
        np.moveaxis(image, -1, 0),
        f"{path.name}: {told}",
        step,
        nodata=colour_space.NODATA,
        names=[
            f"principal component {number} ({100 * share:.0f} % of the variance)"
            for number, share in enumerate(space.explained, 1)
        ],
    )
    return figure, told


def _strips(height: int) -> list[slice]:
    return [slice(row, row + _ROWS) for row in range(0, height, _ROWS)]


def _draw(
    image: NDArray[np.uint8],
    title: str,
    step: int,
    *,
    nodata: int,
    colours: Colours | None = None,
    names: list[str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Figure:
    """Draws (bands, rows, columns) as a map that is placed nowhere is drawn."""
    count, height, width = image.shape
    with MemoryFile(ext=".tif") as memory:
        with memory.open(
            driver="GTiff",
            count=count,
            height=height,
            width=width,
            dtype="uint8",
            nodata=nodata,
            transform=Affine.scale(step),
        ) as dataset:
            if colours is None:
                dataset.colorinterp = (
                    ColorInterp.red,
                    ColorInterp.green,
                    ColorInterp.blue,
                )
            else:
                dataset.write_colormap(1, dict(colours))
            dataset.write(image)
            dataset.update_tags(**(tags or {}))
            for number, name in enumerate(names or [], 1):
                dataset.set_band_description(number, name)
        return map_picture.draw(memory.name, title)
