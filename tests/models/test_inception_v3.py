"""InceptionV3 against torch's operations under torchvision's names."""

import importlib.util

import closeness
import keras
import numpy as np
import pytest

from bigearthnet_tf import models
from bigearthnet_tf.models import inception_v3, published


def build(name: str, pixels: int, bands: int = 3, labels: int = 19) -> keras.Model:
    names = tuple(f"b{number}" for number in range(bands))
    group = models.BandGroup("all", names, pixels, "float32")
    zeros, ones = dict.fromkeys(names, 0.0), dict.fromkeys(names, 1.0)
    return models.assemble(name, labels, [group], names, zeros, ones, image_size=pixels)


@pytest.fixture(scope="module")
def full() -> keras.Model:
    return build("inception_v3", 75)


def scatter_weights(model: keras.Model) -> None:
    """Puts every variable, statistics included, at a random place of its own."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        for variable in layer.weights:
            if "seed" in variable.name:
                continue
            lowest = 0.2 if variable.name in ("gamma", "moving_variance") else -0.4
            variable.assign(rng.uniform(lowest, 0.5, variable.shape))


@pytest.mark.parametrize("pixels", [32, 41])
def test_logits_equal_torchvisions_blocks_under_its_names(pixels):
    """One block of each kind, as `torchvision.models.inception` puts them together."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    import torch
    from torch.nn import functional

    model = build("inception_v3_test", pixels)
    scatter_weights(model)
    tensors = published.dump(model, inception_v3.timm_name, torch=True)
    weights = {name: torch.from_numpy(value.copy()) for name, value in tensors.items()}

    def conv(x, name, stride=1, padding=0):
        x = functional.conv2d(
            x, weights.pop(f"{name}.conv.weight"), stride=stride, padding=padding
        )
        mean, variance, weight, bias = (
            weights.pop(f"{name}.bn.{kind}")
            for kind in ("running_mean", "running_var", "weight", "bias")
        )
        weights.pop(f"{name}.bn.num_batches_tracked")
        x = functional.batch_norm(x, mean, variance, weight, bias, eps=1e-3)
        return functional.relu(x)

    def chain(x, name, paddings, stride=1):
        for number, padding in enumerate(paddings, start=1):
            last = number == len(paddings)
            x = conv(x, f"{name}_{number}", stride if last else 1, padding)
        return x

    def average(x):
        return functional.avg_pool2d(x, 3, stride=1, padding=1)

    def sides(x, name):
        across = conv(x, f"{name}a", padding=(0, 1))
        return torch.cat([across, conv(x, f"{name}b", padding=(1, 0))], 1)

    across, down = (0, 3), (3, 0)
    images = np.random.default_rng(0).normal(size=(2, 3, pixels, pixels))
    images = images.astype("float32")
    x = conv(torch.from_numpy(images), "Conv2d_1a_3x3", stride=2)
    block = "Mixed_5b.branch"
    x = torch.cat(
        [
            conv(x, f"{block}1x1"),
            chain(x, f"{block}5x5", (0, 2)),
            chain(x, f"{block}3x3dbl", (0, 1, 1)),
            conv(average(x), f"{block}_pool"),
        ],
        1,
    )
    block = "Mixed_6a.branch"
    x = torch.cat(
        [
            conv(x, f"{block}3x3", stride=2),
            chain(x, f"{block}3x3dbl", (0, 1, 0), stride=2),
            functional.max_pool2d(x, 3, stride=2),
        ],
        1,
    )
    block = "Mixed_6b.branch"
    x = torch.cat(
        [
            conv(x, f"{block}1x1"),
            chain(x, f"{block}7x7", (0, across, down)),
            chain(x, f"{block}7x7dbl", (0, down, across, down, across)),
            conv(average(x), f"{block}_pool"),
        ],
        1,
    )
    block = "Mixed_7a.branch"
    x = torch.cat(
        [
            chain(x, f"{block}3x3", (0, 0), stride=2),
            chain(x, f"{block}7x7x3", (0, across, down, 0), stride=2),
            functional.max_pool2d(x, 3, stride=2),
        ],
        1,
    )
    block = "Mixed_7b.branch"
    x = torch.cat(
        [
            conv(x, f"{block}1x1"),
            sides(conv(x, f"{block}3x3_1"), f"{block}3x3_2"),
            sides(chain(x, f"{block}3x3dbl", (0, 1)), f"{block}3x3dbl_3"),
            conv(average(x), f"{block}_pool"),
        ],
        1,
    )
    x = x.mean(dim=(2, 3))
    expected = x @ weights.pop("fc.weight").T + weights.pop("fc.bias")
    assert not weights
    closeness.assert_close(model({"all": images}), expected, closeness.NETWORK)


def test_names_are_torchvisions(full):
    names = published.dump(full, inception_v3.timm_name, torch=True)
    # 94 convolutions with a kernel and five tensors of BatchNorm, and the last layer.
    assert len(names) == 94 * 6 + 2
    shapes = {name: value.shape for name, value in names.items()}
    assert shapes["Conv2d_1a_3x3.conv.weight"] == (32, 3, 3, 3)
    assert shapes["Conv2d_4a_3x3.bn.running_var"] == (192,)
    assert shapes["Mixed_5d.branch_pool.conv.weight"] == (64, 288, 1, 1)
    assert shapes["Mixed_6a.branch3x3dbl_3.conv.weight"] == (96, 96, 3, 3)
    assert shapes["Mixed_6c.branch7x7dbl_5.conv.weight"] == (192, 160, 1, 7)
    assert shapes["Mixed_6e.branch7x7_3.conv.weight"] == (192, 192, 7, 1)
    assert shapes["Mixed_7a.branch7x7x3_4.conv.weight"] == (192, 192, 3, 3)
    assert shapes["Mixed_7c.branch3x3dbl_3b.conv.weight"] == (384, 384, 3, 1)
    assert shapes["fc.weight"] == (19, 2048)


def test_blocks_have_the_published_sizes():
    """Image sizes and channels that torchvision's source notes for 299 pixels."""
    inputs = keras.Input((299, 299, 3))
    model = keras.Model(inputs, inception_v3.inception_v3(inputs))
    for name, pixels, channels in (
        ("Conv2d_1a_3x3_relu", 149, 32),
        ("Conv2d_2a_3x3_relu", 147, 32),
        ("Conv2d_2b_3x3_relu", 147, 64),
        ("Conv2d_3b_1x1_relu", 73, 80),
        ("Conv2d_4a_3x3_relu", 71, 192),
        ("Mixed_5b", 35, 256),
        ("Mixed_5d", 35, 288),
        ("Mixed_6a", 17, 768),
        ("Mixed_6e", 17, 768),
        ("Mixed_7a", 8, 1280),
        ("Mixed_7c", 8, 2048),
    ):
        shape = model.get_layer(name).output.shape
        assert shape == (None, pixels, pixels, channels), name


@pytest.mark.parametrize(
    ("name", "pixels"), [("inception_v3", 75), ("inception_v3_test", 15)]
)
def test_images_below_the_smallest_are_refused(name, pixels):
    last = "Mixed_7c" if name == "inception_v3" else "Mixed_7b"
    smallest = build(name, pixels).get_layer(last)
    assert smallest.output.shape[1:3] == (1, 1)
    message = rf"at least {pixels} pixels a side, got {pixels - 1} by {pixels - 1}"
    with pytest.raises(ValueError, match=message):
        build(name, pixels - 1)


def test_layers_start_as_torchvisions(full):
    for name in ("Conv2d_4a_3x3", "Mixed_7b_branch3x3_2a"):
        kernel = np.asarray(full.get_layer(f"{name}_conv").kernel)
        np.testing.assert_allclose(kernel.std(), 0.1, rtol=0.02)
        # A normal that is cut at 20 deviations is not cut at two.
        assert np.abs(kernel).max() > 0.3
    head = full.get_layer("head")
    assert 0.9 * 2048**-0.5 < np.abs(head.kernel).max() <= 2048**-0.5
    norms = [x for x in full.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert {(norm.momentum, norm.epsilon) for norm in norms} == {(0.9, 1e-3)}
