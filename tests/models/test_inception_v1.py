"""InceptionV1 against torch's operations, and how it starts."""

import importlib.util

import closeness
import keras
import numpy as np
import pytest

from bigearthnet_tf import models
from bigearthnet_tf.models import inception_v1


def build(name: str, pixels: int = 120, bands: int = 3) -> keras.Model:
    names = tuple(f"b{number}" for number in range(bands))
    group = models.BandGroup("all", names, pixels, "float32")
    zeros, ones = dict.fromkeys(names, 0.0), dict.fromkeys(names, 1.0)
    return models.assemble(name, 19, [group], names, zeros, ones, image_size=pixels)


@pytest.fixture(scope="module")
def full() -> keras.Model:
    return build("inception_v1")


def scatter_weights(model: keras.Model) -> None:
    """Puts every variable, statistics included, at a random place of its own."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        for variable in layer.weights:
            if "seed" in variable.name:
                continue
            lowest = 0.2 if variable.name in ("gamma", "moving_variance") else -0.4
            variable.assign(rng.uniform(lowest, 0.5, variable.shape))


# Sizes that a symmetric padding and Keras's `same` treat alike and otherwise.
@pytest.mark.parametrize("pixels", [32, 45, 120])
def test_features_equal_torchs_layers(pixels):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    import torch
    from torch.nn import functional

    model = build("inception_v1_test", pixels, bands=2)
    scatter_weights(model)

    def activated(x, name, padding=0, stride=1):
        kernel = model.get_layer(f"{name}_conv").kernel.numpy()
        kernel = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
        x = functional.conv2d(x, kernel, stride=stride, padding=padding)
        norm = model.get_layer(f"{name}_norm")
        mean, variance, gamma, beta = (
            torch.from_numpy(value.numpy())
            for value in (norm.moving_mean, norm.moving_variance, norm.gamma, norm.beta)
        )
        x = functional.batch_norm(x, mean, variance, gamma, beta, eps=1e-5)
        return functional.relu(x)

    images = np.random.default_rng(0).normal(size=(2, 2, pixels, pixels))
    images = images.astype("float32")
    x = activated(torch.from_numpy(images), "stem1", padding=3, stride=2)
    x = functional.max_pool2d(x, 3, 2, padding=1)
    x = activated(activated(x, "stem2"), "stem3", padding=1)
    for block in ("mixed3a", "mixed4a"):
        x = functional.max_pool2d(x, 3, 2, padding=1)
        three = activated(x, f"{block}_three_reduce")
        five = activated(x, f"{block}_five_reduce")
        branches = [
            activated(x, f"{block}_one"),
            activated(three, f"{block}_three", padding=1),
            activated(five, f"{block}_five", padding=2),
            activated(functional.max_pool2d(x, 3, 1, 1), f"{block}_pooled"),
        ]
        x = torch.cat(branches, 1)
    features = keras.Model(model.input, model.get_layer("features").output)
    expected = x.mean(dim=(2, 3)).numpy()
    closeness.assert_close(features({"all": images}), expected, closeness.NETWORK)


def test_blocks_have_the_papers_widths(full):
    # Output of each block in table 1 of the paper, and the image at 120 pixels.
    outputs = {
        "3a": (15, 256),
        "3b": (15, 480),
        "4a": (8, 512),
        "4b": (8, 512),
        "4c": (8, 512),
        "4d": (8, 528),
        "4e": (8, 832),
        "5a": (4, 832),
        "5b": (4, 1024),
    }
    for block, (pixels, filters) in outputs.items():
        shape = full.get_layer(f"mixed{block}").output.shape
        assert shape == (None, pixels, pixels, filters), block


def test_any_image_size_goes():
    inputs = keras.Input((1, 1, 2))
    features = inception_v1.inception_v1_test(inputs)
    assert features.shape == (None, 40)


def test_layers_start_as_torchs(full):
    for name, fan_in in (("stem1", 49 * 3), ("mixed4a_three", 9 * 96)):
        kernel = np.asarray(full.get_layer(f"{name}_conv").kernel)
        bound = fan_in**-0.5
        assert 0.99 * bound < np.abs(kernel).max() <= bound
        np.testing.assert_allclose(kernel.std(), bound / 3**0.5, rtol=0.02)
    head = full.get_layer("head")
    assert 0.9 * 1024**-0.5 < np.abs(head.kernel).max() <= 1024**-0.5
    norms = [x for x in full.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 3 + 9 * 6
    assert {(norm.momentum, norm.epsilon) for norm in norms} == {(0.9, 1e-5)}
