"""ImageNet's weights, of red, green and blue, in models of more bands."""

import logging

import numpy as np
import pytest
from published_files import randomised
from safetensors import numpy as safetensors

from bigearthnet_tf import models
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.models import published
from bigearthnet_tf.serving import hub

FAMILIES = [n for n in models.list_models("*_test") if models.get_model(n).timm]
SIDE = 75  # pixels; inception_v3_test takes no fewer


def imagenet_file(folder, name, size):
    """A file of 1000 classes and 3 bands under timm's names; returns the model too."""
    model = randomised(name, "rgb", 1000, image_size=size)
    tensors = published.dump(model, models.get_model(name).timm, torch=True)
    path = folder / f"{name}.safetensors"
    safetensors.save_file(tensors, path)
    return path, model


def first_kernel(model) -> np.ndarray:
    """The kernel whose third axis counts the bands."""
    kernels = (weight for weight in model.weights if len(weight.shape) == 4)
    return next(kernels).numpy()


def test_all_families_of_timm_are_here():
    assert len(FAMILIES) >= 7


@pytest.mark.parametrize("other", ["mean", "zero"])
@pytest.mark.parametrize("name", FAMILIES)
def test_three_bands_become_ten(tmp_path, name, other):
    size = 32 if "inception" not in name else SIDE
    path, model = imagenet_file(tmp_path, name, size)
    loaded = hub.from_pretrained(
        path, name, num_labels=19, bands="s2", other_bands=other, image_size=size
    )
    ours, theirs = first_kernel(loaded), first_kernel(model)
    assert ours.shape[2] == 10
    assert theirs.shape[2] == 3
    for place, band in enumerate(band_facts.resolve_bands("s2")):
        if band in ("B04", "B03", "B02"):
            expected = theirs[:, :, ["B04", "B03", "B02"].index(band)]
        else:
            expected = theirs.mean(axis=2) * (other == "mean")
        np.testing.assert_allclose(ours[:, :, place], expected, atol=1e-7)
    # All the rest is as it was, but for the head.
    kept = {v.path: v for v in model.weights if not v.path.startswith("head/")}
    changed = {
        v.path
        for v in loaded.weights
        if v.path in kept
        and "seed" not in v.path
        and not np.array_equal(v, kept[v.path])
    }
    assert len(changed) == 1


def test_the_auxiliary_head_of_inception_is_left_out(tmp_path, caplog):
    path, _ = imagenet_file(tmp_path, "inception_v3_test", SIDE)
    tensors = safetensors.load_file(path)
    tensors["AuxLogits.conv0.conv.weight"] = np.ones((1, 1, 1, 1), "float32")
    tensors["AuxLogits.fc.bias"] = np.ones(1000, "float32")
    safetensors.save_file(tensors, path)
    options = {"num_labels": 19, "bands": "rgb", "image_size": SIDE}
    with caplog.at_level(logging.INFO):
        hub.from_pretrained(path, "inception_v3_test", **options)
    assert "left out: 2 tensors of the auxiliary head AuxLogits.*" in caplog.text
    assert "the head starts afresh" in caplog.text


def test_weights_of_another_image_size_say_so(tmp_path):
    path, _ = imagenet_file(tmp_path, "vit_test", 64)
    with pytest.raises(ValueError, match=r"pos_embed has shape.*other image size"):
        hub.from_pretrained(path, "vit_test", num_labels=19, bands="rgb", image_size=32)


def test_bands_that_nothing_is_known_of(tmp_path):
    path, _ = imagenet_file(tmp_path, "resnet_test", 32)
    options = {"num_labels": 19, "bands": "s1"}
    for other in ("mean", "zero"):
        with pytest.raises(ValueError, match="none of which the model, on VV VH, sees"):
            hub.from_pretrained(path, "resnet_test", other_bands=other, **options)
    with pytest.raises(ValueError, match="other_bands of refuse, mean, zero, got 'avg"):
        hub.from_pretrained(path, "resnet_test", other_bands="avg", **options)


def test_the_length_of_a_header_makes_no_pickle(tmp_path):
    """It comes first in the file: 640 bytes begin like a pickle of protocol 2."""
    path = tmp_path / "resnet_test.safetensors"
    tensors = {"conv1.weight": np.ones((8, 3, 7, 7), "float32")}
    like_pickles = 0
    for padding in range(0, 1600, 8):
        safetensors.save_file(tensors, path, metadata={"padding": "x" * padding})
        if path.read_bytes()[:2] in (
            b"\x80\x02",
            b"\x80\x03",
            b"\x80\x04",
            b"\x80\x05",
        ):
            like_pickles += 1
            # It is read: only the tensors are not those of the model.
            with pytest.raises(ValueError, match=r"missing, the first is bn1\.bias"):
                hub.from_pretrained(path, "resnet_test", num_labels=19, bands="rgb")
    assert like_pickles
