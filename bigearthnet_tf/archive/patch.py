"""The records that the readers hand on: a line of a list, and a patch with pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.archive import bands


@dataclass(frozen=True)
class GeoReference:
    """Where a patch lies.

    Attributes:
        crs: `"EPSG:n"` where the code is known, WKT otherwise.
        bounds: left, bottom, right, top, in metres.
    """

    crs: str
    bounds: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class PatchEntry:
    """A patch as lists and metadata know it, before any pixel is read.

    Attributes:
        name: Sentinel-2 patch name; it identifies the pair.
        name_s1: Sentinel-1 patch name; None where the list does not say.
        labels: label names; None where they are to be found in the archive.
        label_type: nomenclature of `labels`; None without them.
        split: `"train"`, `"val"`, `"test"` or the name of the list.
        country: English name; v2 only.
    """

    name: str
    name_s1: str | None = None
    labels: tuple[str, ...] | None = None
    label_type: str | None = None
    split: str | None = None
    country: str | None = None


@dataclass(frozen=True, eq=False)
class Patch:
    """A patch as it lies on disk: nothing resampled, converted or normalised.

    Attributes:
        name_s2: Sentinel-2 patch name.
        name_s1: Sentinel-1 patch name.
        bands: band name to pixels, shape (side, side) and dtype as in `bands.BANDS`.
        labels: label names of `label_type`.
        label_type: `"original"` or `"BigEarthNet-19"`.
        reference_map: CLC codes, uint16 (120, 120); v2 only.
        geo: where the patch lies.
        generated: whether `bigearthnet-tf sample` drew it.
    """

    name_s2: str | None
    name_s1: str | None
    bands: dict[str, NDArray[Any]]
    labels: tuple[str, ...]
    label_type: str
    reference_map: NDArray[np.uint16] | None = None
    geo: GeoReference | None = None
    generated: bool = False


class PatchSource(Protocol):
    """What patches are read from: folders of GeoTIFFs, an LMDB, records."""

    @property
    def version(self) -> str:
        """`"v1"` or `"v2"`."""

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands of each patch, in channel order."""

    @property
    def label_types(self) -> tuple[str, ...]:
        """The nomenclatures of each patch; the 43 labels give the 19."""

    @property
    def origin(self) -> tuple[str, ...]:
        """Where the patches come from, to tell one source from another."""

    def complete(self, entries: Iterable[PatchEntry]) -> list[PatchEntry]:
        """Returns entries with all that reading them would have to look up."""

    def read(self, entry: Any, bands: Sequence[str] | None = None) -> Patch:
        """Returns a patch with its pixels and labels."""

    def stamp(self, entry: Any) -> str:
        """Returns what changes when a file of a patch does; raises no error."""


def check_band(band_name: str, array: NDArray[Any], where: str | Path) -> None:
    """Checks that pixels have the shape and the dtype of their band.

    Args:
        band_name: a key of `bands.BANDS`.
        array: the pixels.
        where: the file or patch that they come from, for the message.

    Raises:
        ValueError: another shape or dtype.
    """
    band = bands.BANDS[band_name]
    check_raster(array, band.pixels, band.dtype, f"{where}: band {band_name}")


def check_raster(array: NDArray[Any], pixels: int, dtype: str, where: str) -> None:
    """Checks that a raster is square, of the given side and dtype.

    Raises:
        ValueError: another shape or dtype.
    """
    if array.shape != (pixels, pixels) or array.dtype != dtype:
        shape = " x ".join(map(str, array.shape))
        raise ValueError(
            f"{where}: expected {pixels} x {pixels} pixels of {dtype}, got {shape} of "
            f"{array.dtype}: BigEarthNet never has that, take the file from the "
            "original archive"
        )
