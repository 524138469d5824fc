"""Whether numbers that were read can be what they are taken for.

A sample of a band is judged by its median and by shares of its pixels, never by
extremes: one bright roof or fill value says nothing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.io import DatasetReader
from rasterio.warp import transform as reproject
from rasterio.windows import Window

from bigearthnet_tf.archive import pixel_values, raster_header
from bigearthnet_tf.archive.pixel_values import PixelValues

# Of the pixels that have data: less may be noise around zero, or glint.
_BULK = 0.01
# Medians of reflectance x 10,000 up to this are reflectance that was not multiplied.
_REFLECTANCE = 2.0
# No pixel of a sample is above this in reflectance in percent.
_PERCENT = 200.0
# Medians of decibels. Those of BigEarthNet's patches are -8 to -19; of calm water
# -35, of city centres up to about 0.
_DECIBELS = (-50.0, 20.0)
# Different numbers that stand for no data in one file, such as -9999 and -32768.
_FILLS = 3
# Power and amplitude are never below 0, decibels of land nearly always are.
_NEGATIVE = 0.05
_HIGHEST = np.iinfo(np.uint16).max
# Side in pixels of the squares that are looked at, and how many there are along a side.
_SQUARE, _SQUARES = 64, 4
# What GDAL may have to decode at once to give a single pixel.
_MAX_BLOCK_PIXELS = 1 << 27
# From the metres of a coordinate system to those on the ground.
_MAX_STRETCH = 0.02
# WGS 84.
_SEMI_MAJOR, _ECCENTRICITY_2 = 6378137.0, 0.00669437999014


def sample(
    dataset: DatasetReader, index: int, values: PixelValues, whole: int = 1024
) -> NDArray[np.generic]:
    """Returns pixels from all over a band that no mask hides, (pixels,).

    Args:
        dataset: the raster.
        index: of the band, from 1.
        values: what its numbers mean.
        whole: side in pixels of a picture that is looked at whole; of a larger one an
            overview of that size, or some squares; if these are empty, as at the edge
            of a swath, pixels of all of it.

    Raises:
        RasterioError: the file is damaged.
        ValueError: it is stored in pieces that do not fit into memory.
    """
    check_blocks(dataset)
    height, width = dataset.shape
    shape = tuple(min(length, whole) for length in (height, width))
    if dataset.overviews(index) or max(height, width) <= whole:
        return _unmasked(dataset, index, out_shape=shape)
    side = _SQUARE
    rows, columns = (
        np.linspace(0, max(length - side, 0), _SQUARES).astype(int)
        for length in (height, width)
    )
    parts = [
        _unmasked(dataset, index, window=Window(column, row, side, side))
        for row in np.unique(rows)
        for column in np.unique(columns)
    ]
    pixels = np.concatenate(parts)
    if values.has_data(pixels).any():
        return pixels
    return _unmasked(dataset, index, out_shape=shape)


def _unmasked(dataset: DatasetReader, index: int, **kwargs: Any) -> NDArray[np.generic]:
    numbers = dataset.read(index, **kwargs)
    unmasked = raster_header.read_mask(dataset, [index], **kwargs)
    return np.ravel(numbers) if unmasked is True else numbers[unmasked]


def check_blocks(dataset: DatasetReader) -> None:
    """Refuses a raster whose header makes GDAL allocate without bounds.

    Raises:
        ValueError: blocks of more pixels than a whole tile of Sentinel-2 has.
    """
    rows, columns = max(dataset.block_shapes, key=math.prod)
    if rows * columns > _MAX_BLOCK_PIXELS:
        raise ValueError(
            f"{dataset.name}: expected blocks of up to {_MAX_BLOCK_PIXELS:,} pixels, "
            f"but its header says {dataset.height} x {dataset.width} pixels in blocks "
            f"of {rows} x {columns}: the file is damaged, or tile it with "
            "gdal_translate -co TILED=YES"
        )


def judge(
    numbers: NDArray[np.generic],
    values: PixelValues,
    where: str,
    options: tuple[str, str],
) -> str | None:
    """Compares a sample of a band with what its numbers are said to mean.

    Args:
        numbers: of the file, any shape.
        values: what they mean.
        where: names file and band.
        options: that say the scale, and the offset.

    Returns:
        A doubt that the user should know of; None if there is none.

    Raises:
        ValueError: they can't be decibels, or reflectance x 10,000.
    """
    if values.sensor == "S1" and numbers.dtype.kind != "f" and values.is_plain:
        raise ValueError(
            f"{where}: expected decibels, got {numbers.dtype} without a scale: "
            "calibrate digital numbers and take 10 log10 of the power; for decibels "
            "x 100 set the scale with gdal_edit.py -scale 0.01"
        )
    there = values.is_number(numbers)
    archive = values.to_archive(numbers, there)
    beyond = there & ~values.has_data(numbers)
    # A few numbers far away fill borders; many of them are another unit.
    if len(np.unique(archive[beyond])) <= _FILLS and (there & ~beyond).any():
        there &= ~beyond
    if not there.any():
        return None
    if values.sensor == "S1":
        _judge_decibels(archive[there], where)
        return None
    return _judge_reflectance(archive[there], numbers.dtype, values, where, options)


def _judge_decibels(decibels: NDArray[np.float64], where: str) -> None:
    median, low, high = _spread(decibels)
    got = f"a median of {median:.4g} ({low:.4g} to {high:.4g})"
    if not _DECIBELS[0] <= median <= _DECIBELS[1] or (
        np.mean(decibels < 0) < _NEGATIVE
    ):
        raise ValueError(
            f"{where}: expected decibels, most of them from -25 to 0, got {got}: of "
            "linear power take 10 log10, of amplitudes 20 log10, digital numbers "
            "calibrate first"
        )


def _judge_reflectance(
    reflectance: NDArray[np.float64],
    dtype: np.dtype[Any],
    values: PixelValues,
    where: str,
    options: tuple[str, str],
) -> str | None:
    scale, offset = options
    median, low, high = _spread(reflectance)
    got = f"a median of {median:.4g} ({low:.4g} to {high:.4g})"
    by = f" by {values.evidence}" if values.evidence else ""
    meaning = f"NUMBER x {values.scale:g} {values.offset:+g}{by}"
    if dtype.itemsize == 1 and values.evidence is None and values.scale == 1:
        raise ValueError(
            f"{where}: expected reflectance x 10,000, which a byte can't hold, got "
            f"{dtype}, {got}: give the bands, not a picture of them, or {scale}"
        )
    is_scaled = values.scale != 1 or not np.array_equal(reflectance, reflectance // 1)
    if is_scaled and 0 < median <= _REFLECTANCE:
        raise ValueError(
            f"{where}: expected reflectance x 10,000, got {got} of {meaning}, which is "
            f"reflectance itself: give {scale} 10000"
        )
    is_percent = median > _REFLECTANCE and high <= _PERCENT
    if is_scaled and is_percent and values.evidence is None:
        raise ValueError(
            f"{where}: expected reflectance x 10,000, got {got} of {meaning}, which "
            f"looks like percent: give {scale} 100, or {scale} 1 to take it as it is"
        )
    above = np.mean(reflectance >= _HIGHEST)
    if above > _BULK:
        raise ValueError(
            f"{where}: expected reflectance x 10,000 below {_HIGHEST}, but {above:.0%} "
            f"of the pixels reach it, {got} of {meaning}: give the right "
            f"{scale}, or tag what stands for no data there"
        )
    below = np.mean(reflectance < -0.5)
    if below > _BULK:
        text = (
            f"{where}: {below:.0%} of the pixels fall below 0, {got} of {meaning}: if "
            f"the offset was taken away before give {offset} 0"
        )
        if median < 0 and values.evidence != pixel_values.BY_OPTION:
            raise ValueError(text)
        return f"{text}; they become 0"
    zero = np.mean(reflectance == values.offset)
    if zero > _BULK and values.nodata and 0 not in values.nodata:
        return (
            f"{where}: {zero:.0%} of the pixels are 0, which is data where "
            f"{values.nodata[0]:g} stands for none: if they are a border tag it as 0"
        )
    return None


def _spread(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Returns median, lowest and highest."""
    return float(np.median(values)), float(values.min()), float(values.max())


def check_ground_metres(
    crs: CRS, transform: Affine, shape: tuple[int, int], where: str
) -> None:
    """Refuses a coordinate system whose metres are none on the ground.

    Looked at in the corners and in the middle, from west to east and from north to
    south, along the ellipsoid WGS 84.

    Args:
        crs: projected, in metres.
        transform: from (column, row) to coordinates.
        shape: rows and columns.
        where: names the file.

    Raises:
        ValueError: a metre is more than 2 % longer or shorter there, or PROJ can't tell
            where the place is.
    """
    rows, columns = shape
    step = 100.0
    for row, column in (
        (0, 0),
        (0, columns),
        (rows, 0),
        shape,
        (rows / 2, columns / 2),
    ):
        x, y = transform @ (column, row)
        for across, down in ((step, 0.0), (0.0, step)):
            ground = _ground_distance(
                crs, (x - across, x + across), (y - down, y + down), where
            )
            stretch = ground / (2 * step)
            if not abs(stretch - 1) <= _MAX_STRETCH:
                raise ValueError(
                    f"{where}: expected metres on the ground, but a metre of "
                    f"{crs.to_string():.40} is {stretch:.3g} m at {x:.0f}, {y:.0f}: "
                    "warp it to its UTM zone, with gdalwarp -t_srs EPSG:326ZZ"
                )


def _ground_distance(
    crs: CRS, x: tuple[float, float], y: tuple[float, float], where: str
) -> float:
    """Returns the metres on the ground between two near points."""
    try:
        longitudes, latitudes = reproject(crs, "EPSG:4326", x, y)
    except Exception as error:  # rasterio lets GDAL's own classes through
        raise ValueError(
            f"{where}: PROJ can't place {crs.to_string():.40} on the ground ({error}): "
            "set the coordinate system of the scene with gdal_edit.py -a_srs"
        ) from error
    latitude = math.radians(sum(latitudes) / 2)
    east = math.remainder(longitudes[1] - longitudes[0], 360)
    # Radii of curvature along the meridian and across it.
    squared = 1 - _ECCENTRICITY_2 * math.sin(latitude) ** 2
    meridian = _SEMI_MAJOR * (1 - _ECCENTRICITY_2) / squared**1.5
    normal = _SEMI_MAJOR / math.sqrt(squared)
    return math.hypot(
        math.radians(east) * normal * math.cos(latitude),
        math.radians(latitudes[1] - latitudes[0]) * meridian,
    )
