"""InceptionV3 against timm's; what makes K-Branch and VGG those of the TF project."""

import closeness
import keras
import numpy as np
import pytest
import timm_models

from bigearthnet_tf import models
from bigearthnet_tf.models import layers, published

NAMES = tuple(f"b{number}" for number in range(3))


def build(name, names=NAMES, pixels=120, labels=19):
    group = models.BandGroup("all", names, pixels, "float32")
    zeros, ones = dict.fromkeys(names, 0.0), dict.fromkeys(names, 1.0)
    return models.assemble(name, labels, [group], names, zeros, ones, image_size=pixels)


@pytest.mark.slow
def test_inception_v3_gives_timms_logits():
    timm = timm_models.load()
    import torch

    theirs = timm.create_model("inception_v3", num_classes=19, aux_logits=False)
    generator = torch.Generator().manual_seed(0)
    for name, tensor in theirs.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1, generator=generator)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
    theirs.eval()
    model = build("inception_v3", pixels=299)
    weights = {name: value.numpy() for name, value in theirs.state_dict().items()}
    naming = models.get_model("inception_v3").timm
    published.load(model, weights, naming, torch=True, where="timm")
    images = np.random.default_rng(0).normal(size=(2, 3, 299, 299)).astype("float32")
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images)).numpy()
    logits = model({"all": images}, training=False).numpy()
    closeness.assert_close(logits, expected, closeness.NETWORK)


@pytest.mark.long
def test_vgg_16_gives_the_logits_of_a_plain_reading_of_it():
    """The network as its description reads, in Keras operations, on tiny images."""
    model = build("vgg16", pixels=32)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 3, 32, 32)).astype("float32")
    x = images.transpose(0, 2, 3, 1)
    convolutions = [v for v in model.layers if isinstance(v, keras.layers.Conv2D)]
    blocks = iter(convolutions)
    for count in (2, 2, 3, 3, 3):
        for _ in range(count):
            layer = next(blocks)
            x = keras.ops.conv(x, layer.kernel, padding="same") + layer.bias
            x = keras.ops.relu(x)
        x = keras.ops.max_pool(x, 2, 2, "valid")
    for layer in blocks:
        x = keras.ops.conv(x, layer.kernel, padding="same") + layer.bias
        x = keras.ops.relu(x)
    head = model.get_layer("head")
    expected = keras.ops.mean(x, axis=(1, 2)) @ head.kernel + head.bias
    logits = model({"all": images}, training=False)
    closeness.assert_close(logits, expected, closeness.NETWORK)


def test_k_branch_keeps_every_resolution_and_its_dropout():
    names = {120: 4, 60: 6, 20: 2}
    groups = [
        models.BandGroup(
            f"p{pixels}",
            tuple(f"b{pixels}_{i}" for i in range(count)),
            pixels,
            "float32",
        )
        for pixels, count in names.items()
    ]
    bands = [band for group in groups for band in group.bands]
    zeros, ones = dict.fromkeys(bands, 0.0), dict.fromkeys(bands, 1.0)
    model = models.assemble("K-BranchCNN", 43, groups, bands, zeros, ones)
    flat = [x.output.shape[1] for x in model.layers if "flatten" in x.name]
    assert sorted(flat) == [12_800, 57_600, 57_600]
    rates = sorted(x.rate for x in model.layers if isinstance(x, layers.Dropout))
    # Three convolutions and one linear layer in each branch, two behind them.
    assert rates == [0.25] * 10 + [0.5] * 4
    assert not any("resample" in x.name for x in model.layers)


@pytest.mark.parametrize("name", ["inception_v1", "inception_v3"])
def test_inception_has_its_dropout(name):
    model = build(name)
    rates = [x.rate for x in model.layers if isinstance(x, layers.Dropout)]
    assert rates == [{"inception_v1": 0.4, "inception_v3": 0.5}[name]]
