"""From lists of patches to records: plans for all splits, carried out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bigearthnet_tf import files, outputs
from bigearthnet_tf.archive import labels
from bigearthnet_tf.archive.archives import Archive
from bigearthnet_tf.archive.patch import PatchEntry, PatchSource
from bigearthnet_tf.config import record_sets
from bigearthnet_tf.records import convert, manifest, plan, storage

SETS = "sets.json"


def prepare(
    source: PatchSource,
    lists: Mapping[str, Sequence[PatchEntry]],
    out_dir: storage.StrPath,
    execute: convert.Executor | None = None,
    *,
    seed: int = plan.DEFAULT_SEED,
    shard_size_mb: float = plan.DEFAULT_SHARD_MB,
    record_format: str = "bytes",
    reference_maps: bool = False,
    overwrite: bool = False,
    skip_errors: bool = False,
) -> list[manifest.Manifest]:
    """Writes the records of splits, all of them planned before the first is begun.

    Args:
        source: where the patches are read from.
        lists: split to its patches.
        out_dir: as for `convert.convert`, as are `execute` and `overwrite`.
        execute: likewise.
        seed: as for `plan.plan_split`, as are the others.
        shard_size_mb: likewise.
        record_format: likewise.
        reference_maps: likewise.
        overwrite: see above.
        skip_errors: of both.

    Returns:
        The manifests of the splits.

    Raises:
        ValueError: as for `plan.plan_split` and `convert.convert`.
        OSError: as for `convert.convert`.
    """
    plans = [
        plan.plan_split(
            source,
            entries,
            split,
            seed=seed,
            shard_size_mb=shard_size_mb,
            record_format=record_format,
            reference_maps=reference_maps,
            skip_errors=skip_errors,
        )
        for split, entries in lists.items()
    ]
    return convert.convert(
        source, plans, out_dir, execute, overwrite=overwrite, skip_errors=skip_errors
    )


def check_sets(folder: Path, inputs: Iterable[storage.StrPath]) -> None:
    """Checks that `prepare_sets` may write into a folder.

    Args:
        folder: of the records.
        inputs: what they are made from.

    Raises:
        ValueError: the folder is one of the inputs.
        OSError: it can't be written to, or has another file of that name.
    """
    outputs.check_folder(folder, inputs)
    outputs.check_file(folder / SETS, outputs.has_keys(*record_sets.KEYS), inputs)


def prepare_sets(
    source: Archive,
    lists: Mapping[str, Sequence[PatchEntry]],
    folder: Path,
    label_type: str,
    *,
    workers: int,
    overwrite: bool,
) -> Path | None:
    """Writes the records of splits, and `sets.json` for the config key `records`.

    Args:
        source: where the patches are read from.
        lists: split to its patches.
        folder: for the records.
        label_type: to train on; the 19 labels where records do not hold the 43.
        workers: processes at most.
        overwrite: replace other records there.

    Returns:
        The `sets.json`; None where the splits are not `train`, `val` and `test`.

    Raises:
        ValueError: as for `prepare`.
        OSError: as for `prepare`.
    """
    execute = convert.Local(workers)
    manifests = prepare(source, lists, folder, execute, overwrite=overwrite)
    if set(lists) != set(record_sets.KEYS):
        return None
    if label_type not in manifests[0].label_order:
        label_type = labels.BIGEARTHNET_19
    # Beside the file, wherever the folder goes.
    content = {split: f"{split}-*.tfrecord" for split in record_sets.KEYS}
    files.write_json(folder / SETS, {**content, "label_type": label_type})
    return folder / SETS
