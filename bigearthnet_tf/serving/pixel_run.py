"""Runs on pixel time series, opened from their folder, as what maps and points need."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bigearthnet_tf.archive.land_cover import LandCover, land_cover_classes
from bigearthnet_tf.models import pixel_layers
from bigearthnet_tf.retrieval import embeddings
from bigearthnet_tf.serving.pixel_model import Inputs, PixelModel
from bigearthnet_tf.tasks import pixels
from bigearthnet_tf.training import pixel_runs

TASKS = ("barlow_twins", "land_cover")


def load(path: Path | str, which: str = "best") -> PixelModel:
    """Opens the encoder of a run, strictly by the names of its weights.

    No records are needed: what the run knows of bands, statistics and the rule of
    valid pixels is in its checkpoint.

    Args:
        path: folder of a run, or of one of its checkpoints.
        which: `best` or `last`, for a run.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: it is damaged, or of another kind of run.
    """
    run = pixel_runs.restore_pixel_run(str(path), which)
    facts = run.description
    name = facts["model_name"]
    dimensions = int(run.model.output["h_s2"].shape[-1])
    drawn = int(facts["encoder"]["sample_size"])
    return PixelModel(
        forward=_forward(run.model),
        bands=tuple(facts["bands"]),
        dimensions=dimensions,
        sample_size=drawn,
        # The rule of the training records, or what drawing dates takes.
        min_valid=int(facts.get("min_valid", drawn - 1)),
        takes_all_dates=_knows_days(run.model),
        classes=_classes(facts),
        key=embeddings.hash_model(run.model, facts),
        title=f"{name} of {_folder(run.path)}"
        f"{', trained on generated data' if run.config.generated else ''}",
        generated=run.config.generated,
        standardised_by=pixels.standardised_by(run.config, facts),
    )


def _folder(checkpoint: Path) -> Path:
    """Returns the folder of the run of a checkpoint, or of a checkpoint on its own."""
    inside = checkpoint.parent.name == "checkpoints"
    return checkpoint.parents[1] if inside else checkpoint


def _forward(model: keras.Model) -> Any:
    """Returns the encoder as a compiled function of arrays."""

    @tf.function(reduce_retracing=True)
    def outputs(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        found = model(inputs, training=False)
        result = {"embeddings": tf.cast(found["h_s2"], tf.float32)}
        if "logits" in found:
            logits = tf.cast(found["logits"], tf.float32)
            result["probabilities"] = tf.nn.softmax(logits)
        return result

    def forward(
        inputs: Inputs,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        found = outputs({name: tf.constant(value) for name, value in inputs.items()})
        probabilities = found.get("probabilities")
        return (
            found["embeddings"].numpy(),
            None if probabilities is None else probabilities.numpy(),
        )

    return forward


def _knows_days(model: keras.Model) -> bool:
    """Tells whether all dates of a pixel may be given at once.

    Not where an encoder takes so many and no others, nor where a date is known by its
    place among those of training: others have no code that was ever learnt.
    """
    return any(
        isinstance(layer, pixel_layers.DateCode) and layer.kind != "index"
        for layer in model.layers
    )


def _classes(facts: Mapping[str, Any]) -> tuple[LandCover, ...]:
    names = list(facts.get("classes", ()))
    for merged in (False, True):
        known = land_cover_classes(merged)
        if names == [each.name for each in known]:
            return known
    if names:
        raise ValueError(
            f"the run has classes {', '.join(names)}, which are not those of WorldCover"
        )
    return ()
