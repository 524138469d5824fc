"""Where patches lie, splits made of whole blocks of land, and contact between splits.

Neighbouring patches show the same fields under the same sky: a model tested on the
neighbours of what it was trained on looks better than it is. Sentinel-2 tiles overlap
by 9.8 km, and the archive has most places at several dates, so two patches may also
show the same ground.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from rasterio.warp import transform
from scipy import sparse
from scipy.spatial import cKDTree

from bigearthnet_tf.archive import stratification

PATCH_METRES = 1200
UNKNOWN_ZONE = 0

# MGRS: the letters of the 100 km squares, without I and O. Columns start anew every
# three zones (A, J, S), rows every 2000 km, and in even zones five letters later.
_COLUMN_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_ROW_LETTERS = "ABCDEFGHJKLMNPQRSTUV"
# Lowest northing in each band north of the equator, to the 100 km, as in the table of
# GEOTRANS (NGA): it tells which of the repeated rows is meant.
_BAND_NORTHINGS = dict(
    zip(
        "NPQRSTUVWX",
        (0, 8, 17, 26, 35, 44, 53, 62, 70, 79),
        strict=True,
    )
)
_TILE = (
    r"(?P<zone>\d{2})"
    rf"(?P<band>[{''.join(_BAND_NORTHINGS)}])"
    rf"(?P<column>[{_COLUMN_LETTERS}])(?P<row>[{_ROW_LETTERS}])"
)
_SQUARE = 100_000
_ROW_CYCLE = 2_000_000
# Sentinel-2 tiles begin on the grid of their coarsest pixel.
_GRID = 60
# Corners of patches are multiples of 20 m; a metre absorbs what rounding does to them.
_TOLERANCE = 1.0

# A block's number of patches weighs as much as so many labels.
_SIZE_WEIGHT = 5.0
_MAX_SWEEPS = 20


@dataclass(frozen=True)
class Places:
    """Where patches lie, an array of shape (patches,) each.

    Attributes:
        zone: UTM zone, all north; `UNKNOWN_ZONE` where the place is not known.
        east: easting of the left edge in metres.
        north: northing of the upper edge in metres.
    """

    zone: NDArray[np.int64]
    east: NDArray[np.float64]
    north: NDArray[np.float64]


@dataclass(frozen=True)
class Contacts:
    """How many patches of a split (row) meet patches of another one (column).

    Each array is int64 of shape (splits, splits) with a diagonal of 0.

    Attributes:
        touching: share at least a corner; what follows is part of it.
        overlapping: share ground.
        same_place: share all of it, at different dates.
    """

    touching: NDArray[np.int64]
    overlapping: NDArray[np.int64]
    same_place: NDArray[np.int64]


@cache
def tile_origin(tile: str) -> tuple[int, int]:
    """Returns easting and northing of a Sentinel-2 tile's upper left corner in metres.

    The tile is its 100 km square of the MGRS, extended to 109.8 km to the right and
    downwards, with its corner moved outwards to a multiple of 60 m.

    Args:
        tile: MGRS name without the leading T, on the northern hemisphere.

    Raises:
        ValueError: no such tile.
    """
    match = re.fullmatch(_TILE, tile, re.ASCII)
    if match is None:
        raise ValueError(
            f"not a Sentinel-2 tile of the northern hemisphere: {tile!r}; expected one "
            "like 33UUP"
        )
    zone = int(match["zone"])
    west = (_COLUMN_LETTERS.index(match["column"]) - (zone - 1) % 3 * 8 + 1) * _SQUARE
    shift = 0 if zone % 2 else 5
    south = (_ROW_LETTERS.index(match["row"]) - shift) % len(_ROW_LETTERS) * _SQUARE
    lowest = _BAND_NORTHINGS[match["band"]] * _SQUARE
    if not (1 <= zone <= 60 and _SQUARE <= west <= 8 * _SQUARE):
        raise ValueError(f"not a Sentinel-2 tile: zone {zone} has no square {tile[3:]}")
    south += max(0, -(-(lowest - south) // _ROW_CYCLE)) * _ROW_CYCLE
    return west // _GRID * _GRID, -(-(south + _SQUARE) // _GRID) * _GRID


def locate(tiles: Sequence[str], columns: Sequence[int], rows: Sequence[int]) -> Places:
    """Returns where patches lie, from what their names say.

    Args:
        tiles: (patches,) MGRS names; empty where a tile is not known.
        columns: (patches,) first index of the names.
        rows: (patches,) second index.

    Raises:
        ValueError: no such tile.
    """
    known = {tile: tile_origin(tile) for tile in set(tiles) if tile}
    zones = {"": UNKNOWN_ZONE} | {tile: int(tile[:2]) for tile in known}
    corners = np.array([known.get(tile, (0, 0)) for tile in tiles], np.float64)
    east, north = corners.reshape(-1, 2).T
    return Places(
        zone=np.array([zones[tile] for tile in tiles], np.int64),
        east=east + PATCH_METRES * np.asarray(columns),
        north=north - PATCH_METRES * np.asarray(rows),
    )


def block_numbers(places: Places, block_km: float) -> NDArray[np.intp]:
    """Returns the block of land of each patch.

    Blocks are squares on the kilometre grid of the UTM zone, so that overlapping tiles
    share them; a patch belongs to that of its centre.

    Args:
        places: of the patches, all known.
        block_km: side of the blocks.

    Returns:
        (patches,) numbers from 0, none left out.

    Raises:
        ValueError: blocks smaller than a patch, or a patch whose place is not known.
    """
    if not PATCH_METRES <= block_km * 1000 < np.inf:
        raise ValueError(
            f"expected blocks of {PATCH_METRES / 1000:g} km, the side of a patch, or "
            f"more, got {block_km:g}"
        )
    unknown = int((places.zone == UNKNOWN_ZONE).sum())
    if unknown:
        raise ValueError(
            f"it is not known where {unknown} of {len(places.zone)} patches lie, since "
            "v1 names do not say: give lists with Sentinel-1 names, or the metadata of "
            "v2, which has both"
        )
    half, side = PATCH_METRES / 2, block_km * 1000
    cells = np.stack(
        [places.zone, (places.east + half) // side, (places.north - half) // side]
    ).astype(np.int64)
    return np.unique(cells, axis=1, return_inverse=True)[1].ravel()


def divide_blocks(
    blocks: NDArray[np.intp],
    multi_hot: NDArray[np.uint8],
    ratios: Sequence[float],
    seed: int,
) -> NDArray[np.intp]:
    """Returns the split of each patch, where no block is torn apart.

    The splits should have the ratios, in patches and in each label. Measure of that is
    the sum over splits s and labels k of (p_sk - r_s)^2 / r_s, with p_sk the share of
    the label's patches that s has and r_s its ratio; the number of patches counts as
    five labels. Blocks with the largest part of any label come first and go where that
    sum is least; then blocks move as long as it falls. Equal blocks come in random
    order.

    Args:
        blocks: (patches,) from `block_numbers`.
        multi_hot: (patches, labels) of 0 and 1.
        ratios: of the splits; they sum to 1.
        seed: 0 to `stratification.MAX_SEED`.

    Returns:
        (patches,) indices into `ratios`.

    Raises:
        ValueError: fewer blocks than splits, a split that no block went to, or ratios
            or seed out of their range.
    """
    stratification.check_ratios(ratios)
    stratification.check_seed(seed)
    count = int(blocks.max()) + 1
    stratification.check_enough(count, "blocks of land", len(ratios))
    parts = _parts(blocks, multi_hot)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(count)
    order = shuffled[np.argsort(-parts.max(axis=1)[shuffled], kind="stable")]
    chosen = _settle(parts, np.asarray(ratios)[:, np.newaxis], order)
    empty = np.setdiff1d(np.arange(len(ratios)), chosen)
    if len(empty):
        raise ValueError(
            f"none of the {count} blocks of land is small enough for the split with "
            f"ratio {ratios[empty[0]]:g}: choose smaller blocks"
        )
    return chosen[blocks]


def _parts(
    blocks: NDArray[np.intp], multi_hot: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Returns the part that each block has of each label's patches, and of all.

    Shape (blocks, labels + 1), the last column weighted.
    """
    columns = [*(column for column in multi_hot.T if column.any())]
    counts = [np.bincount(blocks, column) for column in columns]
    parts = np.stack([*counts, np.bincount(blocks)], axis=1, dtype=np.float64)
    parts /= parts.sum(axis=0)
    parts[:, -1] *= _SIZE_WEIGHT**0.5
    return parts


def _settle(
    parts: NDArray[np.float64], ratios: NDArray[np.float64], order: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Returns the split of each block: placed in order, then moved while it helps."""
    weights = np.append(np.ones(parts.shape[1] - 1), _SIZE_WEIGHT**0.5)
    lacking = ratios * weights
    chosen = np.full(len(parts), -1)
    for _ in range(_MAX_SWEEPS):
        moved = False
        for block in order:
            part, current = parts[block], chosen[block]
            if current >= 0:
                lacking[current] += part
            # What the sum grows by, less what is the same for all splits but r.
            growth = ((part - 2 * lacking) @ part) / ratios[:, 0]
            best = int(growth.argmin())
            lacking[best] -= part
            moved |= best != current
            chosen[block] = best
        if not moved:
            break
    return chosen


def count_contacts(places: Places, assigned: NDArray[np.intp], splits: int) -> Contacts:
    """Returns how many patches of each split meet patches of the others.

    Within a UTM zone this is exact, also across tiles. Across the border of two zones,
    whose grids are turned against one another by less than five degrees, patches count
    as touching if their centres are within 1200 m in both axes of the western zone.

    Half a million patches take some seconds and 500 MB.

    Args:
        places: of the patches; those whose place is not known meet nobody.
        assigned: (patches,) split of each patch.
        splits: how many there are.
    """
    known = places.zone != UNKNOWN_ZONE
    rows = np.stack([places.zone, places.east, places.north], axis=1)[known]
    sites, site_of_patch = np.unique(rows, axis=0, return_inverse=True)
    patches = np.zeros((len(sites), splits), np.int64)
    np.add.at(patches, (site_of_patch.ravel(), assigned[known]), 1)
    first, second, distance = _near_pairs(sites)
    touching = distance <= PATCH_METRES + _TOLERANCE
    overlapping = distance < PATCH_METRES - _TOLERANCE
    return Contacts(
        *(
            _count(patches, first[kept], second[kept])
            for kept in (touching, overlapping, np.zeros_like(touching))
        )
    )


def _count(
    patches: NDArray[np.int64], first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.int64]:
    """Returns patches of a split at sites that meet a site of another split.

    Args:
        patches: (sites, splits), how many of each split lie at a site.
        first: sites of pairs that meet, each pair once; a site always meets itself.
        second: their partners.
    """
    count = len(patches)
    pairs = sparse.coo_array((np.ones(len(first)), (first, second)), (count, count))
    present = (patches > 0).astype(np.float64)
    met = present + pairs.tocsr() @ present + pairs.T.tocsr() @ present
    result: NDArray[np.int64] = patches.T @ (met > 0)
    np.fill_diagonal(result, 0)
    return result


def _near_pairs(
    sites: NDArray[np.float64],
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Returns pairs of sites that may touch, each once, and their distances.

    Distance is the larger of those along the two axes.
    """
    found = [(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0))]
    for zone in np.unique(sites[:, 0]):
        (own,) = np.nonzero(sites[:, 0] == zone)
        (eastern,) = np.nonzero(sites[:, 0] == zone + 1)
        corners = sites[own, 1:]
        pairs = cKDTree(corners).query_pairs(
            PATCH_METRES + _TOLERANCE, p=np.inf, output_type="ndarray"
        )
        distance = np.abs(corners[pairs[:, 0]] - corners[pairs[:, 1]]).max(axis=1)
        found.append((own[pairs[:, 0]], own[pairs[:, 1]], distance))
        if len(eastern):
            found.append(_pairs_across(sites, own, eastern, int(zone)))
    first, second, distances = zip(*found, strict=True)
    return np.concatenate(first), np.concatenate(second), np.concatenate(distances)


def _pairs_across(
    sites: NDArray[np.float64],
    own: NDArray[np.intp],
    eastern: NDArray[np.intp],
    zone: int,
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Returns pairs of a zone's sites and of those of the zone to its east."""
    to_centre = np.array([PATCH_METRES / 2, -PATCH_METRES / 2])
    centres = sites[own, 1:] + to_centre
    others = np.stack(
        transform(
            f"EPSG:{32_600 + zone + 1}",
            f"EPSG:{32_600 + zone}",
            *(sites[eastern, 1:] + to_centre).T,
        ),
        axis=1,
    )
    near = cKDTree(centres).sparse_distance_matrix(
        cKDTree(others), PATCH_METRES, p=np.inf, output_type="coo_matrix"
    )
    return own[near.row], eastern[near.col], near.data
