"""Splits of pixel time series that share no ground.

Tiles of Sentinel-2 overlap, and the same place looks alike in two of them: what one
split is tested or validated on must not be what another one learns from.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.archive import ground
from bigearthnet_tf.archive.tile import Tile, Window, windows
from bigearthnet_tf.archive.tile_points import Point, locate

logger = logging.getLogger(__name__)

# Ground in two splits stays in the later one.
_RANKS = ("train", "val", "test")
# Of a pixel: windows that share no more than that only touch.
_ROUNDING = 1e-3
_SAMPLE_SIDE = 32

Areas = dict[str, list[tuple[Tile, Window]]]


def apart(areas: Areas, side: int) -> Areas:
    """Returns areas without the blocks whose ground is in a later split too.

    Says in one line what was left out. Tiles without a place are taken as they come,
    with a warning, unless one is a copy of another.

    Args:
        areas: parts of tiles by split.
        side: of a block in pixels.

    Raises:
        ValueError: nothing is left of a split, or a tile comes twice.
    """
    if len(areas) < 2:
        return areas
    _check_unplaced(_tiles_of(areas))
    result: Areas = {}
    for split, own in areas.items():
        later = {s: areas[s] for s in _RANKS[_RANKS.index(split) + 1 :] if s in areas}
        kept = _without(own, later, side)
        if kept is None:
            result[split] = own
            continue
        blocks = sum(len(_boxes(area, side)) for _, area in own)
        names = sorted({tile.name for tile, _ in own})
        if not kept:
            raise ValueError(
                f"split {split!r}: all ground of its tiles ({', '.join(names)}) is in "
                f"{' or '.join(later)} too; choose tiles that do not overlap"
            )
        logger.info(
            "%s: %d of %d blocks are left out, since their ground is in %s too",
            split,
            blocks - len(kept),
            blocks,
            " or ".join(later),
        )
        result[split] = kept
    return result


def points_apart(areas: Areas, points: Sequence[Point]) -> dict[str, list[Point]]:
    """Returns the points of each split, without those in tiles of a later one.

    Args:
        areas: parts of tiles by split.
        points: of all splits.

    Raises:
        ValueError: a tile without a place.
    """
    result: dict[str, list[Point]] = {}
    taken: set[int] = set()
    for split in sorted(areas, key=_RANKS.index, reverse=True):
        result[split] = [point for point in points if id(point) not in taken]
        found = {
            id(point)
            for tile, _ in areas[split]
            for point, _, _ in locate(points, tile)
        }
        shared = len(found & taken)
        if shared:
            logger.info(
                "%s: %d points are left out, since a later split has them",
                split,
                shared,
            )
        taken |= found
    return {split: result[split] for split in areas}


def _without(
    own: Sequence[tuple[Tile, Window]], later: Areas, side: int
) -> list[tuple[Tile, Window]] | None:
    """Returns the blocks of a split that share no ground with later splits.

    None if none does, so that nothing need be cut.
    """
    of_later: dict[str, list[tuple[Tile, Window]]] = {}
    for tile, area in itertools.chain.from_iterable(later.values()):
        of_later.setdefault(tile.name, []).append((tile, area))
    kept: list[tuple[Tile, Window]] = []
    lost_any = False
    for tile, group in itertools.groupby(own, key=lambda item: item[0]):
        boxes = np.concatenate([_boxes(area, side) for _, area in group])
        lost = np.zeros(len(boxes), bool)
        for others in of_later.values():
            lost |= _covered(tile, boxes, others[0][0], [area for _, area in others])
        lost_any |= bool(lost.any())
        kept += [(tile, Window(*box)) for box in boxes[~lost].tolist()]
    return kept if lost_any else None


def _boxes(area: Window, side: int) -> NDArray[np.int64]:
    """Returns the blocks of an area, (blocks, 4), as `Window` has them."""
    found = np.array(list(windows(area.height, area.width, side)), np.int64)
    return found + np.array([area.row, area.column, 0, 0])


def _covered(
    tile: Tile, boxes: NDArray[np.int64], other: Tile, areas: Sequence[Window]
) -> NDArray[np.bool_]:
    """Returns which blocks of a tile share ground with areas of another tile."""
    placed = ground.is_placed(tile) and ground.is_placed(other)
    if other is tile or not placed or not ground.overlap(tile, other):
        return np.zeros(len(boxes), bool)
    found = ground.boxes_in(tile, boxes, other)
    taken = np.array(areas, np.int64)
    first, size = taken[:, :2], taken[:, 2:]
    edges = [np.unique([first[:, k], (first + size)[:, k]]) for k in (0, 1)]
    is_taken = np.zeros([len(each) - 1 for each in edges], np.int64)
    for begin, end in zip(first, first + size, strict=True):
        is_taken[
            tuple(slice(*np.searchsorted(edges[k], [begin[k], end[k]])) for k in (0, 1))
        ] = 1
    # The cells of a box are counted by four corners of the sums.
    sums = np.pad(is_taken.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    low, high = [], []
    for k in (0, 1):
        cells = len(edges[k]) - 1
        begins = np.searchsorted(edges[k], found[:, k] + _ROUNDING, "right") - 1
        ends = np.searchsorted(edges[k], found[:, k + 2] - _ROUNDING, "left")
        low.append(np.clip(begins, 0, cells))
        high.append(np.clip(ends, low[k], cells))
    count = (
        sums[high[0], high[1]]
        - sums[low[0], high[1]]
        - sums[high[0], low[1]]
        + sums[low[0], low[1]]
    )
    return count > 0


def _tiles_of(areas: Mapping[str, Sequence[tuple[Tile, Window]]]) -> list[Tile]:
    found = {tile.name: tile for of in areas.values() for tile, _ in of}
    return list(found.values())


def _check_unplaced(tiles: Sequence[Tile]) -> None:
    """Warns of tiles whose overlaps can't be told, and refuses copies among them."""
    unplaced = [tile for tile in tiles if not ground.is_placed(tile)]
    if not unplaced or len(tiles) < 2:
        return
    for one, other in itertools.combinations(tiles, 2):
        if not (ground.is_placed(one) and ground.is_placed(other)):
            _refuse_copy(one, other)
    logger.warning(
        "%s: no coordinate system or transform is known, so whether tiles of different "
        "splits overlap can't be told; give them in tile.json",
        ", ".join(tile.name for tile in unplaced),
    )


def _refuse_copy(one: Tile, other: Tile) -> None:
    """Refuses two tiles with the same dates and the same pixels in their middle."""
    shapes = [(tile.height, tile.width, tile.bands) for tile in (one, other)]
    if shapes[0] != shapes[1] or not np.array_equal(one.doys, other.doys):
        return
    height, width = (min(_SAMPLE_SIDE, side) for side in (one.height, one.width))
    row, column = (one.height - height) // 2, (one.width - width) // 2
    parts = [tile.read(row, column, height, width) for tile in (one, other)]
    if np.array_equal(parts[0].bands, parts[1].bands):
        raise ValueError(
            f"{one.name} and {other.name} are the same tile under two names; leave one "
            "of them out"
        )
