"""K-BranchCNN against the layers of its description, and how it starts."""

import closeness
import keras
import numpy as np
import pytest
import tensorflow as tf

from bigearthnet_tf import models
from bigearthnet_tf.models import k_branch, published

BANDS = {120: 4, 60: 6, 20: 2}
# Filters, kernel and pooling of the published network, over 16.
PLANS = {
    120: ((2, 5, True), (2, 5, True), (4, 3, False)),
    60: ((2, 3, True), (2, 3, False), (4, 3, False)),
    20: ((2, 2, False), (2, 2, False), (2, 2, False)),
}


def build(bands: dict[int, int], name: str = "k_branch_test") -> keras.Model:
    groups = [
        models.BandGroup(
            f"p{pixels}",
            tuple(f"b{pixels}_{number}" for number in range(count)),
            pixels,
            "float32",
        )
        for pixels, count in bands.items()
    ]
    names = [band for group in groups for band in group.bands]
    zeros, ones = dict.fromkeys(names, 0.0), dict.fromkeys(names, 1.0)
    return models.assemble(name, 19, groups, names, zeros, ones)


def images(bands: dict[int, int]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        f"p{pixels}": rng.normal(size=(3, count, pixels, pixels)).astype("float32")
        for pixels, count in bands.items()
    }


def scatter_weights(model: keras.Model) -> None:
    """Puts every variable, statistics included, at a random place of its own."""
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables + model.non_trainable_variables:
        if "seed" in variable.name:
            continue
        lowest = 0.2 if variable.name in ("gamma", "moving_variance") else -0.2
        variable.assign(rng.uniform(lowest, abs(lowest) + 0.2, variable.shape))


def test_logits_equal_the_published_layers_under_their_published_names():
    model = build(BANDS)
    scatter_weights(model)
    tensors = published.dump(model, k_branch.tf1_name, torch=False)
    weights = {name: value.astype("float64") for name, value in tensors.items()}

    def activated(x, scope):
        norm = {
            kind: weights.pop(f"{scope}/batch_norm/{kind}")
            for kind in ("gamma", "beta", "moving_mean", "moving_variance")
        }
        scale = norm["gamma"] / np.sqrt(norm["moving_variance"] + 1e-3)
        return np.maximum((x - norm["moving_mean"]) * scale + norm["beta"], 0)

    def linear(x, scope):
        scope += "/fc_layer"
        return x @ weights.pop(f"{scope}/kernel") + weights.pop(f"{scope}/bias")

    ends = []
    for metres, pixels in ((10, 120), (20, 60), (60, 20)):
        x = images(BANDS)[f"p{pixels}"].astype("float64").transpose(0, 2, 3, 1)
        for number, (filters, size, pool) in enumerate(PLANS[pixels]):
            scope = f"CNN_{metres}m_branch/conv_block_{number}"
            kernel = weights.pop(f"{scope}/conv_layer/kernel")
            assert kernel.shape == (size, size, x.shape[-1], filters)
            x = tf.nn.conv2d(x, kernel, 1, "SAME").numpy()
            x = activated(x + weights.pop(f"{scope}/conv_layer/bias"), scope)
            if pool:
                x = tf.nn.max_pool2d(x, 2, 2, "VALID").numpy()
        scope = f"CNN_{metres}m_branch/fc_block_0"
        ends.append(activated(linear(x.reshape(3, -1), scope), scope))
    scope = "feature_fusion/fc_block_0"
    fused = activated(linear(np.concatenate(ends, axis=1), scope), scope)
    expected = linear(fused, "classification")
    assert not weights
    closeness.assert_close(model(images(BANDS)), expected)


@pytest.mark.parametrize("bands", [{120: 6}, {60: 1}, {20: 2, 120: 1}, {121: 1, 7: 2}])
def test_any_resolutions_and_bands_go(bands):
    model = build(bands)
    assert model(images(bands)).shape == (3, 19)
    branches = {layer.name.split("_")[0] for layer in model.layers}
    for pixels in bands:
        assert f"branch{pixels}" in branches


def test_the_finest_resolution_is_the_first_to_be_fused():
    """In whatever order they come: imported weights rely on it."""
    inputs = {
        pixels: keras.Input((pixels, pixels, count))
        for pixels, count in reversed(BANDS.items())
    }
    features = k_branch.k_branch_test(inputs)
    model = keras.Model(list(inputs.values()), features)
    scatter_weights(model)
    layers = (model.get_layer(name) for name in ("fusion", "branch120_fc_relu"))
    sides = keras.Model(model.inputs, [layer.output for layer in layers])
    whole, finest = sides([np.ones((1, *x.shape[1:])) for x in inputs.values()])
    assert np.any(finest)
    np.testing.assert_array_equal(whole[:, :8], finest)


def test_layers_start_glorot_uniform_and_without_bias():
    model = build(BANDS)
    for name, fans in (
        ("branch120_conv2", 25 * 2 + 25 * 2),
        ("branch20_fc", 20 * 20 * 2 + 8),
        ("head", 8 + 19),
    ):
        layer = model.get_layer(name)
        bound = (6 / fans) ** 0.5
        assert 0.9 * bound < np.abs(layer.kernel).max() <= bound
        assert not np.any(layer.bias)
    norm = model.get_layer("branch60_conv1_norm")
    assert (norm.momentum, norm.epsilon) == (0.99, 1e-3)
