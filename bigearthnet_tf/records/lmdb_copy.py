"""Records become the LMDB that the reBEN tools read."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bigearthnet_tf import console, outputs
from bigearthnet_tf.archive import metadata
from bigearthnet_tf.archive.catalogue import Catalogue
from bigearthnet_tf.archive.lmdb_file import DATA_FILE
from bigearthnet_tf.archive.lmdb_writer import LmdbWriter, unfinished_folder
from bigearthnet_tf.archive.patch import PatchEntry
from bigearthnet_tf.records import storage
from bigearthnet_tf.records.plan import Plan
from bigearthnet_tf.records.record_archive import RecordArchive, plan_copy

logger = logging.getLogger(__name__)


def write_lmdb(
    archive: RecordArchive,
    path: Path | str,
    known: pd.DataFrame | None = None,
    *,
    overwrite: bool = False,
    tables: Sequence[Path] = (),
) -> None:
    """Writes the patches of records into an LMDB, and their metadata beside it.

    The values are those of the published LMDB, byte for byte; the labels, pairs and
    splits that it lacks go to `<path>.metadata.parquet`. Killed and called again, it
    goes on. Memory: 150 MB beside TensorFlow, and below 1 kB a patch.

    Args:
        archive: records of v2, in files named by their splits.
        path: folder of the LMDB to be.
        known: table of `metadata.read_metadata` with what records do not hold:
            country, v1 name, snow, clouds; and partners, if they lack Sentinel-1.
        overwrite: replace the LMDB and the metadata that are there.
        tables: files that `known` was read from, which are not replaced.

    Raises:
        FileExistsError: there is something at one of the paths.
        OSError: can't be written to, another process writes there, or the disk is
            full.
        ValueError: records of v1, or with splits other than the official ones; a
            damaged record, or a patch twice.
    """
    if storage.is_remote(path):
        raise ValueError(f"{path}: an LMDB can be written to a local folder only")
    path = Path(path)
    table = path.with_name(f"{path.name}.metadata.parquet")
    outputs.check_file(table, metadata.is_written, tables)
    # Beside unfinished work it was left by a call that was killed.
    begun = unfinished_folder(path).exists()
    if table.exists() and not overwrite and not begun:
        raise FileExistsError(
            f"{table}: is there already; choose another output folder, or pass "
            "--overwrite"
        )
    if archive.version != "v2":
        raise ValueError(
            f"{archive.source.files[0]}: expected records of BigEarthNet v2, got "
            f"{archive.version}: the reBEN tools know no other"
        )
    plans = plan_copy(archive, "bytes")
    _check_splits(plans)
    _check_space(plans, path)
    with LmdbWriter(path, _fingerprint(plans), overwrite=overwrite) as writer:
        entries = Catalogue(known).complete(_copy(archive, plans, writer), pairing=True)
        # Before the LMDB takes its place: what is there is whole.
        metadata.write_metadata(table, entries, known)
    logger.info("%s: %d patches, %s", path, len(entries), " ".join(archive.bands))
    logger.info("%s: their labels, pairs and splits", table)


def _copy(
    archive: RecordArchive, plans: list[Plan], writer: LmdbWriter
) -> list[PatchEntry]:
    """Writes all patches and returns what they say of themselves."""
    entries = []
    total = sum(plan.num_records for plan in plans)
    with console.progress(total=total, desc="LMDB", unit="patch") as bar:
        for plan in plans:
            for record in (record for shard in plan.shards for record in shard):
                patch = archive.read(record)
                writer.write(patch)
                entries.append(metadata.entry_of(patch, plan.split))
                bar.update()
    return entries


def _check_splits(plans: list[Plan]) -> None:
    """Refuses splits that the metadata do not know, before the work."""
    for plan in plans:
        if plan.split not in metadata.SPLITS:
            raise ValueError(
                f"split {plan.split!r}: the metadata of v2 know "
                f"{', '.join(metadata.SPLITS)} alone; name the shards after these"
            )


def _check_space(plans: list[Plan], path: Path) -> None:
    """Refuses to begin what the disk can't hold."""
    needed = sum(plan.num_bytes for plan in plans)
    begun = unfinished_folder(path) / DATA_FILE
    if begun.exists():
        needed -= begun.stat().st_size
    free = storage.free_bytes(path.parent)
    if free is not None and needed > free:
        raise OSError(
            f"{path}: the LMDB needs {needed / 1e6:.0f} MB, but {free / 1e6:.0f} MB "
            "are free; make room or choose another output folder"
        )


def _fingerprint(plans: list[Plan]) -> str:
    joined = " ".join(plan.identity() for plan in plans)
    return hashlib.sha256(joined.encode()).hexdigest()
