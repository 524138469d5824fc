"""Two encoders: what they share, how large they are, and that they can be kept."""

import closeness
import keras
import numpy as np
import programs
import pytest

from bigearthnet_tf import config as configs
from bigearthnet_tf import models, vectors
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.models import two_branch
from bigearthnet_tf.tasks import assembly

BANDS = band_facts.resolve_bands("all")
FAMILIES = ("resnet_test", "convnext_test", "vit_test")


def build(encoders="separate", name="resnet_test", **keys):
    content = {
        "task": "contrastive",
        "encoders": encoders,
        "modality": "MM",
        "model_name": name,
        "image_size": 32,
        "projection_dim": 8,
        "augmentation": ["flips"],
    }
    config = configs.from_dict(content | keys)
    return assembly.build_configured(config, name, 19, BANDS, "v2_120_nearest")


def patches(model, count=3, seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: rng.uniform(0, 3000, (count, *tensor.shape[1:])).astype(tensor.dtype)
        for name, tensor in model.input.items()
    }


def numbers(outputs):
    return {name: np.asarray(value) for name, value in outputs.items()}


def existing(names):
    return [name for name in names if name in models.list_models()]


@pytest.mark.parametrize("name", existing(FAMILIES))
@pytest.mark.parametrize("encoders", ["separate", "joint"])
def test_outputs_gradients_and_what_is_kept(encoders, name, tmp_path):
    import tensorflow as tf

    model = build(encoders, name)
    images = patches(model)
    found = numbers(model(images, training=False))
    assert set(found) == {"h_s1", "h_s2", "p_s1", "p_s2"}
    assert found["p_s1"].shape == found["p_s2"].shape == (3, 8)
    assert all(value.dtype == np.float32 for value in found.values())

    with tf.GradientTape() as tape:
        made = model(images, training=True)
        loss = tf.add_n([tf.reduce_sum(made[n] ** 2) for n in ("p_s1", "p_s2")])
    weights = model.trainable_variables
    gradients = tape.gradient(loss, [w.value for w in weights])
    assert all(g is not None and np.isfinite(g).all() for g in gradients)

    now = numbers(model(images, training=False))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for key, value in numbers(again(images, training=False)).items():
        np.testing.assert_array_equal(value, now[key], err_msg=key)
    # A patch alone has the features that it has in a batch.
    alone = {key: value[:1] for key, value in images.items()}
    for key, value in numbers(model(alone, training=False)).items():
        scale = np.abs(now[key]).max()
        closeness.assert_close(value, now[key][:1], scale=scale, err_msg=key)


def test_a_classifier_is_learnt_and_kept(tmp_path):
    """The CBIR project neither trained it nor saved it."""
    model = build("joint", task="classification", fusion="avg")
    images, labels = patches(model), np.eye(3, 19, dtype=np.float32)
    head = model.layers[-1]
    before = [np.asarray(w).copy() for w in head.trainable_variables]
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    model.train_on_batch(images, labels)
    now = [np.asarray(w) for w in head.trainable_variables]
    assert len(now) == 2
    assert all((a != b).any() for a, b in zip(before, now, strict=True))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    for own, kept in zip(now, again.layers[-1].trainable_variables, strict=True):
        np.testing.assert_array_equal(own, kept)
    np.testing.assert_array_equal(model(images), again(images))


@pytest.mark.parametrize("group", ["s1_10m", "s2_10m", "s2_20m"])
def test_other_numbers_of_bands_are_refused(group):
    """Two of Sentinel-1 and ten of Sentinel-2, no more and no less."""
    model = build("joint")
    images = patches(model)
    assert sum(x.shape[1] for n, x in images.items() if n[:2] == "s1") == 2
    assert sum(x.shape[1] for n, x in images.items() if n[:2] == "s2") == 10
    images[group] = images[group][:, :1]
    with pytest.raises(ValueError, match="expected shape"):
        model(images)


def test_joint_encoders_share_all_but_batch_norm_and_entrance():
    model = build("joint")
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    names = {layer.name for layer in norms}
    assert names == {f"{s}_{n[3:]}" for n in names for s in ("s1", "s2")}
    apart = build("separate")
    own = sum(layer.count_params() for layer in norms) // 2
    single = build_single(32)
    projections = 2 * (single.output.shape[-1] * 8 + 8)
    entrances = (2 + 1) * 32 + (10 + 1) * 32
    assert model.count_params() == (
        single.count_params() + own + projections + entrances
    )
    assert apart.count_params() > model.count_params()
    # Training changes the statistics of the sensor that was seen: both.
    before = {n.name: np.asarray(n.moving_mean).copy() for n in norms}
    model(patches(model), training=True)
    changed = {
        n.name for n in norms if (np.asarray(n.moving_mean) != before[n.name]).any()
    }
    assert changed == names


def build_single(channels, name="resnet_test"):
    entry = models.get_model(name)
    x = keras.Input((32, 32, channels))
    return keras.Model(x, entry.build(x))


@pytest.mark.long
def test_resnet50_has_the_parameters_of_the_older_system():
    """Encoders as torchvision counts them, and heads of 2048 to 128 with biases."""
    heads = 2 * (2048 * 128 + 128)
    learnt = {e: count_trainable(build(e, "resnet50", projection_dim=128)) for e in
              ("separate", "joint")}  # fmt: skip
    assert learnt["separate"] == 23_504_896 + 23_529_984 + heads
    # Joint ones have a second set of gammas and betas, which the CBIR project shared.
    assert learnt["joint"] == 23_599_424 + 53_120 + heads


def count_trainable(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def test_sensors_are_moved_together_or_apart():
    """Pictures of both sensors are equal before the flips, so also after, or not."""
    images = {
        name: np.tile(np.arange(p, dtype=kind), (64, c, p, 1))
        for name, (c, p, kind) in {
            "s1_10m": (2, 120, "float32"),
            "s2_10m": (4, 120, "uint16"),
            "s2_20m": (6, 60, "uint16"),
        }.items()
    }
    for together in ("together", "independent"):
        model = build(pair_augmentation=together)
        ends = [
            layer for layer in model.layers if layer.name.startswith("augmentation_")
        ]
        outputs = [x for layer in ends for x in keras.tree.flatten(layer.output)]
        front = keras.Model(model.input, outputs)
        one, other = (np.asarray(x) for x in front(images, training=True))
        rising = [(x[:, 16, -1, 0] > x[:, 16, 0, 0]) for x in (one, other)]
        agree = (rising[0] == rising[1]).mean()
        assert agree == 1 if together == "together" else 0.2 < agree < 0.8
        assert 0.2 < rising[0].mean() < 0.8


@pytest.mark.parametrize("fusion", ["concat", "avg", "max", "sum"])
def test_fusions(fusion):
    a, b = np.array([[1.0, 5.0]]), np.array([[3.0, 2.0]])
    expected = {
        "concat": [[1, 5, 3, 2]],
        "avg": [[2, 3.5]],
        "max": [[3, 5]],
        "sum": [[4, 7]],
    }
    np.testing.assert_allclose(vectors.fuse(a, b, fusion), expected[fusion])
    by_keras = vectors.fuse(a, b, fusion, keras.ops)
    np.testing.assert_allclose(by_keras, expected[fusion])
    model = build(task="classification", fusion=fusion)
    assert model.output.shape == (None, 19)
    width = 16 if fusion == "concat" else 8
    assert model.get_layer("features").output.shape == (None, width)


def test_a_learnt_temperature_is_kept_within_bounds():
    model = build(learn_temperature=True, temperature=0.2)
    assert float(two_branch.temperature_of(model)) == pytest.approx(0.2)
    model.get_layer("temperature").log_temperature.assign(-30.0)
    assert float(two_branch.temperature_of(model)) == pytest.approx(0.01)


def test_mixed_precision_gives_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build("joint")
    finally:
        keras.config.set_dtype_policy("float32")
    found = numbers(model(patches(model), training=False))
    assert all(value.dtype == np.float32 for value in found.values())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "k_branch_test"}, "by resolution"),
        ({"encoders": "both"}, "separate or joint"),
        ({"groups": "s2"}, "none of Sentinel-1"),
        ({"groups": "s1"}, "none of Sentinel-2"),
    ],
)
def test_what_can_not_be_two_encoders_is_refused(change, reason):
    bands = band_facts.resolve_bands(change.pop("groups", "all"))
    groups = assembly._groups(bands)
    zero, one = dict.fromkeys(bands, 0.0), dict.fromkeys(bands, 1.0)
    name = change.pop("name", "resnet_test")
    with pytest.raises(ValueError, match=reason):
        two_branch.build_two_branch(name, groups, bands, zero, one, **change)
    with pytest.raises(ValueError, match="expected a fusion"):
        vectors.fuse(np.zeros((1, 2)), np.zeros((1, 2)), "add")


BUILD_AND_SHOW = """
    import sys, numpy as np
    sys.path[:0] = ["tests", "tests/models"]
    import test_two_branch as t
    import keras
    model = t.build("joint")
    model.load_weights(sys.argv[1])
    found = t.numbers(model(t.patches(model), training=False))
    np.savez(sys.argv[2], **found)
"""


def test_jax_gives_the_same(tmp_path):
    pytest.importorskip("jax")
    model = build("joint")
    model.save_weights(tmp_path / "a.weights.h5")
    programs.run_program(
        BUILD_AND_SHOW, tmp_path / "a.weights.h5", tmp_path / "a.npz", backend="jax"
    )
    expected = numbers(model(patches(model), training=False))
    with np.load(tmp_path / "a.npz") as found:
        for name, value in expected.items():
            closeness.assert_close(found[name], value, closeness.NETWORK, err_msg=name)
