"""Vision transformers against sums over tokens in float64; how they start."""

import math

import closeness
import keras
import mixed_precision
import numpy as np
import pytest
from scipy import stats

from bigearthnet_tf import models
from bigearthnet_tf.models import vit

FORM = vit.Form(heads=2, expansion=3, activation="gelu", epsilon=1e-6, deviation=0.02)


def network(rows: int = 8, columns: int = 12, **options) -> keras.Model:
    inputs = keras.Input((rows, columns, 2))
    sizes = {"patch": 4, "width": 8, "depth": 2, "form": FORM, **options}
    return keras.Model(inputs, vit.vit(inputs, **sizes))


def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 8, 12, 2)).astype("float32")


def scatter_weights(model: keras.Model) -> None:
    """Puts every variable at a random place of its own."""
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(rng.uniform(-0.5, 1, variable.shape))


def test_features_equal_sums_over_tokens():
    model = network()
    scatter_weights(model)
    weights = {
        f"{layer.name}/{variable.name}": variable.numpy().astype("float64")
        for layer in model.layers
        for variable in layer.weights
    }

    def linear(x, name):
        return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]

    def normalized(x, name):
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6)
        return x * weights[f"{name}/gamma"] + weights[f"{name}/beta"]

    def attention(tokens):
        gathered = np.zeros((len(tokens), 8))
        for head in range(2):
            own = slice(4 * head, 4 * head + 4)
            query, key, value = (tokens[:, 8 * i : 8 * i + 8][:, own] for i in range(3))
            for number, asked in enumerate(query):
                scores = np.exp([asked @ other / math.sqrt(4) for other in key])
                gathered[number, own] = scores / scores.sum() @ value
        return gathered

    def gelu(x):
        return x * np.vectorize(lambda v: (1 + math.erf(v / math.sqrt(2))) / 2)(x)

    for image, features in zip(images(), model(images()), strict=True):
        patches = [
            image[row : row + 4, column : column + 4]
            for row in (0, 4)
            for column in (0, 4, 8)
        ]
        kernel = weights["patch_embed/kernel"]
        x = np.array([np.einsum("hwb,hwbc->c", patch, kernel) for patch in patches])
        x = np.vstack([weights["tokens/cls_token"][0], x + weights["patch_embed/bias"]])
        x = x + weights["tokens/pos_embed"][0]
        for block in ("block1", "block2"):
            branch = linear(normalized(x, f"{block}_norm1"), f"{block}_qkv")
            x = x + linear(attention(branch), f"{block}_proj")
            branch = gelu(linear(normalized(x, f"{block}_norm2"), f"{block}_fc1"))
            x = x + linear(branch, f"{block}_fc2")
        closeness.assert_close(features, normalized(x, "norm")[0])


def test_only_positions_tell_patches_apart():
    model = network()
    swapped = images()[:, ::-1, :, :].reshape(3, 2, 4, 3, 4, 2)
    swapped = swapped[:, :, ::-1].reshape(3, 8, 12, 2)  # rows of patches, not of pixels
    assert not np.allclose(model(swapped), model(images()), atol=1e-4)
    positions = model.get_layer("tokens").pos_embed
    positions.assign(np.zeros(positions.shape))
    closeness.assert_close(model(swapped), model(images()))


def test_a_class_token_and_a_position_for_every_patch():
    tokens = network(120, 120, patch=8).get_layer("tokens")
    assert tokens.cls_token.shape == (1, 1, 8)
    assert tokens.pos_embed.shape == (1, 15 * 15 + 1, 8)


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ((50, 50), "patch of 8 pixels, got 50 by 50: .* such as 48 or 56"),
        ((48, 63), "got 48 by 63: .* such as 56 or 64"),
        ((7, 7), "got 7 by 7: .* such as 8 or 16"),
    ],
)
def test_sides_that_patches_dont_fill_are_refused(sides, message):
    with pytest.raises(ValueError, match=message):
        network(*sides, patch=8)


def test_channels_that_heads_dont_divide_are_refused():
    assert vit.SelfAttention(2)(np.zeros((1, 5, 12))).shape == (1, 5, 4)
    with pytest.raises(ValueError, match="three times 4 heads, got 18"):
        vit.SelfAttention(4)(np.zeros((1, 5, 18)))


def assert_normal(values, deviation: float) -> None:
    """Whole, not cut off: timm's `trunc_normal_` cuts a hundred deviations away."""
    assert stats.kstest(np.ravel(values), "norm", (0, deviation)).pvalue > 1e-3
    assert np.abs(values).max() > 2.5 * deviation


def test_weights_start_as_timms():
    model = network(24, 24, width=64)
    tokens, first = model.get_layer("tokens"), model.get_layer("patch_embed")
    np.testing.assert_allclose(np.std(tokens.cls_token), 1e-6, rtol=0.3)
    assert_normal(tokens.pos_embed, 0.02)
    bound = (16 * 2) ** -0.5
    for values in (first.kernel, first.bias):
        assert 0.9 * bound < np.abs(values).max() <= bound
    np.testing.assert_allclose(np.std(first.kernel), bound / 3**0.5, rtol=0.05)
    dense = [x for x in model.layers if isinstance(x, keras.layers.Dense)]
    assert len(dense) == 2 * 4
    for layer in dense:
        assert_normal(layer.kernel, 0.02)
        assert not np.any(layer.bias)
    # No two of them start alike.
    assert len({float(np.ravel(x.kernel)[0]) for x in dense}) == len(dense)
    norms = [x for x in model.layers if isinstance(x, keras.layers.LayerNormalization)]
    assert len(norms) == 2 * 2 + 1
    assert {layer.epsilon for layer in norms} == {1e-6}
    head = models.get_model("vit_base_patch8_224").head(64)
    assert_normal(head["kernel_initializer"]((64, 200)), 0.02)
    assert head["bias_initializer"] == "zeros"


def test_stochastic_depth_grows_linearly_in_both_branches():
    model = network(depth=3, drop_path_rate=0.4)
    rates = {x.name: x.rate for x in model.layers if "drop_path" in x.name}
    assert rates == pytest.approx(
        {
            "block2_attention_drop_path": 0.2,
            "block2_mlp_drop_path": 0.2,
            "block3_attention_drop_path": 0.4,
            "block3_mlp_drop_path": 0.4,
        }
    )
    assert not any("drop_path" in x.name for x in network(depth=1).layers)


@pytest.mark.parametrize("policy", mixed_precision.POLICIES)
def test_mixed_precision_gives_nearly_the_same(policy):
    mixed_precision.check(network, images(), policy, tolerance=0.1)


def test_published_names():
    for layer, variable, name in (
        ("patch_embed", "kernel", "patch_embed.proj.weight"),
        ("tokens", "cls_token", "cls_token"),
        ("tokens", "pos_embed", "pos_embed"),
        ("block1_norm1", "gamma", "blocks.0.norm1.weight"),
        ("block12_qkv", "bias", "blocks.11.attn.qkv.bias"),
        ("block2_proj", "kernel", "blocks.1.attn.proj.weight"),
        ("block2_norm2", "beta", "blocks.1.norm2.bias"),
        ("block2_fc1", "kernel", "blocks.1.mlp.fc1.weight"),
        ("block2_fc2", "bias", "blocks.1.mlp.fc2.bias"),
        ("norm", "gamma", "norm.weight"),
        ("head", "kernel", "head.weight"),
    ):
        assert vit.timm_name(layer, variable) == name
