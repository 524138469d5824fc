"""ConvMixer against a loop in float64; how it starts, and which images it takes."""

import closeness
import keras
import mixed_precision
import numpy as np
import pytest

from bigearthnet_tf import models
from bigearthnet_tf.models import convmixer


def network(pixels: int = 21, **options) -> keras.Model:
    inputs = keras.Input((pixels, pixels, 2))
    sizes = {"width": 4, "kernel_size": 3, "patch_size": 7, **options}
    return keras.Model(inputs, convmixer.convmixer(inputs, 2, **sizes))


def images(pixels: int, count: int = 3) -> np.ndarray:
    shape = (count, pixels, pixels, 2)
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def scatter_weights(model: keras.Model) -> None:
    """Puts every variable, statistics included, at a random place of its own."""
    rng = np.random.default_rng(1)
    for variable in model.variables:
        lowest = 0.2 if variable.name == "moving_variance" else -0.5
        variable.assign(rng.uniform(lowest, 1, variable.shape))


def test_features_equal_a_loop_over_pixels():
    model = network()
    scatter_weights(model)
    weights = {
        (layer.name, v.name): v.numpy().astype("float64")
        for layer in model.layers
        for v in layer.weights
    }

    def activated(x, name):
        norm = {k: v for (layer, k), v in weights.items() if layer == f"{name}_norm"}
        scale = norm["gamma"] / np.sqrt(norm["moving_variance"] + 1e-5)
        return (np.maximum(x, 0) - norm["moving_mean"]) * scale + norm["beta"]

    def of(name):
        return weights[f"{name}_conv", "kernel"], weights[f"{name}_conv", "bias"]

    x = images(21).astype("float64").reshape(3, 3, 7, 3, 7, 2)
    kernel, bias = of("stem")
    x = activated(np.einsum("ahywxb,yxbc->ahwc", x, kernel) + bias, "stem")
    for block in ("block1", "block2"):
        kernel, bias = of(f"{block}_depthwise")
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        mixed = np.zeros_like(x) + bias
        for row in range(3):
            for column in range(3):
                window = padded[:, row : row + 3, column : column + 3]
                mixed += window * kernel[row, column, :, 0]
        x = x + activated(mixed, f"{block}_depthwise")
        kernel, bias = of(f"{block}_pointwise")
        x = activated(x @ kernel[0, 0] + bias, f"{block}_pointwise")
    closeness.assert_close(model(images(21)), x.mean(axis=(1, 2)))


def test_pixels_beyond_the_last_patch_change_nothing():
    model, larger = network(14), network(20)
    larger.set_weights(model.get_weights())
    x = images(20)
    closeness.assert_close(larger(x), model(x[:, :14, :14]))


def test_images_smaller_than_a_patch_are_refused():
    assert network(7).output.shape == (None, 4)
    with pytest.raises(ValueError, match=r"at least 7 pixels a side .* got 6 x 6"):
        network(6)


def test_weights_start_as_torchs_convolutions():
    model = network(width=64, kernel_size=7)
    for name, fan_in in (
        ("stem", 49 * 2),
        ("block1_depthwise", 49),
        ("block2_pointwise", 64),
    ):
        layer = model.get_layer(f"{name}_conv")
        for values in (layer.kernel, layer.bias):
            assert 0.9 * fan_in**-0.5 < np.abs(values).max() <= fan_in**-0.5
        spread = np.std(layer.kernel)
        np.testing.assert_allclose(spread, (3 * fan_in) ** -0.5, rtol=0.05)
    norms = [x for x in model.layers if x.name.endswith("norm")]
    assert len(norms) == 5
    assert {(x.momentum, x.epsilon) for x in norms} == {(0.9, 1e-5)}


def test_it_has_no_stochastic_depth():
    with pytest.raises(ValueError, match="'convmixer_768_32': it has none"):
        models.get_model("convmixer_768_32").check_options({"drop_path_rate": 0.1})


@pytest.mark.parametrize("policy", mixed_precision.POLICIES)
def test_mixed_precision_gives_nearly_the_same(policy):
    mixed_precision.check(network, images(21), policy)


def test_published_names():
    for layer, variable, name in (
        ("stem_conv", "bias", "stem.0.bias"),
        ("stem_norm", "moving_mean", "stem.2.running_mean"),
        ("block1_depthwise_conv", "kernel", "blocks.0.0.fn.0.weight"),
        ("block1_depthwise_norm", "gamma", "blocks.0.0.fn.2.weight"),
        ("block32_pointwise_conv", "kernel", "blocks.31.1.weight"),
        ("block32_pointwise_norm", "beta", "blocks.31.3.bias"),
        ("head", "kernel", "head.weight"),
    ):
        assert convmixer.timm_name(layer, variable) == name
