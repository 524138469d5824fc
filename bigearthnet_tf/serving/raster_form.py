"""What a map is, beside its pixels, and how GDAL is told."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rasterio
from affine import Affine

# GDAL's names of the types that a map may have.
_TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "float32": "Float32",
}


@dataclass(frozen=True)
class RasterForm:
    """What a map is, beside its pixels.

    Attributes:
        crs: coordinate system, whatever rasterio takes (`"EPSG:32633"`, WKT); None
            for a map that is placed nowhere.
        transform: from (column, row) to the coordinates of the upper left corner of a
            pixel.
        width: pixels in a row.
        height: number of rows.
        count: number of bands.
        dtype: `uint8`, `int8`, `uint16`, `int16` or `float32`.
        nodata: the value that says that there is none; None where all pixels have one.
        descriptions: a name for each band.
        colours: of classes, red, green and blue of 0 to 255 by value; such a map is
            never averaged. None for a map of quantities.
        scales: factor from stored to meant number, for each band.
        offsets: what is added after that.
        is_rgb: whether the three bands, uint8, are red, green and blue.
        has_flags: whether the values are 0 and 1, which are never averaged.
        tags: metadata of the file, by name.
    """

    crs: Any
    transform: Affine
    width: int
    height: int
    count: int
    dtype: str
    nodata: float | None = None
    descriptions: Sequence[str] = ()
    colours: Mapping[int, tuple[int, int, int]] | None = None
    scales: Sequence[float] = ()
    offsets: Sequence[float] = ()
    is_rgb: bool = False
    has_flags: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_categorical(self) -> bool:
        """Whether values may not be averaged."""
        return self.colours is not None or self.has_flags

    @property
    def num_bytes(self) -> int:
        """Size of the pixels."""
        item = np.dtype(self.dtype).itemsize
        return self.width * self.height * self.count * item


def check(form: RasterForm, block_size: int) -> None:
    """Raises ValueError for a form or a size of blocks that can't be written."""
    if form.dtype not in _TYPES:
        raise ValueError(f"expected a map of {', '.join(_TYPES)}, got {form.dtype}")
    if min(form.width, form.height, form.count) < 1:
        raise ValueError(
            f"expected a map of at least one pixel and band, got {form.height} x "
            f"{form.width} x {form.count}"
        )
    if form.is_rgb and (form.count, form.dtype) != (3, "uint8"):
        raise ValueError(
            f"expected 3 bands of uint8 as red, green and blue, got {form.count} of "
            f"{form.dtype}"
        )
    for name in ("descriptions", "scales", "offsets"):
        given = len(getattr(form, name))
        if given not in (0, form.count):
            raise ValueError(
                f"expected {name} of all {form.count} bands or none, got {given}"
            )
    if block_size < 16 or block_size % 16:
        raise ValueError(
            f"expected a block size that is a multiple of 16, got {block_size}: "
            "GeoTIFF has no others"
        )


def describe(form: RasterForm) -> list[Any]:
    """Returns what two processes must agree on to write one map, as JSON has it."""
    return [
        _wkt(form.crs),
        list(form.transform)[:6],
        [form.width, form.height, form.count, form.dtype, form.nodata],
    ]


def to_vrt(form: RasterForm, tags: Mapping[str, str], pixels: str) -> str:
    """Returns what GDAL must know of plain pixels in a file, as its VRT has it.

    Args:
        form: of the map; its bands lie one after another, rows without gaps.
        tags: in place of those of the form.
        pixels: name of the file, in the folder of the VRT.
    """
    root = ElementTree.Element(
        "VRTDataset", rasterXSize=str(form.width), rasterYSize=str(form.height)
    )
    if form.crs is not None:
        _add(root, "SRS", _wkt(form.crs))
    if form.transform != Affine.identity():  # which is to have none
        _add(root, "GeoTransform", ", ".join(map(repr, form.transform.to_gdal())))
    metadata = ElementTree.SubElement(root, "Metadata")
    for name, value in tags.items():
        _add(metadata, "MDI", value, key=name)
    for number in range(form.count):
        _add_band(root, form, number, pixels)
    return ElementTree.tostring(root, encoding="unicode")


def _add_band(
    root: ElementTree.Element, form: RasterForm, number: int, pixels: str
) -> None:
    item = np.dtype(form.dtype).itemsize
    band = ElementTree.SubElement(
        root,
        "VRTRasterBand",
        dataType=_TYPES[form.dtype],
        band=str(number + 1),
        subClass="VRTRawRasterBand",
    )
    if form.descriptions:
        _add(band, "Description", form.descriptions[number])
    if form.nodata is not None:
        _add(band, "NoDataValue", repr(float(form.nodata)))
    if form.scales:
        _add(band, "Scale", repr(float(form.scales[number])))
    if form.offsets:
        _add(band, "Offset", repr(float(form.offsets[number])))
    if form.is_rgb:
        _add(band, "ColorInterp", ("Red", "Green", "Blue")[number])
    if form.colours is not None:
        _add_colours(band, form.colours)
    _add(band, "SourceFilename", pixels, relativeToVRT="1")
    _add(band, "ImageOffset", number * form.width * form.height * item)
    _add(band, "PixelOffset", item)
    _add(band, "LineOffset", form.width * item)
    _add(band, "ByteOrder", "LSB")


def _add(parent: ElementTree.Element, name: str, text: Any, **facts: str) -> None:
    ElementTree.SubElement(parent, name, facts).text = str(text)


def _wkt(crs: Any) -> str:
    return "" if crs is None else str(rasterio.crs.CRS.from_user_input(crs).to_wkt())


def _add_colours(
    band: ElementTree.Element, colours: Mapping[int, tuple[int, int, int]]
) -> None:
    ElementTree.SubElement(band, "ColorInterp").text = "Palette"
    table = ElementTree.SubElement(band, "ColorTable")
    for value in range(max(colours) + 1):
        red, green, blue = colours.get(value, (0, 0, 0))
        ElementTree.SubElement(
            table,
            "Entry",
            c1=str(red),
            c2=str(green),
            c3=str(blue),
            c4="255" if value in colours else "0",
        )
