"""Weights from elsewhere, in their own orders of bands and labels, and back."""

import json
import pickle
import sys

import closeness
import keras
import numpy as np
import pytest
import timm_models
from published_files import (
    O19,
    PREFIX,
    S19,
    WEIGHTS,
    as_hub_has_it,
    batch,
    randomised,
    save_tf1,
)
from safetensors import numpy as safetensors

import bigearthnet_tf
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.models import published, resnet
from bigearthnet_tf.serving import hub
from bigearthnet_tf.tasks import assembly, pretrained, weight_files


@pytest.mark.parametrize(
    ("version", "ours", "theirs"),
    [
        ("0.1.1", "s2", "ilm_v1_s2"),
        ("0.1.1", "s1", "ilm_v1_s1"),
        ("0.1.1", "all", "ilm_v1_all"),
        ("0.2.0", "s2", "s2"),
        ("0.2.0", "s1", "s1"),
        ("0.2.0", "all", "all"),
    ],
)
def test_hub_weights_give_the_same_logits_in_any_order(tmp_path, version, ours, theirs):
    model = randomised(bands=ours)
    expected = model(batch(model)).numpy()
    folder = tmp_path / f"resnet_test-{ours}-v{version}"
    as_hub_has_it(model, folder, theirs)
    own_order = bigearthnet_tf.from_pretrained(folder)
    assert own_order.get_layer("preprocessing_stack").order == list(
        band_facts.resolve_bands(theirs)
    )
    for loaded in (own_order, bigearthnet_tf.from_pretrained(folder, bands=ours)):
        closeness.assert_close(loaded(batch(loaded)), expected, closeness.NETWORK)


def test_a_flat_config_is_read_too(tmp_path):
    model = randomised()
    folder = as_hub_has_it(model, tmp_path / "x-s2-v0.2.0", "s2")
    content = json.loads((folder / "config.json").read_text())["config"]
    (folder / "config.json").write_text(json.dumps(content))
    loaded = hub.from_pretrained(folder)
    closeness.assert_close(loaded(batch(model)), model(batch(model)), closeness.NETWORK)


def test_what_is_exported_is_what_the_hub_has(tmp_path):
    """Our order of bands and labels becomes theirs; read again it is the same model."""
    shuffled = tuple(reversed(band_facts.resolve_bands("s2")))
    model = randomised(bands=shuffled)
    given = as_hub_has_it(model, tmp_path / "a-v0.2.0", "s2")
    out = hub.export_timm(given, tmp_path / "b")
    by_hand = safetensors.load_file(given / "model.safetensors")
    exported = safetensors.load_file(out / "model.safetensors")
    assert exported.keys() == by_hand.keys()
    for key, value in by_hand.items():
        np.testing.assert_array_equal(exported[key], value)
    again = hub.from_pretrained(out, bands=shuffled)
    closeness.assert_close(again(batch(model)), model(batch(model)), closeness.NETWORK)


@pytest.mark.slow
def test_timm_loads_what_is_exported(tmp_path):
    timm = timm_models.load()
    import torch

    model = randomised("resnet18", bands="s2")
    folder = tmp_path / "resnet18-s2-v0.2.0"
    as_hub_has_it(model, folder, "s2", timm_model_name="resnet18")
    exported = safetensors.load_file(hub.export_timm(folder, tmp_path / "b") / WEIGHTS)
    theirs = timm.create_model("resnet18", in_chans=10, num_classes=19).eval()
    theirs.load_state_dict(
        {k.removeprefix(PREFIX): torch.from_numpy(v) for k, v in exported.items()}
    )
    stack = keras.Model(model.input, model.get_layer("preprocessing_stack").output)
    images = np.asarray(stack(batch(model))).transpose(0, 3, 1, 2)
    with torch.no_grad():
        logits = theirs(torch.from_numpy(np.ascontiguousarray(images))).numpy()
    ours = model(batch(model)).numpy()[:, [O19.index(label) for label in S19]]
    closeness.assert_close(logits, ours, closeness.NETWORK)


def test_a_new_head_keeps_the_rest(tmp_path):
    folder = as_hub_has_it(randomised(), tmp_path / "x-s2-v0.2.0", "s2")
    loaded = hub.from_pretrained(folder, num_labels=43)
    stored = safetensors.load_file(folder / "model.safetensors")
    assert loaded.output_shape == (None, 43)
    kernel = loaded.get_layer("stem_conv").kernel.numpy().transpose(3, 2, 0, 1)
    np.testing.assert_array_equal(kernel, stored[PREFIX + "conv1.weight"])


@pytest.mark.parametrize("other", ["mean", "zero"])
def test_imagenets_first_kernel_is_spread_over_more_bands(tmp_path, other):
    model = randomised(bands="rgb", labels=1000)
    tensors = published.dump(model, resnet.timm_name, torch=True)
    path = tmp_path / "resnet_test.safetensors"
    safetensors.save_file(tensors, path)
    loaded = hub.from_pretrained(
        path, "resnet_test", num_labels=19, bands="s2", other_bands=other
    )
    kernel = loaded.get_layer("stem_conv").kernel.numpy()
    red_green_blue = model.get_layer("stem_conv").kernel.numpy()
    for place, band in enumerate(band_facts.resolve_bands("s2")):
        if band in ("B04", "B03", "B02"):
            expected = red_green_blue[:, :, ["B04", "B03", "B02"].index(band)]
        else:
            expected = red_green_blue.mean(axis=2) * (other == "mean")
        np.testing.assert_allclose(kernel[:, :, place], expected, atol=1e-7)


@pytest.mark.slow
def test_checkpoints_of_the_tf_project(tmp_path):
    model = randomised("resnet50_slim", bands="tf_s2")
    tensors = {
        f"resnet_v1_50/{name}": value
        for name, value in published.dump(model, resnet.slim_name, torch=False).items()
    }
    scale = tensors["resnet_v1_50/logits/weights"]
    tensors["resnet_v1_50/logits/weights"] = scale[None, None]
    others = {
        "beta1_power": np.float32(0.9),
        "resnet_v1_50/logits/biases/Adam": np.zeros(19, "float32"),
        "resnet_v1_50/logits/biases/Adam_1": np.zeros(19, "float32"),
    }
    prefix = save_tf1(tmp_path / "iteration-1200", tensors | others)
    found = weight_files.open_published(prefix)
    assert found.model_name == "resnet50_slim"
    assert found.bands == band_facts.resolve_bands("tf_s2")
    assert (found.statistics, found.interpolation) == ("v1", "tf1_bicubic")
    loaded = hub.from_pretrained(
        prefix,
        image_size=32,
        statistics="v2_120_nearest",
        interpolation="nearest",
        bands="s2",
    )
    closeness.assert_close(loaded(batch(model)), model(batch(model)), closeness.NETWORK)


@pytest.mark.parametrize(
    ("config", "name", "message"),
    [
        ({}, "resnet-s2", "name of the folder does not say"),
        ({"channels": 7}, "x-v0.2.0", "expected 2, 3, 10, 12, 14 channels, got 7"),
        ({"timm_model_name": "resnet_tset"}, "x-v0.2.0", "did you mean 'resnet_test'"),
        ({"channels": 2}, "x-v0.2.0", r"conv1.weight has shape \[8, 10, 7, 7\]"),
        ({"classes": 10}, "x-v0.2.0", "no labels of BigEarthNet"),
        ({"timm_model_name": "resnet18"}, "x-v0.2.0", "missing.*another architecture"),
    ],
)
def test_hub_folders_that_do_not_fit(tmp_path, config, name, message):
    folder = as_hub_has_it(randomised(), tmp_path / name, "s2", **config)
    with pytest.raises(ValueError, match=message):
        hub.from_pretrained(folder)


def test_damaged_and_dangerous_files(tmp_path):
    folder = as_hub_has_it(randomised(), tmp_path / "x-v0.2.0", "s2")
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="damaged, cut short"):
        hub.from_pretrained(folder)
    weights.write_bytes(b"PK\x03\x04" + content)
    with pytest.raises(ValueError, match=r"a zip, as torch\.save makes of a pickle"):
        hub.from_pretrained(folder)
    for protocol in range(2, 6):
        weights.write_bytes(pickle.dumps([1.0] * 9, protocol))
        with pytest.raises(ValueError, match="is a pickle by its content"):
            hub.from_pretrained(folder)
    weights.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04anything")
    with pytest.raises(
        FileNotFoundError, match=r"model.safetensors: is missing.*bin is a pickle"
    ):
        hub.from_pretrained(folder)
    for name in ("a.pt", "pytorch_model.bin", "b.ckpt", "c.pkl"):
        (tmp_path / name).write_bytes(b"\x80\x04anything")
        with pytest.raises(ValueError, match="can run any program"):
            hub.from_pretrained(tmp_path / name)
    (tmp_path / "d.h5").write_bytes(b"\x89HDF")
    with pytest.raises(ValueError, match=r"expected a .safetensors file"):
        hub.from_pretrained(tmp_path / "d.h5")
    with pytest.raises(FileNotFoundError, match="no such weights; expected"):
        hub.from_pretrained(tmp_path / "nothing")


def test_a_damaged_tf1_checkpoint(tmp_path):
    prefix = save_tf1(tmp_path / "x", {"resnet_v1_50/conv1/weights": np.ones(3, "f")})
    with pytest.raises(ValueError, match="no variable resnet_v1_50/logits/biases"):
        hub.from_pretrained(prefix)
    index = tmp_path / "x.index"
    index.write_bytes(index.read_bytes()[:-9])
    with pytest.raises(ValueError, match="damaged or incomplete"):
        hub.from_pretrained(prefix)
    prefix = save_tf1(tmp_path / "y", {"mnist/weights": np.ones(3, "f")})
    with pytest.raises(ValueError, match="variables begin with mnist"):
        hub.from_pretrained(prefix)


def test_other_bands_and_labels_are_refused_by_name(tmp_path):
    folder = as_hub_has_it(randomised(), tmp_path / "x-v0.2.0", "s2")
    with pytest.raises(ValueError, match="also sees VV VH; choose those bands"):
        hub.from_pretrained(folder, bands="all")
    with pytest.raises(ValueError, match="does not see B05"):
        hub.from_pretrained(folder, bands="rgb")
    weights = weight_files.open_published(str(folder))
    with pytest.raises(ValueError, match="19 labels, but the model has 43"):
        pretrained.load_into(
            assembly.build_model("resnet_test", 43, "s2", image_size=32),
            weights,
            label_facts.ORDERS["O43"],
        )
    with pytest.raises(ValueError, match="weights of 'resnet_test', not of 'vit_test'"):
        hub.from_pretrained(folder, "vit_test")
    with pytest.raises(ValueError, match="weights of 'resnet_test', but the model is"):
        pretrained.load_into(
            assembly.build_model("short_cnn", 19, "s2", image_size=32), weights, O19
        )


def test_a_hub_id_without_the_package_or_a_network(monkeypatch):
    name = "BIFOLD-BigEarthNetv2-0/resnet50-s2-v0.2.0"
    taken = f"^{name}: no such folder or file here; taken for a hub id, which can't be "
    advice = f"hf download {name} --local-dir resnet50-s2-v0.2.0, and give that folder$"
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    message = rf"{taken}.*'\.\[huggingface\]'.*{advice}"
    with pytest.raises(ValueError, match=message):
        hub.from_pretrained(name)

    class NoNetwork:
        @staticmethod
        def snapshot_download(*_, **__):
            raise ConnectionError("no\nnetwork")

    monkeypatch.setitem(sys.modules, "huggingface_hub", NoNetwork)
    with pytest.raises(OSError, match=rf"{taken}.*\(no network\).*{advice}"):
        hub.from_pretrained(name)


def test_a_saved_keras_model_is_called_so(tmp_path):
    path = tmp_path / "model.keras"
    randomised().save(path)
    renamed = path.with_suffix(".safetensors")
    renamed.write_bytes(path.read_bytes())
    for name in (path, renamed):
        with pytest.raises(ValueError, match=r"saved Keras model; keras.models.load_m"):
            hub.from_pretrained(name, "resnet_test", num_labels=19)


def test_a_safetensors_file_needs_a_name_and_three_bands(tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors.save_file({"conv1.weight": np.ones((4, 10, 7, 7), "f")}, path)
    with pytest.raises(ValueError, match="name the model too"):
        hub.from_pretrained(path)
    with pytest.raises(
        ValueError, match=r"of 10 bands, expected one of 3: B04 B03 B02"
    ):
        hub.from_pretrained(path, "resnet50", num_labels=19)
