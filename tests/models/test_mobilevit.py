"""MobileViT: what attends to what, maps of odd size, how it starts."""

import closeness
import keras
import mixed_precision
import numpy as np
import pytest

from bigearthnet_tf import models
from bigearthnet_tf.models import layers, mobilevit

SIZE = mobilevit.Size(
    stem=4,
    expansion=2,
    stages=(
        mobilevit.Stage(4, stride=1),
        mobilevit.Stage(6, blocks=2),
        mobilevit.Stage(8, tokens=16, depth=2),
    ),
    features=10,
)


def network(height: int = 40, width: int = 40, size=SIZE, **options) -> keras.Model:
    inputs = keras.Input((height, width, 2))
    return keras.Model(inputs, mobilevit.mobilevit(inputs, size, **options))


def images(height: int = 40, width: int = 40, count: int = 3) -> np.ndarray:
    shape = (count, height, width, 2)
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def stretched(x: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Resamples an axis linearly between the centres of its pixels."""
    pixels = x.shape[axis]
    at = (np.arange(size) + 0.5) * pixels / size - 0.5
    return np.apply_along_axis(lambda v: np.interp(at, range(pixels), v), axis, x)


def stretched_map(x: np.ndarray, height: int, width: int) -> np.ndarray:
    return stretched(stretched(x, 1, height), 2, width)


@pytest.mark.parametrize("sides", [(48, 48), (48, 40), (36, 33), (8, 8)])
def test_pixels_attend_to_the_same_place_of_all_patches(sides):
    model = network(*sides)
    prefix = "stage3_block2"
    ends = (f"{prefix}_widen_conv", f"{prefix}_narrow_conv")
    outputs = model.get_layer(ends[0]).output, model.get_layer(ends[1]).input
    x, found = keras.Model(model.input, outputs)(images(*sides))
    _, height, width, channels = x.shape
    assert (height, width) == tuple(-(-side // 8) for side in sides)

    def encode(sequence):
        for number in (1, 2):
            name = f"{prefix}_transformer{number}"
            get = model.get_layer
            for first, *parts in (
                ("norm1", "qkv", "attention", "proj"),
                ("norm2", "fc1", "fc2"),
            ):
                branch = get(f"{name}_{first}")(sequence)
                for part in parts:
                    branch = get(f"{name}_{part}")(branch)
                sequence = sequence + branch
        return get(f"{prefix}_norm")(sequence)

    even = height + height % 2, width + width % 2
    x = stretched_map(np.asarray(x), *even).astype("float32")
    expected = np.zeros_like(x)
    for row in (0, 1):
        for column in (0, 1):
            place = x[:, row::2, column::2]
            sequence = place.reshape(len(x), -1, channels)
            expected[:, row::2, column::2] = np.reshape(encode(sequence), place.shape)
    expected = stretched_map(expected, height, width)
    closeness.assert_close(found, expected)


def test_what_came_in_is_fused_before_what_was_attended():
    model = network()
    incoming, attended = model.get_layer("stage3_block2_concatenate").input
    assert incoming is model.get_layer("stage3_block1_project_norm").output
    assert attended is model.get_layer("stage3_block2_narrow_silu").output


def test_every_size_of_image_goes():
    for sides in ((1, 1), (7, 7), (33, 64), (120, 120)):
        features = network(*sides)(images(*sides))
        assert features.shape == (3, 10)
        assert np.isfinite(features).all(), sides


def test_convolutions_are_padded_symmetrically():
    # With the first convolution alone: one pixel in the corner of an even image
    # reaches the first pixel of the output through the middle of the kernel.
    model = network(8, 8)
    stem = model.get_layer("stem_conv")
    x = np.zeros((1, 8, 8, 2), "float32")
    x[0, 0, 0, 1] = 1
    out = keras.Model(model.input, stem.output)(x)
    assert out.shape == (1, 4, 4, 4)
    closeness.assert_close(out[0, 0, 0], stem.kernel[1, 1, 1], closeness.FORMULA)
    layer = model.get_layer("stage2_block1_depthwise_conv")
    before = model.get_layer("stage2_block1_depthwise_conv_pad")
    x = np.zeros((1, 4, 4, 8), "float32")
    x[0, 0, 0, 3] = 1
    out = layer(before(x))
    assert out.shape == (1, 2, 2, 8)
    closeness.assert_close(out[0, 0, 0, 3], layer.kernel[1, 1, 3, 0], closeness.FORMULA)


def test_weights_start_as_timms():
    size = mobilevit.Size(
        stem=32,
        expansion=4,
        stages=(mobilevit.Stage(32, stride=1), mobilevit.Stage(64, tokens=64, depth=1)),
        features=64,
    )
    model = network(16, 16, size)
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            np.testing.assert_allclose(np.std(layer.kernel), (2 / 9) ** 0.5, rtol=0.1)
        elif isinstance(layer, keras.layers.Conv2D):
            height, width, _, filters = layer.kernel.shape
            deviation = (2 / (height * width * filters)) ** 0.5
            np.testing.assert_allclose(np.std(layer.kernel), deviation, rtol=0.1)
            assert not layer.use_bias
        elif isinstance(layer, keras.layers.Dense):
            np.testing.assert_allclose(np.std(layer.kernel), 0.01, rtol=0.05)
            assert np.abs(layer.kernel).max() > 0.025
            assert not np.any(layer.bias)
        elif isinstance(layer, layers.BatchNormalization):
            assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)
        elif isinstance(layer, keras.layers.LayerNormalization):
            assert layer.epsilon == 1e-5
    head = models.get_model("mobilevit_s").head(640)
    kernel = head["kernel_initializer"]((640, 19))
    np.testing.assert_allclose(np.std(kernel), 0.01, rtol=0.05)
    assert head["bias_initializer"] == "zeros"


def test_branches_start_at_zero_where_there_is_a_shortcut():
    model = network()
    norms = [x for x in model.layers if isinstance(x, layers.BatchNormalization)]
    zero = {layer.name for layer in norms if not np.any(layer.gamma)}
    assert zero == {"stage1_block1_project_norm", "stage2_block2_project_norm"}
    shortcuts = {x.name for x in model.layers if x.name.endswith("_add")}
    assert {f"{name.removesuffix('_project_norm')}_add" for name in zero} <= shortcuts


def test_stochastic_depth_grows_linearly_and_strikes_branches_only():
    # Five blocks: 0, 0.1, ... 0.4; the second and the fourth have no shortcut.
    model = network(drop_path_rate=0.4)
    rates = {x.name: x.rate for x in model.layers if "drop_path" in x.name}
    expected = {"stage2_block2_drop_path": 0.2}
    for number in (1, 2):
        for branch in ("attention", "mlp"):
            name = f"stage3_block2_transformer{number}_{branch}_drop_path"
            expected[name] = 0.4
    assert rates == pytest.approx(expected)


def test_sizes_are_timms():
    for name, features in (("xxs", 320), ("xs", 384), ("s", 640)):
        size = getattr(mobilevit, name.upper())
        assert size.features == features
        assert [stage.stride for stage in size.stages] == [1, 2, 2, 2, 2]
        assert [stage.blocks for stage in size.stages] == [1, 3, 1, 1, 1]
        assert [stage.depth for stage in size.stages] == [0, 0, 2, 4, 3]
        assert all(stage.tokens % 4 == 0 for stage in size.stages)


@pytest.mark.parametrize("policy", mixed_precision.POLICIES)
def test_mixed_precision_gives_nearly_the_same(policy):
    mixed_precision.check(network, images(), policy)


def test_published_names():
    for layer, variable, name in (
        ("stem_conv", "kernel", "stem.conv.weight"),
        ("stem_norm", "moving_mean", "stem.bn.running_mean"),
        ("stage1_block1_expand_conv", "kernel", "stages.0.0.conv1_1x1.conv.weight"),
        ("stage2_block3_depthwise_norm", "beta", "stages.1.2.conv2_kxk.bn.bias"),
        ("stage3_block1_project_norm", "gamma", "stages.2.0.conv3_1x1.bn.weight"),
        ("stage3_block2_local_conv", "kernel", "stages.2.1.conv_kxk.conv.weight"),
        ("stage3_block2_widen_conv", "kernel", "stages.2.1.conv_1x1.weight"),
        (
            "stage4_block2_transformer4_qkv",
            "bias",
            "stages.3.1.transformer.3.attn.qkv.bias",
        ),
        (
            "stage5_block2_transformer1_norm2",
            "gamma",
            "stages.4.1.transformer.0.norm2.weight",
        ),
        ("stage5_block2_norm", "beta", "stages.4.1.norm.bias"),
        ("stage5_block2_narrow_norm", "gamma", "stages.4.1.conv_proj.bn.weight"),
        ("stage5_block2_fuse_conv", "kernel", "stages.4.1.conv_fusion.conv.weight"),
        ("final_norm", "moving_variance", "final_conv.bn.running_var"),
        ("head", "bias", "head.fc.bias"),
    ):
        assert mobilevit.timm_name(layer, variable) == name
