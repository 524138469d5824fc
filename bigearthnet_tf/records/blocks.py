"""Shards of blocks of pixels, or of points, found, checked and read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.archive import ground
from bigearthnet_tf.archive.tile import Block
from bigearthnet_tf.records import (
    block_manifest,
    frames,
    manifest,
    series_schema,
    storage,
)
from bigearthnet_tf.records.block_manifest import SeriesManifest, TileFacts


@dataclass(frozen=True, eq=False)
class BlockSource:
    """The shards of block records of a split, or of several alike.

    Attributes:
        files: paths of the shards.
        valid: for each shard the valid pixels of each record.
        labelled: for each shard those of each record that have a label.
        bands: names, in the order of the records.
        mean: (bands,) float64, that standardises, in digital numbers.
        std: likewise.
        min_valid: a pixel is valid with more usable dates than that.
        classes: codes of labels with their names.
        tiles: what is known of each tile, by its name.
        block_side: side of a block in pixels, but at the edges of a tile.
        manifests: paths of the manifests.
        statistics: where mean and deviation come from; see `SeriesManifest`.
    """

    files: tuple[str, ...]
    valid: tuple[tuple[int, ...], ...]
    labelled: tuple[tuple[int, ...], ...]
    bands: tuple[str, ...]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    min_valid: int
    classes: Mapping[int, str]
    tiles: Mapping[str, TileFacts]
    block_side: int
    manifests: tuple[str, ...]
    statistics: block_manifest.Statistics = "measured"

    @property
    def num_blocks(self) -> int:
        """Records in all shards."""
        return sum(map(len, self.valid))

    @property
    def num_pixels(self) -> int:
        """Valid pixels in all shards."""
        return sum(map(sum, self.valid))

    @property
    def num_labelled(self) -> int:
        """Valid pixels that have a label."""
        return sum(map(sum, self.labelled))

    @property
    def num_dates(self) -> int:
        """Dates of the longest series, usable or not."""
        return max(len(tile.doys) for tile in self.tiles.values())


def open_blocks(patterns: Sequence[str] | str) -> BlockSource:
    """Finds shards of block records and compares them with their manifests.

    Args:
        patterns: paths, wildcards allowed.

    Raises:
        FileNotFoundError: a pattern matches nothing, a shard of a manifest is gone, or
            there is no manifest.
        ValueError: a shard is truncated or foreign, or the shards are of different
            bands, classes or rules of validity.
    """
    paths = _expand([patterns] if isinstance(patterns, str) else patterns)
    described = {path: _manifest_of(path) for path in paths}
    facts = {path: block_manifest.load(path) for path in set(described.values())}
    shards = [_checked(path, facts[described[path]]) for path in paths]
    used = [facts[path] for path in dict.fromkeys(described.values())]
    first = used[0]
    for path, other in facts.items():
        _compare(path, other, first)
    tiles = _common_tiles(facts)
    mean, std = _statistics(used)
    return BlockSource(
        files=tuple(paths),
        valid=tuple(tuple(shard.valid) for shard in shards),
        labelled=tuple(tuple(shard.labelled) for shard in shards),
        bands=tuple(first.bands),
        mean=np.array(mean),
        std=np.array(std),
        min_valid=first.min_valid,
        classes=first.classes,
        tiles=tiles,
        block_side=max(each.block_side for each in used),
        manifests=tuple(dict.fromkeys(described.values())),
        statistics=first.statistics,
    )


def iterate_blocks(source: BlockSource, tile: str | None = None) -> Iterator[Block]:
    """Yields blocks, one in memory at a time, in the order of the files.

    Args:
        source: the shards.
        tile: name of the only tile to yield blocks of; None for all.

    Raises:
        ValueError: no such tile, or a damaged record.
    """
    if tile is not None and tile not in source.tiles:
        raise ValueError(
            f"no tile {tile!r} in {', '.join(source.manifests)}; there are "
            f"{', '.join(source.tiles)}"
        )
    for path in source.files:
        for number, serialized in enumerate(frames.read_all(path)):
            block = series_schema.decode_block(serialized, f"{path}: record {number}")
            if tile is None or block.tile == tile:
                yield block


def shared_ground(one: BlockSource, other: BlockSource) -> list[str]:
    """Returns the tiles of a source that share ground with those of another.

    Records in one folder are of one call of `bigearthnet-tf tiles`, which has seen to
    it that none is in two splits. Tiles without a place share theirs with themselves.

    Args:
        one: shards of a split.
        other: those of another split.
    """
    found: dict[str, None] = {}
    for mine, theirs in itertools.product(one.manifests, other.manifests):
        if storage.folder_of(mine) == storage.folder_of(theirs):
            continue
        tiles, others = (block_manifest.load(path).tiles for path in (mine, theirs))
        for name, tile in tiles.items():
            if any(_share(tile, each) for each in others.values()):
                found[name] = None
    return list(found)


def _share(one: TileFacts, other: TileFacts) -> bool:
    if ground.is_placed(one) and ground.is_placed(other):
        return ground.overlap(one, other)
    return one == other


def _expand(patterns: Sequence[str]) -> list[str]:
    paths: list[str] = []
    for pattern in patterns:
        found = storage.glob(pattern)
        matches = [path for path in found if not path.endswith((".json", ".csv"))]
        if not matches:
            raise FileNotFoundError(
                f"{pattern}: no such records; paths are relative to the working "
                "directory, and bigearthnet-tf tiles makes records of time series"
            )
        if len(matches) > 1 or matches[0] != pattern:
            _check_complete(matches)
        paths += matches
    return list(dict.fromkeys(paths))


def _check_complete(matches: Sequence[str]) -> None:
    """Refuses a wildcard that misses shards which a manifest promises."""
    for path in {_manifest_of(match) for match in matches}:
        for shard in block_manifest.load(path).shards:
            promised = storage.join(storage.folder_of(path), shard.file)
            if promised not in matches:
                raise FileNotFoundError(
                    f"{promised}: {storage.name_of(path)} names this shard, but it is "
                    "not there; write the records again"
                )


def _manifest_of(path: str) -> str:
    found = manifest.find_manifest(path)
    if found is None:
        raise FileNotFoundError(
            f"{path}: no manifest beside it that names it; the conversion was not "
            "finished, or the manifest was not copied along with its shards"
        )
    if not block_manifest.describes_series(found):
        storage.read_object(found)  # one that does not read says so itself
        raise ValueError(
            f"{path}: expected records of pixel time series, but {found} speaks of "
            "patches; bigearthnet-tf tiles writes time series"
        )
    return found


def _checked(path: str, facts: SeriesManifest) -> block_manifest.SeriesShard:
    """Returns what the manifest says of a shard, its size compared."""
    name = storage.name_of(path)
    shard = next((s for s in facts.shards if s.file == name), None)
    if shard is None:
        raise ValueError(
            f"{path}: the manifest of split {facts.split!r} does not name this shard; "
            "it is left over from another conversion, remove it"
        )
    size = storage.size(path)
    if size != shard.num_bytes:
        raise ValueError(
            f"{path}: expected {shard.num_bytes} bytes by its manifest, got {size}; "
            "the shard is truncated or foreign, write it again"
        )
    return shard


def _statistics(used: Sequence[SeriesManifest]) -> tuple[list[float], list[float]]:
    """Returns mean and deviation of the records of several manifests together."""
    if used[0].statistics == "files":
        return block_manifest.pool([(m.moments.count, m.mean, m.std) for m in used])
    moments = block_manifest.Moments.total([each.moments for each in used])
    return moments.mean, moments.std


def _common_tiles(facts: Mapping[str, SeriesManifest]) -> dict[str, TileFacts]:
    """Returns what manifests know of tiles, on which they must agree."""
    found: dict[str, TileFacts] = {}
    for path, each in facts.items():
        for name, tile in each.tiles.items():
            if found.setdefault(name, tile) != tile:
                raise ValueError(
                    f"{path}: tile {name!r} has another place or other dates than in "
                    "the records read with it; rename one of the two tiles"
                )
    return found


def _compare(path: str, facts: SeriesManifest, first: SeriesManifest) -> None:
    """Refuses shards that can't be read together."""
    alike = ("kind", "bands", "units", "scale", "offset", "min_valid", "classes")
    for what in (*alike, "statistics"):
        ours, theirs = getattr(facts, what), getattr(first, what)
        if ours != theirs:
            raise ValueError(
                f"{path}: {what} {ours}, but the records read with it have {theirs}; "
                "convert the tiles alike"
            )
