"""What a conversion of tiles will write, settled before the first pixel is read.

A tile is cut into square blocks. Which split a block is in follows from its tile, or
from the larger square that it lies in: neighbouring pixels show the same field, so a
random division of pixels would let a model be tested on what it was trained on.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bigearthnet_tf.archive import ground
from bigearthnet_tf.archive.tile import Tile, Window, windows
from bigearthnet_tf.archive.tile_points import Point, locate
from bigearthnet_tf.archive.tile_statistics import BandStatistics
from bigearthnet_tf.records import block_manifest, manifest, series_schema
from bigearthnet_tf.records.plan import divide
from bigearthnet_tf.registry import nearest_names

logger = logging.getLogger(__name__)

# An epoch reads every byte of a block, however few of its pixels it draws: of blocks of
# that size all pixels can be drawn, and 64 of them still be shuffled at once.
DEFAULT_SIDE = 32
# Of the windows that masks alone are looked at in.
_LOOK_SIDE = 256
# A pixel is valid with more usable dates than that, as in btfm.
DEFAULT_MIN_VALID = 32
DEFAULT_SEED = 42


class Entry(NamedTuple):
    """One record: the name of a tile, a window in it, and the point that it is of.

    That of a point (name, x, y, label) is a single pixel with its usable dates alone;
    None for blocks.
    """

    tile: str
    window: Window
    point: tuple[str, float, float, int] | None = None


@dataclass(frozen=True)
class BlockPlan:
    """What a conversion of one split will write.

    Attributes:
        split: its name.
        bands: names, in the order of the records.
        shards: for each shard its blocks, in the order of the records.
        tiles: those that the blocks are of, with their facts.
        classes: codes of labels with their names.
        min_valid: a pixel is valid with more usable dates than that.
        side: of a block in pixels.
        seed: of the order.
        record_bytes: about the bytes of the largest record.
        origin: where the tiles are read from.
        kind: of blocks, or of single points.
        source: `provenance.digest` of the files of the tiles; empty: not known.
        statistics: of each tile by its files; empty: measure.
    """

    split: str
    bands: tuple[str, ...]
    shards: tuple[tuple[Entry, ...], ...]
    tiles: Mapping[str, block_manifest.TileFacts]
    classes: Mapping[int, str]
    min_valid: int
    side: int
    seed: int
    record_bytes: int
    origin: str
    kind: block_manifest.Kind = "blocks"
    source: str = ""
    statistics: Mapping[str, BandStatistics] = field(default_factory=dict)

    @property
    def num_records(self) -> int:
        """Number of blocks in all shards."""
        return sum(map(len, self.shards))

    @property
    def num_bytes(self) -> int:
        """About the bytes of all shards, at most."""
        return self.num_records * self.record_bytes

    def file(self, index: int) -> str:
        """Returns the file name of a shard."""
        return manifest.shard_file(self.split, index, len(self.shards))

    def fingerprint(self) -> str:
        """Returns a hash of what is asked for, wherever it is read from."""
        settings: dict[str, Any] = {
            "schema": block_manifest.SCHEMA_VERSION,
            "split": self.split,
            "kind": self.kind,
            "bands": self.bands,
            "classes": dict(self.classes),
            "min_valid": self.min_valid,
            "tiles": {name: facts.model_dump() for name, facts in self.tiles.items()},
            "shards": self.shards,
        }
        if self.statistics:
            settings["statistics"] = dict(self.statistics)
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()

    def identity(self) -> str:
        """Returns a hash by which unfinished work knows its own plan and source."""
        joined = f"{self.fingerprint()} {self.origin} {self.source}"
        return hashlib.sha256(joined.encode()).hexdigest()


def by_tiles(
    tiles: Sequence[Tile], val: Sequence[str] = (), test: Sequence[str] = ()
) -> dict[str, list[tuple[Tile, Window]]]:
    """Divides whole tiles: those named are of `val` and `test`, the rest of `train`.

    Raises:
        ValueError: a name that no tile has, or one that is in both splits.
    """
    names = [tile.name for tile in tiles]
    for name in (*val, *test):
        if name not in names:
            raise ValueError(f"no tile {name!r}: {nearest_names(name, names)}")
    both = sorted(set(val) & set(test))
    if both:
        raise ValueError(f"tile {both[0]!r} can't be of both val and test")
    found: dict[str, list[tuple[Tile, Window]]] = {"train": [], "val": [], "test": []}
    for tile in tiles:
        split = "val" if tile.name in val else "test" if tile.name in test else "train"
        found[split].append((tile, Window(0, 0, tile.height, tile.width)))
    return {split: areas for split, areas in found.items() if areas}


def by_squares(
    tiles: Sequence[Tile], square: int, ratios: Sequence[float], seed: int
) -> dict[str, list[tuple[Tile, Window]]]:
    """Divides squares of land, drawn at random.

    Tiles that overlap on one grid of pixels have their squares in common, those of
    other grids not: see `block_areas.apart`.

    Args:
        tiles: which to cut.
        square: side of the squares in pixels.
        ratios: of train, val and test, or of train and test; they sum to 1.
        seed: of the draw.

    Raises:
        ValueError: so few squares that a split stays empty.
    """
    splits = ("train", "test") if len(ratios) == 2 else ("train", "val", "test")
    anchors = ground.anchors(tiles)
    shared: dict[tuple[int, int, int], list[tuple[Tile, Window]]] = {}
    for tile, anchor in zip(tiles, anchors, strict=True):
        for window in _squares(tile, anchor, square):
            place = (window.row + anchor.row, window.column + anchor.column)
            key = (anchor.group, place[0] // square, place[1] // square)
            shared.setdefault(key, []).append((tile, window))
    common = len(tiles) - len({anchor.group for anchor in anchors})
    if common:
        logger.info("squares are numbered on the ground that tiles have in common")
    areas = list(shared.values())
    order = np.random.default_rng(seed).permutation(len(areas))
    sizes = np.array(
        [sum(own.height * own.width for _, own in areas[i]) for i in order]
    )
    # A square belongs to the split that its middle falls into.
    middles = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    assigned = np.searchsorted(np.cumsum(ratios)[:-1], middles)
    found: dict[str, list[tuple[Tile, Window]]] = {name: [] for name in splits}
    for index, split in sorted(zip(order, assigned, strict=True)):
        found[splits[split]] += areas[index]
    for name, of_split in found.items():
        if not of_split:
            raise ValueError(
                f"{len(areas)} squares of {square} pixels are so few that split "
                f"{name!r} stays empty: choose smaller squares"
            )
    return found


def _squares(tile: Tile, anchor: ground.Anchor, side: int) -> Iterator[Window]:
    """Yields the squares of a tile, row by row, cut where those of the anchor are."""
    rows, columns = (
        [0, *range(-first % side or side, length, side), length]
        for first, length in ((anchor.row, tile.height), (anchor.column, tile.width))
    )
    for row, below in itertools.pairwise(rows):
        for column, right in itertools.pairwise(columns):
            yield Window(row, column, below - row, right - column)


def plan_blocks(
    split: str,
    areas: Sequence[tuple[Tile, Window]],
    classes: Mapping[int, str],
    origin: str,
    *,
    side: int = DEFAULT_SIDE,
    min_valid: int = DEFAULT_MIN_VALID,
    seed: int = DEFAULT_SEED,
    shard_size_mb: float = 128,
    source: str = "",
) -> BlockPlan:
    """Settles blocks, their order, and their division into shards.

    The order is shuffled here once, so that training need not look far for blocks of
    other places. Files that are stored in squares are read square by square, though.

    Args:
        split: its name.
        areas: parts of tiles.
        classes: codes of labels with their names.
        origin: where the tiles are read from.
        side: of a block in pixels.
        min_valid: a pixel is valid with more usable dates than that.
        seed: of the order.
        shard_size_mb: of a shard at most, in 10^6 bytes, unless a block is larger.
        source: `provenance.digest` of the files of the tiles.

    Raises:
        ValueError: tiles of other bands, with too few dates or of one name.
    """
    check_tiles([tile for tile, _ in areas], min_valid)
    bands = areas[0][0].bands
    groups: dict[tuple[str, int, int], list[Entry]] = {}
    for tile, area in areas:
        grain = max(tile.grain, side)
        for within in windows(area.height, area.width, side):
            window = within._replace(
                row=area.row + within.row, column=area.column + within.column
            )
            key = (tile.name, window.row // grain, window.column // grain)
            groups.setdefault(key, []).append(Entry(tile.name, window))
    rng = np.random.default_rng(seed)
    parts = list(groups.values())
    entries = [
        parts[i][j]
        for i in rng.permutation(len(parts))
        for j in rng.permutation(len(parts[i]))
    ]
    tiles = {tile.name: _describe(tile) for tile, _ in areas}
    longest = max(len(each.doys) for each in tiles.values())
    record_bytes = series_schema.block_bytes(side * side, longest, len(bands))
    shard_size_mb = max(shard_size_mb, record_bytes / 1e6 + 1e-6)
    return BlockPlan(
        split=split,
        bands=bands,
        shards=tuple(divide(entries, record_bytes, shard_size_mb)),
        tiles=tiles,
        classes=classes,
        min_valid=min_valid,
        side=side,
        seed=seed,
        record_bytes=record_bytes,
        origin=origin,
        source=source,
    )


def plan_points(
    split: str,
    tiles: Sequence[Tile],
    points: Sequence[Point],
    classes: Mapping[int, str],
    origin: str,
    *,
    min_valid: int = DEFAULT_MIN_VALID,
    seed: int = DEFAULT_SEED,
    shard_size_mb: float = 128,
    source: str = "",
) -> BlockPlan:
    """Settles records of single points, as `plan_blocks` those of blocks.

    Args:
        split: its name.
        tiles: of the split.
        points: those that lie in none of the tiles are left out; in a tile that
            overlaps others, a point comes once for each.
        classes: codes of labels with their names.
        origin: where the tiles are read from.
        min_valid: a point is valid with more usable dates than that.
        seed: of the order.
        shard_size_mb: of a shard at most, in 10^6 bytes.
        source: `provenance.digest` of the files of the tiles.

    Raises:
        ValueError: as `plan_blocks`, a tile whose place nobody has told, or no point
            in any of the tiles.
    """
    check_tiles(tiles, min_valid)
    entries = [
        Entry(tile.name, Window(row, column, 1, 1), (it.name, it.x, it.y, it.label))
        for tile in tiles
        for it, row, column in locate(points, tile)
    ]
    if not entries:
        raise ValueError(
            f"split {split!r}: none of {len(points)} points lies in "
            f"{', '.join(tile.name for tile in tiles)}; compare coordinate systems"
        )
    order = np.random.default_rng(seed).permutation(len(entries))
    longest = max(tile.num_dates for tile in tiles)
    bands = tiles[0].bands
    record_bytes = series_schema.block_bytes(1, longest, len(bands))
    shards = divide([entries[i] for i in order], record_bytes, shard_size_mb)
    return BlockPlan(
        split=split,
        bands=bands,
        shards=tuple(shards),
        tiles={tile.name: _describe(tile) for tile in tiles},
        classes=classes,
        min_valid=min_valid,
        side=1,
        seed=seed,
        record_bytes=record_bytes,
        origin=origin,
        kind="points",
        source=source,
    )


def check_tiles(tiles: Sequence[Tile], min_valid: int) -> None:
    """Raises ValueError for tiles that can't be in one set of records."""
    first = tiles[0]
    names: dict[str, Tile] = {}
    for tile in tiles:
        if names.setdefault(tile.name, tile) is not tile:
            raise ValueError(f"two tiles are called {tile.name!r}; rename one")
        if tile.bands != first.bands:
            raise ValueError(
                f"{tile.name}: bands {' '.join(tile.bands)}, but {first.name} has "
                f"{' '.join(first.bands)}; convert them one by one"
            )
        if tile.num_dates <= min_valid:
            raise ValueError(
                f"{tile.name}: {tile.num_dates} dates, but a pixel needs more than "
                f"{min_valid} usable ones: lower --min-valid, or leave the tile out"
            )


def check_not_all_cloud(tile: Tile, min_valid: int) -> None:
    """Refuses a tile without a single valid pixel; one look is enough for others.

    Raises:
        ValueError: no pixel has enough usable dates.
    """
    most = 0
    for window in windows(tile.height, tile.width, max(tile.grain, _LOOK_SIDE)):
        counts = tile.read_mask(*window).sum(axis=2, dtype=np.int64)
        most = max(most, int(counts.max()))
        if most > min_valid:
            return
    raise ValueError(
        f"{tile.name}: all cloud, or no data (0): a pixel needs more than {min_valid} "
        f"usable dates, but none has more than {most} of {tile.num_dates}: lower "
        "--min-valid, or leave the tile out"
    )


def _describe(tile: Tile) -> block_manifest.TileFacts:
    transform = tile.transform
    return block_manifest.TileFacts(
        crs=tile.crs,
        transform=None if transform is None else tuple(transform)[:6],
        height=tile.height,
        width=tile.width,
        doys=tile.doys.tolist(),
        years=tile.years.tolist(),
        generated=tile.generated,
    )
