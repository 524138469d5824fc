"""Random changes of the training images, as layers on the device.

Each layer takes (batch, height, width, bands), changes every sample on its own, and
hands images on untouched in inference. The labels of a patch survive all of them.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from bigearthnet_tf import registry
from bigearthnet_tf.models import layers

AUGMENTATIONS: registry.Registry[type[Augmentation]] = registry.Registry("augmentation")


class Augmentation(keras.layers.Layer):
    """What the layers of this module have in common.

    A list of tensors, one a resolution, is changed alike, sample by sample.

    Args:
        seed: of the layer's own stream of random numbers.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = layers.ReplicaSeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Returns the images, in training changed at random."""
        if not training:
            return inputs
        batch = ops.shape(keras.tree.flatten(inputs)[0])[0]
        moves = self.draw(batch)
        return keras.tree.map_structure(lambda x: self.move(x, moves), inputs)

    def draw(self, batch: Any) -> Any:
        """Returns random numbers (batch, ...) that say what happens to each sample."""
        raise NotImplementedError

    def move(self, images: Any, moves: Any) -> Any:
        """Returns images (batch, height, width, bands) changed as `moves` says."""
        raise NotImplementedError

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns the shape of the output."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns what the layer is built from."""
        return {**super().get_config(), "seed": self.seed}


@AUGMENTATIONS.register("flips")
@keras.saving.register_keras_serializable(package="bigearthnet_tf")
class RandomFlips(Augmentation):
    """Flips east to west and north to south, each with probability one half."""

    def draw(self, batch: Any) -> Any:
        """Returns (2, batch, 1, 1, 1) bool: east to west, and north to south."""
        draws = keras.random.randint(
            (2, batch, 1, 1, 1), 0, 2, seed=self.seed_generator
        )
        return draws == 1

    def move(self, images: Any, moves: Any) -> Any:
        """Returns the images, each left alone or flipped along one or both axes."""
        images = ops.where(moves[0], ops.flip(images, axis=2), images)
        return ops.where(moves[1], ops.flip(images, axis=1), images)


@AUGMENTATIONS.register("quarter_turns")
@keras.saving.register_keras_serializable(package="bigearthnet_tf")
class RandomQuarterTurns(Augmentation):
    """Turns by 0, 90, 180 or 270 degrees, each with probability one quarter.

    Raises:
        ValueError: when called with images that are not square.
    """

    def build(self, input_shape: Any) -> None:
        """Checks that the images are square."""
        keras.tree.map_shape_structure(self._check_square, input_shape)

    def _check_square(self, shape: tuple[int | None, ...]) -> None:
        if shape[1] != shape[2]:
            raise ValueError(
                f"{self.name}: expected square images to turn, got "
                f"{shape[1]} by {shape[2]} pixels"
            )

    def draw(self, batch: Any) -> Any:
        """Returns the number of quarters counter-clockwise, (batch, 1, 1, 1)."""
        return keras.random.randint((batch, 1, 1, 1), 0, 4, seed=self.seed_generator)

    def move(self, images: Any, moves: Any) -> Any:
        """Returns the turned images, made by a transposition and two flips."""
        transposed = ops.transpose(images, (0, 2, 1, 3))
        images = ops.where(moves % 2 == 1, transposed, images)
        north_south = (moves == 1) | (moves == 2)
        images = ops.where(north_south, ops.flip(images, axis=1), images)
        return ops.where(moves >= 2, ops.flip(images, axis=2), images)
