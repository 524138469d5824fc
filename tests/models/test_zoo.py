"""Contracts that every architecture keeps, and equality with published networks."""

import functools
import json
import re
import struct
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from bigearthnet_tf import models
from bigearthnet_tf.models import resnet

S2 = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
BANDS = {2: ("VV", "VH"), 3: S2[:3], 10: S2, 12: ("VV", "VH", *S2)}

# Trainable parameters by (bands, labels) at 120 pixels. ShortCNN and the slim forms:
# the figures of the projects they come from; timm's: timm 1.0.31, and for resnet18
# torchvision's 11,689,512 with a head of 19 in place of 1000; our own two: by hand.
SLIM_50 = {
    (2, 19): 23_543_827,
    (2, 43): 23_593_003,
    (10, 19): 23_568_915,
    (10, 43): 23_618_091,
    (12, 19): 23_575_187,
    (12, 43): 23_624_363,
}
SHORT_CNN = {
    (3, 19): 1_140_979,
    (3, 43): 2_523_403,
    (12, 19): 1_148_179,
    (12, 43): 2_530_603,
}
PARAMETERS = {
    "short_cnn": SHORT_CNN,
    "short_cnn_rgb": SHORT_CNN,
    "short_cnn_all": SHORT_CNN,
    "resnet18": {(3, 19): 11_689_512 - 513 * (1000 - 19)},
    "resnet50": {
        (2, 19): 23_543_827,
        (10, 19): 23_568_915,
        (12, 19): 23_575_187,
    },
    "resnet101": {
        (2, 19): 42_535_955,
        (10, 19): 42_561_043,
        (12, 19): 42_567_315,
    },
    "resnet50_slim": SLIM_50,
    "resnet101_slim": {(10, 19): 42_561_043, (10, 43): 42_610_219},
    "resnet152_slim": {(10, 19): 58_204_691, (10, 43): 58_253_867},
    "resnet_small": {
        (10, 19): (49 * 10 * 32 + 64)  # stem
        + (2 * 9 * 32 * 32 + 2 * (32 + 32))
        + (9 * 32 * 64 + 9 * 64 * 64 + 32 * 64 + 2 * 3 * 64)
        + (9 * 64 * 128 + 9 * 128 * 128 + 64 * 128 + 2 * 3 * 128)
        + 129 * 19
    },
    "resnet_test": {
        (10, 19): (49 * 10 * 8 + 16)  # stem
        + (8 * 8 + 9 * 8 * 8 + 8 * 32 + 8 * 32 + 2 * (8 + 8 + 32 + 32))
        + (32 * 16 + 9 * 16 * 16 + 16 * 64 + 32 * 64 + 2 * (16 + 16 + 64 + 64))
        + (64 * 16 + 9 * 16 * 16 + 16 * 64 + 2 * (16 + 16 + 64))
        + 65 * 19
    },
}
# Small enough to run in a test.
SMALL = ("short_cnn", "short_cnn_rgb", "short_cnn_all", "resnet_test")


@functools.cache
def model_of(name: str, bands: int, labels: int, pixels: int):
    """A model of as many bands; all of them at one resolution."""
    group = models.BandGroup("all", BANDS[bands], pixels, "float32")
    zeros, ones = dict.fromkeys(group.bands, 0.0), dict.fromkeys(group.bands, 1.0)
    return models.assemble(
        name, labels, [group], group.bands, zeros, ones, image_size=pixels
    )


def trainable_parameters(model) -> int:
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def batch_for(model) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=(4, *tensor.shape[1:])).astype("float32")
        for name, tensor in model.input.items()
    }


def test_every_model_has_a_row_of_parameters():
    assert set(PARAMETERS) == set(models.list_models())


@pytest.mark.parametrize("name", models.list_models())
def test_parameter_counts(name):
    bands, labels = next(iter(PARAMETERS[name]))
    if (10, 19) in PARAMETERS[name]:
        bands, labels = 10, 19
    model = model_of(name, bands, labels, 120)
    count = trainable_parameters(model)
    assert count == PARAMETERS[name][bands, labels]
    # The other rows differ in the first kernel and in the head alone.
    first = next(v for v in model.trainable_variables if len(v.shape) == 4)
    a_band = int(np.prod(first.shape)) // bands
    a_label = model.get_layer("head").count_params() // labels
    for (more_bands, more_labels), expected in PARAMETERS[name].items():
        extra = (more_bands - bands) * a_band + (more_labels - labels) * a_label
        assert count + extra == expected


@pytest.mark.parametrize("bands", [2, 3, 12])
@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_every_variable(name, bands):
    model = model_of(name, bands, 19, 32)
    for layer in model.layers:
        # A residual branch that starts at zero hands no gradient on.
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(keras.ops.ones_like(layer.gamma))
    with tf.GradientTape() as tape:
        logits = model(batch_for(model), training=True)
        loss = tf.reduce_mean(logits**2)
    assert logits.shape == (4, 19)
    assert logits.dtype == tf.float32
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    for variable, gradient in zip(variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
        assert np.any(gradient), variable.path


@pytest.mark.parametrize("name", SMALL)
def test_saved_models_come_back_the_same(name, tmp_path):
    model = model_of(name, 3, 19, 32)
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    batch = batch_for(model)
    np.testing.assert_array_equal(reloaded(batch), model(batch))


def test_names_aliases_and_band_sets():
    assert models.list_models("short*") == [
        "short_cnn",
        "short_cnn_all",
        "short_cnn_rgb",
    ]
    assert models.get_model("ResNet50").name == "resnet50_slim"
    assert models.get_model("ResNet101").name == "resnet101_slim"
    assert models.get_model("ResNet152").name == "resnet152_slim"
    assert models.get_model("ShortCNN").bands is None
    assert models.get_model("ShortCNN_RGB").bands == "rgb"
    assert models.get_model("ShortCNN_All").bands == "s2_full"
    with pytest.raises(ValueError, match="did you mean 'resnet_test'"):
        models.get_model("resnet_tset")
    with pytest.raises(ValueError, match="'ShortCNN' is registered twice"):
        models.register_model("new_cnn", "ShortCNN")(lambda x: x)
    assert "new_cnn" not in models.list_models()


def test_options_are_checked_against_the_builder():
    entry = models.get_model("resnet50")
    assert entry.options() == ["drop_path_rate"]
    entry.check_options({"drop_path_rate": 0.1})
    with pytest.raises(ValueError, match="did you mean 'drop_path_rate'"):
        entry.check_options({"drop_path": 0.1})
    with pytest.raises(ValueError, match="model 'short_cnn': it has none"):
        models.get_model("short_cnn").check_options({"drop_path_rate": 0.1})


def test_stochastic_depth_grows_linearly():
    inputs = keras.Input((32, 32, 2))
    outputs = resnet.resnet(
        inputs, (2, 1, 2), widths=(2, 2, 2), stem_width=2, drop_path_rate=0.4
    )
    model = keras.Model(inputs, outputs)
    rates = [layer.rate for layer in model.layers if "drop_path" in layer.name]
    np.testing.assert_allclose(rates, [0.1, 0.2, 0.3, 0.4])


def test_slim_gradients_reach_every_variable():
    inputs = keras.Input((40, 40, 2))
    features = resnet.resnet(
        inputs, (2, 1), form=resnet.SLIM, widths=(2, 4), stem_width=2
    )
    model = keras.Model(inputs, features)
    with tf.GradientTape() as tape:
        x = np.random.default_rng(0).normal(size=(3, 40, 40, 2))
        loss = tf.reduce_mean(model(x, training=True) ** 2)
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    for variable, gradient in zip(variables, gradients, strict=True):
        assert np.isfinite(gradient).all(), variable.path
        assert np.any(gradient), variable.path


@pytest.mark.parametrize(
    ("name", "momentum"), [("resnet50", 0.9), ("resnet50_slim", 0.997)]
)
def test_normalisation_has_the_published_constants(name, momentum):
    norms = [
        layer
        for layer in model_of(name, 10, 19, 120).layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(norms) == 53
    assert {layer.momentum for layer in norms} == {momentum}
    assert {layer.epsilon for layer in norms} == {1e-5}


def deviation(values) -> float:
    return float(np.std(np.asarray(values)))


def test_initial_weights_have_the_published_spread():
    shape = (3, 3, 64, 32)
    # timm: variance 2 / fan_out. slim: a normal of variance 1.3 * 2 / fan_in cut at
    # two deviations, which leaves 0.7737 of the variance.
    np.testing.assert_allclose(
        deviation(resnet.he_fan_out()(shape)), (2 / (9 * 32)) ** 0.5, rtol=0.02
    )
    slim = np.asarray(resnet.he_slim()(shape))
    widest = (1.3 * 2 / (9 * 64)) ** 0.5
    np.testing.assert_allclose(slim.std(), widest * 0.7737**0.5, rtol=0.02)
    assert 1.9 * widest < np.abs(slim).max() <= 2 * widest * (1 + 1e-6)

    timm = model_of("resnet50", 10, 19, 120)
    last = [n for n in (x.name for x in timm.layers) if n.endswith("part3_norm")]
    assert len(last) == 16
    for name in last:
        assert not np.any(timm.get_layer(name).gamma)
    assert np.all(timm.get_layer("stage1_unit1_part2_norm").gamma)
    bound = 2048**-0.5
    head = timm.get_layer("head")
    for values in (head.kernel, head.bias):
        assert 0.9 * bound < np.abs(values).max() <= bound

    slim = model_of("resnet50_slim", 10, 19, 120).get_layer("head")
    spread = (1.3 * 2 * 0.7737 / 2048) ** 0.5
    np.testing.assert_allclose(deviation(slim.kernel), spread, rtol=0.02)
    assert not np.any(slim.bias)

    short = model_of("short_cnn", 3, 19, 120)
    assert np.abs(short.get_layer("conv1").kernel).max() <= (6 / (25 * 35)) ** 0.5
    assert 0 < np.abs(short.get_layer("conv1").bias).max() <= (25 * 3) ** -0.5


# The parts of published names, and where they are in our networks.
def our_place(name: str) -> tuple[str, str]:
    """Layer and attribute for a parameter's name in timm or in TF-Slim."""
    if "BatchNorm" in name or "weights" in name or "biases" in name:
        return slim_place(name)
    if name.startswith("fc."):
        return "head", {"weight": "kernel", "bias": "bias"}[name[3:]]
    layer, kind = name.rsplit(".", 1)
    is_norm = "bn" in layer or layer.endswith("downsample.1")
    unit = re.match(r"layer(\d)\.(\d+)\.", layer)
    if unit is None:
        part = "stem"
    else:
        part = f"stage{unit[1]}_unit{int(unit[2]) + 1}_"
        number = layer[-1]
        part += "shortcut" if "downsample" in layer else f"part{number}"
    if not is_norm:
        return f"{part}_conv", "kernel"
    attribute = {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    }[kind]
    return f"{part}_norm", attribute


def slim_place(name: str) -> tuple[str, str]:
    _, *scopes, kind = name.split("/")
    if scopes == ["logits"]:
        return "head", {"weights": "kernel", "biases": "bias"}[kind]
    if scopes[0] == "conv1":
        part = "stem"
    else:
        block, unit, _, layer = scopes[:4]
        part = f"stage{block[-1]}_unit{unit.removeprefix('unit_')}_"
        part += layer.replace("conv", "part")
    if kind == "weights":
        return f"{part}_conv", "kernel"
    return f"{part}_norm", kind


def our_layout(value: np.ndarray) -> np.ndarray:
    """A torch kernel (out, in, height, width) or matrix (out, in) as Keras has it."""
    return value.transpose({4: (2, 3, 1, 0), 2: (1, 0)}.get(value.ndim, range(1)))


def load(model, parameters: dict[str, np.ndarray]) -> None:
    """Assigns published parameters; every variable must be met exactly once."""
    places = {our_place(name): value for name, value in parameters.items()}
    assert len(places) == len(parameters) == len(model.variables)
    for (layer, attribute), value in places.items():
        variable = getattr(model.get_layer(layer), attribute)
        variable.assign(value.reshape(variable.shape))


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Reads float32 tensors: 8 bytes of header length, JSON header, data."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        if entry["dtype"] == "F32":
            flat = np.frombuffer(content[begin:end], "<f4")
            tensors[name] = flat.reshape(entry["shape"])
    return tensors


def with_head(inputs, features, labels: int = 19):
    logits = keras.layers.Dense(labels, name="head")(features)
    return keras.Model(inputs, logits)


def test_timms_resnet_gives_the_same_logits(shared):
    folder = shared / "reference" / "timm"
    config = json.loads((folder / "index.json").read_text())["resnet50"]["config"]
    inputs = keras.Input((120, 120, config["in_chans"]))
    features = resnet.resnet(
        inputs,
        config["layers"],
        widths=config["channels"],
        stem_width=config["stem"],
    )
    model = with_head(inputs, features)
    weights = read_safetensors(folder / "resnet50.tiny.safetensors")
    load(model, {name: our_layout(value) for name, value in weights.items()})
    io = np.load(folder / "resnet50.tiny.io.npz")
    logits = model(io["x"].transpose(0, 2, 3, 1))
    np.testing.assert_allclose(logits, io["logits"], rtol=1e-4, atol=1e-5)


def test_slims_resnet_gives_the_same_logits(shared):
    folder = shared / "reference" / "slim"
    inputs = keras.Input((120, 120, 10))
    features = resnet.resnet(
        inputs, (2, 2, 3, 1), form=resnet.SLIM, widths=(4, 6, 8, 10)
    )
    model = with_head(inputs, features)
    reader = tf.train.load_checkpoint(str(folder / "resnet_tiny-1200"))
    names = reader.get_variable_to_shape_map()
    load(model, {name: reader.get_tensor(name) for name in names})
    io = np.load(folder / "resnet_tiny_io.npz")
    expected = io["logits"].reshape(2, 19)
    np.testing.assert_allclose(model(io["x"]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_timms_full_sizes_have_the_same_shapes(shared, name):
    path = shared / "reference" / "timm" / "full_size_shapes.json"
    shapes = json.loads(path.read_text())[name]["state_dict_10_bands"]
    expected = {
        our_place(key): our_layout(np.empty(shape, "bool")).shape
        for key, shape in shapes.items()
        if "num_batches" not in key
    }
    assert_shapes(model_of(name, 10, 19, 120), expected)


@pytest.mark.parametrize("depth", [50, 101, 152])
def test_slims_full_sizes_have_the_same_shapes(shared, depth):
    path = shared / "reference" / "slim" / "variables.json"
    shapes = json.loads(path.read_text())[f"resnet_v1_{depth}"]
    expected = {our_place(key): tuple(shape) for key, shape in shapes.items()}
    expected["head", "kernel"] = expected["head", "kernel"][2:]
    assert_shapes(model_of(f"resnet{depth}_slim", 10, 19, 120), expected)


def assert_shapes(model, expected):
    assert len(expected) == len(model.variables)
    for (layer, attribute), shape in expected.items():
        assert getattr(model.get_layer(layer), attribute).shape == shape, layer
