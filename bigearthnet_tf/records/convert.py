"""An archive becomes sharded TFRecords, on many processes.

What goes into which shard is settled before the first patch is read, from the list
of patches, the seed and the size of a record. The workers only carry it out, so the
shards do not depend on how many of them there are.

Shards are made in a hidden folder beside their final place and moved there when the
last one is finished; the manifest comes last. What a killed conversion has finished
is found again by the next one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import bigearthnet_tf
from bigearthnet_tf import console, files
from bigearthnet_tf.archive import archives, labels
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive.patch import PatchEntry
from bigearthnet_tf.records import manifest, pool, schema

logger = logging.getLogger(__name__)

DEFAULT_SEED = 42
# Large enough to read in long strides, small enough that workers share the load.
DEFAULT_SHARD_MB = 128
# A worker takes as long to start as to convert that many patches.
PATCHES_PER_WORKER = 4000


@dataclass(frozen=True)
class Plan:
    """What a conversion of one split will write.

    Attributes:
        split: `train`, `val`, `test` or any other name.
        bands: the bands of each record, in channel order.
        shards: for each shard its patches, in the order of the records.
        record_format: `bytes` or `int64`.
        seed: of the order.
        archive_version: `v1` or `v2`.
        label_types: the nomenclatures that each record carries.
    """

    split: str
    bands: tuple[str, ...]
    shards: tuple[tuple[PatchEntry, ...], ...]
    record_format: str
    seed: int
    archive_version: str
    label_types: tuple[str, ...]

    @property
    def num_records(self) -> int:
        """Number of patches in all shards."""
        return sum(map(len, self.shards))

    @property
    def num_bytes(self) -> int:
        """About the bytes of all shards in form `bytes`."""
        return self.num_records * schema.estimate_bytes(self.bands)

    def file(self, index: int) -> str:
        """Returns the file name of a shard."""
        return manifest.shard_file(self.split, index, len(self.shards))

    def fingerprint(self) -> str:
        """Returns a hash of everything that the shards' bytes follow from."""
        content = {
            "schema": manifest.SCHEMA_VERSION,
            "split": self.split,
            "bands": self.bands,
            "format": self.record_format,
            "version": self.archive_version,
            "label_types": self.label_types,
            "shards": [
                [(e.name, e.name_s1, e.labels) for e in shard] for shard in self.shards
            ],
        }
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def plan_split(
    archive: archives.Archive,
    entries: Sequence[PatchEntry],
    split: str,
    *,
    seed: int = DEFAULT_SEED,
    shard_size_mb: float = DEFAULT_SHARD_MB,
    record_format: str = "bytes",
) -> Plan:
    """Settles the order of the patches and their division into shards.

    The order is shuffled here once, so that training needs a small shuffle buffer
    only: neighbours in the list are neighbours on the ground.

    Args:
        archive: where the patches will be read from.
        entries: the patches of the split.
        split: its name.
        seed: of the order.
        shard_size_mb: about the size of a shard in 10^6 bytes, in form `bytes`.
        record_format: `bytes` or `int64`.

    Raises:
        ValueError: no patches, an unknown form, or a size below one record.
    """
    if not entries:
        raise ValueError(f"split {split!r}: no patches; give a list with some")
    if record_format not in schema.RECORD_FORMATS:
        raise ValueError(
            f"record format {record_format!r}: expected one of {schema.RECORD_FORMATS}"
        )
    bands = archive.bands
    record_bytes = schema.estimate_bytes(bands)
    per_shard = int(shard_size_mb * 1e6 // record_bytes)
    if per_shard < 1:
        raise ValueError(
            f"a shard of {shard_size_mb} MB can't hold one record of "
            f"{record_bytes / 1e6:.2f} MB; give a larger shard size"
        )
    order = np.random.default_rng(seed).permutation(len(entries))
    count = math.ceil(len(entries) / per_shard)
    shards = tuple(
        tuple(entries[i] for i in part) for part in np.array_split(order, count)
    )
    both = ("original", "BigEarthNet-19")
    return Plan(
        split=split,
        bands=bands,
        shards=shards,
        record_format=record_format,
        seed=seed,
        archive_version=archive.version,
        label_types=both if archive.version == "v1" else both[1:],
    )


def convert(
    archive: archives.Archive,
    plans: Sequence[Plan],
    out_dir: Path,
    *,
    workers: int = 1,
    overwrite: bool = False,
) -> list[manifest.Manifest]:
    """Carries out plans, one after the other.

    Memory: each worker holds one patch, and TensorFlow with about 1 GB, whatever the
    size of the archive.

    Args:
        archive: where the patches are read from.
        plans: what to write.
        out_dir: folder of the shards and the manifests.
        workers: processes at most; the shards are the same for any number.
        overwrite: replace other records of the same splits.

    Returns:
        The manifests, as written. A split that is already there is not written again.

    Raises:
        FileExistsError: other records of one of these splits are there.
        OSError: the folder can't be written to, or the disk is full.
        ValueError: a patch is missing or damaged; the message names it.
    """
    present = [_present(plan, out_dir, overwrite) for plan in plans]
    missing = sum(
        plan.num_records
        for plan, there in zip(plans, present, strict=True)
        if there is None
    )
    useful = min(workers, math.ceil(missing / PATCHES_PER_WORKER))
    with pool.Workers(archive, useful) as crew:
        return [
            there or _convert_split(plan, out_dir, crew)
            for plan, there in zip(plans, present, strict=True)
        ]


def _convert_split(plan: Plan, out_dir: Path, crew: pool.Workers) -> manifest.Manifest:
    partial = _open_partial(plan, out_dir)
    try:
        _check_space(plan, out_dir, partial)
    except OSError:
        _close_partial(partial)
        raise
    finished = _finished_shards(plan, partial)
    if finished:
        logger.info(
            "%s: %d of %d shards were finished before",
            plan.split,
            len(finished),
            len(plan.shards),
        )
    jobs = {
        index: (partial / plan.file(index), entries, plan.record_format)
        for index, entries in enumerate(plan.shards)
        if index not in finished
    }
    already = sum(shard.num_records for shard in finished.values())
    try:
        with console.progress(
            total=plan.num_records, initial=already, desc=plan.split, unit="patch"
        ) as bar:
            for index, shard in crew.write_shards(jobs, bar.update):
                files.write_json(_note(partial, plan.file(index)), shard.model_dump())
                finished[index] = shard
    except BaseException:
        crew.stop()
        _close_partial(partial)
        raise
    result = _publish(plan, out_dir, partial, [finished[i] for i in sorted(finished)])
    logger.info(
        "%s: %d records in %d shard(s), bands %s",
        plan.split,
        result.num_records,
        len(result.shards),
        " ".join(result.bands),
    )
    return result


def _present(plan: Plan, out_dir: Path, overwrite: bool) -> manifest.Manifest | None:
    """Returns the manifest of the same plan, carried out before."""
    path = manifest.manifest_path(out_dir, plan.split)
    if overwrite or not path.exists():
        return None
    found = manifest.load(path)
    whole = all(
        (out_dir / shard.file).is_file()
        and (out_dir / shard.file).stat().st_size == shard.num_bytes
        for shard in found.shards
    )
    if found.plan == plan.fingerprint() and whole:
        logger.info(
            "%s: all %d records are there already; --overwrite converts them again",
            plan.split,
            plan.num_records,
        )
        return found
    state = "damaged records" if not whole else "records of other patches or bands"
    raise FileExistsError(
        f"{out_dir}: holds {state} of split {plan.split!r}; choose another output "
        "folder, or pass --overwrite"
    )


def _open_partial(plan: Plan, out_dir: Path) -> Path:
    """Returns the folder of unfinished work, emptied if it is of another plan."""
    partial = out_dir / f".{plan.split}.partial"
    identity = partial / "plan"
    try:
        if identity.is_file() and identity.read_text() != plan.fingerprint():
            shutil.rmtree(partial)
        partial.mkdir(parents=True, exist_ok=True)
        for leftover in partial.glob("*.tmp"):
            leftover.unlink()
        files.write_text(identity, plan.fingerprint())
    except OSError as error:
        raise OSError(
            f"{out_dir}: can't be written to ({error.strerror}); choose another output "
            "folder or change its permissions"
        ) from error
    return partial


def _check_space(plan: Plan, out_dir: Path, partial: Path) -> None:
    """Refuses to begin what the disk can't hold."""
    done = sum(path.stat().st_size for path in partial.glob("*.tfrecord"))
    needed, free = plan.num_bytes - done, shutil.disk_usage(out_dir).free
    if needed > free:
        raise OSError(
            f"{out_dir}: split {plan.split!r} needs {needed / 1e6:.0f} MB, but "
            f"{free / 1e6:.0f} MB are free; make room or choose another output folder"
        )


def _note(partial: Path, file: str) -> Path:
    return partial / f"{file}.json"


def _finished_shards(plan: Plan, partial: Path) -> dict[int, manifest.Shard]:
    """Returns the shards that an earlier run of the same plan has finished."""
    found = {}
    for index, entries in enumerate(plan.shards):
        path = partial / plan.file(index)
        note = _note(partial, path.name)
        if not (path.is_file() and note.is_file()):
            continue
        shard = manifest.Shard.model_validate(files.read_json(note))
        if shard == manifest.describe_shard(path, len(entries)):
            found[index] = shard
    return found


def _close_partial(partial: Path) -> None:
    """Leaves finished shards for the next call, and nothing else."""
    for leftover in partial.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)
    if not any(partial.glob("*.tfrecord.json")):
        shutil.rmtree(partial, ignore_errors=True)


def _publish(
    plan: Plan, out_dir: Path, partial: Path, shards: list[manifest.Shard]
) -> manifest.Manifest:
    """Moves the finished shards into place, the manifest last."""
    # Without its manifest no reader takes a shard for complete.
    manifest.manifest_path(out_dir, plan.split).unlink(missing_ok=True)
    for outdated in manifest.shards_of(out_dir, plan.split):
        outdated.unlink()
    for shard in shards:
        (partial / shard.file).replace(out_dir / shard.file)
    facts = {name: band_facts.BANDS[name] for name in plan.bands}
    result = manifest.Manifest(
        schema_version=manifest.SCHEMA_VERSION,
        tool_version=bigearthnet_tf.__version__,
        split=plan.split,
        archive_version=plan.archive_version,
        record_format=plan.record_format,
        bands={
            name: manifest.BandFacts(dtype=b.dtype, shape=(b.pixels, b.pixels))
            for name, b in facts.items()
        },
        label_order={kind: list(labels.label_names(kind)) for kind in plan.label_types},
        num_records=plan.num_records,
        seed=plan.seed,
        plan=plan.fingerprint(),
        shards=shards,
    )
    manifest.save(result, out_dir)
    shutil.rmtree(partial)
    return result
