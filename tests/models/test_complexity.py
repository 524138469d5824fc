"""Multiply-adds against hand formulas and published figures."""

import keras
import long_tests
import pytest

from bigearthnet_tf import models
from bigearthnet_tf.models import complexity


def build(name, bands=10, pixels=120, labels=19):
    names = tuple(f"b{number}" for number in range(bands))
    group = models.BandGroup("all", names, pixels, "float32")
    zeros, ones = dict.fromkeys(names, 0.0), dict.fromkeys(names, 1.0)
    return models.assemble(name, labels, [group], names, zeros, ones, image_size=pixels)


def test_short_cnn_by_hand():
    cost = complexity.cost_of(build("short_cnn", bands=3, pixels=32))
    convolutions = 32 * 32 * 25 * 3 * 32 + 16 * 16 * 25 * 32 * 32 + 8 * 8 * 9 * 32 * 64
    assert cost.features == 8 * 8 * 64
    assert cost.multiply_adds == convolutions + cost.features * 19
    assert cost.parameters == cost.trainable


def test_a_transformer_by_hand():
    """226 tokens at 120 pixels, of width 32, in two blocks."""
    cost = complexity.cost_of(build("vit_test"))
    tokens, width = 226, 32
    linear = tokens * (3 + 1 + 2 + 2) * width**2
    attention = 2 * tokens**2 * width
    patches = 225 * 64 * 10 * width
    assert cost.multiply_adds == patches + 2 * (linear + attention) + width * 19


def test_patches_as_batches_count():
    """MobileViT makes sequences of each place in its patches."""
    names = [x.name for x in build("mobilevit_test").layers if "qkv" in x.name]
    model = build("mobilevit_test", pixels=64)
    probe = keras.Model(model.input, model.get_layer(names[0]).output)
    assert probe.output_shape[1:] == (16, 48)
    one = complexity.cost_of(model).multiply_adds
    more = complexity.cost_of(build("mobilevit_test", pixels=128)).multiply_adds
    assert 3.9 < more / one < 4.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "published"),
    # He et al., arXiv 1512.03385 for the first form; timm's results table; for
    # MobileNetV2 arXiv 1801.04381, for DenseNet torchvision's table.
    long_tests.beyond(
        [("resnet50", 4.11e9), ("keras/mobilenet_v2", 0.30e9)],
        [
            ("resnet50", 4.11e9),
            ("resnet18", 1.82e9),
            ("convnextv2_base", 15.4e9),
            ("keras/mobilenet_v2", 0.30e9),
            ("keras/densenet121", 2.83e9),
        ],
    ),
)
def test_published_figures_at_224_pixels(name, published):
    cost = complexity.cost_of(build(name, bands=3, pixels=224, labels=1000))
    assert abs(cost.multiply_adds / published - 1) < 0.01
