"""Random changes of the training images, as layers on the device.

Each layer takes (batch, height, width, bands), standardised, or a list of such tensors,
one a resolution; it changes every sample on its own, and hands images on untouched in
inference. The labels of a patch survive all of them. `mixing` has those that don't
leave them alone.

What is drawn once a sample is drawn for the whole batch, of which each replica of a
strategy takes its part: a patch is changed the same on one device and on several. The
noise of pixels is drawn by each replica for itself.
"""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from bigearthnet_tf import registry
from bigearthnet_tf.models import draws, layers

AUGMENTATIONS: registry.Registry[type[Augmentation]] = registry.Registry("augmentation")


class Augmentation(keras.layers.Layer, abc.ABC):
    """What the layers of this module have in common.

    Args:
        seed: of the layer's own stream of random numbers.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = self._generator(seed)

    def _generator(self, seed: int | None) -> keras.random.SeedGenerator:
        return keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Returns the images, in training changed at random."""
        if not training:
            return inputs
        changed = self.change(keras.tree.flatten(inputs))
        return keras.tree.pack_sequence_as(inputs, changed)

    @abc.abstractmethod
    def change(self, images: Sequence[Any]) -> list[Any]:
        """Returns tensors (batch, height, width, bands), all of the same samples."""

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns the shape of the output."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns what the layer is built from."""
        return {**super().get_config(), "seed": self.seed}


def register_augmentation(
    name: str,
) -> Callable[[type[Augmentation]], type[Augmentation]]:
    """Returns a decorator that registers a layer under a name for `augmentation`.

    It decorates a subclass of `Augmentation`, or of `Movement` where pixels move, so
    that the labels of pixels move along; its constructor needs no arguments.

    Raises:
        ValueError: it is neither, or the name is taken.
    """

    def decorate(layer: type[Augmentation]) -> type[Augmentation]:
        if not (isinstance(layer, type) and issubclass(layer, Augmentation)):
            raise ValueError(
                f"augmentation {name!r}: expected a subclass of "
                "bigearthnet_tf.models.augmentation.Augmentation or Movement, got "
                f"{getattr(layer, '__name__', layer)!r}"
            )
        AUGMENTATIONS.add(name, layer)
        return layer

    return decorate


class Movement(Augmentation):
    """An augmentation that moves pixels: those of all tensors alike."""

    def change(self, images: Sequence[Any]) -> list[Any]:
        """Returns the tensors, each sample moved the same way in all of them."""
        drawn = self.draw(layers.whole_batch(ops.shape(images[0])[0]))
        moves = keras.tree.map_structure(layers.own_part, drawn)
        return [self.move(tensor, moves) for tensor in images]

    @abc.abstractmethod
    def draw(self, batch: Any) -> Any:
        """Returns tensors (batch, ...) of random numbers: what happens to each."""

    @abc.abstractmethod
    def move(self, images: Any, moves: Any) -> Any:
        """Returns images (batch, height, width, bands) moved as `moves` says.

        Whole numbers are classes: they are copied, never interpolated.
        """


def move_alike(model: keras.Model, maps: Any) -> Any:
    """Moves maps as a model will move the next training images.

    What its layers are going to draw is drawn here, and their random states are put
    back, so that the call of the model that follows draws it again. The maps may have
    another number of pixels than the images.

    Args:
        model: of `build.assemble` or `segmenter.assemble`.
        maps: (batch, height, width) of classes, of an integer type.

    Returns:
        The maps, moved by all `Movement`s one after another.
    """
    maps = maps[..., None]
    for layer in model.layers:
        if isinstance(layer, Movement):
            state = layer.seed_generator.state
            # A copy: what is read of a variable may be the variable itself.
            before = ops.copy(state.value)
            (maps,) = layer.change([maps])
            state.assign(before)
    return maps[..., 0]


@AUGMENTATIONS.register("flips")
@keras.saving.register_keras_serializable(package=layers.PACKAGE)
class RandomFlips(Movement):
    """Flips east to west and north to south, each with probability one half."""

    def draw(self, batch: Any) -> Any:
        """Returns two (batch, 1, 1, 1) bool: east to west, and north to south."""
        drawn = keras.random.randint(
            (2, batch, 1, 1, 1), 0, 2, seed=self.seed_generator
        )
        return drawn[0] == 1, drawn[1] == 1

    def move(self, images: Any, moves: Any) -> Any:
        """Returns the images, each left alone or flipped along one or both axes."""
        images = ops.where(moves[0], ops.flip(images, axis=2), images)
        return ops.where(moves[1], ops.flip(images, axis=1), images)


@AUGMENTATIONS.register("quarter_turns")
@keras.saving.register_keras_serializable(package=layers.PACKAGE)
class RandomQuarterTurns(Movement):
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


@AUGMENTATIONS.register("crops")
@keras.saving.register_keras_serializable(package=layers.PACKAGE)
class RandomCrops(Movement):
    """Cuts a square out of each patch and enlarges it to the whole.

    Its share of the area is uniform between `smallest_share` and 1, its place uniform
    within the patch; neither is bound to whole pixels, so that the same box is cut at
    every resolution. Enlarged bilinearly by two products with matrices, in float32
    whatever the precision of the images; a GPU that lets TensorFlow use TF32 rounds
    there to ten bits after the leading one.

    Args:
        smallest_share: of the area, above 0 and at most 1.
        seed: of the layer's own stream of random numbers.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: an impossible share.
    """

    def __init__(
        self, smallest_share: float = 0.5, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed, **kwargs)
        if not 0 < smallest_share <= 1:
            raise ValueError(
                "expected a smallest share of the crops above 0 and at most 1, got "
                f"{smallest_share}"
            )
        self.smallest_share = float(smallest_share)

    def draw(self, batch: Any) -> Any:
        """Returns northern edge, western edge and side, each (batch,) float32.

        In sides of a patch: all in [0, 1], and an edge plus the side at most 1.
        """
        drawn = draws.uniform((3, batch), self.seed_generator)
        side = ops.sqrt(1 - (1 - self.smallest_share) * drawn[2])
        return drawn[0] * (1 - side), drawn[1] * (1 - side), side

    def move(self, images: Any, moves: Any) -> Any:
        """Returns the boxes of the images, enlarged."""
        north, west, side = moves
        if not keras.backend.is_float_dtype(images.dtype):
            return _enlarge_classes(images, north, west, side)
        rows = _enlarging_weights(north, side, images.shape[1])
        columns = _enlarging_weights(west, side, images.shape[2])
        enlarged = ops.einsum("bij,bjkc->bikc", rows, ops.cast(images, "float32"))
        enlarged = ops.einsum("bij,bkjc->bkic", columns, enlarged)
        return ops.cast(enlarged, images.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns what the layer is built from."""
        return {**super().get_config(), "smallest_share": self.smallest_share}


def _enlarging_weights(start: Any, side: Any, pixels: int) -> Any:
    """Returns the matrices that enlarge a stretch of an axis to the whole axis.

    Bilinear at half-pixel centres; the outermost pixels are repeated.

    Args:
        start: of the stretch, (batch,), in lengths of the axis.
        side: length of the stretch, likewise.
        pixels: along the axis.

    Returns:
        (batch, pixels, pixels) float32, whose rows sum to one.
    """
    position = _enlarged_places(start, side, pixels)
    pixel = ops.arange(pixels, dtype="float32")
    return ops.relu(1 - ops.abs(position[:, :, None] - pixel))


def _enlarged_places(start: Any, side: Any, pixels: int) -> Any:
    """Returns where on the axis the pixels of the enlarged stretch lie.

    Arguments as for `_enlarging_weights`; (batch, pixels) float32, in pixels.
    """
    pixel = ops.arange(pixels, dtype="float32")
    position = start[:, None] * pixels + side[:, None] * (pixel + 0.5) - 0.5
    return ops.clip(position, 0, pixels - 1)


def _enlarge_classes(images: Any, north: Any, west: Any, side: Any) -> Any:
    """Returns the boxes of maps of classes, enlarged: each pixel is the nearest one."""
    for axis, start in ((1, north), (2, west)):
        places = _enlarged_places(start, side, images.shape[axis])
        nearest = ops.cast(ops.floor(places + 0.5), "int32")
        shape = [-1, 1, 1, 1]
        shape[axis] = images.shape[axis]
        images = ops.take_along_axis(images, ops.reshape(nearest, shape), axis=axis)
    return images


@AUGMENTATIONS.register("band_drop")
@keras.saving.register_keras_serializable(package=layers.PACKAGE)
class RandomBandDrop(Augmentation):
    """Sets bands of each sample to 0, which is their mean once standardised.

    Each with probability `rate`, drawn over the bands of all tensors of a list. Where
    that would take all bands, one of them stays, each as likely as the others. What
    stays is not scaled up, other than in dropout.

    Args:
        rate: at least 0 and below 1.
        seed: of the layer's own stream of random numbers.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: an impossible rate.
    """

    def __init__(
        self, rate: float = 0.1, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed, **kwargs)
        if not 0 <= rate < 1:
            raise ValueError(
                f"expected a rate of dropped bands of at least 0 and below 1, got "
                f"{rate}"
            )
        self.rate = float(rate)

    def change(self, images: Sequence[Any]) -> list[Any]:
        """Returns the images without the dropped bands."""
        bands = [tensor.shape[-1] for tensor in images]
        batch = layers.whole_batch(ops.shape(images[0])[0])
        drawn = draws.uniform((batch, 1, 1, sum(bands)), self.seed_generator)
        drawn = layers.own_part(drawn)
        # The largest number stays in any case.
        bound = ops.minimum(self.rate, ops.max(drawn, axis=-1, keepdims=True))
        stays = drawn >= bound
        return [
            ops.where(stays[..., end - count : end], tensor, ops.zeros_like(tensor))
            for tensor, count, end in zip(
                images, bands, itertools.accumulate(bands), strict=True
            )
        ]

    def get_config(self) -> dict[str, Any]:
        """Returns what the layer is built from."""
        return {**super().get_config(), "rate": self.rate}


@AUGMENTATIONS.register("noise")
@keras.saving.register_keras_serializable(package=layers.PACKAGE)
class RandomNoise(Augmentation):
    """Adds Gaussian noise, every pixel of every band its own.

    To pixels as the network sees them: after resampling, where there is any.

    Args:
        deviation: of the noise, in standard deviations of each band; at least 0.
        seed: of the layer's own stream of random numbers.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: an impossible deviation.
    """

    def __init__(
        self, deviation: float = 0.05, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed, **kwargs)
        if not 0 <= deviation < math.inf:
            raise ValueError(
                f"expected a finite deviation of the noise of at least 0, got "
                f"{deviation}"
            )
        self.deviation = float(deviation)

    def _generator(self, seed: int | None) -> keras.random.SeedGenerator:
        # The pixels of the whole batch would be too many to draw on every replica.
        return layers.ReplicaSeedGenerator(seed)

    def change(self, images: Sequence[Any]) -> list[Any]:
        """Returns the images with noise."""
        return [self._disturb(tensor) for tensor in images]

    def _disturb(self, images: Any) -> Any:
        noise = draws.normal(ops.shape(images), self.seed_generator)
        disturbed = ops.cast(images, "float32") + self.deviation * noise
        return ops.cast(disturbed, images.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns what the layer is built from."""
        return {**super().get_config(), "deviation": self.deviation}
