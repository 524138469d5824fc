"""Tiles to be mapped, from folders or from block records, a block at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from bigearthnet_tf import registry
from bigearthnet_tf.archive import safe, tile_facts, tiles
from bigearthnet_tf.archive.tile import Block, Tile
from bigearthnet_tf.serving import maps
from bigearthnet_tf.training import memory

if TYPE_CHECKING:
    from bigearthnet_tf.records.blocks import BlockSource

# Rows and columns of what is read from a folder at once: 26 MB of 73 dates, 11 bands.
BLOCK_SIZE = 128

Wanted = Callable[[Window], bool]


@dataclass(frozen=True)
class MapTile:
    """A tile that can be read block by block.

    Attributes:
        name: of the tile.
        height: rows.
        width: columns.
        bands: in the order of the pixels.
        doys: (dates,) days of the year.
        crs: WKT, or None.
        transform: from (column, row) to map coordinates, or None.
        has_labels: whether its blocks have labels.
        stamp: changes with the files that it is read from, and with its blocks.
        read: yields the blocks whose window is wanted. They cover the tile once where
            it is a folder, and may leave gaps where it is in records.
        min_valid: of records, more valid dates than which a pixel of theirs needs.
    """

    name: str
    height: int
    width: int
    bands: tuple[str, ...]
    doys: NDArray[np.uint16]
    crs: str | None
    transform: Affine | None
    has_labels: bool
    stamp: str
    read: Callable[[Wanted], Iterator[Block]]
    min_valid: int | None = None

    def grid(self) -> tuple[str | None, Affine]:
        """Returns coordinate system and transform of its maps.

        None and the identity, so that x is the column and y the row, for a tile of
        which neither is known.

        Raises:
            ValueError: one of them is known alone.
        """
        if self.crs is None and self.transform is None:
            return None, Affine.identity()
        return self.georeference()

    def georeference(self) -> tuple[str, Affine]:
        """Returns coordinate system and transform.

        Raises:
            ValueError: the tile lacks one of them, so nothing of it can be placed.
        """
        if self.crs is None or self.transform is None:
            lacks = "coordinate system" if self.crs is None else "transform"
            raise ValueError(
                f"{self.name}: has no {lacks} to place it by; give both with --crs and "
                "--transform, or beside the tile, or convert it again with them"
            )
        return self.crs, self.transform


def window_of(block: Block) -> Window:
    """Returns where a block lies in its tile."""
    height, width = block.mask.shape[:2]
    return Window(block.column, block.row, width, height)


def of_folder(tile: Tile, folder: Path, block_size: int = BLOCK_SIZE) -> MapTile:
    """Returns a tile of a folder.

    Args:
        tile: as `archive.tiles.open_tile` gives it.
        folder: where it lies.
        block_size: rows and columns of what is read at once.

    Raises:
        ValueError: a block size below 1, or beyond memory.
    """
    if block_size < 1:
        raise ValueError(f"expected a block size of 1 or more, got {block_size}")
    rows, columns = min(block_size, tile.height), min(block_size, tile.width)
    one = len(tile.doys) * (2 * len(tile.bands) + 1)
    memory.check_room(
        rows * columns * one, f"--block-size: {rows} x {columns} pixels at once need"
    )

    def read(wanted: Wanted) -> Iterator[Block]:
        for row in range(0, tile.height, block_size):
            height = min(block_size, tile.height - row)
            for column in range(0, tile.width, block_size):
                width = min(block_size, tile.width - column)
                if wanted(Window(column, row, width, height)):
                    yield tile.read(row, column, height, width)

    return MapTile(
        name=tile.name,
        height=tile.height,
        width=tile.width,
        bands=tile.bands,
        doys=tile.doys,
        crs=tile.crs,
        transform=tile.transform,
        has_labels=tile.has_labels,
        stamp=maps.hash_of(block_size, tiles.stamp(folder), tile.meaning),
        read=read,
    )


def of_records(source: BlockSource) -> list[MapTile]:
    """Returns the tiles of block records, by name.

    Blocks of a tile are as the records have them; each tile is one pass over all of
    the records.

    Args:
        source: as `records.blocks.open_blocks` gives it.
    """
    # The reader of records brings TensorFlow, which folders do without.
    from bigearthnet_tf.records import blocks

    def reader(name: str) -> Callable[[Wanted], Iterator[Block]]:
        def read(wanted: Wanted) -> Iterator[Block]:
            found = blocks.iterate_blocks(source, name)
            return (block for block in found if wanted(window_of(block)))

        return read

    stamp = maps.hash_of(*(maps.stamp(Path(path)) for path in source.files))
    return [
        MapTile(
            name=name,
            height=facts.height,
            width=facts.width,
            bands=source.bands,
            doys=np.array(facts.doys, np.uint16),
            crs=facts.crs,
            transform=facts.affine,
            has_labels=source.num_labelled > 0,
            stamp=stamp,
            read=reader(name),
            min_valid=source.min_valid,
        )
        for name, facts in sorted(source.tiles.items())
    ]


def open_tiles(
    source: Path,
    *,
    names: Sequence[str] = (),
    crs: str | None = None,
    transform: Sequence[float] | None = None,
    dn_offset: int | None = None,
    block_size: int = BLOCK_SIZE,
) -> list[MapTile]:
    """Opens tiles, whatever they are in.

    Args:
        source: the folder of a tile or of tiles, or block records: a folder of shards,
            or a path with wildcards.
        names: of the tiles to take; empty for all.
        crs: in place of what is known of the tiles.
        transform: likewise, six numbers; of a single tile.
        dn_offset: subtracted from the digital numbers of folders; records have it done.
        block_size: of what is read from folders at once; records have their own.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: no tiles, an unknown name, or one place for several tiles.
    """
    found = _open(source, block_size, dn_offset)
    known = [tile.name for tile in found]
    for name in names:
        if name not in known:
            near = registry.nearest_names(name, known)
            raise ValueError(f"--tile: {source} has no tile {name!r}: {near}")
    found = [tile for tile in found if not names or tile.name in names]
    if transform is not None and len(found) > 1:
        raise ValueError(
            f"--transform is of one tile, {source} has {len(found)}; name one in --tile"
        )
    affine = tile_facts.resolve_transform(transform, "--transform")
    system = tile_facts.resolve_crs(crs, "--crs")
    return [
        replace(tile, crs=system or tile.crs, transform=affine or tile.transform)
        for tile in found
    ]


def _open(source: Path, block_size: int, dn_offset: int | None) -> list[MapTile]:
    safe.check_unpacked(source)
    if source.is_dir() and not any(source.glob("*.tfrecord*")):
        given = {} if dn_offset is None else {"dn_offset": dn_offset}
        facts = tile_facts.TileFacts.model_validate(given)
        folders = tiles.find_tiles(source)
        opened = [tiles.open_tile(path, facts) for path in folders]
        tiles.say_assumed_bands(opened, "say so by bands in tile.json")
        return [
            of_folder(tile, path, block_size)
            for tile, path in zip(opened, folders, strict=True)
        ]
    if dn_offset is not None:
        raise ValueError(
            f"--dn-offset: {source} holds records, from which it was subtracted when "
            "they were written: leave it out"
        )
    from bigearthnet_tf.records import blocks

    pattern = source / "*.tfrecord*" if source.is_dir() else source
    return of_records(blocks.open_blocks(str(pattern)))
