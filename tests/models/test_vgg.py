"""VGG against TensorFlow's operations under TF-Slim's names, and how it starts."""

import closeness
import keras
import numpy as np
import pytest
import tensorflow as tf

from bigearthnet_tf import models
from bigearthnet_tf.models import layers, published, vgg


def build(pixels: int = 32, **options) -> keras.Model:
    names = ("VV", "VH")
    group = models.BandGroup("all", names, pixels, "float32")
    zeros, ones = dict.fromkeys(names, 0.0), dict.fromkeys(names, 1.0)
    return models.assemble(
        "vgg_test", 19, [group], names, zeros, ones, image_size=pixels, **options
    )


@pytest.mark.parametrize("pixels", [8, 33, 120])
def test_logits_equal_slims_layers_under_slims_names(pixels):
    model = build(pixels)
    rng = np.random.default_rng(1)
    tensors = published.dump(model, vgg.slim_name, torch=False)
    # Off zero, so that a bias left out shows.
    weights = {
        name: value + rng.uniform(-0.1, 0.1, value.shape).astype("float32")
        for name, value in tensors.items()
    }
    published.load(model, weights, vgg.slim_name, torch=False, where="here")

    def convolved(x, scope):
        kernel = weights.pop(f"{scope}/weights").astype("float64")
        kernel = kernel.reshape((1,) * (4 - kernel.ndim) + kernel.shape)
        bias = weights.pop(f"{scope}/biases")
        return tf.nn.conv2d(x, kernel, 1, "SAME").numpy() + bias

    images = rng.normal(size=(3, 2, pixels, pixels)).astype("float32")
    x = images.astype("float64").transpose(0, 2, 3, 1)
    for group, depth in enumerate((1, 1, 2), start=1):
        for number in range(1, depth + 1):
            x = np.maximum(convolved(x, f"conv{group}/conv{group}_{number}"), 0)
        x = tf.nn.max_pool2d(x, 2, 2, "VALID").numpy()
    x = np.maximum(convolved(x, "fc6"), 0)
    x = np.maximum(convolved(x, "fc7"), 0).mean(axis=(1, 2), keepdims=True)
    expected = convolved(x, "fc8")[:, 0, 0]
    assert not weights
    closeness.assert_close(model({"all": images}), expected)


def test_images_below_the_smallest_are_refused():
    assert build(8).get_layer("pool3").output.shape[1:3] == (1, 1)
    with pytest.raises(ValueError, match=r"at least 8 pixels a side .* got 7 by 7"):
        build(7)


def test_dropout_is_an_option():
    for options, rate in (({}, 0.5), ({"dropout": 0.1}, 0.1)):
        model = build(**options)
        found = [x.rate for x in model.layers if isinstance(x, layers.Dropout)]
        assert found == [rate, rate]


def test_layers_start_glorot_uniform_and_without_bias():
    model = build()
    for name, fans in (
        ("conv1_1", 9 * 2 + 9 * 8),
        ("fc6", 49 * 16 + 49 * 32),
        ("head", 32 + 19),
    ):
        layer = model.get_layer(name)
        bound = (6 / fans) ** 0.5
        assert 0.9 * bound < np.abs(layer.kernel).max() <= bound
        assert not np.any(layer.bias)
