"""The last layer of a model that leaves the house: scores, and what they are of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from bigearthnet_tf.models import finite, preprocessing

OUTPUT = "scores"


@keras.saving.register_keras_serializable(package=preprocessing.PACKAGE)
class LabelScores(keras.layers.Layer):
    """Turns logits into scores, and keeps what a model's inputs and outputs mean.

    Input (batch, labels), output the same shape in float32, from 0 to 1.

    Args:
        description: of the model, as JSON has it; it is saved with the layer, so that
            `model.get_layer("scores").description` has it in any process.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: the description has something that JSON has not.
    """

    def __init__(self, description: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", "name": OUTPUT, **kwargs})
        # As text, which neither Keras's tracking nor its serialisation looks into.
        try:
            self._description = json.dumps(description, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"expected a description that JSON can hold, got {error}"
            ) from error

    @property
    def description(self) -> dict[str, Any]:
        """What goes in and comes out: bands, labels, statistics, thresholds."""
        found: dict[str, Any] = json.loads(self._description)
        return found

    def call(self, inputs: Any) -> Any:
        """Returns the scores."""
        return ops.sigmoid(inputs)

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns the shape of the output."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns what the layer is built from."""
        return {**super().get_config(), "description": self.description}


def with_scores(model: keras.Model, description: Mapping[str, Any]) -> keras.Model:
    """Returns a model from band groups to `{"scores": (batch, labels)}`.

    Scores of a patch with a pixel that is NaN or infinite are NaN.

    Args:
        model: of `build.assemble`, whose weights it shares.
        description: as for `LabelScores`.
    """
    scores = LabelScores(description)(model.output)
    # Once more behind the sigmoid, which some runtimes clamp to between 0 and 1.
    for number, marks in enumerate(finite.marks_of(model)):
        scores = finite.marked(scores, marks, name=f"{OUTPUT}_marked{number}")
    return keras.Model(model.input, {OUTPUT: scores}, name=model.name)
