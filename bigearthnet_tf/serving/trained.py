"""A trained classification as a function from digital numbers to scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.evaluation import thresholds
from bigearthnet_tf.retrieval import embeddings
from bigearthnet_tf.serving.windows import WindowModel
from bigearthnet_tf.training import initial_weights, memory

BATCH_SIZE = 64
# The command for runs of other tasks.
_INSTEAD = {
    "segmentation": "bigearthnet-tf map",
    "contrastive": "bigearthnet-tf embed",
}


@dataclass(frozen=True)
class Trained:
    """A classification with its weights.

    Attributes:
        path: folder of the checkpoint.
        bands: that it takes.
        labels: that it scores, in the order of the scores.
        colours: `#rrggbb` of each label.
        score: from band groups as stored, (batch, bands, rows, columns) by name, to
            scores (batch, labels) float32 of 0 to 1.
        key: SHA-256 over what the model means and all its weights.
        title: of the model, for people.
        fingerprint: of the weights, as `thresholds.json` has it.
        example_bytes: that a patch takes in memory, at least.
    """

    path: Path
    bands: tuple[str, ...]
    labels: tuple[str, ...]
    colours: tuple[str, ...]
    score: Callable[[Mapping[str, NDArray[Any]]], NDArray[np.float32]]
    key: str
    title: str
    fingerprint: str
    example_bytes: int = 0

    def windows(self) -> WindowModel:
        """Returns it as what is asked of each window of a scene."""
        return WindowModel(
            self.bands,
            self.labels,
            self.colours,
            self.score,
            self.key,
            self.title,
            fingerprint=self.fingerprint,
            example_bytes=self.example_bytes,
        )


def load(path: Path | str, which: str = "best") -> Trained:
    """Returns the classification of a run.

    Args:
        path: folder of a run, or of one of its checkpoints.
        which: `best` or `last`, for a run.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: it is damaged, or of something that has no labels.
    """
    model, found, meaning = initial_weights.restore_run(str(path), which)
    config = meaning.config
    if config.task != "classification":
        raise ValueError(
            f"{path}: expected a run of task 'classification', got {config.task!r}, "
            f"which does not score labels of patches; {_INSTEAD[config.task]} is for it"
        )
    names = tuple(meaning.labels)
    description = meaning.model_dump(mode="json", exclude={"progress"})
    return Trained(
        path=found,
        bands=tuple(meaning.bands),
        labels=names,
        colours=colours_of(names, config.label_type),
        score=padded(lambda groups: _sigmoid(model(groups, training=False))),
        key=embeddings.hash_model(model, description),
        title=meaning.title,
        fingerprint=thresholds.fingerprint(model),
        example_bytes=memory.bytes_of_example(model, training=False),
    )


def colours_of(names: tuple[str, ...], label_type: str) -> tuple[str, ...]:
    """Returns `#rrggbb` of labels, as the legend of CORINE Land Cover has them."""
    table = label_facts.TABLES[label_facts.canonical_label_type(label_type)]
    known = {label.name: label.colour for label in table}
    return tuple(known[name] for name in names)


def padded(
    function: Callable[[dict[str, tf.Tensor]], tf.Tensor],
) -> Callable[[Mapping[str, NDArray[Any]]], NDArray[np.float32]]:
    """Returns a compiled function that takes batches of any size.

    They are filled up to powers of two with their first example, so that few sizes are
    traced and compiled.

    Args:
        function: of tensors by name, (batch, ...) each, to (batch, ...).
    """
    compiled = tf.function(function, reduce_retracing=True)

    def call(groups: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        count = len(next(iter(groups.values())))
        filling = (1 << (count - 1).bit_length()) - count
        full = {
            name: tf.constant(np.concatenate([group, group[:1].repeat(filling, 0)]))
            for name, group in groups.items()
        }
        return np.asarray(compiled(full).numpy()[:count])

    return call


def _sigmoid(logits: tf.Tensor) -> tf.Tensor:
    return keras.ops.sigmoid(keras.ops.cast(logits, "float32"))
