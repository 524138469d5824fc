"""The bands of a Sentinel-2 product as ESA delivers it, in a SAFE folder.

Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD, issue 14.9): the bands
of a level-2A product lie in GRANULE/*/IMG_DATA/R10m, R20m and R60m. From processing
baseline 04.00 on (January 2022) digital numbers are higher by 1000, so that noise
around zero is kept; the metadata say so in BOA_ADD_OFFSET. The archives are older.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bigearthnet_tf.archive.bands import BANDS

METADATA = "MTD_MSIL2A.xml"
# Reflectance is DN / this in the archives.
ARCHIVE_QUANTIFICATION = 10000.0
# Of the baselines from 04.00 on, where the metadata do not list it.
_NEWER_OFFSET = -1000.0
_NEWER_BASELINE = 4.0
# The `band_id` of the metadata counts the bands of the instrument, B10 among them.
_BAND_IDS = (
    *("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08"),
    *("B8A", "B09", "B10", "B11", "B12"),
)
_IMAGE = re.compile(r"_(B\d\d|B8A)_(\d\d)m$")


@dataclass(frozen=True)
class Calibration:
    """From the digital numbers of a product to those of the archives.

    Attributes:
        baseline: processing baseline as the metadata have it, such as `"05.10"`.
        offsets: added to a digital number, by band.
        quantification: digital numbers a unit of reflectance.
    """

    baseline: str
    offsets: dict[str, float]
    quantification: float

    def to_archive(self, band: str) -> tuple[float, float]:
        """Returns scale and offset: a number of the archives is DN * scale + offset."""
        scale = ARCHIVE_QUANTIFICATION / self.quantification
        return scale, self.offsets.get(band, 0.0) * scale


def is_safe(path: Path) -> bool:
    """Says whether a folder is a Sentinel-2 product, of whichever level."""
    return path.suffix.upper() == ".SAFE" or any(path.glob("MTD_MSIL*.xml"))


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


def read_calibration(folder: Path) -> Calibration:
    """Returns what the metadata say of the digital numbers.

    Raises:
        FileNotFoundError: there are no metadata.
        ValueError: they don't parse, or say nothing of the quantification.
    """
    path = folder / METADATA
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(
            f"{path}: expected XML, but it does not parse ({error}): download the "
            "product again"
        ) from error
    try:
        baseline = next(_texts(root, ("PROCESSING_BASELINE",)))[1]
        names = ("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE")
        quantification = float(next(_texts(root, names))[1])
        given = dict(_texts(root, ("BOA_ADD_OFFSET",)))
        offsets = {
            _BAND_IDS[int(band_id or len(_BAND_IDS))]: float(text)
            for band_id, text in given.items()
        }
        if not offsets and float(baseline) >= _NEWER_BASELINE:
            offsets = dict.fromkeys(_BAND_IDS, _NEWER_OFFSET)
    except (StopIteration, ValueError, IndexError) as error:
        raise ValueError(
            f"{path}: expected PROCESSING_BASELINE, BOA_QUANTIFICATION_VALUE and "
            f"BOA_ADD_OFFSET with their numbers, found something else ({error})"
        ) from error
    return Calibration(baseline, offsets, quantification)


def _texts(
    root: ElementTree.Element, names: Iterable[str]
) -> Iterator[tuple[str | None, str]]:
    """Yields (band_id, text) of the elements of these names, whatever their space."""
    wanted = set(names)
    for element in root.iter():
        if str(element.tag).rpartition("}")[2] in wanted:
            yield element.get("band_id"), (element.text or "").strip()
