"""Features of all patches of a split, computed and written.

A folder is written beside and gets its name when it is whole, so that half of one is
never taken for all. What is in it, `stored` says.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

import bigearthnet_tf
from bigearthnet_tf import disk, files, outputs
from bigearthnet_tf.archive import statistics as band_statistics
from bigearthnet_tf.config import Config
from bigearthnet_tf.records import manifest, reader
from bigearthnet_tf.retrieval import folders
from bigearthnet_tf.retrieval.stored import VERSION, Facts, load
from bigearthnet_tf.tasks.patches import PatchTask
from bigearthnet_tf.training import scoring
from bigearthnet_tf.training.session import Session
from bigearthnet_tf.vectors import SMALLEST_NORM, fuse


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
    layers: Sequence[str] | None = None,
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
        layers: `h`, `p` and `fused`, the projections of both sensors as the config's
            `fusion` has them; None: all of `h` and `p` that the model has.

    Returns:
        The folder, and whether it was written now.

    Raises:
        OSError: the folder can't be written to, or another process is writing it.
        ValueError: an empty split, a layer that the model does not have, or the folder
            holds something else.
    """
    task = session.task
    if not isinstance(task, PatchTask):
        raise ValueError(f"task {session.config.task} has no patches to embed")
    source = task.source(split)
    embedder = _choose(task.embedder(model), layers, session.config)
    dimensions = {name: int(x.shape[-1]) for name, x in embedder.output.items()}
    facts = Facts(
        version=VERSION,
        tool_version=bigearthnet_tf.__version__,
        key="",
        model_hash=hash_model(model, task.describe()),
        precision=session.config.precision,
        preprocessing=_preprocessing(task),
        run=str(run),
        iteration=iteration,
        config=session.config.model_dump(),
        split=split,
        files=list(source.files),
        num_records=source.num_records,
        labels=list(task.labels),
        layers=dimensions,
    )
    key = _key(facts, source)
    facts = facts.model_copy(update={"key": key})
    folder = folder or run / "embeddings" / f"{split}-{key[:12]}"
    outputs.check_folder(folder, [run, *source.files])
    if folder.exists() and any(folder.iterdir()):
        if load(folder).facts.key != key:
            raise ValueError(
                f"{folder}: holds other features: of another model, other records or "
                "other layers; name another folder, or remove it"
            )
        return folder, False
    temporary = folder.with_name(f".{folder.name}.tmp")
    with folders.alone(folder):
        # What an earlier process left is of unknown age.
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir()
            with disk.room_for(folder):
                _write(temporary, facts, session, embedder, source)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder, True


def _choose(
    embedder: keras.Model, layers: Sequence[str] | None, config: Config
) -> keras.Model:
    """Returns a model with some of the features, and with both sensors' as one."""
    if layers is None:
        return embedder
    found = {
        name: value for name, value in embedder.output.items() if name[0] in layers
    }
    if "fused" in layers:
        parts = [embedder.output.get(f"p_{sensor}") for sensor in ("s1", "s2")]
        if None in parts:
            raise ValueError(
                "layers: fused needs a model with two encoders; this one has "
                f"{', '.join(embedder.output)}"
            )
        if config.retrieval_metric == "cosine":
            parts = [_unit(x) for x in parts]
        found["p_fused"] = fuse(parts[0], parts[1], config.fusion, keras.ops)
    for layer in set(layers) - {"fused"}:
        if not any(name.startswith(layer) for name in found):
            raise ValueError(
                f"layers: the model has no {layer}; it has {', '.join(embedder.output)}"
            )
    return keras.Model(embedder.input, found)


def _unit(x: Any) -> Any:
    norms = keras.ops.norm(x, axis=-1, keepdims=True)
    return x / keras.ops.maximum(norms, SMALLEST_NORM)


def _preprocessing(task: PatchTask) -> dict[str, Any]:
    facts = band_statistics.band_statistics(task.statistics)
    return {
        "image_size": task.config.image_size,
        "interpolation": task.config.interpolation,
        "statistics": task.statistics,
        "mean": {band: float(facts.mean[band]) for band in task.bands},
        "std": {band: float(facts.std[band]) for band in task.bands},
    }


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


def _key(facts: Facts, source: reader.RecordSource) -> str:
    """Returns a hash of all that the features follow from."""
    content: list[Any] = [
        facts.version,
        facts.tool_version,
        facts.model_hash,
        facts.precision,
        facts.preprocessing,
        sorted(facts.layers),
    ]
    if "p_fused" in facts.layers:
        content += [facts.config["fusion"], facts.config["retrieval_metric"]]
    for path, count in zip(source.files, source.counts, strict=True):
        described = manifest.find_manifest(path)
        known = manifest.load(described).shards if described else []
        sums = [shard.crc32 for shard in known if shard.file == Path(path).name]
        # Records of the older projects have no checksums.
        file = Path(path).stat()
        stamp: list[Any] = [*sums] or [file.st_mtime_ns, file.st_size]
        content.append([Path(path).name, count, stamp])
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _batches(session: Session, embedder: keras.Model, split: str) -> Any:
    def outputs(model: keras.Model, batch: Any) -> dict[str, tf.Tensor]:
        images, labels, weights = batch
        found = model(images, training=False)
        return {**found, "labels": labels_of_patches(labels), "weight": weights}

    labels_of_patches = cast(PatchTask, session.task).labels_of_patches
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
        name: folders.make_array(folder / f"{name}.npy", shape, np.float32)
        for name, shape in shapes.items()
    }
    arrays["labels"] = folders.make_array(
        folder / "labels.npy", (count, len(facts.labels)), np.uint8
    )
    first = 0
    names_s2 = functools.partial(reader.read_names, source)
    for batch in _batches(session, embedder, facts.split):
        scoring.check_finite(batch, names_s2, facts.split, first)
        last = first + len(batch["labels"])
        for name, array in arrays.items():
            array[first:last] = batch[name]
        first = last
    for array in arrays.values():
        array.flush()
    names = {"s2": names_s2(), "s1": reader.read_partner_names(source)}
    files.write_json(folder / "names.json", names)
    files.write_json(folder / "embeddings.json", facts.model_dump())
