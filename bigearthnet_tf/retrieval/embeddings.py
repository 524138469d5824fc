"""Features of all patches of a split, computed and written.

A folder is written beside and gets its name when it is whole, so that half of one is
never taken for all. What is in it, `stored` says.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import filelock
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

import bigearthnet_tf
from bigearthnet_tf import files
from bigearthnet_tf.records import manifest, reader
from bigearthnet_tf.retrieval.stored import VERSION, Facts, load
from bigearthnet_tf.tasks.patches import PatchTask
from bigearthnet_tf.training import scoring
from bigearthnet_tf.training.session import Session


def hash_model(model: keras.Model, description: Mapping[str, Any]) -> str:
    """Returns a SHA-256 over what a model means and all its weights.

    Args:
        model: with its weights.
        description: of its task, what fixes the meaning of the weights.
    """
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for weight in model.weights:
        value = np.asarray(weight)
        digest.update(f"{value.dtype} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def embed(
    session: Session,
    model: keras.Model,
    iteration: int,
    split: str,
    run: Path,
    folder: Path | None = None,
) -> tuple[Path, bool]:
    """Writes the features of a split, unless they are there already.

    In inference mode and in full batches, so that a patch has the same features
    whatever is in its batch. Memory: that of a batch; the features grow on disk.

    Args:
        session: config, devices and task.
        model: with its weights.
        iteration: at which they were saved.
        split: `train`, `val` or `test`.
        run: folder of the run.
        folder: to write; None: one in `embeddings/` of the run, named after split,
            model and records.

    Returns:
        The folder, and whether it was written now.

    Raises:
        OSError: the folder can't be written to, or another process is writing it.
        ValueError: an empty split, or the folder holds something else.
    """
    task = session.task
    if not isinstance(task, PatchTask):
        raise ValueError(f"task {session.config.task} has no patches to embed")
    source = task.source(split)
    embedder = task.embedder(model)
    layers = {name: int(x.shape[-1]) for name, x in embedder.output.items()}
    model_hash = hash_model(model, task.describe())
    key = _key(model_hash, source, sorted(layers))
    folder = folder or run / "embeddings" / f"{split}-{key[:12]}"
    if folder.exists():
        if load(folder).facts.key != key:
            raise ValueError(
                f"{folder}: holds features of another model or other records; name "
                "another folder, or remove it"
            )
        return folder, False
    facts = Facts(
        version=VERSION,
        tool_version=bigearthnet_tf.__version__,
        key=key,
        model_hash=model_hash,
        run=str(run),
        iteration=iteration,
        config=session.config.model_dump(),
        split=split,
        files=list(source.files),
        num_records=source.num_records,
        labels=list(task.labels),
        layers=layers,
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.tmp")
    lock = filelock.FileLock(f"{temporary}.lock", timeout=0)
    try:
        with lock:
            # What an earlier process left is of unknown age.
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            _write(temporary, facts, session, embedder, source)
            temporary.rename(folder)
            Path(lock.lock_file).unlink(missing_ok=True)
    except filelock.Timeout:
        raise OSError(f"{folder}: another process is writing it; wait for it") from None
    return folder, True


def compute(
    session: Session, embedder: keras.Model, split: str
) -> dict[str, NDArray[np.float32]]:
    """Returns the features of a split in memory, by layer.

    Args:
        session: config, devices and task.
        embedder: of the task, from band groups to features by name.
        split: `train`, `val` or `test`.
    """
    parts = list(_batches(session, embedder, split))
    return {
        name: np.concatenate([part[name] for part in parts]) for name in embedder.output
    }


def _key(model_hash: str, source: reader.RecordSource, layers: list[str]) -> str:
    """Returns a hash of all that the features follow from."""
    content: list[Any] = [VERSION, model_hash, layers]
    for path, count in zip(source.files, source.counts, strict=True):
        described = manifest.find_manifest(path)
        known = manifest.load(described).shards if described else []
        sums = [shard.crc32 for shard in known if shard.file == Path(path).name]
        # Records of the older projects have no checksums.
        facts = Path(path).stat()
        stamp: list[Any] = [*sums] or [facts.st_mtime_ns, facts.st_size]
        content.append([Path(path).name, count, stamp])
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _batches(session: Session, embedder: keras.Model, split: str) -> Any:
    def outputs(model: keras.Model, batch: Any) -> dict[str, tf.Tensor]:
        images, labels, weights = batch
        found = model(images, training=False)
        return {**found, "labels": labels, "weight": weights}

    scorer = scoring.Scorer(
        session.task, embedder, session.strategy, session.processes, outputs
    )
    yield from scorer.stream(split, session.config.batch_size)


def _write(
    folder: Path,
    facts: Facts,
    session: Session,
    embedder: keras.Model,
    source: reader.RecordSource,
) -> None:
    count = facts.num_records
    shapes = {name: (count, dims) for name, dims in facts.layers.items()}
    arrays = {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy", mode="w+", dtype=np.float32, shape=shape
        )
        for name, shape in shapes.items()
    }
    arrays["labels"] = np.lib.format.open_memmap(
        folder / "labels.npy",
        mode="w+",
        dtype=np.uint8,
        shape=(count, len(facts.labels)),
    )
    first = 0
    for batch in _batches(session, embedder, facts.split):
        last = first + len(batch["labels"])
        for name, array in arrays.items():
            if not np.isfinite(batch[name]).all():
                raise ValueError(
                    f"{facts.run}: features {name} of records {first} to {last} are "
                    "not finite; look for broken patches, or take another checkpoint"
                )
            array[first:last] = batch[name]
        first = last
    for array in arrays.values():
        array.flush()
    names = {"s2": reader.read_names(source), "s1": reader.read_partner_names(source)}
    files.write_json(folder / "names.json", names)
    files.write_json(folder / "embeddings.json", facts.model_dump())
