"""Tiles of whatever form, found and opened."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bigearthnet_tf.archive import safe, tile_geotiff, tile_layers, tile_npy
from bigearthnet_tf.archive.tile import Block, Tile, Window
from bigearthnet_tf.archive.tile_facts import SIDECAR, TileFacts, read_facts

__all__ = ["Block", "Tile", "TileFacts", "Window", "find_tiles", "open_tile"]

logger = logging.getLogger(__name__)


def open_tile(
    folder: Path | str,
    facts: TileFacts | None = None,
    *,
    crs: str | None = None,
    transform: Sequence[float] | None = None,
    year: int | Sequence[int] | None = None,
    bands: str | Sequence[str] | None = None,
) -> Tile:
    """Opens a tile: a folder of `.npy` files, or of GeoTIFFs with their dates.

    Args:
        folder: of the tile.
        facts: what is to hold in place of what `tile.json` in the folder says.
        crs: as in `TileFacts`; the rest likewise. None leaves it to `facts`.
        transform: six numbers.
        year: of all dates, or of each.
        bands: names, or the name of an order.

    Raises:
        FileNotFoundError: no such folder, or a file of the tile is missing.
        ValueError: files that do not fit together, or no tile at all.
    """
    folder = Path(folder)
    safe.check_unpacked(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give that of a tile")
    given = {
        "crs": crs,
        "transform": None if transform is None else tuple(transform)[:6],
        "years": year if year is None or isinstance(year, int) else list(year),
        "bands": bands if bands is None or isinstance(bands, str) else list(bands),
    }
    told = facts.model_dump(exclude_unset=True) if facts is not None else {}
    told |= {key: value for key, value in given.items() if value is not None}
    whole = read_facts(folder, TileFacts.model_validate(told))
    if tile_npy.is_tile(folder):
        found: Tile = tile_npy.open_folder(folder, whole)
        return replace(found, generated=whole.generated)
    if tile_layers.is_tile(folder):
        found = tile_geotiff.open_folder(folder, whole)
        return replace(found, generated=whole.generated)
    raise ValueError(
        f"{folder}: no tile: expected {tile_npy.BANDS}, {tile_npy.MASKS} and "
        f"{tile_npy.DOYS}, or GeoTIFFs with dates in their names"
    )


def find_tiles(root: Path | str) -> list[Path]:
    """Returns the folders of the tiles under a root, sorted by name.

    Args:
        root: a folder of tiles, or a tile.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no tile in it.
    """
    root = Path(root)
    safe.check_unpacked(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; give that of the tiles")
    if _is_tile(root):
        return [root]
    found = sorted(path for path in root.iterdir() if path.is_dir() and _is_tile(path))
    if not found:
        raise ValueError(
            f"{root}: no tiles in it: expected folders with {tile_npy.BANDS}, or with "
            "GeoTIFFs that have dates in their names"
        )
    return found


def say_assumed_bands(opened: Sequence[Tile], how: str) -> None:
    """Says once which order of bands is taken for that of tiles that name none.

    Args:
        opened: the tiles.
        how: to name the bands, for the message.
    """
    assumed = [tile for tile in opened if tile.assumes_bands]
    if assumed:
        logger.warning(
            "%s%s: no file names the %d bands, so their order is assumed to be %s; "
            "%s if it is another",
            assumed[0].name,
            f" and {len(assumed) - 1} more" if assumed[1:] else "",
            len(assumed[0].bands),
            " ".join(assumed[0].bands),
            how,
        )


def stamp(folder: Path | str) -> str:
    """Returns names, sizes and times of the files of a tile.

    Args:
        folder: of the tile.
    """
    root = Path(folder)
    found = sorted(path for path in root.rglob("*") if path.is_file())
    facts = ((path.relative_to(root), path.stat()) for path in found)
    return " ".join(f"{name} {s.st_size}@{s.st_mtime_ns}" for name, s in facts)


def classes_of(
    folders: Sequence[Path], given: TileFacts | None = None
) -> dict[int, str]:
    """Returns the table of classes that tiles share.

    Raises:
        ValueError: `tile.json` of two tiles tell different classes.
    """
    tables = {folder: read_facts(folder, given).classes for folder in folders}
    first = next(iter(tables))
    for folder, table in tables.items():
        if table != tables[first]:
            raise ValueError(
                f"{folder / SIDECAR}: other classes than in {first / SIDECAR}; convert "
                "the tiles one by one, or give all the same classes"
            )
    return tables[first]


def _is_tile(folder: Path) -> bool:
    return (
        (folder / SIDECAR).exists()
        or tile_npy.is_tile(folder)
        or tile_layers.is_tile(folder)
    )
