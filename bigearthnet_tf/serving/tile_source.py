"""Tiles to be mapped, from folders or from block records, a block at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from bigearthnet_tf.serving import maps

if TYPE_CHECKING:
    from bigearthnet_tf.archive.tile import Block

# Rows and columns of what is read from a folder at once: 26 MB of 73 dates, 11 bands.
BLOCK_SIZE = 128

Wanted = Callable[[Window], bool]


class _Facts(Protocol):
    """What tile folders and the manifest of records alike say of a tile."""

    height: int
    width: int
    doys: NDArray[np.uint16]
    crs: str | None
    transform: Affine | None


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

    def georeference(self) -> tuple[str, Affine]:
        """Returns coordinate system and transform.

        Raises:
            ValueError: the tile lacks one of them, so nothing of it can be placed.
        """
        if self.crs is None or self.transform is None:
            lacks = "coordinate system" if self.crs is None else "transform"
            raise ValueError(
                f"{self.name}: has no {lacks} where a map is asked for; give both with "
                "--crs and --transform, or beside the tile, or convert it again with "
                "them"
            )
        return self.crs, self.transform


def window_of(block: Block) -> Window:
    """Returns where a block lies in its tile."""
    height, width = block.mask.shape[:2]
    return Window(block.column, block.row, width, height)


def of_folder(tile: Any, folder: Path, block_size: int = BLOCK_SIZE) -> MapTile:
    """Returns a tile of a folder.

    Args:
        tile: as `archive.tiles.open_tile` gives it.
        folder: where it lies.
        block_size: rows and columns of what is read at once.

    Raises:
        ValueError: a block size below 1.
    """
    if block_size < 1:
        raise ValueError(f"expected a block size of 1 or more, got {block_size}")

    def read(wanted: Wanted) -> Iterator[Block]:
        for row in range(0, tile.height, block_size):
            height = min(block_size, tile.height - row)
            for column in range(0, tile.width, block_size):
                width = min(block_size, tile.width - column)
                if wanted(Window(column, row, width, height)):
                    yield tile.read(row, column, height, width)

    stamp = maps.hash_of(block_size, *map(maps.stamp, sorted(folder.iterdir())))
    return _tile(tile.name, tile, tile.bands, tile.has_labels, stamp, read)


def of_records(source: Any, iterate: Callable[..., Iterator[Block]]) -> list[MapTile]:
    """Returns the tiles of block records, by name.

    Args:
        source: as `records.blocks.open_blocks` gives it.
        iterate: `records.blocks.iterate_blocks`.
    """

    def reader(name: str) -> Callable[[Wanted], Iterator[Block]]:
        def read(wanted: Wanted) -> Iterator[Block]:
            return (b for b in iterate(source, name) if wanted(window_of(b)))

        return read

    stamp = maps.hash_of(*(maps.stamp(Path(path)) for path in source.files))
    return [
        _tile(name, facts, source.bands, source.has_labels, stamp, reader(name))
        for name, facts in sorted(source.tiles.items())
    ]


def _tile(
    name: str,
    facts: _Facts,
    bands: Sequence[str],
    has_labels: bool,
    stamp: str,
    read: Callable[[Wanted], Iterator[Block]],
) -> MapTile:
    return MapTile(
        name=name,
        height=facts.height,
        width=facts.width,
        bands=tuple(bands),
        doys=np.asarray(facts.doys, np.uint16),
        crs=facts.crs,
        transform=facts.transform,
        has_labels=has_labels,
        stamp=stamp,
        read=read,
    )
