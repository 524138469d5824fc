"""Tiles become shards of block records, on several processes.

As `records.convert` does with patches: a plan is carried out shard by shard in a folder
of unfinished work, and whatever is killed continues.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pydantic
import tensorflow as tf

import bigearthnet_tf
from bigearthnet_tf import console
from bigearthnet_tf.archive.land_cover import UNLABELLED
from bigearthnet_tf.archive.tile import Block, Tile
from bigearthnet_tf.archive.tile_statistics import MEAN, STD
from bigearthnet_tf.records import (
    block_manifest,
    convert,
    frames,
    manifest,
    pool,
    series_schema,
    storage,
    writer,
)
from bigearthnet_tf.records.block_plan import BlockPlan, Entry
from bigearthnet_tf.records.unfinished import Unfinished, exclusive

logger = logging.getLogger(__name__)

# A worker takes as long to start as to convert that many bytes.
BYTES_PER_WORKER = 1 << 30


@dataclass(frozen=True)
class Job:
    """One shard to write: its split, number, path, blocks, and the rule of validity."""

    split: str
    index: int
    path: str
    entries: Sequence[Entry]
    min_valid: int


class BlockNote(writer.Note):
    """What is known of a finished shard; see `SeriesShard` and `Moments`.

    Attributes:
        observations: usable ones of each tile.
    """

    valid: list[int]
    labelled: list[int]
    moments: block_manifest.Moments
    observations: dict[str, int] = pydantic.Field(default_factory=dict)

    def described(self) -> block_manifest.SeriesShard:
        """Returns the shard's row in the manifest."""
        return block_manifest.SeriesShard(
            **self.shard.model_dump(), valid=self.valid, labelled=self.labelled
        )


def write_blocks(
    tiles: Iterable[Tile],
    plans: Sequence[BlockPlan],
    out_dir: storage.StrPath,
    *,
    workers: int = 1,
    overwrite: bool = False,
) -> list[block_manifest.SeriesManifest]:
    """Carries out plans.

    Memory: each worker holds two blocks, and TensorFlow with about 1 GB, whatever the
    size of the tiles.

    Args:
        tiles: where the blocks are read from.
        plans: what to write, one for each split.
        out_dir: folder of the shards and the manifests, behind `gs://` too.
        workers: processes at most; small conversions take fewer.
        overwrite: replace other records of the same splits, and discard unfinished
            work on them.

    Returns:
        The manifests, as written. A split that is already there is not written again.

    Raises:
        FileExistsError: other records of one of these splits are there.
        OSError: the folder can't be written to, another conversion writes there, or
            the disk is full.
        ValueError: a tile is damaged, or a band is the same everywhere.
    """
    source = {tile.name: tile for tile in tiles}
    with exclusive(out_dir):
        present = {
            plan.split: None if overwrite else _present(plan, out_dir) for plan in plans
        }
        todo = [plan for plan in plans if present[plan.split] is None]
        made = _carry_out(source, todo, out_dir, workers, anew=overwrite)
        return [present[plan.split] or made[plan.split] for plan in plans]


def write_shard(
    tiles: Mapping[str, Tile], job: Job, on_record: Callable[[], Any] = lambda: None
) -> BlockNote:
    """Writes a shard, reads it back, and puts the note beside it.

    Args:
        tiles: where the blocks are read from, by name.
        job: what to write.
        on_record: called after each block.

    Raises:
        OSError: the file can't be written; nothing is left of it.
        ValueError: a tile is damaged.
    """
    valid, labelled, parts = [], [], []
    observations: Counter[str] = Counter()
    with storage.write_atomically(job.path) as temporary:
        with tf.io.TFRecordWriter(temporary) as records:
            for entry in job.entries:
                block = _read(tiles[entry.tile], entry)
                is_valid = block.valid(job.min_valid)
                valid.append(int(is_valid.sum()))
                labelled.append(
                    0
                    if block.labels is None
                    else int((is_valid & (block.labels != UNLABELLED)).sum())
                )
                usable = block.bands[block.mask.astype(bool)]
                parts.append(block_manifest.Moments.of(usable))
                observations[entry.tile] += len(usable)
                records.write(series_schema.encode_block(block, valid[-1], entry.point))
                on_record()
        written = frames.verify(temporary)
        if written.num_records != len(valid):
            raise OSError(
                f"{job.path}: wrote {len(valid)} records, but {written.num_records} "
                "came back; the disk or file system loses data"
            )
    note = BlockNote(
        shard=manifest.Shard(file=storage.name_of(job.path), **written._asdict()),
        valid=valid,
        labelled=labelled,
        moments=block_manifest.Moments.total(parts),
        observations=dict(observations),
    )
    storage.write_text(writer.note_path(job.path), note.model_dump_json())
    return note


def _read(tile: Tile, entry: Entry) -> Block:
    """Reads a block, or a point with its usable dates and its own label."""
    block = tile.read(*entry.window)
    if entry.point is None:
        return block
    usable = block.mask[0, 0].astype(bool)
    return replace(
        block,
        bands=block.bands[:, :, usable],
        mask=block.mask[:, :, usable],
        doys=block.doys[usable],
        years=block.years[usable],
        labels=np.array([[entry.point[3]]], np.uint8),
    )


def _carry_out(
    source: Mapping[str, Tile],
    plans: Sequence[BlockPlan],
    out_dir: storage.StrPath,
    workers: int,
    *,
    anew: bool,
) -> dict[str, block_manifest.SeriesManifest]:
    """Writes the shards that are missing and publishes each split when it is whole."""
    works = {plan.split: Unfinished(plan, out_dir, BlockNote) for plan in plans}
    try:
        for work in works.values():
            work.open(anew)
        notes = {split: work.finished() for split, work in works.items()}
        convert.check_space(works.values(), out_dir)
        jobs = {
            (split, index): Job(
                split, index, work.shard(index), entries, work.plan.min_valid
            )
            for split, work in works.items()
            for index, entries in enumerate(work.plan.shards)
            if index not in notes[split]
        }
        done = sum(len(note.valid) for of in notes.values() for note in of.values())
        if done:
            logger.info("%d blocks were finished before", done)
        total = sum(plan.num_records for plan in plans)
        useful = math.ceil(sum(plan.num_bytes for plan in plans) / BYTES_PER_WORKER)
        with (
            console.progress(
                total=total, initial=done, desc=", ".join(works) or None, unit="block"
            ) as bar,
            pool.Workers(source, min(workers, useful)) as crew,
        ):
            for (split, index), note in crew.run(write_shard, jobs, bar.update):
                notes[split][index] = note
        return {split: _publish(works[split], notes[split]) for split in works}
    finally:
        for work in works.values():
            work.close()


def _present(
    plan: BlockPlan, out_dir: storage.StrPath
) -> block_manifest.SeriesManifest | None:
    """Returns the manifest of the same plan, carried out before.

    Raises:
        FileExistsError: what is there is something else.
    """
    path = manifest.manifest_path(out_dir, plan.split)
    if not storage.exists(path):
        strange = manifest.shards_of(out_dir, plan.split)
        # Publishing may have been killed between the first shard and the manifest.
        if strange and not Unfinished(plan, out_dir, BlockNote).has_begun():
            raise convert.occupied(plan, out_dir, "records without a manifest")
        return None
    if not block_manifest.describes_series(path):
        raise convert.occupied(plan, out_dir, "records of patches")
    found = block_manifest.load(path)
    if not all(convert.is_there(out_dir, shard) for shard in found.shards):
        raise convert.occupied(plan, out_dir, "damaged records")
    if found.plan != plan.fingerprint():
        raise convert.occupied(plan, out_dir, "records of other tiles or settings")
    if found.source and plan.source and found.source != plan.source:
        raise convert.occupied(
            plan, out_dir, "records of files that have changed since"
        )
    logger.info(
        "%s: %d blocks are there already; --overwrite writes them again",
        plan.split,
        found.num_records,
    )
    return found


def _publish(
    work: Unfinished[BlockPlan, BlockNote], notes: dict[int, BlockNote]
) -> block_manifest.SeriesManifest:
    """Puts a whole split into place."""
    plan = work.plan
    ordered = [notes[index] for index in sorted(notes)]
    shards = [note.described() for note in ordered]
    moments = block_manifest.Moments.total([note.moments for note in ordered])
    _check_moments(plan, moments)
    mean, std = _standardises(plan, ordered, moments)
    num_pixels, num_labelled = block_manifest.pixels_of(shards)
    result = block_manifest.SeriesManifest(
        kind=plan.kind,
        schema_version=block_manifest.SCHEMA_VERSION,
        tool_version=bigearthnet_tf.__version__,
        split=plan.split,
        bands=list(plan.bands),
        units=block_manifest.UNITS,
        scale=block_manifest.SCALE,
        offset=block_manifest.OFFSET,
        mean=mean,
        std=std,
        moments=moments,
        statistics="files" if plan.statistics else "measured",
        min_valid=plan.min_valid,
        classes=dict(plan.classes),
        block_side=plan.side,
        tiles=dict(plan.tiles),
        num_records=sum(shard.num_records for shard in shards),
        num_pixels=num_pixels,
        num_labelled=num_labelled,
        seed=plan.seed,
        plan=plan.fingerprint(),
        shards=shards,
        source=plan.source,
        generated=any(tile.generated for tile in plan.tiles.values()),
    )
    work.publish(result)
    logger.info(
        "%s: %d %s of %d tile(s) in %d shard(s), read back and verified; %d valid "
        "pixels, %d of them labelled",
        plan.split,
        result.num_records,
        result.kind,
        len(result.tiles),
        len(shards),
        num_pixels,
        num_labelled,
    )
    return result


def _standardises(
    plan: BlockPlan, notes: Sequence[BlockNote], moments: block_manifest.Moments
) -> tuple[list[float], list[float]]:
    """Returns means and deviations, and says where they come from."""
    if not plan.statistics:
        logger.info(
            "%s: bands are standardised by mean and deviation measured on its %d "
            "usable observations",
            plan.split,
            moments.count,
        )
        return moments.mean, moments.std
    counts: Counter[str] = Counter()
    for note in notes:
        counts.update(note.observations)
    parts = [(counts[name], *of_tile) for name, of_tile in plan.statistics.items()]
    logger.info(
        "%s: bands are standardised by %s and %s of %s",
        plan.split,
        MEAN,
        STD,
        ", ".join(plan.statistics)
        + (
            ", pooled by the usable observations of each"
            if len(set(plan.statistics.values())) > 1
            else ""
        ),
    )
    return block_manifest.pool(parts)


def _check_moments(plan: BlockPlan, moments: block_manifest.Moments) -> None:
    """Refuses splits whose bands can't be standardised."""
    if not moments.count:
        raise ValueError(
            f"split {plan.split!r}: not a single usable observation, so there are no "
            "statistics; give other tiles"
        )
    for name, mean, std in zip(plan.bands, moments.mean, moments.std, strict=True):
        if std == 0:
            raise ValueError(
                f"split {plan.split!r}: band {name} is {mean:g} everywhere, "
                "so it can't be standardised; correct the tiles, or leave it out by "
                "--bands"
            )
