"""Pixels that are NaN or infinite never get a finite score or feature."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bigearthnet_tf import config as configs
from bigearthnet_tf import models
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.models import finite, published
from bigearthnet_tf.tasks import assembly, base, segmentation

BANDS = ["VV", "VH", "B02", "B04", "B05"]


def build(name="resnet_test", bands=BANDS, **options):
    return assembly.build_model(name, 19, bands, image_size=32, seed=1, **options)


def pixels(model, count=4):
    rng = np.random.default_rng(2)
    return {
        name: rng.normal(-12, 4, (count, *tensor.shape[1:])).astype("float32")
        if tensor.dtype == "float32"
        else rng.integers(1, 4000, (count, *tensor.shape[1:]), dtype="uint16")
        for name, tensor in model.input.items()
    }


def spoiled(groups, value, place=(1, 0, -1)):
    """The same with a number in one pixel of the third patch."""
    broken = groups["s1_10m"].copy()
    broken[2][place] = value
    return {**groups, "s1_10m": broken}


FAMILIES = [n for n in models.list_models("*_test") if not n.startswith("k_branch")]


@pytest.mark.parametrize("name", [*FAMILIES, "short_cnn"])
def test_one_broken_pixel_takes_all_scores_of_its_patch(name):
    model = build(name)
    groups = pixels(model)
    expected = model(groups).numpy()
    assert np.isfinite(expected).all()
    for value, place in ((np.nan, (1, 0, -1)), (np.inf, (0, 60, 60))):
        found = model(spoiled(groups, value, place)).numpy()
        assert np.isnan(found[2]).all()
        np.testing.assert_array_equal(found[[0, 1, 3]], expected[[0, 1, 3]])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("jit", [False, True])
def test_compiled_too(value, jit):
    model = build(head_dims=[4])
    groups = pixels(model)
    score = tf.function(lambda x: model(x, training=False), jit_compile=jit)
    found = score({k: tf.constant(v) for k, v in spoiled(groups, value).items()})
    assert np.isnan(found.numpy()).all(axis=1).tolist() == [False, False, True, False]


def test_the_largest_finite_number_is_one():
    marks = finite.FinitePixels()
    x = np.full((2, 1, 2, 2), np.finfo("float32").max, "float32")
    np.testing.assert_array_equal(marks([x, -x]), np.zeros((2, 1)))
    x[1, 0, 1, 0] = np.inf
    np.testing.assert_array_equal(marks([x]), [[0], [np.nan]])


def test_integers_need_no_marks_and_weights_stay_as_they_are():
    assert finite.marks_of(build(bands="s2")) == []
    both = build()
    assert len(finite.marks_of(both)) == 1
    assert not any(
        layer.weights
        for layer in both.layers
        if isinstance(layer, finite.FinitePixels | finite.Marked)
    )
    # The order of the variables is that of a checkpoint, and as it was before.
    names = [variable.path for variable in build(bands=["VV", "B02"]).variables]
    assert names == [
        variable.path for variable in build(bands=["B03", "B02"]).variables
    ]
    tensors = published.dump(both, published.own_name, torch=False)
    assert not [name for name in tensors if "finite" in name or "marked" in name]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_under_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = build()
    finally:
        keras.config.set_dtype_policy("float32")
    found = model(spoiled(pixels(model), np.nan)).numpy()
    assert np.isnan(found).all(axis=1).tolist() == [False, False, True, False]


def test_gradients_are_those_without_marks(monkeypatch):
    model = build()
    monkeypatch.setattr(finite, "marks", lambda *_: None)
    plain = build()
    groups = pixels(model)

    def gradients(of):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(of(groups, training=True) ** 2)
        return tape.gradient(loss, of.trainable_variables)

    for one, other in zip(gradients(model), gradients(plain), strict=True):
        np.testing.assert_array_equal(one, other)


def task_of(**keys):
    return base.open_task(
        configs.from_dict(
            {
                "model_name": "resnet_test",
                "label_type": "BigEarthNet-19",
                "statistics": "v2_120_nearest",
                "image_size": 32,
                "bands": BANDS,
                "tr_tf_record_files": ["none"],
                **keys,
            }
        )
    )


PAIR = {"encoders": "separate", "projection_hidden_dims": [8], "projection_dim": 4}


@pytest.mark.parametrize("fusion", ["concat", "avg", "max", "sum"])
def test_two_encoders_that_are_fused(fusion):
    task = task_of(**PAIR, fusion=fusion, projection_activation="relu")
    model = task.build_model()
    groups = pixels(model)
    broken = spoiled(groups, np.nan)
    found = model(broken).numpy()
    assert np.isnan(found).all(axis=1).tolist() == [False, False, True, False]
    features = task.embedder(model)(broken)
    assert set(features) == {"h_s1", "h_s2", "p_s1", "p_s2"}
    for name, value in features.items():
        is_broken = np.isnan(value).all(axis=1).tolist()
        assert is_broken == [False, False, name.endswith("s1"), False], name


@pytest.mark.parametrize("encoders", ["separate", "joint"])
def test_features_of_pairs(encoders):
    task = task_of(
        task="contrastive", **PAIR | {"encoders": encoders}, learn_temperature=True
    )
    model = task.build_model()
    for name, value in model(spoiled(pixels(model), np.nan)).items():
        is_broken = np.isnan(value).all(axis=1).tolist()
        assert is_broken == [False, False, name.endswith("s1"), False], name


@pytest.mark.parametrize("decoder", ["unet", "fpn"])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_every_pixel_of_a_segmentation(decoder, loss):
    task = task_of(task="segmentation", decoder=decoder, pixel_loss=loss)
    model = task.build_model()
    broken = spoiled(pixels(model), np.inf)
    logits = model(broken).numpy()
    assert np.isnan(logits[2]).all()
    assert np.isfinite(logits[[0, 1, 3]]).all()
    (features,) = task.embedder(model)(broken).values()
    assert np.isnan(features).all(axis=1).tolist() == [False, False, True, False]
    classes = np.zeros((4, 120, 120), np.uint8)
    outputs = task.outputs(model, (broken, classes, np.ones(4, "float32")))
    assert np.isnan(outputs["total"]).tolist() == [False, False, True, False]
    assert segmentation.predict(model, broken).shape == (4, 120, 120)


def test_the_marks_look_at_the_bands_of_each_sensor():
    groups = band_facts.group_bands(BANDS)
    inputs = {
        name: keras.Input((len(own), 12, 12), dtype=band_facts.BANDS[own[0]].dtype)
        for name, own in groups.items()
    }
    assert finite.marks(inputs) is not None
    inputs.pop("s1_10m")
    assert finite.marks(inputs) is None
