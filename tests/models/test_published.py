"""Published weights go in and out by name, and give the published logits."""

import json
from dataclasses import dataclass, replace
from typing import Any

import closeness
import keras
import long_tests
import numpy as np
import pytest
import tensorflow as tf
from safetensors import numpy as safetensors

from bigearthnet_tf import models
from bigearthnet_tf.models import (
    convmixer,
    convnext,
    mlp_mixer,
    mobilevit,
    published,
    resnet,
    vit,
)
from bigearthnet_tf.models.published import Naming


# The small instance of each published architecture: how it is built from the numbers
# in `index.json`, and the naming of its family.
def tiny_resnet(x: Any, config: dict) -> Any:
    return resnet.resnet(
        x, config["layers"], widths=config["channels"], stem_width=config["stem"]
    )


def tiny_convmixer(x: Any, config: dict) -> Any:
    return convmixer.convmixer(
        x,
        config["depth"],
        width=config["dim"],
        kernel_size=config["kernel_size"],
        patch_size=config["patch_size"],
    )


def tiny_convnext(x: Any, config: dict) -> Any:
    return convnext.convnext(x, config["depths"], config["dims"])


def tiny_mixer(x: Any, config: dict) -> Any:
    return mlp_mixer.mlp_mixer(
        x,
        config["num_blocks"],
        width=config["embed_dim"],
        patch_size=config["patch_size"],
    )


def tiny_mobilevit(x: Any, config: dict) -> Any:
    size = {"mobilevit_xxs": mobilevit.XXS}[config["timm_name"]]
    return mobilevit.mobilevit(x, size)


def tiny_vit(x: Any, config: dict) -> Any:
    return vit.vit(
        x,
        patch=config["patch_size"],
        width=config["embed_dim"],
        depth=config["depth"],
        form=replace(vit.BASE, heads=config["num_heads"]),
    )


@dataclass(frozen=True)
class Tiny:
    build: Any
    naming: Naming


TINY = {
    "resnet50": Tiny(tiny_resnet, resnet.timm_name),
    "convmixer_768_32": Tiny(tiny_convmixer, convmixer.timm_name),
    "convnextv2_base": Tiny(tiny_convnext, convnext.timm_name),
    "mixer_b16_224": Tiny(tiny_mixer, mlp_mixer.timm_name),
    "mobilevit_s": Tiny(tiny_mobilevit, mobilevit.timm_name),
    "vit_base_patch8_224": Tiny(tiny_vit, vit.timm_name),
}


def with_head(inputs, features, labels: int = 19):
    logits = keras.layers.Dense(labels, name="head")(features)
    return keras.Model(inputs, logits)


def full_model(name: str, bands: int = 10, labels: int = 19):
    """A model of as many bands at 120 pixels, or of all of S2 at their native sizes."""
    counts = {120: bands}
    if models.get_model(name).inputs == "by_resolution":
        counts = {120: 4, 60: 6, 20: 2}
    groups = [
        models.BandGroup(
            f"pixels{pixels}",
            tuple(f"b{pixels}_{number}" for number in range(count)),
            pixels,
            "float32",
        )
        for pixels, count in counts.items()
    ]
    names = [band for group in groups for band in group.bands]
    zeros, ones = dict.fromkeys(names, 0.0), dict.fromkeys(names, 1.0)
    return models.assemble(name, labels, groups, names, zeros, ones)


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
    closeness.assert_close(logits, io["logits"], closeness.NETWORK)
    written = published.dump(model, TINY[name].naming, torch=True)
    assert written.keys() == weights.keys()
    for key, value in weights.items():
        if not key.endswith(published.COUNTER):
            np.testing.assert_array_equal(written[key], value)


PUBLISHED = (
    "resnet50",
    "resnet101",
    "convmixer_768_32",
    "convnextv2_base",
    "mixer_b16_224",
    "mobilevit_s",
    "vit_base_patch8_224",
)


def few_numbers(shapes) -> dict[str, np.ndarray]:
    """Tensors that repeat their own few numbers: VGG's would take half a gigabyte."""
    rng = np.random.default_rng(0)
    return {
        key: np.broadcast_to(rng.random(shape[-1:], "float32"), shape)
        for key, shape in shapes.items()
    }


# Those with more than 30 million parameters take seconds and half a gigabyte.
@pytest.mark.parametrize(
    "name",
    long_tests.beyond(["resnet50", "mobilevit_s"], PUBLISHED),
)
def test_full_sizes_load_what_timm_has(shared, name):
    path = shared / "reference" / "timm" / "full_size_shapes.json"
    known = json.loads(path.read_text())
    assert known.keys() == set(PUBLISHED)
    shapes = known[name]["state_dict_10_bands"]
    tensors = few_numbers(shapes)
    model, naming = full_model(name), models.get_model(name).timm
    published.load(model, tensors, naming, torch=True, where="file")
    written = published.dump(model, naming, torch=True)
    assert {key: list(value.shape) for key, value in written.items()} == shapes
    for key, value in written.items():
        if not key.endswith(published.COUNTER):
            np.testing.assert_array_equal(value, tensors[key])


TF1 = {
    "resnet50_slim": "resnet_v1_50",
    "resnet101_slim": "resnet_v1_101",
    "resnet152_slim": "resnet_v1_152",
    "vgg16": "vgg_16",
    "vgg19": "vgg_19",
    "k_branch": "K-BranchCNN",
}


def test_every_model_of_the_tf_project_has_its_names():
    assert {n for n in models.list_models() if models.get_model(n).tf1} == set(TF1)


@pytest.mark.parametrize("name", TF1)
def test_full_sizes_load_what_the_tf_project_published(shared, name):
    path = shared / "reference" / "slim" / "variables.json"
    shapes = json.loads(path.read_text())[TF1[name]]
    tensors = few_numbers(shapes)
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
    closeness.assert_close(model(io["x"]), expected, closeness.NETWORK)


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


def test_the_tensor_that_is_missing_is_named_whichever_it_is(model, tensors):
    """Also where it is the first one, or one whose name ends others."""
    for prefix in ("", "model.vision_encoder."):
        for missing in ("conv1.weight", "bn1.weight", "fc.bias", "fc.weight"):
            changed = {prefix + n: v for n, v in tensors.items() if n != missing}
            message = f"^file: 1 tensors missing, the first is {missing}: weights of"
            with pytest.raises(ValueError, match=message):
                load(model, changed)


def test_faults_are_named_and_nothing_is_assigned(model, tensors):
    before = [v.numpy() for v in model.variables]
    for change, message in (
        (lambda t: t.pop("layer1.0.bn2.bias"), "1 tensors missing, .*bn2.bias"),
        (lambda t: t.update(other=np.zeros(3)), "1 tensors left over, .*other"),
        (
            lambda t: t.update({"fc.weight": np.zeros((43, 64))}),
            r"fc.weight has shape \[43, 64\], expected \[19, 64\].*or another image",
        ),
        (
            lambda t: t.update({"fc.bias": np.ones(19, "int32")}),
            "fc.bias is of type int32, expected floating point",
        ),
        (
            lambda t: t["fc.bias"].put(3, np.nan),
            "fc.bias has values that are NaN or infinite",
        ),
    ):
        changed = {name: value + 1 for name, value in tensors.items()}
        change(changed)
        with pytest.raises(ValueError, match=f"^file: .*{message}"):
            load(model, changed)
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


def test_a_perceptron_as_head_takes_weights_for_the_rest(tensors):
    names = ("a", "b")
    group = models.BandGroup("all", names, 32, "float32")
    zeros, ones = dict.fromkeys(names, 0.0), dict.fromkeys(names, 1.0)
    model = models.assemble(
        "resnet_test", 19, [group], names, zeros, ones,
        image_size=32, head_dims=(24, 12), drop_rate=0.1,
    )  # fmt: skip
    assert model.get_layer("head_hidden1").kernel.shape == (64, 24)
    assert model.get_layer("head").kernel.shape == (12, 19)
    published.load(
        model, tensors, resnet.timm_name, torch=True, where="file", without_head=True
    )
    kernel = model.get_layer("stem_conv").kernel.numpy().transpose(3, 2, 0, 1)
    np.testing.assert_array_equal(kernel, tensors["conv1.weight"])
    with pytest.raises(ValueError, match="the first is head_hidden1/bias"):
        load(model, tensors)


def test_hidden_layers_of_a_head_belong_to_it(tensors):
    group = models.BandGroup("all", ("b0", "b1"), 32, "float32")
    zeros, ones = {"b0": 0.0, "b1": 0.0}, {"b0": 1.0, "b1": 1.0}
    model = models.assemble(
        "resnet_test", 5, [group], group.bands, zeros, ones, head_dims=[3]
    )
    before = model.get_layer("head_hidden1").kernel.numpy()
    with pytest.raises(ValueError, match="missing, the first is head_hidden1/bias"):
        load(model, tensors)
    changed = {name: value + 1 for name, value in tensors.items()}
    published.load(
        model, changed, resnet.timm_name, torch=True, where="file", without_head=True
    )
    np.testing.assert_array_equal(before, model.get_layer("head_hidden1").kernel)
    stem = published.dump(model, resnet.timm_name, torch=True)["conv1.weight"]
    np.testing.assert_array_equal(stem, changed["conv1.weight"])
