"""The map of classes of a tile of GeoTIFFs: one band on the grid of the others."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import CRS, Affine

from bigearthnet_tf.archive import geotiff
from bigearthnet_tf.archive.land_cover import NO_DATA

logger = logging.getLogger(__name__)

# Of a pixel: by how much corners of the same grid may differ, which rounding explains.
# Half a pixel is the shift of files that confuse corners and centres of pixels.
TOLERANCE = 0.25
_REMEDY = "warp the labels onto the grid of the tile"


def check(
    path: Path, crs: str | None, transform: Affine, shape: tuple[int, int]
) -> None:
    """Checks that a map of classes lies pixel for pixel on the bands of its tile.

    A map without any georeference is taken as it lies, with a warning.

    Args:
        path: of the map.
        crs: coordinate system of the bands as WKT; None where they have none.
        transform: of the finest band, from (column, row) to map coordinates.
        shape: its rows and columns.

    Raises:
        ValueError: several bands, another shape, or another place.
        rasterio.errors.RasterioError: not a GeoTIFF.
    """
    with geotiff.quiet(), rasterio.open(path, driver="GTiff") as dataset:
        _check(path, dataset, crs, transform, shape)


def _check(
    path: Path,
    dataset: rasterio.io.DatasetReader,
    crs: str | None,
    transform: Affine,
    shape: tuple[int, int],
) -> None:
    if dataset.count != 1:
        raise ValueError(
            f"{path}: expected one band of class codes, got {dataset.count}; write the "
            "codes alone, not a picture of them"
        )
    if dataset.shape != shape:
        raise ValueError(
            f"{path}: expected {shape[0]} x {shape[1]} pixels as the bands, got "
            f"{dataset.shape[0]} x {dataset.shape[1]}; {_REMEDY}"
        )
    if not dataset.crs and dataset.transform.is_identity:
        if crs is not None:
            logger.warning(
                "%s: has no georeference; taken to lie on the grid of the bands", path
            )
        return
    if dataset.crs and crs and dataset.crs != CRS.from_wkt(crs):
        raise ValueError(
            f"{path}: expected the coordinate system of the bands, "
            f"{_short(CRS.from_wkt(crs))}, got {_short(dataset.crs)}; {_REMEDY}"
        )
    if pixels_apart(dataset.transform, transform, shape) > TOLERANCE:
        raise ValueError(
            f"{path}: expected the transform of the bands, {_numbers(transform)}, got "
            f"{_numbers(dataset.transform)}; {_REMEDY}"
        )


def pixels_apart(one: Affine, other: Affine, shape: tuple[int, int]) -> float:
    """Returns how far corners of two grids lie apart, in pixels of the second, at most.

    Args:
        one: from (column, row) to map coordinates.
        other: of the other grid, not degenerate.
        shape: rows and columns of both.
    """
    between = ~other @ one
    corners = [(x, y) for x in (0, shape[1]) for y in (0, shape[0])]
    return max(
        abs(a - b)
        for corner in corners
        for a, b in zip(between @ corner, corner, strict=True)
    )


def without_nodata(labels: NDArray[Any], nodata: float | None) -> NDArray[Any]:
    """Returns labels with 0, no class, where the file says that it has no data."""
    if nodata is None:
        return labels
    empty = np.isnan(labels) if np.isnan(nodata) else labels == nodata
    return np.where(empty, NO_DATA, labels)


def _numbers(transform: Affine) -> str:
    return " ".join(f"{number:.10g}" for number in tuple(transform)[:6])


def _short(crs: CRS) -> str:
    text = crs.to_string()
    return text if len(text) < 20 else "another one"
