"""An encoder of the zoo and a decoder put together: from digital numbers to pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras

from bigearthnet_tf.models import (
    build,
    decoder,
    finite,
    layers,
    published,
    pyramid,
    zoo,
)
from bigearthnet_tf.models.pyramid import Grid

# What the images look like that the labels of the pixels belong to.
PATCH = 120


def assemble(
    name: str,
    num_labels: int,
    groups: Sequence[build.BandGroup],
    band_order: Sequence[str],
    mean: Mapping[str, float],
    std: Mapping[str, float],
    *,
    form: str = "unet",
    width: int = 16,
    patch: int = PATCH,
    image_size: int = 120,
    interpolation: str = "nearest",
    augmentation: Sequence[str] = (),
    augmentation_options: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    seed: int = 42,
    **options: Any,
) -> keras.Model:
    """Builds a model from digital numbers to logits of every pixel.

    Inputs as of `build.assemble`. Output: float32 logits (batch, patch, patch,
    num_labels), whatever the mixed-precision policy and the image size. The layers of
    the encoder are called as in the classifier of the same name, those of the decoder
    `head_decoder_*`, the last one `head`, the encoder's coarsest map `features`.

    Args:
        name: an architecture of `zoo.list_models()` that gives maps.
        num_labels: number of logits of a pixel.
        groups: as for `build.assemble`, as are the next three.
        band_order: bands in order.
        mean: of each band.
        std: of each band.
        form: a name of `decoder.DECODERS`.
        width: channels of the decoder at the patch's own pixels.
        patch: pixels a side of a patch, to which the logits belong.
        image_size: as for `build.assemble`, as are the next three.
        interpolation: kernel.
        augmentation: names; a `Movement` moves the images, so that labels must be moved
            alike, see `augmentation.move_alike`.
        augmentation_options: of their layers.
        drop_rate: dropout before the last layer.
        drop_path_rate: stochastic depth of the deepest block.
        seed: of weights, augmentation and dropout.
        **options: keyword options of the architecture's builder.

    Raises:
        ValueError: an architecture without maps, an unknown decoder, or as for
            `build.assemble`.
    """
    entry = zoo.get_model(name)
    pyramid.check(entry)
    if form not in decoder.DECODERS:
        raise ValueError(
            f"expected a decoder of {', '.join(decoder.DECODERS)}, got {form!r}"
        )
    if drop_path_rate:
        options["drop_path_rate"] = drop_path_rate
    entry.check_options(options)
    build.check(num_labels, groups, band_order, mean, std)

    with build.seeded(seed):
        inputs = build.make_inputs(groups)
        x = build.network_input(
            entry,
            inputs,
            groups,
            band_order,
            mean,
            std,
            image_size=image_size,
            interpolation=interpolation,
            augmentation=augmentation,
            augmentation_options=augmentation_options,
        )
        features = build.build_features(entry, x, options)
        levels = _levels(entry, keras.Model(inputs, features), x, patch)
        marks = finite.marks(inputs)
        levels[-1] = _named(levels[-1], marks)
        found, grid = decoder.DECODERS[form](levels, width, patch)
        found = decoder.regrid(
            found, grid, Grid.of_patch(patch, patch), f"{published.DECODER}_pixels"
        )
        if drop_rate:
            found = layers.Dropout(drop_rate, name=f"{published.HEAD}_dropout")(found)
        found = finite.marked(found, marks, name=f"{published.HEAD}_input")
        head = keras.layers.Dense(num_labels, dtype="float32", name=published.HEAD)
        return keras.Model(inputs, head(found), name=entry.keras_name)


def _levels(
    entry: zoo.ModelEntry, model: keras.Model, x: Any, patch: int
) -> list[pyramid.Level]:
    """Returns the finest images that enter the encoder, then its maps."""
    images = list(x.values()) if isinstance(x, dict) else [x]
    entrances = {id(image): Grid.of_patch(patch, image.shape[1]) for image in images}
    finest = max(images, key=lambda image: image.shape[1])
    grid = entrances[id(finest)]
    levels = pyramid.levels(entry, model, entrances)
    same = [image for level in levels if level.grid == grid for image in level.maps]
    coarser = [level for level in levels if level.grid != grid]
    return [pyramid.Level(grid, (finest, *same)), *coarser]


def _named(level: pyramid.Level, marks: Any) -> pyramid.Level:
    """Gives the first map of a level the name `features`, and the patches' marks."""
    first, *others = level.maps
    first = finite.marked(first, marks, name="features")
    return pyramid.Level(level.grid, (first, *others))
