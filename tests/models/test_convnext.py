"""ConvNeXt V2: its normalisation against NumPy, how it starts, what it takes."""

import math

import closeness
import keras
import mixed_precision
import numpy as np
import pytest
import tensorflow as tf

from bigearthnet_tf import models
from bigearthnet_tf.models import convnext


def network(pixels: int = 32, blocks=(1, 2), widths=(8, 16), **options) -> keras.Model:
    inputs = keras.Input((pixels, pixels, 2))
    return keras.Model(inputs, convnext.convnext(inputs, blocks, widths, **options))


def images(pixels: int) -> np.ndarray:
    shape = (3, pixels, pixels, 2)
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def response_layer(channels: int) -> convnext.GlobalResponseNormalization:
    layer = convnext.GlobalResponseNormalization()
    layer.build((None, 5, 6, channels))
    return layer


def test_response_normalisation_equals_numpy():
    layer = response_layer(3)
    rng = np.random.default_rng(2)
    x = rng.normal(1, 2, (4, 5, 6, 3)) * [1, 10, 0.1]
    np.testing.assert_array_equal(layer(x.astype("float32")), x.astype("float32"))

    gamma, beta = rng.normal(size=(2, 3)).astype("float32")
    layer.set_weights([gamma, beta])
    norm = np.linalg.norm(x, axis=(1, 2), keepdims=True)
    share = norm / (norm.mean(axis=-1, keepdims=True) + 1e-6)
    expected = gamma * (x * share) + beta + x
    closeness.assert_close(layer(x.astype("float32")), expected, closeness.FORMULA)


def test_response_normalisation_does_not_overflow():
    # float16 ends at 65504: below the square of 300.
    x = np.full((1, 8, 8, 2), 100, "float16")
    x[..., 1] = 300
    layer = convnext.GlobalResponseNormalization(dtype="mixed_float16")
    layer.build(x.shape)
    layer.set_weights([np.ones(2), np.zeros(2)])
    result = layer(x)
    assert result.dtype == tf.float16
    np.testing.assert_allclose(result[0, 0, 0], [150, 750], rtol=0.002)


@pytest.mark.parametrize("dead", [0, slice(None)])
def test_dead_channels_leave_finite_gradients(dead):
    x = np.random.default_rng(3).normal(size=(2, 5, 6, 3)).astype("float32")
    x[..., dead] = 0
    layer = response_layer(3)
    layer.set_weights([np.ones(3), np.ones(3)])
    x = tf.Variable(x)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x) ** 2)
    for gradient in tape.gradient(loss, [x, layer.gamma.value, layer.beta.value]):
        assert np.isfinite(gradient).all()


def normalized(x, weights):
    gamma, beta = weights
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-6) * gamma + beta


def test_features_equal_numpys():
    model = network(16, (1, 1), (3, 5))
    rng = np.random.default_rng(1)
    for variable in model.variables:
        variable.assign(rng.normal(size=variable.shape))
    weights = {
        layer.name: [w.astype("float64") for w in layer.get_weights()]
        for layer in model.layers
    }

    def patches(x, size, name):
        kernel, bias = weights[name]
        count, side, _, channels = x.shape
        x = x.reshape(count, side // size, size, side // size, size, channels)
        return np.einsum("ahywxb,yxbc->ahwc", x, kernel) + bias

    def block(shortcut, name):
        kernel, x = weights[f"{name}_conv"]
        side = shortcut.shape[1]
        padded = np.pad(shortcut, ((0, 0), (3, 3), (3, 3), (0, 0)))
        for row in range(7):
            for column in range(7):
                window = padded[:, row : row + side, column : column + side]
                x = x + window * kernel[row, column, :, 0]
        x = normalized(x, weights[f"{name}_norm"])
        kernel, bias = weights[f"{name}_fc1"]
        x = x @ kernel + bias
        x = x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2
        gamma, beta = weights[f"{name}_grn"]
        norm = np.linalg.norm(x, axis=(1, 2), keepdims=True)
        share = norm / (norm.mean(axis=-1, keepdims=True) + 1e-6)
        x = gamma * (x * share) + beta + x
        kernel, bias = weights[f"{name}_fc2"]
        return shortcut + x @ kernel + bias

    x = patches(images(16).astype("float64"), 4, "stem_conv")
    x = block(normalized(x, weights["stem_norm"]), "stage1_block1")
    x = normalized(x, weights["stage2_downsample_norm"])
    x = block(patches(x, 2, "stage2_downsample_conv"), "stage2_block1")
    expected = normalized(x.mean(axis=(1, 2)), weights["head_norm"])
    closeness.assert_close(model(images(16)), expected)


def test_pixels_beyond_the_last_patch_change_nothing():
    # 20 pixels: 5 patches of 4, of which the halving leaves 4.
    model, larger = network(20), network(23)
    larger.set_weights(model.get_weights())
    x = images(23)
    closeness.assert_close(larger(x), model(x[:, :20, :20]))


def test_maps_are_quartered_then_halved():
    base = network(120, (1, 1, 1, 1), (2, 4, 6, 8))
    sides = [
        base.get_layer(f"stage{stage}_block1_add").output.shape[1:]
        for stage in (1, 2, 3, 4)
    ]
    assert sides == [(30, 30, 2), (15, 15, 4), (7, 7, 6), (3, 3, 8)]


def test_images_of_which_nothing_would_be_left_are_refused():
    assert network(8).output.shape == (None, 16)
    with pytest.raises(ValueError, match=r"at least 8 pixels .* 2 stages, got 7 x 7"):
        network(7)
    with pytest.raises(
        ValueError, match=r"at least 32 pixels .* 4 stages, got 31 x 31"
    ):
        models.get_model("convnextv2_atto").build(keras.Input((31, 31, 10)))


def test_stochastic_depth_grows_linearly():
    model = network(32, (2, 1, 2), (2, 4, 6), drop_path_rate=0.4)
    rates = [layer.rate for layer in model.layers if "drop_path" in layer.name]
    np.testing.assert_allclose(rates, [0.1, 0.2, 0.3, 0.4])
    assert not [x for x in network().layers if "drop_path" in x.name]


@pytest.mark.parametrize("conv_mlp", [False, True])
def test_weights_start_as_timms(conv_mlp):
    model = network(32, (1, 1), (64, 128), conv_mlp=conv_mlp)
    for layer in model.layers:
        if layer.name.endswith("norm"):
            assert layer.epsilon == 1e-6
            assert np.all(layer.gamma == 1)
            assert not np.any(layer.beta)
        elif layer.name.endswith("grn"):
            assert not np.any(layer.gamma)
            assert not np.any(layer.beta)
        elif layer.weights:
            np.testing.assert_allclose(np.std(layer.kernel), 0.02, rtol=0.06)
            assert not np.any(layer.bias)
    # Not cut at two deviations.
    assert np.abs(model.get_layer("stage2_block1_fc1").kernel).max() > 0.07
    head = models.get_model("convnextv2_base").head(1024)
    kernel = head["kernel_initializer"]((1024, 19))
    np.testing.assert_allclose(np.std(kernel), 0.02, rtol=0.03)
    assert head["bias_initializer"] == "zeros"


def test_convolutions_of_one_pixel_are_linear_layers():
    linear, convolutional = network(), network(conv_mlp=True)
    assert convolutional.get_layer("stage1_block1_fc1").kernel.shape == (1, 1, 8, 32)
    assert linear.get_layer("stage1_block1_fc1").kernel.shape == (8, 32)
    for ours, theirs in zip(convolutional.weights, linear.weights, strict=True):
        ours.assign(keras.ops.reshape(theirs, ours.shape))
    x = images(32)
    closeness.assert_close(convolutional(x), linear(x))


@pytest.mark.parametrize("policy", mixed_precision.POLICIES)
def test_mixed_precision_gives_nearly_the_same(policy):
    mixed_precision.check(network, images(32), policy)


def test_published_names():
    for layer, variable, name in (
        ("stem_conv", "kernel", "stem.0.weight"),
        ("stem_norm", "beta", "stem.1.bias"),
        ("stage2_downsample_norm", "gamma", "stages.1.downsample.0.weight"),
        ("stage2_downsample_conv", "bias", "stages.1.downsample.1.bias"),
        ("stage3_block27_conv", "kernel", "stages.2.blocks.26.conv_dw.weight"),
        ("stage1_block1_norm", "gamma", "stages.0.blocks.0.norm.weight"),
        ("stage1_block1_fc2", "bias", "stages.0.blocks.0.mlp.fc2.bias"),
        ("stage1_block1_grn", "beta", "stages.0.blocks.0.mlp.grn.bias"),
        ("head_norm", "gamma", "head.norm.weight"),
        ("head", "kernel", "head.fc.weight"),
    ):
        assert convnext.timm_name(layer, variable) == name
