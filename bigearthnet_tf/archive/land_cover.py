"""The classes of ESA WorldCover, and what a pixel's code means in a run.

Codes, names and colours are those of the product's legend (ESA WorldCover 10 m 2021
v200, Product User Manual, table 2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# In label arrays: no class is known of the pixel. WorldCover's own "no data" is 0.
UNLABELLED = 255
NO_DATA = 0
# Wetland and mangroves, which btfm counts as one class.
_WETLAND, _MANGROVES = 90, 95


@dataclass(frozen=True)
class LandCover:
    """One class.

    Attributes:
        code: in WorldCover's maps; the lowest one of a class of several codes.
        name: of the legend.
        colour: `#rrggbb` of the legend.
        codes: all that count as this class.
    """

    code: int
    name: str
    colour: str
    codes: tuple[int, ...]

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour, 0 to 255 each."""
        red, green, blue = bytes.fromhex(self.colour.removeprefix("#"))
        return red, green, blue


WORLD_COVER: tuple[LandCover, ...] = tuple(
    LandCover(code, name, colour, (code,))
    for code, name, colour in (
        (10, "Tree cover", "#006400"),
        (20, "Shrubland", "#ffbb22"),
        (30, "Grassland", "#ffff4c"),
        (40, "Cropland", "#f096ff"),
        (50, "Built-up", "#fa0000"),
        (60, "Bare / sparse vegetation", "#b4b4b4"),
        (70, "Snow and ice", "#f0f0f0"),
        (80, "Permanent water bodies", "#0064c8"),
        (_WETLAND, "Herbaceous wetland", "#0096a0"),
        (_MANGROVES, "Mangroves", "#00cf75"),
        (100, "Moss and lichen", "#fae6a0"),
    )
)


def land_cover_classes(merge_mangroves: bool = False) -> tuple[LandCover, ...]:
    """Returns the classes in the order of a model's outputs.

    Args:
        merge_mangroves: whether code 95 counts as herbaceous wetland (90), as in
            btfm: 10 classes in place of 11.
    """
    if not merge_mangroves:
        return WORLD_COVER
    return tuple(
        LandCover(each.code, "Wetland and mangroves", each.colour, (90, _MANGROVES))
        if each.code == _WETLAND
        else each
        for each in WORLD_COVER
        if each.code != _MANGROVES
    )


def class_of_code(merge_mangroves: bool = False) -> NDArray[np.int32]:
    """Returns the class of every possible code, (256,) int32; -1 for none.

    None have 0 (no data), 255 (unlabelled), and every code that is not in the legend.
    btfm binned by edges, so that 11 was shrubland, and let no data be a class.

    Args:
        merge_mangroves: as for `land_cover_classes`.
    """
    table = np.full(256, -1, np.int32)
    for number, each in enumerate(land_cover_classes(merge_mangroves)):
        table[list(each.codes)] = number
    return table


def check_codes(codes: ArrayLike, where: str) -> None:
    """Checks that labels are codes of WorldCover, 0 (no data) or 255 (unlabelled).

    Args:
        codes: any shape, integers.
        where: what they are of, for the message.

    Raises:
        ValueError: other codes; the message names them.
    """
    known = {NO_DATA, UNLABELLED, *(each.code for each in WORLD_COVER)}
    strange = sorted(set(np.unique(np.asarray(codes)).tolist()) - known)
    if strange:
        shown = ", ".join(map(str, strange[:5])) + (", ..." if strange[5:] else "")
        raise ValueError(
            f"{where}: labels of code {shown}, which WorldCover does not have; "
            f"expected {', '.join(str(each.code) for each in WORLD_COVER)}, 0 for no "
            "data or 255 for unlabelled"
        )
