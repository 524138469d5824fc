"""Frozen layers run as in inference, dropout included; the head's own goes on."""

import importlib.util

import closeness
import keras
import networks
import numpy as np
import pytest

from bigearthnet_tf import models
from bigearthnet_tf.models import freezing, layers

RATE = 0.5
# Where dropout or stochastic depth is between input and features.
DROPPING = [
    ("resnet_test", {"drop_path_rate": RATE}),
    ("vit_test", {"drop_path_rate": RATE}),
    ("convnext_test", {"drop_path_rate": RATE}),
    ("mixer_test", {"drop_path_rate": RATE}),
    ("k_branch_test", {}),
    ("vgg_test", {}),
    ("inception_v1_test", {}),
    ("inception_v3_test", {}),
    ("keras/mobilenet_v3_small", {}),
    ("keras/convnext_tiny", {"drop_path_rate": RATE}),
]


def outputs(model, layer: str, training: bool) -> list[np.ndarray]:
    """What a layer gives twice for one batch."""
    part = keras.Model(model.input, model.get_layer(layer).output)
    images = networks.batch_for(model)
    return [part(images, training=training).numpy() for _ in range(2)]


@pytest.mark.parametrize(("name", "options"), DROPPING)
def test_level_0_drops_in_the_head_alone(name, options):
    model = networks.build(name, 12, drop_rate=RATE, head_dims=[8], **options)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(keras.ops.ones_like(layer.gamma))
        if layer.name.endswith("layer_scale"):
            layer.gamma.assign(keras.ops.ones_like(layer.gamma))
    freezing.freeze_backbone(model)
    expected, _ = outputs(model, "features", training=False)
    for features in outputs(model, "features", training=True):
        closeness.assert_close(features, expected, closeness.NETWORK)
    for layer in ("head_hidden1_dropout", "head_dropout"):
        one, other = outputs(model, layer, training=True)
        assert not np.array_equal(one, other), layer
    learning = {x.name for x in model.layers if x.trainable_variables}
    assert {n for n in learning if n != "head_norm"} == {"head", "head_hidden1"}


def test_a_frozen_dropout_drops_nothing():
    ones = np.ones((4, 100), "float32")
    for kind in (layers.Dropout, layers.DropPath):
        layer = kind(RATE, seed=1)
        assert 0 in layer(ones, training=True).numpy()
        layer.trainable = False
        np.testing.assert_array_equal(layer(ones, training=True), ones)


def test_the_normalisation_of_convnexts_head_learns():
    model = networks.build("convnext_test")
    freezing.freeze_backbone(model)
    paths = {variable.path for variable in model.trainable_variables}
    assert paths == {"head/kernel", "head/bias", "head_norm/gamma", "head_norm/beta"}


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("keras_hub") is None,
    reason="keras-hub (the extra of that name) is not installed",
)
@pytest.mark.filterwarnings("ignore:Layer .attn. .of type WindowAttention")
def test_a_nested_backbone_of_keras_hub_drops_until_it_is_frozen():
    model = networks.build("keras_hub/swin_tiny", 3, pixels=64, drop_path_rate=RATE)
    assert models.get_model("keras_hub/swin_tiny").keras_name == model.name
    one, other = outputs(model, "features", training=True)
    assert not np.array_equal(one, other)
    freezing.freeze_backbone(model)
    expected, _ = outputs(model, "features", training=False)
    for features in outputs(model, "features", training=True):
        closeness.assert_close(features, expected, closeness.NETWORK)
