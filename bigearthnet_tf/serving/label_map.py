"""Maps of scenes by a segmentation: what each pixel of 10 m is."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

from bigearthnet_tf.retrieval import embeddings
from bigearthnet_tf.serving import maps, scene_map, trained
from bigearthnet_tf.serving.windows import WindowModel
from bigearthnet_tf.training import initial_weights, memory


def make_map(request: maps.Request) -> list[str]:
    """Writes the map of a segmentation; see `scene_map.make_map`.

    The scores of overlapping windows are blended before the best label is taken.

    Args:
        request: what to map, with which run.

    Returns:
        Lines for the user.

    Raises:
        FileNotFoundError: no such scene.
        ValueError: an option that can't be, or a scene that can't be mapped.
        OSError: the map can't be written.
    """
    if request.options.get("output") == "labels":
        raise ValueError(
            "--output labels is for labels of patches, which may have several; a pixel "
            "has one: take best or scores"
        )
    return scene_map.write(load(request.checkpoint), request)


def load(path: Path | str) -> WindowModel:
    """Returns the segmentation of a checkpoint, as what is asked of each window.

    Its scores are the softmax over the labels, (batch, 120, 120, labels) float32.

    Args:
        path: folder of the checkpoint.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.
    """
    model, _, meaning = initial_weights.restore_run(str(path), "best")
    names = tuple(meaning.labels)
    description = meaning.model_dump(mode="json", exclude={"progress"})

    def score(groups: dict[str, tf.Tensor]) -> tf.Tensor:
        return keras.ops.softmax(model(groups, training=False), axis=-1)

    return WindowModel(
        bands=tuple(meaning.bands),
        labels=names,
        colours=trained.colours_of(names, meaning.config.label_type),
        score=trained.padded(score),
        key=embeddings.hash_model(model, description),
        title=meaning.title,
        per_pixel=True,
        example_bytes=memory.bytes_of_example(model, training=False),
    )
