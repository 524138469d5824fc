"""MLP-Mixer against NumPy in float64; how it starts, and which images it takes."""

import math

import closeness
import keras
import mixed_precision
import numpy as np
import pytest

from bigearthnet_tf import models
from bigearthnet_tf.models import mlp_mixer


def network(pixels: int = 12, width: int = 6, **options) -> keras.Model:
    inputs = keras.Input((pixels, pixels, 2))
    sizes = {"width": width, "patch_size": 4, **options}
    return keras.Model(inputs, mlp_mixer.mlp_mixer(inputs, 2, **sizes))


def images(pixels: int) -> np.ndarray:
    shape = (3, pixels, pixels, 2)
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def normalized(x, weights):
    gamma, beta = weights
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-6) * gamma + beta


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def test_features_equal_numpys():
    model = network()
    rng = np.random.default_rng(1)
    for variable in model.variables:
        variable.assign(rng.normal(size=variable.shape))
    weights = {
        layer.name: [w.astype("float64") for w in layer.get_weights()]
        for layer in model.layers
    }

    def mlp(x, name):
        (first, first_bias), (second, second_bias) = (
            weights[f"{name}_{part}"] for part in ("fc1", "fc2")
        )
        return gelu(x @ first + first_bias) @ second + second_bias

    x = images(12).astype("float64").reshape(3, 3, 4, 3, 4, 2)
    kernel, bias = weights["stem"]
    x = (np.einsum("ahywxb,yxbc->ahwc", x, kernel) + bias).reshape(3, 9, 6)
    for block in ("block1", "block2"):
        mixed = normalized(x, weights[f"{block}_tokens_norm"]).swapaxes(1, 2)
        x = x + mlp(mixed, f"{block}_tokens").swapaxes(1, 2)
        mixed = normalized(x, weights[f"{block}_channels_norm"])
        x = x + mlp(mixed, f"{block}_channels")
    expected = normalized(x, weights["norm"]).mean(axis=1)
    closeness.assert_close(model(images(12)), expected)


def test_pixels_beyond_the_last_patch_change_nothing():
    model, larger = network(12), network(15)
    larger.set_weights(model.get_weights())
    x = images(15)
    closeness.assert_close(larger(x), model(x[:, :12, :12]))


@pytest.mark.parametrize(("pixels", "patches"), [(12, 9), (15, 9), (16, 16), (4, 1)])
def test_token_weights_go_with_the_image_size(pixels, patches):
    kernel = network(pixels).get_layer("block1_tokens_fc1").kernel
    assert kernel.shape == (patches, 3)


def test_images_smaller_than_a_patch_are_refused():
    with pytest.raises(ValueError, match=r"at least 4 pixels a side .* got 3 x 3"):
        network(3)
    with pytest.raises(ValueError, match=r"at least 16 pixels a side .* got 15 x 15"):
        models.get_model("mixer_b16_224").build(keras.Input((15, 15, 10)))


def test_stochastic_depth_is_the_same_everywhere():
    model = network(drop_path_rate=0.3)
    rates = [layer.rate for layer in model.layers if "drop_path" in layer.name]
    assert rates == [0.3] * 4


def test_weights_start_as_timms():
    model = network(width=64)
    for layer in model.layers:
        if "norm" in layer.name:
            assert layer.epsilon == 1e-6
        elif "fc" in layer.name:
            inputs, outputs = layer.kernel.shape
            bound = (6 / (inputs + outputs)) ** 0.5
            assert 0.9 * bound < np.abs(layer.kernel).max() <= bound
            assert 0 < np.abs(layer.bias).max() < 5e-6
    stem = model.get_layer("stem")
    # A normal cut at two deviations, widened to have the variance 1 / fan_in.
    np.testing.assert_allclose(np.std(stem.kernel), (16 * 2) ** -0.5, rtol=0.05)
    assert np.abs(stem.kernel).max() <= 2 / 0.8796 * (16 * 2) ** -0.5
    assert not np.any(stem.bias)


def test_logits_start_at_zero():
    group = models.BandGroup("all", ("VV", "VH"), 12, "float32")
    zeros, ones = {"VV": 0.0, "VH": 0.0}, {"VV": 1.0, "VH": 1.0}
    model = models.assemble(
        "mixer_test", 19, [group], group.bands, zeros, ones, image_size=12
    )
    assert not np.any(model({"all": images(12).transpose(0, 3, 1, 2)}))


@pytest.mark.parametrize("policy", mixed_precision.POLICIES)
def test_mixed_precision_gives_nearly_the_same(policy):
    mixed_precision.check(network, images(12), policy)


def test_published_names():
    for layer, variable, name in (
        ("stem", "kernel", "stem.proj.weight"),
        ("block1_tokens_norm", "gamma", "blocks.0.norm1.weight"),
        ("block12_channels_norm", "beta", "blocks.11.norm2.bias"),
        ("block2_tokens_fc1", "kernel", "blocks.1.mlp_tokens.fc1.weight"),
        ("block2_channels_fc2", "bias", "blocks.1.mlp_channels.fc2.bias"),
        ("norm", "beta", "norm.bias"),
        ("head", "bias", "head.bias"),
    ):
        assert mlp_mixer.timm_name(layer, variable) == name
