"""Architectures of keras.applications, for any number of bands."""

import closeness
import keras
import long_tests
import numpy as np
import pytest
import tensorflow as tf

from bigearthnet_tf import models
from bigearthnet_tf.models import borrowed, layers

# Keras warns of other than 1 or 3 bands when it is told their number.
pytestmark = pytest.mark.filterwarnings("ignore:This model usually expects")

S2 = tuple(f"b{number}" for number in range(10))
SMALL = ("keras/mobilenet_v3_small", "keras/efficientnetv2_b0", "keras/mobilenet_v2")


def build(name, bands=S2, pixels=64, **options):
    group = models.BandGroup("all", bands, pixels, "float32")
    zeros, ones = dict.fromkeys(bands, 0.0), dict.fromkeys(bands, 1.0)
    return models.assemble(
        name, 19, [group], bands, zeros, ones, image_size=pixels, **options
    )


def batch(bands=10, pixels=64):
    rng = np.random.default_rng(0)
    return {"all": rng.normal(size=(4, bands, pixels, pixels)).astype("float32")}


def count(variables) -> int:
    return sum(int(np.prod(v.shape)) for v in variables)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", long_tests.beyond(SMALL, models.list_models("keras/*"))
)
def test_it_is_the_network_of_keras_with_other_bands(name):
    application = borrowed.APPLICATIONS[name.removeprefix("keras/")]
    constructor = getattr(keras.applications, application.constructor)
    theirs = constructor(
        input_shape=(120, 120, 10), weights=None, include_top=False, pooling="avg"
    )
    ours = build(name, pixels=120)
    head = ours.get_layer("head")
    assert head.kernel.shape == (theirs.output_shape[-1], 19)
    backbone = [v for x in ours.layers if x is not head for v in x.trainable_variables]
    assert count(backbone) == count(theirs.trainable_variables)


@pytest.mark.parametrize("name", SMALL)
def test_features_equal_those_of_keras(name):
    application = borrowed.APPLICATIONS[name.removeprefix("keras/")]
    constructor = getattr(keras.applications, application.constructor)
    options = (
        {}
        if "v2_b0" not in name and "v3" not in name
        else {"include_preprocessing": False}
    )
    theirs = constructor(
        input_shape=(64, 64, 10),
        weights=None,
        include_top=False,
        pooling="avg",
        **options,
    )
    ours = build(name)
    own = [x for x in ours.layers if x.weights and x.name != "head"]
    for layer, other in zip(own, [x for x in theirs.layers if x.weights], strict=True):
        layer.set_weights(other.get_weights())
    features = keras.Model(ours.input, ours.get_layer("features").output)
    images = batch()
    expected = theirs(images["all"].transpose(0, 2, 3, 1), training=False)
    closeness.assert_close(features(images), expected, closeness.NETWORK)


@pytest.mark.parametrize("name", SMALL)
def test_it_learns_is_saved_and_synchronised(name, tmp_path):
    model = build(name)
    norms = [x for x in model.layers if isinstance(x, layers.BatchNormalization)]
    assert norms
    models.synchronize_batch_norm(model)
    assert all(x.synchronized for x in norms)
    model = build(name, bands=S2[:2])
    images = batch(bands=2)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(images, training=True) ** 2)
    variables = model.trainable_variables
    for variable, gradient in zip(
        variables, tape.gradient(loss, [v.value for v in variables]), strict=True
    ):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(images), model(images))


def test_stochastic_depth_is_the_configs():
    model = build("keras/efficientnetv2_b0", drop_path_rate=0.3)
    rates = [x.rate for x in model.layers if isinstance(x, layers.DropPath)]
    assert rates == sorted(rates)
    assert 0.2 < rates[-1] <= 0.3
    none = build("keras/efficientnetv2_b0")
    assert not any(isinstance(x, layers.DropPath) for x in none.layers)


def test_stochastic_depth_of_convnext_ends_each_block():
    x = keras.Input((32, 32, 2))
    application = borrowed.APPLICATIONS["convnext_tiny"]
    model = keras.Model(x, borrowed.features(x, "it", application, 0.34))
    rates = [x.rate for x in model.layers if isinstance(x, layers.DropPath)]
    np.testing.assert_allclose(rates, np.arange(1, 18) * 0.02)


def test_rescaling_is_left_out():
    kinds = (keras.layers.Rescaling, keras.layers.Normalization)
    model = build("keras/efficientnet_b0")
    assert not any(isinstance(layer, kinds) for layer in model.layers)


def test_names_do_not_depend_on_what_was_built_before():
    name = "keras/mobilenet_v3_small"
    first, second = ([x.name for x in build(name).layers] for _ in range(2))
    assert first == second


def test_several_band_groups_enter_it():
    groups = [
        models.BandGroup("s1_10m", ("VV", "VH"), 32, "float32"),
        models.BandGroup("s2_20m", ("B05",), 16, "uint16"),
    ]
    bands = ("VV", "VH", "B05")
    zeros, ones = dict.fromkeys(bands, 0.0), dict.fromkeys(bands, 1.0)
    model = models.assemble(
        "keras/convnext_tiny", 3, groups, bands, zeros, ones, image_size=32
    )
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    images = {
        "s1_10m": np.ones((2, 2, 32, 32), "float32"),
        "s2_20m": np.ones((2, 1, 16, 16), "uint16"),
    }
    assert model(images).shape == (2, 3)
    # Layers are where the model has them: their output can be reached.
    middle = model.get_layer("convnext_tiny_stage_1_block_0_layernorm").output
    assert keras.Model(model.input, middle)(images).shape == (2, 4, 4, 192)


@pytest.mark.parametrize("name", SMALL)
def test_bfloat16_keeps_float32_weights(name):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build(name)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    convolutions = [x for x in model.layers if isinstance(x, keras.layers.Conv2D)]
    assert {x.compute_dtype for x in convolutions} == {"bfloat16"}
    logits = model(batch())
    assert logits.dtype == tf.float32
    assert np.isfinite(logits).all()


def test_too_small_images_are_refused():
    with pytest.raises(ValueError, match="at least 32 pixels a side, got 30 by 30"):
        build("keras/mobilenet_v2", pixels=30)
