"""Shared layers against their Keras parents, and initialisers against their bounds."""

import json

import closeness
import keras
import numpy as np
import pytest
import tensorflow as tf
from programs import run_program

from bigearthnet_tf.models import layers


def normalized_pair(**options) -> list[keras.layers.BatchNormalization]:
    """Our layer and its parent, with equal random weights for three channels."""
    pair = [
        layers.BatchNormalization(**options),
        keras.layers.BatchNormalization(**options),
    ]
    rng = np.random.default_rng(3)
    pair[0].build((None, None, None, 3))
    weights = [rng.uniform(0.5, 2, w.shape) for w in pair[0].get_weights()]
    for layer in pair:
        if not layer.built:
            layer.build((None, None, None, 3))
        layer.set_weights(weights)
    return pair


def step(layer, x, training, jit=False):
    """Output, gradients of a weighted sum of it, and the layer's weights after."""
    x = tf.Variable(x)
    pull = tf.constant(np.random.default_rng(4).normal(size=x.shape), tf.float32)

    @tf.function(jit_compile=jit)
    def run():
        with tf.GradientTape() as tape:
            y = layer(x, training=training)
            loss = tf.reduce_sum(tf.cast(y, tf.float32) * pull)
        variables = [x, *(v.value for v in layer.trainable_variables)]
        return y, tape.gradient(loss, variables)

    y, gradients = run()
    return [y, *gradients, *layer.get_weights()]


def assert_close(ours, theirs, tolerance=1e-5):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        scale = max(1.0, float(np.abs(np.asarray(b, "float64")).max()))
        np.testing.assert_allclose(
            np.asarray(a, "float64"), np.asarray(b, "float64"), atol=tolerance * scale
        )


BATCH = np.random.default_rng(5).normal(2, 3, (4, 5, 6, 3)).astype("float32")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.9, "epsilon": 1e-5},
        {"scale": False},
        {"center": False},
        {"axis": 3},
    ],
    ids=str,
)
def test_fused_normalisation_equals_the_parent(options, training, jit):
    ours, theirs = normalized_pair(**options)
    assert ours._can_fuse(BATCH, None)
    assert_close(step(ours, BATCH, training, jit), step(theirs, BATCH, training, jit))


def test_one_value_a_channel_leaves_finite_statistics():
    ours, theirs = normalized_pair()
    assert_close(
        step(ours, BATCH[:1, :1, :1], True), step(theirs, BATCH[:1, :1, :1], True)
    )


def test_frozen_layers_keep_their_statistics():
    ours, theirs = normalized_pair()
    before = ours.get_weights()
    ours.trainable = theirs.trainable = False
    closeness.assert_close(ours(BATCH, training=True), theirs(BATCH, training=True))
    for old, new in zip(before, ours.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_equals_the_parent(policy, training):
    ours, theirs = normalized_pair(dtype=policy)
    results = [step(layer, BATCH, training) for layer in (ours, theirs)]
    assert results[0][0].dtype == ours.compute_dtype
    # Both compute in float32 and round once; the output's last bit may differ.
    assert_close(*results, tolerance=2**-7)
    # The statistics are those of the same rounded input, in float32.
    assert_close(ours.get_weights(), theirs.get_weights())


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (4, 3)),
        ({}, (4, 5, 3)),
        ({"axis": 1}, (4, 3, 2, 2)),
        ({"renorm": True}, (4, 2, 2, 3)),
        ({"dtype": "float64"}, (4, 2, 2, 3)),
    ],
    ids=str,
)
def test_what_the_kernel_does_not_do_runs_as_in_the_parent(options, shape):
    x = np.random.default_rng(6).normal(size=shape).astype("float32")
    ours = layers.BatchNormalization(**options)
    theirs = keras.layers.BatchNormalization(**options)
    np.testing.assert_array_equal(ours(x, training=True), theirs(x, training=True))
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_masked_normalisation_runs_as_in_the_parent():
    mask = np.random.default_rng(7).random(BATCH.shape[:3]) < 0.5
    ours, theirs = normalized_pair()
    np.testing.assert_array_equal(
        ours(BATCH, training=True, mask=mask), theirs(BATCH, training=True, mask=mask)
    )


TWO_REPLICAS = """
    import json, sys
    import keras
    import numpy as np
    import tensorflow as tf
    from bigearthnet_tf.models import layers

    cpu = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    x = np.random.default_rng(0).normal(3, 2, (2, 4, 2, 2, 1)).astype("float32")
    result = {}
    for base in (layers, keras.layers):
        for synchronized in (False, True):
            with strategy.scope():
                norm = base.BatchNormalization(synchronized=synchronized)
                norm.build((None, 2, 2, 1))

            @tf.function
            def step():
                def replica():
                    context = tf.distribute.get_replica_context()
                    return norm(tf.constant(x)[context.replica_id_in_sync_group],
                                training=True)
                return strategy.run(replica)

            out = [part.numpy().tolist() for part in step().values]
            moving = [[v.numpy().tolist() for v in m.value.values]
                      for m in (norm.moving_mean, norm.moving_variance)]
            key = f"{'ours' if base is layers else 'theirs'} {synchronized}"
            result[key] = [out, moving]
    with strategy.scope():
        drop = layers.Dropout(0.5, seed=1)
    step = tf.function(lambda: strategy.run(lambda: drop(tf.ones([64]), training=True)))
    result["dropped"] = [part.numpy().tolist() for part in step().values]
    print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def replicated() -> dict:
    """What the layers do on two replicas; devices are fixed once TensorFlow runs."""
    return json.loads(run_program(TWO_REPLICAS))


@pytest.mark.parametrize("synchronized", [False, True])
def test_replicated_normalisation_equals_the_parent(replicated, synchronized):
    ours, theirs = (
        replicated[f"ours {synchronized}"],
        replicated[f"theirs {synchronized}"],
    )
    for a, b in zip(ours, theirs, strict=True):
        closeness.assert_close(a, b)


def test_replicas_drop_different_units(replicated):
    first, second = replicated["dropped"]
    assert set(first) == set(second) == {0, 2}
    assert first != second


@pytest.mark.parametrize("kind", [layers.Dropout, layers.DropPath])
def test_dropping_keeps_the_mean_and_is_off_in_inference(kind):
    layer = kind(0.25, seed=1)
    x = np.ones((4000, 1, 1, 2), "float32")
    np.testing.assert_array_equal(layer(x), x)
    out = layer(x, training=True).numpy()
    np.testing.assert_allclose(np.unique(out), [0, 4 / 3], rtol=1e-6)
    # 4000 independent draws at least: deviation of the mean 0.009.
    assert abs(out.mean() - 1) < 5 * 0.0092


def test_drop_path_drops_samples_whole_and_dropout_does_not():
    x = np.ones((50, 3, 3, 2), "float32")
    whole = layers.DropPath(0.5, seed=1)(x, training=True).numpy().reshape(50, -1)
    assert (whole == whole[:, :1]).all()
    single = layers.Dropout(0.5, seed=1)(x, training=True).numpy().reshape(50, -1)
    assert not (single == single[:, :1]).all()


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(ValueError, match="rate of at least 0 and below 1"):
        layers.Dropout(rate)


@pytest.mark.parametrize("layer", [layers.Dropout(0.1, 2), layers.DropPath(0.2, 3)])
def test_layers_come_back_from_their_config(layer):
    config = keras.saving.serialize_keras_object(layer)
    reloaded = keras.saving.deserialize_keras_object(config)
    assert type(reloaded) is type(layer)
    assert reloaded.get_config() == layer.get_config()


def test_linear_layers_start_as_torchs():
    for initializer in layers.torch_linear(100).values():
        values = np.asarray(initializer((100, 50)))
        assert 0.0999 < np.abs(values).max() <= 0.1
        # Uniform on an interval of length 0.2: deviation 0.2 / sqrt(12).
        np.testing.assert_allclose(values.std(), 0.2 / 12**0.5, rtol=0.03)


@pytest.mark.parametrize(("pixels", "stride"), [(8, 1), (8, 2), (9, 2)])
@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_convolutions_pad_symmetrically(pixels, stride, kernel):
    x = np.random.default_rng(8).normal(size=(1, pixels, pixels, 2)).astype("float32")
    inputs = keras.Input((pixels, pixels, 2))
    output = layers.convolution(
        inputs, 1, kernel, "c", stride=stride, initializer=keras.initializers.Ones
    )
    half = kernel // 2
    padded = np.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (1, 2))
    expected = windows[:, ::stride, ::stride].sum(axis=(3, 4, 5))[..., None]
    model = keras.Model(inputs, output)
    closeness.assert_close(model(x), expected)


def test_no_convolution_of_one_pixel_has_a_stride():
    # See `layers.convolution`: that gradient corrupts memory on some CPUs, so that a
    # wrong number is not certain to show; the structure is.
    inputs = keras.Input((10, 10, 7))
    output = layers.convolution(
        inputs, 3, 1, "c", stride=2, initializer=keras.initializers.Ones
    )
    model = keras.Model(inputs, output)
    assert model.get_layer("c").strides == (1, 1)
    rng = np.random.default_rng(9)
    x = rng.normal(size=(3, 10, 10, 7)).astype("float32")
    pull = rng.normal(size=(3, 5, 5, 3)).astype("float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(x) * pull)
    (gradient,) = tape.gradient(loss, [model.get_layer("c").kernel.value])
    expected = np.einsum("nhwc,nhwd->cd", x[:, ::2, ::2], pull)
    closeness.assert_close(gradient[0, 0], expected)
