"""Where things lie in the generated archive: labels and land-cover maps.

Everything here is drawn from a random generator; nothing is cut from a real map. What
is taken from the real archive are frequencies: `LANDSCAPES` is a mixture of Bernoulli
distributions fitted to the 480,038 label sets of BigEarthNet v2's `metadata.parquet`,
so that generated patches have its label shares and co-occurrences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.archive import labels, patterns
from bigearthnet_tf.archive.patterns import PIXELS, Floats, Parcels

MAX_LABELS = 11  # the most that a patch of BigEarthNet v2 has

COUNTRIES = (
    "Austria",
    "Belgium",
    "Finland",
    "Ireland",
    "Kosovo",
    "Lithuania",
    "Luxembourg",
    "Portugal",
    "Serbia",
    "Switzerland",
)
CLIMATES = {
    "Belgium": "atlantic",
    "Finland": "boreal",
    "Ireland": "atlantic",
    "Luxembourg": "atlantic",
    "Portugal": "mediterranean",
}  # elsewhere "continental"
# Strength of the shading by slopes: the Alps and the Balkans against the plains.
RELIEF = {"Austria": 0.10, "Kosovo": 0.12, "Switzerland": 0.10, "Serbia": 0.07}


@dataclass(frozen=True)
class Landscape:
    """A kind of landscape.

    Attributes:
        weight: share of the patches, in per cent.
        labels: chance of each of the 19 labels, in CLC order, in per cent.
        countries: share of each of `COUNTRIES`, in per cent.
    """

    weight: float
    labels: tuple[int, ...]
    countries: tuple[int, ...]


# Twelve components fitted by expectation maximisation to the real label sets
# (correlation of the 171 pairwise label correlations, drawn against real: 0.989). The
# thirteenth is not: it lifts beaches and coastal wetlands, 0.3 % of the real patches
# each, to 2 %, so that a sample of a few hundred patches holds all labels.
LANDSCAPES: dict[str, Landscape] = {
    "conifers and mires": Landscape(
        12.9,
        (0, 0, 8, 0, 3, 1, 7, 0, 8, 94, 71, 2, 1, 62, 0, 16, 0, 3, 2),
        (5, 1, 78, 2, 0, 7, 0, 4, 1, 0),
    ),
    "open sea": Landscape(
        11.8,
        (0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0, 0, 0, 1, 0, 1, 0, 100),
        (0, 0, 62, 19, 0, 4, 0, 15, 0, 0),
    ),
    "arable plain": Landscape(
        11.7,
        (8, 3, 100, 11, 31, 19, 14, 0, 15, 2, 3, 1, 0, 8, 0, 2, 0, 6, 0),
        (14, 2, 1, 19, 0, 13, 1, 16, 33, 1),
    ),
    "broad-leaved hills": Landscape(
        9.3,
        (0, 1, 19, 5, 10, 13, 28, 8, 100, 6, 21, 15, 7, 68, 0, 1, 0, 6, 0),
        (5, 1, 3, 1, 1, 7, 0, 36, 45, 0),
    ),
    "mixed farmland": Landscape(
        9.1,
        (19, 2, 59, 2, 49, 57, 38, 1, 39, 38, 67, 0, 0, 22, 0, 2, 0, 7, 0),
        (21, 5, 9, 8, 0, 34, 3, 9, 8, 3),
    ),
    "northern farmland": Landscape(
        8.8,
        (7, 1, 57, 0, 1, 3, 52, 0, 15, 77, 88, 0, 0, 35, 0, 3, 1, 23, 3),
        (7, 0, 73, 0, 0, 11, 0, 4, 2, 1),
    ),
    "towns and villages": Landscape(
        8.0,
        (91, 17, 76, 10, 25, 49, 38, 1, 26, 8, 18, 0, 1, 6, 0, 1, 0, 9, 1),
        (27, 11, 5, 6, 1, 12, 3, 10, 21, 4),
    ),
    "lakes and forest": Landscape(
        7.0,
        (2, 0, 0, 0, 0, 0, 13, 0, 7, 80, 69, 0, 0, 31, 0, 6, 0, 100, 0),
        (1, 0, 95, 0, 0, 2, 0, 1, 1, 0),
    ),
    "small-scale farming": Landscape(
        6.8,
        (18, 0, 43, 8, 15, 83, 85, 0, 82, 0, 7, 3, 0, 28, 0, 1, 0, 5, 0),
        (10, 3, 0, 1, 1, 14, 1, 11, 59, 0),
    ),
    "montado": Landscape(
        5.8,
        (2, 1, 65, 24, 31, 11, 3, 99, 38, 5, 10, 1, 2, 36, 0, 0, 0, 7, 0),
        (0, 0, 0, 0, 0, 0, 0, 100, 0, 0),
    ),
    "pastures": Landscape(
        5.4,
        (10, 1, 20, 0, 100, 5, 19, 0, 8, 34, 18, 3, 6, 14, 1, 11, 1, 5, 3),
        (12, 4, 0, 67, 0, 7, 1, 4, 3, 2),
    ),
    "shrubland": Landscape(
        3.4,
        (18, 4, 16, 43, 4, 33, 44, 2, 11, 15, 15, 10, 47, 51, 3, 9, 2, 6, 7),
        (4, 1, 4, 9, 0, 3, 0, 70, 8, 1),
    ),
    "low coast": Landscape(
        3.0,
        (20, 5, 30, 5, 20, 10, 10, 0, 5, 20, 15, 5, 25, 20, 55, 10, 55, 5, 85),
        (0, 5, 15, 30, 0, 10, 0, 40, 0, 0),
    ),
}

# Shares of the CLC codes within one of the 19 labels; "" is any other climate. After
# the counts of the 43 labels in BigEarthNet v1 (Sumbul et al. 2021, table 1).
SUBCLASSES: dict[int, dict[str, dict[int, float]]] = {
    0: {"": {112: 0.87, 111: 0.13}},
    2: {"": {211: 1.0}, "mediterranean": {211: 0.55, 212: 0.33, 213: 0.12}},
    3: {
        "": {221: 0.5, 222: 0.5},
        "mediterranean": {221: 0.25, 222: 0.12, 223: 0.38, 241: 0.25},
    },
    11: {"": {321: 0.8, 333: 0.2}},
    12: {"": {322: 1.0}, "mediterranean": {323: 0.8, 322: 0.2}},
    15: {"": {412: 0.5, 411: 0.5}, "boreal": {412: 0.9, 411: 0.1}},
    16: {"": {421: 1.0}, "mediterranean": {421: 0.6, 422: 0.4}},
    17: {"": {511: 0.5, 512: 0.5}, "boreal": {512: 0.92, 511: 0.08}},
    18: {"": {523: 0.97, 522: 0.03}, "mediterranean": {523: 0.8, 521: 0.1, 522: 0.1}},
}
SECOND_SUBCLASS = 0.08  # chance that a label is there with two of its codes

# Codes that none of the 19 labels covers: code -> (the labels it comes with, chance).
UNLABELLED: dict[int, tuple[tuple[int, ...], float]] = {
    122: ((0, 1), 0.06),
    123: ((18,), 0.05),
    124: ((0, 1), 0.03),
    131: ((2, 6, 8, 10), 0.01),
    132: ((0, 1), 0.03),
    133: ((0, 1), 0.03),
    141: ((0,), 0.05),
    142: ((0,), 0.08),
    332: ((11,), 0.20),
    334: ((12, 13), 0.02),
    423: ((14, 16), 0.25),
}
MAX_UNLABELLED = 2

# Codes in the order in which they follow one another across a shore.
SHORE = (523, 522, 521, 423, 331, 421, 422)
RIBBONS = (511, 122)  # long and narrow
PARCELLED = range(100, 300)  # built-up and farmed: bounded by the edges of parcels


@dataclass(frozen=True)
class Scene:
    """What a patch shows, before it has pixels.

    Attributes:
        codes: CLC level-3 codes, ascending.
        country: one of `COUNTRIES`.
        landscape: the key of `LANDSCAPES` that it was drawn from.
    """

    codes: tuple[int, ...]
    country: str
    landscape: str

    @property
    def climate(self) -> str:
        """`"boreal"`, `"atlantic"`, `"continental"` or `"mediterranean"`."""
        return CLIMATES.get(self.country, "continental")


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draws the labels of one patch, and its country."""
    names = tuple(LANDSCAPES)
    weights = np.array([landscape.weight for landscape in LANDSCAPES.values()])
    name = names[rng.choice(len(names), p=weights / weights.sum())]
    landscape = LANDSCAPES[name]
    shares = np.array(landscape.countries) / sum(landscape.countries)
    country = COUNTRIES[rng.choice(len(COUNTRIES), p=shares)]
    count = 0
    while not 1 <= count <= MAX_LABELS:
        present = rng.random(len(landscape.labels)) * 100 < landscape.labels
        count = int(np.count_nonzero(present))
    scene = Scene((), country, name)
    codes: set[int] = set()
    for index in np.flatnonzero(present):
        codes |= _draw_codes(int(index), scene.climate, rng)
    if codes == {511}:
        codes = {512}  # no river is 1200 m wide
    if codes != {523}:
        codes |= _draw_unlabelled(present, rng)
    return Scene(tuple(sorted(codes)), country, name)


def _draw_codes(index: int, climate: str, rng: np.random.Generator) -> set[int]:
    """Draws the CLC codes, one or seldom two, with which a label is there."""
    by_climate = SUBCLASSES.get(index)
    if by_climate is None:
        return {labels.TABLES[labels.BIGEARTHNET_19][index].clc_codes[0]}
    shares = by_climate.get(climate, by_climate[""])
    count = 1 + (len(shares) > 1 and rng.random() < SECOND_SUBCLASS)
    chosen = rng.choice(
        list(shares), size=count, replace=False, p=list(shares.values())
    )
    return set(chosen.tolist())


def _draw_unlabelled(present: NDArray[np.bool_], rng: np.random.Generator) -> set[int]:
    """Draws codes that have no place among the 19 labels."""
    draws = rng.random(len(UNLABELLED))
    codes = [
        code
        for draw, (code, (companions, chance)) in zip(
            draws, UNLABELLED.items(), strict=True
        )
        if present[list(companions)].any() and draw < chance
    ]
    return set(codes[:MAX_UNLABELLED])


def land_cover(
    scene: Scene, parcels: Parcels, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Draws the land-cover map of a scene.

    One code after the other takes its share of the pixels that are still free, those
    where its own field is highest: a ramp for what lies along a shore, the nearness to
    a winding line for rivers and roads, smooth noise for the rest; that of built-up
    and farmed land is averaged over parcels. Code of the largest share takes what is
    left.

    Args:
        scene: the codes to place.
        parcels: the fields, whose edges bound built-up and farmed land.
        rng: where all randomness comes from.

    Returns:
        uint16 (120, 120) of CLC codes; every code of the scene has at least one pixel.
    """
    shares = _area_shares(scene.codes, rng)
    order = sorted(shares, key=lambda code: (_precedence(code), shares[code]))
    last = max(
        (code for code in order if code not in UNLABELLED),
        key=lambda code: (code not in RIBBONS, shares[code]),
    )
    order.remove(last)
    ramp = _ramp(rng)
    codes = np.full(PIXELS * PIXELS, last, np.uint16)
    free = np.arange(codes.size)
    left = sum(shares.values())
    for code in order:
        field = _shape(code, parcels, ramp, rng).ravel()[free]
        count = max(1, int(free.size * shares[code] / left))
        highest = np.argpartition(field, field.size - count)[-count:]
        codes[free[highest]] = code
        free = np.delete(free, highest)
        left -= shares[code]
    return codes.reshape(PIXELS, PIXELS)


def _precedence(code: int) -> int:
    """Shores first, from the water inland; then lines; then everything else."""
    if code in SHORE:
        return SHORE.index(code)
    return len(SHORE) + (code not in RIBBONS)


def _area_shares(codes: tuple[int, ...], rng: np.random.Generator) -> dict[int, float]:
    """Draws the share of the patch for each code: few large ones, many small."""
    shares = dict(zip(codes, rng.gamma(0.9, size=len(codes)) + 0.07, strict=True))
    total = sum(shares.values())
    shares = {code: max(share / total, 0.035) for code, share in shares.items()}
    for code in shares:
        if code in UNLABELLED:
            shares[code] = rng.uniform(0.03, 0.08)
        if code in RIBBONS:
            shares[code] = rng.uniform(0.02, 0.035 if code == 122 else 0.07)
    return shares


def _shape(
    code: int,
    parcels: Parcels,
    ramp: Floats,
    rng: np.random.Generator,
) -> Floats:
    """Returns the field whose highest pixels a code takes, float32 (120, 120)."""
    if code in SHORE:
        return ramp
    if code in RIBBONS:
        return -patterns.distance_to_line(rng, 14 if code == 511 else 4)
    noise = patterns.smooth_noise(rng, rng.uniform(22, 45), octaves=3)
    if code in PARCELLED:
        return parcels.mean(noise) + np.float32(1e-3) * noise
    return noise


def _ramp(rng: np.random.Generator) -> Floats:
    along, _ = patterns.rotated(rng.uniform(0, 2 * np.pi))
    ramp = along / 40 + 0.7 * patterns.smooth_noise(rng, 40, octaves=4)
    return ramp.astype(np.float32)
