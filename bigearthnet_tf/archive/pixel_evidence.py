"""What a raster, its name and its product say of the numbers in it.

`pixel_values` has the order in which the pieces of evidence count.
"""

from __future__ import annotations

import calendar
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

from bigearthnet_tf.archive import pixel_values, safe
from bigearthnet_tf.archive.bands import Sensor
from bigearthnet_tf.archive.pixel_values import Given, PixelValues
from bigearthnet_tf.archive.raster_header import Header

logger = logging.getLogger(__name__)

Product = tuple[float, float | None, str]

# 2021-05-12, 20210512, 2021_05_12, 2021:05:12; HLS counts days: 2021132T101021.
_DATE = re.compile(
    r"(?<!\d)(?P<year>(?:19|20)\d\d)"
    r"(?:(?P<gap>[-_.:]?)(?P<month>\d\d)(?P=gap)(?P<day>\d\d)(?!\d)"
    r"|(?P<doy>\d{3})(?=T\d{6}))"
)
# A month or a year by itself; 2048 is the side of a picture.
_PERIOD = re.compile(
    r"(?<!\d)(?P<year>20[123]\d)(?:[-_.]?(?P<month>0[1-9]|1[0-2]))?(?!\d)"
)
_DATE_TAGS = (
    *("ACQUISITION_DATE", "SENSING_TIME", "PRODUCT_START_TIME"),
    *("DATATAKE_1_DATATAKE_SENSING_START", "DATETIME", "datetime", "date"),
)
# Many programs write there when they made the file.
_FILE_DATE_TAG = "TIFFTAG_DATETIME"
# Not the latitude in N0512_E01330.
_BASELINE = re.compile(r"(?<![A-Z0-9])N(\d\d)(\d\d)(?![A-Z0-9]|_?[EW]\d)")
_PRODUCT = re.compile(r"S2[A-Z]_MSIL\d")
_LANDSAT = re.compile(r"L[COTEM]0\d_|HLS\.L30\.")
_QUANTIFICATIONS = (
    *("BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE"),
    "L2A_BOA_QUANTIFICATION_VALUE",
)
# All tags of a file or a band that say something of its numbers.
TAGS = (*_DATE_TAGS, *_QUANTIFICATIONS, "BOA_ADD_OFFSET", "PROCESSING_BASELINE")


def read(
    header: Header,
    index: int,
    band: str,
    sensor: Sensor,
    given: Given = pixel_values.NOTHING_GIVEN,
) -> PixelValues:
    """Returns what the numbers of one band of a raster mean.

    Args:
        header: of the raster.
        index: of the band, from 1.
        band: its name.
        sensor: `"S1"` or `"S2"`.
        given: what the user says.

    Raises:
        ValueError: tags or metadata that can't be read, or an option that leaves scale
            or offset open; the message names the file.
    """
    place, path = index - 1, header.path
    dtype, nodata = header.dtypes[place], header.nodata[place]
    tags = header.scales[place], header.offsets[place]
    try:
        day = last_day(path, header.tags)
        if sensor == "S1":
            return pixel_values.of_backscatter(dtype, tags, nodata, given, day)
        products: list[Product] = []
        if given.scale is None or given.offset is None:
            products = find_products(
                path, band, {**header.tags, **header.band_tags[place]}
            )
        product = products[0] if products else None
        found = pixel_values.of_reflectance(dtype, tags, nodata, given, product, day)
    except ValueError as error:
        raise ValueError(f"{path}: band {band}: {error}") from error
    _report_conflicts(path, band, found, products)
    return found


def find_products(path: Path, band: str, tags: Mapping[str, str]) -> list[Product]:
    """Returns what metadata and names say of the digital numbers of a file.

    Args:
        path: of the file.
        band: name of the band.
        tags: of the file and of the band.

    Returns:
        Scale and offset to numbers of the archives, and where they stand, the first one
        being what counts. The offset is None where nothing says one.

    Raises:
        ValueError: metadata that can't be read, or a name with two baselines.
    """
    products: list[Product] = []
    scale, offset = _of_tags(tags)
    if offset is not None:
        products.append((scale or 1.0, offset, "the metadata in its tags"))
    metadata = safe.find_metadata(path)
    if metadata is not None:
        of_product, offset = safe.read_calibration(metadata).to_archive(band)
        scale = scale or of_product
        if offset is not None:
            products.append((scale, offset, metadata.name))
    for text in names(path):
        found = offset_in_name(text)
        if found is not None:
            products.append((scale or 1.0, found[0] * (scale or 1.0), found[1]))
    return products or ([] if scale is None else [(scale, None, "its metadata")])


def offset_in_name(text: str) -> tuple[float, str] | None:
    """Returns the offset of the baseline that a name says, and where it says so.

    Raises:
        ValueError: it says two that have different offsets.
    """
    offsets: dict[float, str] = {}
    for match in _BASELINE.finditer(text.upper()):
        offset = safe.offset_of_baseline(".".join(match.groups()))
        if offset is not None:
            offsets.setdefault(offset, match[0])
    if len(offsets) > 1:
        raise ValueError(
            f"expected one processing baseline in the name {text}, got "
            f"{' and '.join(offsets.values())}: rename it, or give scale and offset by "
            "option"
        )
    return next(((off, f"{name} in its name") for off, name in offsets.items()), None)


def names(path: Path) -> list[str]:
    """Returns the names that tell of an image: of file, folder and product."""
    path = path.absolute()
    above = [p.name for p in path.parents[1:] if _PRODUCT.match(p.name)]
    return [path.name, path.parent.name, *above]


def check_is_level_2a(path: Path) -> None:
    """Refuses images whose names say that they are not what the archives are made of.

    Raises:
        ValueError: level 1C, or bands of Landsat, which share names and no wavelengths.
    """
    for text in names(path):
        if "MSIL1C" in text:
            raise ValueError(
                f"{path}: expected level 2A, got level 1C, which is not corrected for "
                "the atmosphere as the archives are: run sen2cor or download level 2A"
            )
        if _LANDSAT.match(text):
            raise ValueError(
                f"{path}: expected bands of Sentinel-2, got Landsat's, whose numbers "
                "stand for other wavelengths: take HLS.S30 or a level-2A product"
            )


def acquisition_day(path: Path, tags: Mapping[str, str]) -> date | None:
    """Returns the day that names or tags tell; None if they tell none.

    Raises:
        ValueError: the name of the file and a tag tell different days.
    """
    named = next(filter(None, map(day_in, names(path))), None)
    for tag in (name for name in _DATE_TAGS if name in tags):
        tagged = day_in(tags[tag])
        # A date in another time zone is a day off.
        if named and tagged and abs((named - tagged).days) > 1:
            raise ValueError(
                f"{path}: expected one date, but the name says {named} and the tag "
                f"{tag} {tagged}: correct the one that is wrong"
            )
        named = named or tagged
    return named or day_in(tags.get(_FILE_DATE_TAG, ""))


def last_day(path: Path, tags: Mapping[str, str]) -> date | None:
    """Returns the last day that a file may show; None if nothing tells.

    Composites are named after months, years, and where they begin and end. The name
    of the file and its tags count before the names of folders.
    """
    own = (path.name, *(tags[name] for name in _DATE_TAGS if name in tags))
    days = list(filter(None, map(_last_day_in, own)))
    if days:
        return max(days)
    others = (*names(path)[1:], tags.get(_FILE_DATE_TAG, ""))
    return next(filter(None, map(_last_day_in, others)), None)


def day_in(text: str) -> date | None:
    """Returns the first date in a text; None if there is none."""
    return next(_days_in(text), None)


def _days_in(text: str) -> Iterator[date]:
    for match in _DATE.finditer(text):
        try:
            if match["doy"]:
                first = date(int(match["year"]), 1, 1)
                found = first + timedelta(days=int(match["doy"]) - 1)
                if found.year == first.year:
                    yield found
                continue
            yield date(*(int(match[part]) for part in ("year", "month", "day")))
        except ValueError:
            continue


def _last_day_in(text: str) -> date | None:
    """Returns the last date in a text, or the end of the last month or year."""
    # Names of products have the sensing first, then the processing.
    if _PRODUCT.match(text):
        return day_in(text)
    days = list(_days_in(text))
    for match in _PERIOD.finditer(_DATE.sub(" ", text)):
        year, month = int(match["year"]), int(match["month"] or 12)
        days.append(date(year, month, calendar.monthrange(year, month)[1]))
    return max(days, default=None)


def check_settled(
    values: Sequence[tuple[str, PixelValues]], where: str, option: str
) -> None:
    """Refuses an acquisition of which nobody knows whether ESA's 1000 was added.

    Args:
        values: its bands of Sentinel-2, with the names of their files.
        where: names the scene or tile.
        option: that answers the question.

    Raises:
        ValueError: an acquisition since 2022 without evidence, or a band without
            evidence beside others that have an offset.
    """
    question = (
        f"ESA adds 1000 to digital numbers since {pixel_values.NEWER_SINCE}, other "
        f"sources take it away: {option}"
    )
    shifted = [v for v in values if v[1].evidence and v[1].offset]
    for file, found in values:
        if found.is_open:
            raise ValueError(
                f"{where}: expected tags, product metadata or a name (such as "
                f"_N0500_) that tell the offset of an acquisition of {found.day}, but "
                f"{file} has none: {question}"
            )
        if found.evidence is None and shifted:
            name, other = shifted[0]
            raise ValueError(
                f"{where}: {name} has an offset of {other.offset:g} by "
                f"{other.evidence}, but nothing tells that of {file}: {question}"
            )
    _check_agreement(values, where, question)


def _check_agreement(
    values: Sequence[tuple[str, PixelValues]], where: str, question: str
) -> None:
    """Refuses an acquisition whose bands have offsets by evidence that differs."""
    told = [(file, found) for file, found in values if found.evidence]
    for file, found in told[1:]:
        name, first = told[0]
        # The metadata of one product may well list several offsets.
        if found.evidence != first.evidence and abs(found.offset - first.offset) > 1:
            raise ValueError(
                f"{where}: {name} has an offset of {first.offset:g} by "
                f"{first.evidence}, but {file} one of {found.offset:g} by "
                f"{found.evidence}: {question}"
            )


def _of_tags(tags: Mapping[str, str]) -> tuple[float | None, float | None]:
    """Returns scale and offset that the metadata in the tags of a file say."""
    quantification = _number(tags, _QUANTIFICATIONS, float)
    if quantification is not None and not quantification > 0:
        raise ValueError(
            f"expected a quantification above 0 in the tags, got {quantification:g}: "
            "give --scale and --offset"
        )
    scale = None
    if quantification is not None:
        scale = safe.ARCHIVE_QUANTIFICATION / quantification
    offset = _number(tags, ("BOA_ADD_OFFSET",), float)
    if offset is not None and offset > 0:
        raise ValueError(
            f"expected BOA_ADD_OFFSET of 0 or below (ESA's is -1000), got {offset:g}: "
            "correct the tag, or give scale and offset by option"
        )
    if offset is None:
        offset = _number(tags, ("PROCESSING_BASELINE",), safe.offset_of_baseline)
    return scale, None if offset is None else offset * (scale or 1.0)


def _number(
    tags: Mapping[str, str], keys: Sequence[str], read: Callable[[str], float | None]
) -> float | None:
    key = next((key for key in keys if key in tags), None)
    if key is None:
        return None
    try:
        number = read(tags[key])
    except ValueError:
        number = math.nan
    if number is not None and not math.isfinite(number):
        raise ValueError(
            f"expected a number such as 04.00 as {key}, got {tags[key]!r}; correct the "
            "tag, or give scale and offset by option"
        )
    return number


def _report_conflicts(
    path: Path, band: str, found: PixelValues, products: Sequence[Product]
) -> None:
    """Says which piece of evidence won where they differ by more than rounding."""
    if found.evidence == pixel_values.BY_OPTION:
        return
    for _, offset, evidence in products:
        if offset is not None and abs(offset - found.offset) > 1:
            logger.warning(
                "%s: band %s: %s say an offset of %g, %s one of %g: the former holds "
                "unless the offset is given by option",
                *(path, band, found.evidence, found.offset, evidence, offset),
            )
            return
