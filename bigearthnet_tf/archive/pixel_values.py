"""What the numbers in a raster mean: the one contract of scenes, tiles and patches.

The archives hold reflectance x 10,000 without an offset (Sentinel-2, uint16) and
decibels (Sentinel-1, float32). A file of anybody else's holds numbers from which these
follow as NUMBER x scale + offset. The evidence for scale and offset, first to last:

1. an explicit option;
2. the scale and offset tags of the band (GDAL: value = number x scale + offset);
3. metadata of the product: tags of the file (PROCESSING_BASELINE, BOA_ADD_OFFSET,
   QUANTIFICATION_VALUE), or MTD_MSIL2A.xml beside or above it;
4. the processing baseline in the name of the file or its folders (N0500).

ESA adds 1000 to digital numbers since baseline 04.00, which it introduced on 25 January
2022 and with which it has processed older acquisitions again. Without evidence an
acquisition before that day has no offset, and that of a later one is a question to the
user. Undated files are taken as they are.

No data are NaN, infinity, the no-data number of the band, 0 where it has none, and what
no sensor measures (`_POSSIBLE`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.archive.bands import Sensor
from bigearthnet_tf.archive.safe import ARCHIVE_QUANTIFICATION

# From this day on ESA's products are of baseline 04.00 or later.
NEWER_SINCE = date(2022, 1, 25)

# Evidence: what the user has given, and GDAL's tags of the band.
BY_OPTION = "option"
BY_TAGS = "its scale and offset tags"

# Reflectance of at least -0.5, decibels within 100: fill values such as -9999 lie
# beyond, also after a scale.
_POSSIBLE: dict[Sensor, tuple[float, float]] = {
    "S2": (-0.5 * ARCHIVE_QUANTIFICATION, math.inf),
    "S1": (-100.0, 100.0),
}
# A tag of scale up to the first turns numbers into reflectance, one of at least the
# second leaves them digital numbers.
_REFLECTANCE_SCALE, _NUMBER_SCALE = 1e-3, 0.1


@dataclass(frozen=True)
class Given:
    """What the user says of the numbers, in place of what the files say.

    Attributes:
        scale: reflectance x 10,000 is NUMBER * scale + offset; Sentinel-2 alone.
        offset: see `scale`.
        nodata: the number that stands for none.

    Raises:
        ValueError: a scale that is not above 0, or a number that is not finite.
    """

    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None

    def __post_init__(self) -> None:
        """Refuses what no number can be scaled by."""
        if self.scale is not None and not 0 < self.scale < math.inf:
            raise ValueError(
                f"--scale: expected a number above 0, got {self.scale:g}; reflectance "
                "x 10,000 is NUMBER x SCALE + OFFSET"
            )
        if self.offset is not None and not math.isfinite(self.offset):
            raise ValueError(
                f"--offset: expected a finite number, got {self.offset:g}; -1000 for "
                "products of baseline 04.00 and later, 0 for none"
            )


NOTHING_GIVEN = Given()


@dataclass(frozen=True)
class PixelValues:
    """What the numbers of one band in one file mean.

    Attributes:
        sensor: `"S1"` or `"S2"`.
        scale: a number of the archives is NUMBER * scale + offset.
        offset: see `scale`.
        nodata: numbers that stand for none, beside NaN and infinity.
        evidence: where scale and offset come from; None if nothing says so.
        day: the last of the acquisition, where the names or tags tell.
    """

    sensor: Sensor
    scale: float = 1.0
    offset: float = 0.0
    nodata: tuple[float, ...] = (0.0,)
    evidence: str | None = None
    day: date | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the numbers are those of the archives."""
        return (self.scale, self.offset) == (1.0, 0.0)

    @property
    def is_open(self) -> bool:
        """Whether 1000 may have been added and nothing says so."""
        is_newer = self.day is not None and self.day >= NEWER_SINCE
        return self.sensor == "S2" and self.evidence is None and is_newer

    def is_number(self, numbers: NDArray[Any]) -> NDArray[np.bool_]:
        """Returns what is neither NaN or infinite nor a number for no data."""
        valid = np.isfinite(numbers)
        for none in self.nodata:
            # In the type of the file: float32 knows no -3.4028234663852886e+38.
            with np.errstate(over="ignore"):
                valid &= numbers != np.float64(none).astype(numbers.dtype)
        return valid

    def has_data(self, numbers: NDArray[Any]) -> NDArray[np.bool_]:
        """Returns where there are data: numbers that a sensor measures."""
        valid = self.is_number(numbers)
        low, high = ((v - self.offset) / self.scale for v in _POSSIBLE[self.sensor])
        if numbers.dtype.kind == "f" or np.iinfo(numbers.dtype).min < low:
            valid &= numbers >= low
        if numbers.dtype.kind == "f" or np.iinfo(numbers.dtype).max > high:
            valid &= numbers <= high
        return valid

    def to_archive(
        self, numbers: NDArray[Any], valid: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Returns numbers of the archives, 0 where there are no data.

        Neither rounded nor clipped; `store` does both.
        """
        values = np.where(valid, numbers, 0).astype(np.float64)
        values *= self.scale
        values += self.offset
        values[~valid] = 0
        return values

    def stored(
        self, numbers: NDArray[Any], valid: NDArray[np.bool_], dtype: str
    ) -> NDArray[Any]:
        """Returns numbers of the archives in their type, 0 where there are no data."""
        if self.is_plain and numbers.dtype == dtype:
            return np.where(valid, numbers, numbers.dtype.type(0))
        return store(self.to_archive(numbers, valid), dtype)


def store(values: NDArray[np.floating], dtype: str) -> NDArray[Any]:
    """Returns numbers of the archives in their type, rounded and clipped to it."""
    if dtype == "uint16":
        values = np.clip(np.rint(values), 0, np.iinfo(np.uint16).max)
    return values.astype(dtype)


def of_backscatter(
    dtype: str,
    tags: tuple[float, float] = (1.0, 0.0),
    nodata: float | None = None,
    given: Given = NOTHING_GIVEN,
    day: date | None = None,
) -> PixelValues:
    """Returns what the numbers of a Sentinel-1 band mean.

    Args:
        dtype: of the file.
        tags: scale and offset of the band.
        nodata: of the band; None if the file says none.
        given: of which `nodata` alone concerns Sentinel-1.
        day: of the acquisition.

    Raises:
        ValueError: tags that scale nothing.
    """
    _check_type(dtype)
    scale, offset = _checked(tags)
    evidence = None if tags == (1.0, 0.0) else BY_TAGS
    # Of a file that Sentinel-2 shares an option with: the tag still holds. Exactly 0 is
    # the border of most tools, and no backscatter to speak of.
    values = tuple(dict.fromkeys(_fitting(dtype, given.nodata, nodata, 0.0)))
    return PixelValues("S1", scale, offset, values, evidence, day)


def of_reflectance(
    dtype: str,
    tags: tuple[float, float] = (1.0, 0.0),
    nodata: float | None = None,
    given: Given = NOTHING_GIVEN,
    product: tuple[float, float | None, str] | None = None,
    day: date | None = None,
) -> PixelValues:
    """Returns what the numbers of a Sentinel-2 band mean.

    Args:
        dtype: of the file.
        tags: scale and offset of the band.
        nodata: of the band; None if the file says none.
        given: what the user says.
        product: scale, offset (None if unknown) and where they stand: what metadata or
            names say of the numbers.
        day: of the acquisition.

    Raises:
        ValueError: tags that can't be read as a scale of reflectance or of digital
            numbers, or an option that leaves one of the two open.
    """
    _check_type(dtype)
    chosen = _fitting(dtype, given.nodata, nodata, 0.0)[:1]
    if given.scale is not None and given.offset is not None:
        return PixelValues("S2", given.scale, given.offset, chosen, BY_OPTION, day)
    scale, offset, evidence = 1.0, 0.0, None
    if tags != (1.0, 0.0):
        (scale, offset), evidence = _of_tags(tags), BY_TAGS
    elif product is not None:
        scale = product[0]
        if product[1] is not None:
            offset, evidence = product[1], product[2]
    if given.scale is not None:
        if given.offset is None and offset and given.scale != scale:
            raise ValueError(
                f"the scale given, {given.scale:g}, is not {scale:g}, which {evidence} "
                f"say together with an offset of {offset:g}: give the offset too"
            )
        scale = given.scale
    if given.offset is not None:
        offset, evidence = given.offset, BY_OPTION
    return PixelValues("S2", scale, offset, chosen, evidence, day)


def _of_tags(tags: tuple[float, float]) -> tuple[float, float]:
    """Returns scale and offset to numbers of the archives.

    Files scale to reflectance (0.0001, -0.1) or to digital numbers (1, -1000).
    """
    scale, offset = _checked(tags)
    is_reflectance = scale <= _REFLECTANCE_SCALE or 0 < abs(offset) < 1
    if is_reflectance:
        return scale * ARCHIVE_QUANTIFICATION, offset * ARCHIVE_QUANTIFICATION
    if scale < _NUMBER_SCALE:
        raise ValueError(
            f"expected tags that scale to reflectance (such as 0.0001) or to "
            f"reflectance x 10,000, got scale {scale:g} and offset {offset:g}: give "
            "--scale and --offset"
        )
    return scale, offset


def _checked(tags: tuple[float, float]) -> tuple[float, float]:
    scale, offset = tags
    if not 0 < scale < math.inf or not math.isfinite(offset):
        raise ValueError(
            f"expected a scale tag above 0 and an offset tag, got {scale:g} and "
            f"{offset:g}: set them with gdal_edit.py -scale and -offset"
        )
    return scale, offset


def _check_type(dtype: str) -> None:
    if dtype.startswith("complex"):
        raise ValueError(
            f"expected whole numbers or floats, got {dtype}: complex numbers become "
            "decibels with 10 log10(|z|^2)"
        )


def _fitting(dtype: str, *nodata: float | None) -> tuple[float, ...]:
    """Returns the no-data numbers that a type can hold, NaN apart."""
    return tuple(n for n in nodata if n is not None and _can_hold(dtype, n))


def _can_hold(dtype: str, value: float) -> bool:
    if np.issubdtype(dtype, np.floating):
        return not math.isnan(value)
    info = np.iinfo(dtype)
    return float(value).is_integer() and info.min <= value <= info.max
