"""Published weights go in and out by name, and give the published logits."""

import json
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors import numpy as safetensors

from bigearthnet_tf import models
from bigearthnet_tf.models import published, resnet
from bigearthnet_tf.models.published import Naming

# The small instance of each published architecture: how it is built from the numbers
# in `index.json`, and the naming of its family.
def tiny_resnet(x: Any, config: dict) -> Any:
    return resnet.resnet(
        x, config["layers"], widths=config["channels"], stem_width=config["stem"]
    )


@dataclass(frozen=True)
class Tiny:
    build: Any
    naming: Naming


TINY = {"resnet50": Tiny(tiny_resnet, resnet.timm_name)}


def with_head(inputs, features, labels: int = 19):
    logits = keras.layers.Dense(labels, name="head")(features)
    return keras.Model(inputs, logits)


def full_model(name: str, bands: int = 10, labels: int = 19):
    names = tuple(f"b{number}" for number in range(bands))
    group = models.BandGroup("all", names, 120, "float32")
    zeros, ones = dict.fromkeys(names, 0.0), dict.fromkeys(names, 1.0)
    return models.assemble(name, labels, [group], names, zeros, ones)


@pytest.mark.parametrize("name", TINY)
def test_logits_equal_timms(shared, name):
    folder = shared / "reference" / "timm"
    config = json.loads((folder / "index.json").read_text())[name]["config"]
    inputs = keras.Input((120, 120, config["in_chans"]))
    model = with_head(inputs, TINY[name].build(inputs, config))
    path = folder / f"{name}.tiny.safetensors"
    weights = safetensors.load_file(path)
    published.load(model, weights, TINY[name].naming, torch=True, where=str(path))
    io = np.load(folder / f"{name}.tiny.io.npz")
    logits = model(io["x"].transpose(0, 2, 3, 1))
    np.testing.assert_allclose(logits, io["logits"], rtol=1e-4, atol=1e-5)
    written = published.dump(model, TINY[name].naming, torch=True)
    assert written.keys() == weights.keys()
    for key, value in weights.items():
        if not key.endswith(published.COUNTER):
            np.testing.assert_array_equal(written[key], value)


def timm_models() -> list[str]:
    return [n for n in models.list_models() if models.get_model(n).timm]


@pytest.mark.parametrize("name", timm_models())
def test_full_sizes_have_timms_names_and_shapes(shared, name):
    path = shared / "reference" / "timm" / "full_size_shapes.json"
    known = json.loads(path.read_text())
    if name not in known:
        pytest.skip(f"no shapes of {name} in {path.name}")
    written = published.dump(full_model(name), models.get_model(name).timm, torch=True)
    shapes = {key: list(value.shape) for key, value in written.items()}
    assert shapes == known[name]["state_dict_10_bands"]


TF1 = {
    "resnet50_slim": "resnet_v1_50",
    "resnet101_slim": "resnet_v1_101",
    "resnet152_slim": "resnet_v1_152",
}


def test_every_model_of_the_tf_project_has_its_names():
    assert {n for n in models.list_models() if models.get_model(n).tf1} == set(TF1)


@pytest.mark.parametrize("name", TF1)
def test_full_sizes_load_what_the_tf_project_published(shared, name):
    path = shared / "reference" / "slim" / "variables.json"
    shapes = json.loads(path.read_text())[TF1[name]]
    rng = np.random.default_rng(0)
    tensors = {
        key: rng.random(shape, "float32") for key, shape in shapes.items()
    }
    model = full_model(name)
    naming = models.get_model(name).tf1
    published.load(model, tensors, naming, torch=False, where="checkpoint")
    written = published.dump(model, naming, torch=False)
    assert len(written) == len(tensors)
    for key, value in written.items():
        scopes = ("", f"{TF1[name]}/")
        (expected,) = (tensors[s + key] for s in scopes if s + key in tensors)
        np.testing.assert_array_equal(value, expected.reshape(value.shape))


def test_logits_equal_tf_slims(shared):
    folder = shared / "reference" / "slim"
    inputs = keras.Input((120, 120, 10))
    features = resnet.resnet(
        inputs, (2, 2, 3, 1), form=resnet.SLIM, widths=(4, 6, 8, 10)
    )
    model = with_head(inputs, features)
    reader = tf.train.load_checkpoint(str(folder / "resnet_tiny-1200"))
    names = reader.get_variable_to_shape_map()
    tensors = {name: reader.get_tensor(name) for name in names}
    published.load(model, tensors, resnet.slim_name, torch=False, where="checkpoint")
    io = np.load(folder / "resnet_tiny_io.npz")
    expected = io["logits"].reshape(2, 19)
    np.testing.assert_allclose(model(io["x"]), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def model():
    return full_model("resnet_test", bands=2)


@pytest.fixture
def tensors(model):
    return published.dump(model, resnet.timm_name, torch=True)


def load(model, tensors):
    published.load(model, tensors, resnet.timm_name, torch=True, where="file")


@pytest.mark.parametrize("prefix", ["", "model.", "model.vision_encoder."])
def test_a_prefix_that_all_names_share_is_taken_off(model, tensors, prefix):
    changed = {prefix + name: value + 1 for name, value in tensors.items()}
    load(model, changed)
    after = published.dump(model, resnet.timm_name, torch=True)
    np.testing.assert_array_equal(after["conv1.weight"], tensors["conv1.weight"] + 1)


def test_faults_are_named_and_nothing_is_assigned(model, tensors):
    before = [v.numpy() for v in model.variables]
    for change, message in (
        (lambda t: t.pop("layer1.0.bn2.bias"), "1 tensors missing, .*layer1.0.bn2.bias"),
        (lambda t: t.update(other=np.zeros(3)), "1 tensors left over, .*other"),
        (
            lambda t: t.update({"fc.weight": np.zeros((43, 64))}),
            r"fc.weight has shape \[43, 64\], expected \[19, 64\]",
        ),
    ):
        changed = {name: value + 1 for name, value in tensors.items()}
        change(changed)
        with pytest.raises(ValueError, match=f"^file: .*{message}"):
            load(model, changed)
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())
