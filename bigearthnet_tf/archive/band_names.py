"""Which band a file name or a description speaks of, and which layers are none."""

from __future__ import annotations

import re
from pathlib import Path

# The scene classification, which says what observations are usable.
SCENE = "SCL"

# A band as people write it: B2, B02, B8A, b8a, B02_10m, S2_B02; VV, vv_db.
_BAND = re.compile(
    r"(?<![A-Z0-9])(?:B0?(?P<number>[1-9]|1[0-2])|(?P<other>B8A|VV|VH))(?![A-Z0-9])"
)
_SCENE = re.compile(r"(?<![A-Z0-9])SCL(?![A-Z0-9])")
# Layers of products that come along with their bands: true colour, aerosol, water
# vapour, probabilities of cloud and snow, quality, angles and masks, as ESA, Earth
# Engine, Sentinel Hub and HLS name them; and of composites, spread and counts.
_AUXILIARY = re.compile(
    r"(?<![A-Z0-9])(?:SCL|TCI|AOT|WVP|PVI|CLD|SNW|CLP|CLM|CLDPRB|SNWPRB|MSK|"
    r"QA(?:10|20|60)?|FMASK|DATAMASK|[SV][ZA]A|(?:CLOUD|SHADOW|SNOW) MASK|"
    r"STD|STDEV|STDDEV|VARIANCE|COUNT|NOBS|"
    r"(?:SUN|VIEW)(?:ZENITH|AZIMUTH)\w*)(?![A-Z0-9])"
)


def band_name(text: str | None) -> str | None:
    """Returns the band that a text names, such as `"B8A"`; None for none or several."""
    found = {
        match["other"] or f"B{int(match['number']):02}"
        for match in _BAND.finditer(_words(text))
    }
    return found.pop() if len(found) == 1 else None


def layer_name(text: str | None) -> str | None:
    """Returns the band or `"SCL"` that a text names; None for none or several."""
    if _SCENE.search(_words(text)):
        return SCENE
    return None if is_auxiliary(text) else band_name(text)


def canonical(name: str) -> str:
    """Returns the name of a layer as this package writes it: `b2` is `B02`."""
    if name.upper() == SCENE:
        return SCENE
    match = _BAND.fullmatch(name.upper())
    return (band_name(name) or name) if match else name


def one_name(description: str | None, path: Path) -> str | None:
    """Returns what the only band of a file is, by its description or the file name.

    Raises:
        ValueError: they name two different bands.
    """
    described, named = layer_name(description), layer_name(path.stem)
    if described and named and described != named:
        raise ValueError(
            f"{path}: the file is named after {named}, but its band is described as "
            f"{description!r}: correct the one that is wrong"
        )
    return described or named


def is_auxiliary(text: str | None) -> bool:
    """Returns whether a text names a layer that is no band of a model."""
    return bool(_AUXILIARY.search(_words(text)))


def _words(text: str | None) -> str:
    # An underscore parts words here.
    return re.sub(r"[\W_]+", " ", text or "").upper()
