"""Decoders: where the pixels of maps lie, and models from bands to pixels."""

import dataclasses

import closeness
import keras
import networks
import numpy as np
import pytest
import tensorflow as tf

from bigearthnet_tf import models
from bigearthnet_tf.models import augmentation, decoder, pyramid, segmenter, zoo
from bigearthnet_tf.models.pyramid import Grid

FAMILIES = [
    name
    for name in models.list_models()
    if name.endswith("_test") and zoo.get_model(name).maps is not None
]


def build(name, image_size=32, **options):
    """A segmentation of 3 labels on patches of 24 pixels."""
    groups = networks.groups_of(name, tuple("abcdef"), image_size)
    zeros, ones = dict.fromkeys("abcdef", 0.0), dict.fromkeys("abcdef", 1.0)
    size = {"image_size": image_size, "patch": 24, "width": 4}
    return segmenter.assemble(
        name, 3, groups, tuple("abcdef"), zeros, ones, **size | options
    )


def averaging(filters_in, kernel, **options):
    """A convolution that gives the mean of what it sees."""
    layer = keras.layers.Conv2D(
        1, kernel, use_bias=False, kernel_initializer="zeros", **options
    )
    layer.build((None, None, None, filters_in))
    layer.kernel.assign(np.full(layer.kernel.shape, 1 / kernel**2))
    return layer


@pytest.mark.parametrize("side", [120, 32, 45])
def test_centres_are_where_ramps_say(side):
    """Means of a ramp are its value at the centre of what was seen."""
    image = keras.Input((side, side, 1))
    steps = [
        averaging(1, 3, strides=2, padding="same", name="conv1"),
        keras.layers.AveragePooling2D(2, name="pool"),
        keras.layers.ZeroPadding2D(((1, 0), (1, 0)), name="pad"),
        averaging(1, 4, strides=2, name="conv2"),
        keras.layers.Cropping2D(1, name="crop"),
        averaging(1, 3, padding="same", name="conv3"),
    ]
    x, outputs = image, []
    for layer in steps:
        x = layer(x)
        outputs.append(x)
    features = keras.layers.GlobalAveragePooling2D(name="features")(x)
    model = keras.Model(image, features)
    seen = keras.Model(image, outputs)
    entry = dataclasses.replace(zoo.get_model("resnet_test"), maps="conv[123]|pool")
    grids = {id(image): Grid.of_patch(120, side)}
    found = {level.grid.side: level for level in pyramid.levels(entry, model, grids)}
    ramp = (np.arange(side) + 0.5) * 120 / side
    batch = np.broadcast_to(ramp[None, :, None, None], (1, side, side, 1))
    tested = 0
    for layer, values in zip(steps, seen(batch.astype(np.float32)), strict=True):
        if layer.name not in ("pool", "conv2", "conv3"):
            continue
        level = found.get(values.shape[1])
        if level is None or not any(m is layer.output for m in level.maps):
            continue
        places = level.grid.first + level.grid.step * np.arange(level.grid.side)
        inside = slice(2, -2)  # padding mixes zeros into the edges
        middle = np.asarray(values)[0, :, values.shape[2] // 2, 0]
        closeness.assert_close(middle[inside], places[inside])
        tested += 1
    assert tested >= 2


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (Grid(5, 24, 12), Grid(10, 12, 6)),
        (Grid(8, 16, 4.5), Grid(120, 1, 0.5)),
        (Grid(60, 2, 1), Grid(59, 2, 2.5)),
    ],
)
def test_regrid_interpolates_as_numpy_does(source, target):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, source.side, source.side, 3)).astype(np.float32)
    found = np.asarray(decoder.regrid(image, source, target, "r"))
    places = [g.first + g.step * np.arange(g.side) for g in (source, target)]

    def along(values, axis):
        return np.apply_along_axis(
            lambda line: np.interp(places[1], places[0], line), axis, values
        )

    expected = along(along(image.astype(np.float64), 1), 2)
    closeness.assert_close(found, expected, closeness.FORMULA)


@pytest.mark.parametrize("form", ["unet", "fpn"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_gives_logits_of_pixels(name, form):
    if form == "fpn" and name not in ("resnet_test", "vit_test", "k_branch_test"):
        pytest.skip("the same levels go into both forms")
    model = build(name, form=form)
    assert model.output.shape == (None, 24, 24, 3)
    assert model.output.dtype == "float32"
    classifier = networks.build(name, pixels=32)
    theirs = {layer.name for layer in classifier.layers if layer.weights}
    decoded = {layer.name for layer in model.layers if layer.weights}
    # The encoder has the names of the classifier's; what goes beyond decodes.
    assert [n for n in decoded - theirs if not n.startswith("head")] == []
    assert len(theirs & decoded) > 3
    if name == "resnet_test":
        inputs = networks.batch_for(model, 2)
        with tf.GradientTape() as tape:
            logits = model(inputs, training=True)
            value = tf.reduce_sum(logits**2)
        gradients = tape.gradient(value, model.trainable_variables)
        assert all(g is not None for g in gradients)
        reached = {
            v.path.split("/")[0]
            for v, g in zip(model.trainable_variables, gradients, strict=True)
            if np.any(g)
        }
        assert {"stem_conv", "head"} <= reached
        assert {n for n in decoded if n.startswith("head")} <= reached


def test_what_can_not_be_decoded():
    with pytest.raises(
        ValueError, match=r"gives no maps .* choose .*resnet50.*vit_base"
    ):
        pyramid.check(zoo.get_model("keras_hub/swin_tiny"))
    with pytest.raises(ValueError, match="a decoder of unet, fpn, got 'deeplab'"):
        build("resnet_test", form="deeplab")


@pytest.mark.parametrize("names", [["flips", "quarter_turns"], ["crops", "flips"]])
def test_maps_move_as_the_images_do(names):
    """Both twice, so that the second call draws anew."""
    image = keras.Input((24, 24, 2))
    x = image
    for number, name in enumerate(names):
        options = {"smallest_share": 0.3} if name == "crops" else {}
        x = augmentation.AUGMENTATIONS.get(name)(seed=number, **options)(x)
    model = keras.Model(image, x)
    rows = np.broadcast_to(np.arange(24.0)[:, None], (24, 24))
    batch = np.stack([np.stack([rows, rows.T], axis=-1)] * 8).astype(np.float32)
    seen = []
    for _ in range(2):
        maps = [
            np.asarray(augmentation.move_alike(model, batch[..., k].astype(np.uint8)))
            for k in (0, 1)
        ]
        moved = np.asarray(model(batch, training=True))
        assert maps[0].dtype == np.uint8
        difference = np.abs(np.stack(maps, axis=-1) - moved).max()
        assert difference <= (0.5 + 1e-5 if "crops" in names else 0)
        seen.append(moved)
    assert not np.array_equal(*seen)
