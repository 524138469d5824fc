"""What may be relied on with every architecture, chosen from the registry by a rule."""

import closeness
import keras
import long_tests
import networks
import numpy as np
import pytest
import tensorflow as tf
from programs import run_program

from bigearthnet_tf import models
from bigearthnet_tf.models import preprocessing

# Built in seconds at 32 pixels: the sizes for tests, and Keras's smallest.
SMALL = [
    name
    for name in models.list_models()
    if name.endswith("_test")
    or name.startswith("short_cnn")
    or name in ("keras/mobilenet_v3_small", "keras/convnext_tiny")
]
# Borrowed ones have tests of their own.
OWN = [name for name in SMALL if "/" not in name]
FAMILIES = (
    "convmixer",
    "convnext",
    "inception_v1",
    "inception_v3",
    "k_branch",
    "mixer",
    "mobilevit",
    "resnet",
    "vgg",
    "vit",
)

# Layers of the front, whose shapes Keras works out by itself.
FRONT = (preprocessing.Standardize, preprocessing.Resample, preprocessing.StackBands)


def test_the_rule_finds_the_families():
    assert set(SMALL) >= {f"{family}_test" for family in FAMILIES}


@pytest.mark.parametrize("name", SMALL)
def test_variables_are_named_by_layer_once(name):
    model = networks.build(name)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    places = [(x.name, v.name) for x in model.layers for v in x.weights]
    assert len(places) == len(set(places)) == len(model.weights)
    again = networks.build(name)
    assert [layer.name for layer in again.layers] == [x.name for x in model.layers]


# Keras leaves it out in its LayerScale.
@pytest.mark.parametrize("name", OWN)
def test_layers_say_the_shape_that_they_give(name):
    model = networks.build(name)
    images = networks.batch_for(model, 2)
    shapes = {key: image.shape for key, image in images.items()}
    assert model.compute_output_shape(shapes) == (2, 3)
    probe = keras.Model(model.input, [layer.output for layer in model.layers])
    symbolic = [x.shape for x in keras.tree.flatten(probe.output)]
    for said, got in zip(symbolic, keras.tree.flatten(probe(images)), strict=True):
        assert len(said) == len(got.shape)
        expected = [g if s is None else s for s, g in zip(said, got.shape, strict=True)]
        assert list(got.shape) == expected
    inputs = (keras.layers.InputLayer, *FRONT)
    for layer in (x for x in model.layers if not isinstance(x, inputs)):
        shape = keras.tree.map_structure(lambda x: x.shape, layer.input)
        assert layer.compute_output_shape(shape) == layer.output.shape, layer.name


@pytest.mark.parametrize("name", SMALL)
def test_a_sample_does_not_depend_on_its_batch(name):
    model = networks.build(name)
    images = networks.batch_for(model, 3)
    together = model(images, training=False).numpy()
    alone = [
        model({key: image[i : i + 1] for key, image in images.items()}, training=False)
        for i in range(3)
    ]
    closeness.assert_close(np.concatenate(alone), together, closeness.NETWORK)


@pytest.mark.parametrize("name", SMALL)
def test_the_seed_decides_the_weights(name):
    one, same, other = (
        networks.build(name, seed=seed).get_weights() for seed in (1, 1, 2)
    )
    assert all(map(np.array_equal, one, same))
    assert not all(map(np.array_equal, one, other))


@pytest.mark.parametrize("name", SMALL)
def test_a_deep_head_fits_all(name):
    model = networks.build(name, head_dims=[4], drop_rate=0.1)
    assert model.get_layer("head").kernel.shape == (4, 3)
    assert model(networks.batch_for(model, 2), training=True).shape == (2, 3)


@pytest.mark.parametrize("bands", long_tests.beyond([12], [2, 3, 12]))
@pytest.mark.parametrize("name", OWN)
def test_gradients_reach_every_variable(name, bands):
    model = networks.build(name, bands, 19)
    for layer in model.layers:
        # A residual branch that starts at zero hands no gradient on.
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(keras.ops.ones_like(layer.gamma))
    head = model.get_layer("head")  # Neither does a last layer that starts there.
    if not np.any(head.kernel):
        start = keras.initializers.GlorotUniform(seed=0)
        head.kernel.assign(start(head.kernel.shape))
    with tf.GradientTape() as tape:
        logits = model(networks.batch_for(model), training=True)
        loss = tf.reduce_mean(logits**2)
    assert logits.shape == (4, 19)
    assert logits.dtype == tf.float32
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    for variable, gradient in zip(variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
        assert np.any(gradient), variable.path


@pytest.mark.parametrize("name", OWN)
def test_bfloat16_keeps_float32_weights(name):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = networks.build(name, 12, 19)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    assert "bfloat16" in {x.compute_dtype for x in model.layers if x.weights}
    with tf.GradientTape() as tape:
        logits = model(networks.batch_for(model), training=True)
        loss = tf.reduce_mean(logits**2)
    assert logits.dtype == tf.float32
    variables = [v.value for v in model.trainable_variables]
    for gradient in tape.gradient(loss, variables):
        assert np.isfinite(gradient).all()
    exact = networks.build(name, 12, 19)
    head = model.get_layer("head")  # Some begin with a head of zeros.
    head.kernel.assign(keras.random.normal(head.kernel.shape, seed=0))
    exact.set_weights(model.get_weights())
    # bfloat16 has 8 bits of precision.
    batch = networks.batch_for(model)
    expected = exact(batch).numpy()
    scale = np.abs(expected).max()
    assert np.abs(model(batch).numpy() - expected).max() < 0.1 * scale


@pytest.mark.parametrize("bands", long_tests.beyond([1], [1, 14]))
@pytest.mark.parametrize("name", [n for n in OWN if "k_branch" not in n])
def test_any_number_of_bands(name, bands):
    model = networks.build(name, bands, 5)
    assert model(networks.batch_for(model)).shape == (4, 5)


@pytest.mark.parametrize(
    ("name", "pixels", "message"),
    [
        ("vit_test", 30, "multiples of the patch of 8 pixels.*24 or 32"),
        ("mixer_test", 4, "pixels"),
        ("convmixer_test", 2, "pixels"),
        ("convnext_test", 2, "pixels"),
        ("inception_v3_test", 4, "pixels"),
        ("vgg_test", 1, "pixels"),
        ("short_cnn", 2, "too small for it; choose a larger image_size"),
        ("keras/xception", 64, "at least 71 pixels"),
        ("keras_hub/swin_tiny", 100, "set image_size to 96 or 128"),
    ],
)
def test_sizes_that_a_model_does_not_take(name, pixels, message):
    with pytest.raises(ValueError, match=message):
        networks.build(name, 12, 19, pixels)


@pytest.mark.parametrize("name", OWN)
def test_saved_models_come_back_the_same(name, tmp_path):
    model = networks.build(name, 3, 19)
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    batch = networks.batch_for(model)
    np.testing.assert_array_equal(reloaded(batch), model(batch))


def test_the_registry_builds_nothing_when_imported():
    code = (
        "import sys; from bigearthnet_tf import models\n"
        "import gc, keras\n"
        "found = [x for x in gc.get_objects() if isinstance(x, keras.layers.Layer)]\n"
        "print(len(found), 'keras_hub' in sys.modules)"
    )
    assert run_program(code).split() == ["0", "False"]
