"""What shards of pixel time series hold, told from their manifests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bigearthnet_tf.archive.land_cover import UNLABELLED
from bigearthnet_tf.archive.tile_statistics import MEAN, STD
from bigearthnet_tf.records import (
    block_manifest,
    blocks,
    frames,
    manifest,
    series_schema,
    storage,
)
from bigearthnet_tf.records.block_manifest import SeriesManifest

_MANIFEST = ".manifest.json"


def find_series(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tells records of time series from others.

    Args:
        paths: files, wildcards, or folders, which stand for all splits in them.

    Returns:
        Paths of the manifests of time series, and the paths that lead to anything else.
    """
    found: dict[str, None] = {}
    others = []
    for path in paths:
        of_series = [
            it for it in _manifests(path) if block_manifest.describes_series(it)
        ]
        found |= dict.fromkeys(of_series)
        if not of_series:
            others.append(path)
    return list(found), others


def describe(path: str, facts: SeriesManifest) -> str:
    """Returns what a split of time series holds, in a few lines."""
    num_bytes = sum(shard.num_bytes for shard in facts.shards)
    title = (
        f"{storage.folder_of(path)}: split {facts.split}, {facts.num_records} "
        f"{facts.kind} of pixel time series in {len(facts.shards)} file(s), "
        f"{num_bytes / 1e6:.1f} MB"
    )
    pixels = (
        f"  {facts.num_pixels} valid pixels (more than {facts.min_valid} usable "
        f"dates), {facts.num_labelled} of them labelled"
    )
    lines = [
        title,
        pixels,
        f"  bands  {' '.join(facts.bands)}",
        f"  mean   {' '.join(f'{value:.1f}' for value in facts.mean)}",
        f"  std    {' '.join(f'{value:.1f}' for value in facts.std)}",
    ]
    if facts.statistics == "files":
        lines.append(f"  mean and std are those of {MEAN} and {STD} of the tiles")
    for name, tile in facts.tiles.items():
        years = sorted(set(tile.years) - {0})
        when = f"{years[0]} to {years[-1]}" if years else "years unknown"
        placed = "placed" if tile.crs and tile.transform else "not placed on the map"
        lines.append(
            f"  tile {name}: {tile.height} x {tile.width} pixels, {len(tile.doys)} "
            f"dates, {when}, {placed}"
        )
    return "\n".join(lines)


def verify(
    path: str, facts: SeriesManifest, on_record: Callable[[int], Any]
) -> list[str]:
    """Reads every record and compares it with the manifest.

    Args:
        path: of the manifest.
        facts: what it says.
        on_record: called with 1 after each record.

    Returns:
        What is wrong, one line each.
    """
    faults = []
    for shard in facts.shards:
        file = storage.join(storage.folder_of(path), shard.file)
        try:
            blocks.open_blocks(file)
            found = frames.verify(file)
            if (found.num_records, found.crc32) != (shard.num_records, shard.crc32):
                faults.append(f"{file}: not the bytes that its manifest speaks of")
                continue
            for number, serialized in enumerate(frames.read_all(file)):
                where = f"{file}: record {number}"
                block = series_schema.decode_block(serialized, where)
                valid = block.valid(facts.min_valid)
                counts = [int(valid.sum()), 0]
                if block.labels is not None:
                    counts[1] = int(np.sum(valid & (block.labels != UNLABELLED)))
                if counts != [shard.valid[number], shard.labelled[number]]:
                    faults.append(f"{where}: other numbers of pixels than its manifest")
                on_record(1)
        except (OSError, ValueError) as error:
            faults.append(" ".join(str(error).split()))
    return faults


def _manifests(path: str) -> list[str]:
    """Returns the manifests that speak of what a path leads to."""
    if storage.is_folder(path):
        names = storage.list_folder(path)
        return [storage.join(path, name) for name in names if name.endswith(_MANIFEST)]
    matches = storage.glob(path)
    found = [m if m.endswith(_MANIFEST) else manifest.find_manifest(m) for m in matches]
    return list(dict.fromkeys(it for it in found if it is not None))
