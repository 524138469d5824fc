"""The bands of a Sentinel-2 product as ESA delivers it, in a SAFE folder.

Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD, issue 14.9): the bands
of a level-2A product lie in GRANULE/*/IMG_DATA/R10m, R20m and R60m. From processing
baseline 04.00 on (25 January 2022) digital numbers are higher by 1000, so that noise
around zero is kept; the metadata say so in BOA_ADD_OFFSET. The archives are older.
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bigearthnet_tf import files
from bigearthnet_tf.archive.bands import BANDS

METADATA = "MTD_MSIL2A.xml"
# Reflectance is DN / this in the archives.
ARCHIVE_QUANTIFICATION = 10000.0
# What is added to the digital numbers of a product of the newer baselines to get those
# of the older ones, where the metadata do not list it.
NEWER_OFFSET = -1000.0
# ESA counts from 01.00 and has come to 05.11. Runs of sen2cor by users are 99.99
# (N9999 in names, BigEarthNet v2's among them), which says nothing of an offset.
_BASELINES = (1.0, 20.0)
_NEWER_BASELINE = 4.0
# The `band_id` of the metadata counts the bands of the instrument, B10 among them.
_BAND_IDS = (
    *("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08"),
    *("B8A", "B09", "B10", "B11", "B12"),
)
_QUANTIFICATIONS = ("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE")
_METADATA = re.compile(r"MTD_MSIL\w+\.xml", re.IGNORECASE)
_IMAGE = re.compile(r"_(B\d\d|B8A)_(\d\d)m$")


@dataclass(frozen=True)
class Calibration:
    """From the digital numbers of a product to those of the archives.

    Attributes:
        path: the metadata that say so.
        baseline: processing baseline as the metadata have it, such as `"05.10"`.
        offsets: added to a digital number, by band; None where the metadata list no
            offsets and the baseline says nothing.
        quantification: digital numbers a unit of reflectance.
    """

    path: Path
    baseline: str
    offsets: dict[str, float] | None
    quantification: float

    def to_archive(self, band: str) -> tuple[float, float | None]:
        """Returns scale and offset: a number of the archives is DN * scale + offset.

        Raises:
            ValueError: the metadata list offsets, but not of this band.
        """
        scale = ARCHIVE_QUANTIFICATION / self.quantification
        if self.offsets is None:
            return scale, None
        if band not in self.offsets:
            raise ValueError(
                f"{self.path}: expected BOA_ADD_OFFSET of every band, but that of "
                f"{band} is missing: download the product again, or give --offset"
            )
        return scale, self.offsets[band] * scale


def offset_of_baseline(text: str) -> float | None:
    """Returns what is added to the digital numbers of a processing baseline.

    Args:
        text: such as `"05.10"`, or `"0510"` as in names.

    Returns:
        -1000 from 04.00 on, 0 before; None for numbers that are not ESA's.

    Raises:
        ValueError: not a number of two digits before the point.
    """
    number = float(re.sub(r"^(\d\d)(\d\d)$", r"\1.\2", text.strip()))
    if not 0 <= number < 100:
        raise ValueError(f"expected a number such as 04.00, got {text!r}")
    first, end = _BASELINES
    if not first <= number < end:
        return None
    return NEWER_OFFSET if number >= _NEWER_BASELINE else 0.0


def is_safe(path: Path) -> bool:
    """Returns whether a folder is a Sentinel-2 product, of whichever level."""
    is_named = path.suffix.upper() == ".SAFE"
    # Images that were copied out of a product may have its metadata beside them.
    return is_named or (any(path.glob("MTD_MSIL*.xml")) and (path / "GRANULE").is_dir())


def check_unpacked(path: Path) -> None:
    """Refuses a product that is packed, and its metadata in place of its folder.

    Raises:
        ValueError: a zip or tar, or a metadata file.
    """
    if files.is_packed(path):
        raise ValueError(
            f"{path}: expected a folder or a raster, got a packed file: unpack it and "
            "give the folder"
        )
    if _METADATA.fullmatch(path.name):
        raise ValueError(
            f"{path}: expected the folder of a product, got its metadata: give "
            f"{path.parent}"
        )


def find_metadata(image: Path) -> Path | None:
    """Returns the metadata of the product that an image belongs to.

    They lie beside it, or in the folder of the product whose GRANULE it is in.
    """
    image = image.absolute()
    for folder in image.parents:
        inside = image.relative_to(folder).parts
        is_product = len(inside) == 1 or inside[0] == "GRANULE"
        if is_product and (folder / METADATA).is_file():
            return folder / METADATA
    return None


def find_images(folder: Path) -> dict[str, Path]:
    """Returns the image of each band: that of its own resolution, else the finest.

    Raises:
        FileNotFoundError: no level-2A product.
    """
    if not (folder / METADATA).is_file():
        raise FileNotFoundError(
            f"{folder}: expected a level-2A product with {METADATA}, found "
            f"{', '.join(sorted(p.name for p in folder.glob('MTD*.xml'))) or 'none'}: "
            "level 1C is not corrected for the atmosphere as the archives are, run "
            "sen2cor or download level 2A"
        )
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.glob("GRANULE/*/IMG_DATA/**/*.jp2")):
        match = _IMAGE.search(path.stem)
        if match and match[1] in BANDS:
            found.setdefault(match[1], {})[int(match[2])] = path
    granules = {
        path.parents[2] for images in found.values() for path in images.values()
    }
    if len(granules) > 1:
        raise ValueError(
            f"{folder}: expected one granule, found {len(granules)}: products from "
            "before December 2016 hold several tiles, map one granule at a time"
        )
    return {
        band: images.get(BANDS[band].metres, images[min(images)])
        for band, images in found.items()
    }


def read_calibration(path: Path) -> Calibration:
    """Returns what the metadata of a product say of its digital numbers.

    Args:
        path: of MTD_MSIL2A.xml.

    Raises:
        FileNotFoundError: there are no metadata.
        ValueError: they don't parse, or say nothing of the quantification.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(
            f"{path}: expected XML, but it does not parse ({error}): download the "
            "product again"
        ) from error
    try:
        baseline = next(_texts(root, ("PROCESSING_BASELINE",)))[1]
        quantification = float(next(_texts(root, _QUANTIFICATIONS))[1])
        offsets = {
            _BAND_IDS[int(band_id or len(_BAND_IDS))]: float(text)
            for band_id, text in _texts(root, ("BOA_ADD_OFFSET",))
        }
        general = offset_of_baseline(baseline)
        numbers = [quantification, *offsets.values()]
        if (
            quantification <= 0
            or not all(map(math.isfinite, numbers))
            or max(offsets.values(), default=0) > 0
        ):
            raise ValueError(f"got {numbers}")
    except (StopIteration, ValueError, IndexError) as error:
        raise ValueError(
            f"{path}: expected PROCESSING_BASELINE, BOA_QUANTIFICATION_VALUE and "
            f"BOA_ADD_OFFSET with their numbers, found something else ({error})"
        ) from error
    if not offsets and general is not None:
        offsets = dict.fromkeys(_BAND_IDS, general)
    return Calibration(path, baseline, offsets or None, quantification)


def _texts(
    root: ElementTree.Element, names: Iterable[str]
) -> Iterator[tuple[str | None, str]]:
    """Yields (band_id, text) of the elements of these names, whatever their space."""
    wanted = set(names)
    for element in root.iter():
        if str(element.tag).rpartition("}")[2] in wanted:
            yield element.get("band_id"), (element.text or "").strip()
