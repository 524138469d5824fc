"""Whole models: what goes in and comes out, seeds, saving, other backends."""

import importlib.util
import math
import random

import closeness
import keras
import numpy as np
import pytest
import tensorflow as tf
from programs import run_program

from bigearthnet_tf import models, registry
from bigearthnet_tf.models import layers, zoo

GROUPS = (
    models.BandGroup("s1_10m", ("VV", "VH"), 24, "float32"),
    models.BandGroup("s2_10m", ("B02", "B03", "B04"), 24, "uint16"),
    models.BandGroup("s2_20m", ("B05", "B06"), 12, "uint16"),
)
ORDER = ("B04", "B05", "VV", "VH", "B02")
MEAN = {"VV": -12.0, "VH": -19.0, "B02": 400, "B03": 600, "B04": 600, "B05": 950}
MEAN["B06"] = 1800
STD = {"VV": 5.0, "VH": 5.5, "B02": 600, "B03": 580, "B04": 670, "B05": 720}
STD["B06"] = 1000


def assemble(name="resnet_test", **changes) -> keras.Model:
    arguments = {
        "num_labels": 19,
        "groups": GROUPS,
        "band_order": ORDER,
        "mean": MEAN,
        "std": STD,
        "image_size": 24,
    }
    return models.assemble(name, **(arguments | changes))


def batch(count: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        group.name: (
            rng.integers(0, 65536, (count, len(group.bands), *[group.pixels] * 2))
            if group.dtype == "uint16"
            else rng.normal(-15, 5, (count, len(group.bands), *[group.pixels] * 2))
        ).astype(group.dtype)
        for group in GROUPS
    }


def network_input(inputs: dict[str, np.ndarray]) -> np.ndarray:
    """What the network ought to see at nearest resampling, in float64."""
    planes = []
    for band in ORDER:
        group = next(g for g in GROUPS if band in g.bands)
        plane = inputs[group.name][:, group.bands.index(band)].astype("float64")
        plane = (plane - MEAN[band]) / STD[band]
        factor = 24 // group.pixels
        planes.append(plane.repeat(factor, axis=1).repeat(factor, axis=2))
    return np.stack(planes, axis=-1)


def test_digital_numbers_become_network_input():
    model = assemble(augmentation=["flips", "quarter_turns"])
    front = keras.Model(model.input, model.get_layer("preprocessing_stack").output)
    inputs = batch()
    closeness.assert_close(front(inputs), network_input(inputs), closeness.FORMULA)
    names = [layer.name for layer in model.layers]
    for name in ("augmentation_flips", "augmentation_quarter_turns", "features"):
        assert name in names
    assert names[-1] == "head"
    assert model.name == "resnet_test"
    assert model.get_layer("features").output.shape == (None, 64)


def test_all_polarisations_and_bands_matter():
    model, inputs = assemble(), batch()
    logits = model(inputs).numpy()
    for group in GROUPS:
        for plane, band in enumerate(group.bands):
            changed = {key: value.copy() for key, value in inputs.items()}
            changed[group.name][:, plane] //= 2
            differs = not np.array_equal(model(changed), logits)
            assert differs == (band in ORDER), band


def test_the_seed_decides_weights_and_nothing_else_changes():
    random.seed(7)
    before = random.getstate()
    one, same, other = (assemble(seed=seed, drop_rate=0.5) for seed in (1, 1, 2))
    assert random.getstate() == before
    inputs = batch(64)
    for a, b in zip(one.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(
        one(inputs, training=True), same(inputs, training=True)
    )
    kernel = one.get_layer("stem_conv").kernel
    assert not np.array_equal(kernel, other.get_layer("stem_conv").kernel)
    # Nor do two layers of one shape start alike.
    twins = [f"stage2_unit{unit}_part2_conv" for unit in (1, 2)]
    assert not np.array_equal(*(one.get_layer(name).kernel for name in twins))


def test_the_head_may_have_hidden_layers(tmp_path):
    model = assemble(head_dims=[8, 6], drop_rate=0.5)
    names = [layer.name for layer in model.layers]
    assert names[names.index("features") + 1 :] == [
        "head_hidden1_dropout",
        "head_hidden1",
        "head_hidden2_dropout",
        "head_hidden2",
        "head_dropout",
        "head",
    ]
    features = keras.Model(model.input, model.get_layer("features").output)
    x = features(batch()).numpy().astype("float64")
    for name in ("head_hidden1", "head_hidden2", "head"):
        kernel, bias = (
            w.astype("float64") for w in model.get_layer(name).get_weights()
        )
        bound = len(kernel) ** -0.5  # torch's default
        assert 0.8 * bound < np.abs(kernel).max() <= bound
        x = x @ kernel + bias
        if name != "head":
            x *= 0.5 * (1 + np.vectorize(math.erf)(x / 2**0.5))
    closeness.assert_close(model(batch()), x)
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(reloaded(batch()), model(batch()))
    assert not [n for n in [x.name for x in assemble().layers] if "hidden" in n]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_logits_are_float32_under_mixed_precision(policy):
    expected = assemble(seed=3)(batch())
    keras.config.set_dtype_policy(policy)
    try:
        model = assemble(seed=3)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("stem_conv").compute_dtype == policy.removeprefix("mixed_")
    stack = model.get_layer("preprocessing_stack")
    assert stack.compute_dtype == stack.output.dtype == "float32"
    logits = model(batch())
    assert logits.dtype == tf.float32
    np.testing.assert_allclose(logits, expected, atol=0.05 * np.abs(expected).max())


def test_the_model_compiles_fits_and_comes_back(tmp_path):
    model = assemble(
        augmentation=["flips", "quarter_turns"], drop_rate=0.2, drop_path_rate=0.2
    )
    labels = np.random.default_rng(1).integers(0, 2, (4, 19)).astype("uint8")
    dataset = tf.data.Dataset.from_tensor_slices((batch(), labels)).batch(2)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile("adam", loss)
    before = model.get_layer("head").kernel.numpy()
    history = model.fit(dataset, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert not np.array_equal(before, model.get_layer("head").kernel)

    lines = []
    model.summary(print_fn=lines.append)
    assert "head (Dense)" in "\n".join(lines)

    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(reloaded(batch()), model(batch()))
    assert reloaded.get_layer("preprocessing_stack").order == list(ORDER)


def test_a_model_by_resolution_gets_native_sizes_moved_alike(monkeypatch):
    shapes = {}

    def two_branches(x):
        shapes.update({pixels: tensor.shape for pixels, tensor in x.items()})
        pool = keras.layers.GlobalAveragePooling2D
        flat = [keras.layers.Flatten()(x[24]), pool()(x[12])]
        return keras.layers.Concatenate()(flat)

    monkeypatch.setattr(zoo, "MODELS", registry.Registry("model"))
    zoo.register_model("two_branches", inputs="by_resolution")(two_branches)
    model = assemble("two_branches", augmentation=["flips"])
    assert shapes == {24: (None, 24, 24, 4), 12: (None, 12, 12, 1)}
    fine = model.get_layer("preprocessing_stack_24")
    assert fine.order == ["B04", "VV", "VH", "B02"]
    assert model.get_layer("preprocessing_stack_12").order == ["B05"]
    features = keras.Model(model.input, model.get_layer("features").output)(batch())
    expected = network_input(batch())[..., [0, 2, 3, 4]].reshape(4, -1)
    closeness.assert_close(features[:, :-1], expected, closeness.FORMULA)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "resnet_tets"}, "did you mean 'resnet_test'"),
        ({"num_labels": 0}, "num_labels=0"),
        ({"groups": ()}, "different names"),
        ({"groups": GROUPS[:1] * 2, "band_order": ["VV"]}, "different names"),
        ({"band_order": ["VV"]}, "'s2_10m' has no band"),
        ({"band_order": [*ORDER, "B12"]}, r"\['B12'\] are not there"),
        ({"band_order": [*ORDER, "VV"]}, "without repetition"),
        ({"mean": {}}, "expected a mean for every band of group 's1_10m'"),
        ({"std": {**STD, "VH": 0.0}}, "positive finite"),
        ({"std": {"VV": 1.0, "VH": 1.0}}, "expected a deviation .* 's2_10m'"),
        ({"image_size": 0}, "at least one pixel"),
        ({"interpolation": "cubic"}, "bicubic"),
        ({"augmentation": ["flip"]}, "did you mean 'flips'"),
        ({"drop_rate": 1.0}, "below 1"),
        ({"head_dims": [8, 0]}, r"at least 1, got head_dims=\[8, 0\]"),
        ({"drop_path_rate": 1.5}, "below 1"),
        ({"drop_path": 0.1}, "did you mean 'drop_path_rate'"),
        ({"name": "short_cnn", "drop_path_rate": 0.1}, "it has none"),
    ],
)
def test_impossible_arguments_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        assemble(**changes)


OTHER_BACKEND = """
    import sys
    import keras
    import numpy as np
    import bigearthnet_tf.models

    assert keras.config.backend() == sys.argv[1]
    data = dict(np.load(sys.argv[2]))
    model = keras.models.load_model(sys.argv[3])
    inputs = {key: data[key] for key in model.input}
    ours = model.predict(inputs, verbose=0)
    scale = np.abs(data["logits"]).max()
    np.testing.assert_allclose(ours, data["logits"], rtol=0, atol=2e-5 * scale)
    model.compile("adam", "mse")
    history = model.fit(inputs, data["logits"], verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    print("equal")
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_give_the_same_logits(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    model = assemble(
        interpolation="bicubic", augmentation=["flips"], drop_path_rate=0.1
    )
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.gamma.assign(keras.ops.ones_like(layer.gamma))
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", logits=model(batch()), **batch())
    paths = [str(tmp_path / "data.npz"), str(tmp_path / "model.keras")]
    assert run_program(OTHER_BACKEND, backend, *paths, backend=backend) == "equal"
