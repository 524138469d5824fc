"""Scores of patches as a table that is written as it grows, Parquet or CSV.

A row a patch, in the order of the source: `name`, `name_s1` (of models that take
Sentinel-1), `labels` (those whose score reaches their threshold, in the order of the
nomenclature; in CSV with ` | ` between them), and the score of each label, float32,
under its name. A patch with a pixel that is NaN or infinite has scores of NaN, and no
value under `labels` (null in Parquet, empty in CSV). Parquet says in the metadata of
its schema, under `bigearthnet_tf`, what the scores are of.
"""

from __future__ import annotations

import csv
import glob
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

import bigearthnet_tf
from bigearthnet_tf import console, files, outputs
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.archive.bands import BANDS
from bigearthnet_tf.serving import points, rasters
from bigearthnet_tf.serving.patch_sources import PatchBatch, PatchSource
from bigearthnet_tf.serving.trained import Trained
from bigearthnet_tf.training import memory

SEPARATOR = " | "
KEY = b"bigearthnet_tf"
# Rows of a group of Parquet: 43 scores and names of these are about 2 MB.
ROWS = 8192
# Patches without scores that a warning names.
_NAMED = 5

logger = logging.getLogger(__name__)

Columns = dict[str, list[Any] | NDArray[Any]]


def write(
    model: Trained,
    source: PatchSource,
    out: Path,
    thresholds: NDArray[np.float64],
    batch_size: int,
) -> int:
    """Scores patches and writes the table, atomically.

    What an earlier process left when it was killed is removed, and all begins anew.
    Memory: two batches, and a group of rows.

    Args:
        model: that scores them.
        source: of the patches.
        out: ends in `.parquet` or `.csv`.
        thresholds: (labels,); a score as high reaches it.
        batch_size: patches at once.

    Returns:
        Number of patches.

    Raises:
        FileNotFoundError: a patch or a band is missing.
        ValueError: another ending, batches beyond memory, a damaged patch, or a model
            that gives no scores of a patch with finite pixels.
        OSError: the table can't be written, or another process writes it.
    """
    points.check_name(out)
    at_once = min(batch_size, source.num_patches)
    memory.check_batch(at_once, model.example_bytes, "--batch-size")
    open_table = _parquet if out.suffix == ".parquet" else _csv
    with (
        _alone(out),
        console.progress(
            total=source.num_patches, desc="predicting", unit="patch", compiles=True
        ) as bar,
        files.write_atomically(out) as temporary,
        open_table(temporary, model, thresholds) as add,
    ):
        broken: list[str] = []
        for batch in source.batches(batch_size):
            scores = model.score(batch.groups)
            broken += _broken(batch, scores)
            add(_columns(model, batch, scores, thresholds))
            bar.update(len(batch.names))
    if broken:
        more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        logger.warning(
            "%s: %d of %d patches have pixels that are NaN or infinite, their scores "
            "are NaN: %s%s",
            out,
            len(broken),
            source.num_patches,
            ", ".join(broken[:_NAMED]),
            more,
        )
    return source.num_patches


def is_earlier(path: Path) -> bool:
    """Recognises a table of scores by its columns."""
    columns = list(outputs.columns_of(path))
    first = columns.index("labels") + 1 if "labels" in columns else len(columns)
    known = {name for names in label_facts.LABELS.values() for name in names}
    return columns[:1] == ["name"] and not set(columns[first:] or [""]) - known


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keeps other processes from a table, and removes what a killed one has left."""
    lock = out.with_name(f".{out.name}.lock")
    with files.made_folder(out.parent):
        held = rasters.acquire(lock, out)
        try:
            for left in out.parent.glob(f".{glob.escape(out.name)}.*.tmp"):
                left.unlink()
            yield
        finally:
            lock.unlink(missing_ok=True)
            held.release()


def _broken(batch: PatchBatch, scores: NDArray[np.float32]) -> list[str]:
    """Returns the names of the patches whose pixels are not all finite.

    Raises:
        ValueError: a patch has no scores though its pixels are.
    """
    finite = [np.isfinite(group).all(axis=(1, 2, 3)) for group in batch.groups.values()]
    sound = np.all(finite, axis=0)
    wrong = sound & ~np.isfinite(scores).all(axis=1)
    if wrong.any():
        raise ValueError(
            f"{batch.names[int(wrong.argmax())]}: the scores of this patch are NaN, "
            "though its pixels are finite; take another checkpoint"
        )
    return [name for name, has in zip(batch.names, sound, strict=True) if not has]


def _columns(
    model: Trained,
    batch: PatchBatch,
    scores: NDArray[np.float32],
    thresholds: NDArray[np.float64],
) -> Columns:
    columns: Columns = {"name": batch.names}
    if _takes_s1(model):
        columns["name_s1"] = batch.names_s1
    given = scores >= thresholds
    known = np.asarray(~np.isnan(scores).any(axis=1))
    columns["labels"] = [
        [name for name, has in zip(model.labels, row, strict=True) if has]
        if is_known
        else None
        for row, is_known in zip(given, known, strict=True)
    ]
    return columns | dict(zip(model.labels, scores.T, strict=True))


def _takes_s1(model: Trained) -> bool:
    return any(BANDS[name].sensor == "S1" for name in model.bands)


def _fields(model: Trained) -> list[pa.Field]:
    texts = ["name", *(["name_s1"] if _takes_s1(model) else [])]
    return [
        *(pa.field(name, pa.string()) for name in texts),
        pa.field("labels", pa.list_(pa.string())),
        *(pa.field(name, pa.float32()) for name in model.labels),
    ]


@contextmanager
def _parquet(
    path: Path, model: Trained, thresholds: NDArray[np.float64]
) -> Iterator[Callable[[Columns], None]]:
    """Yields what adds rows; a group is written when it is full."""
    facts = {
        "model": model.title,
        "checkpoint": model.path.name,
        "bands": model.bands,
        "labels": model.labels,
        "thresholds": thresholds.tolist(),
        "rule": "score >= threshold",
        "tool_version": bigearthnet_tf.__version__,
    }
    schema = pa.schema(_fields(model), {KEY: json.dumps(facts).encode()})
    waiting: list[pa.Table] = []
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:

        def flush() -> None:
            if waiting:
                writer.write_table(pa.concat_tables(waiting), row_group_size=ROWS)
                waiting.clear()

        def add(columns: Columns) -> None:
            waiting.append(pa.table(columns, schema))
            if sum(table.num_rows for table in waiting) >= ROWS:
                flush()

        yield add
        flush()


@contextmanager
def _csv(
    path: Path, model: Trained, thresholds: NDArray[np.float64]
) -> Iterator[Callable[[Columns], None]]:
    """Yields what adds rows; nine digits tell all float32 apart."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in _fields(model)])

        def add(columns: Columns) -> None:
            texts = {
                **columns,
                "labels": [SEPARATOR.join(own or ()) for own in columns["labels"]],
            }
            for name in model.labels:
                texts[name] = [f"{score:.9g}" for score in columns[name]]
            writer.writerows(zip(*texts.values(), strict=True))

        yield add
