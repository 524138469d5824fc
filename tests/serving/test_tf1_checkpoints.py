"""Checkpoints of the TU Berlin TensorFlow models, made small, through their readers."""

from dataclasses import replace

import numpy as np
import pytest
from published_files import batch, randomised, save_tf1

from bigearthnet_tf import models
from bigearthnet_tf.models import published, resnet, zoo
from bigearthnet_tf.serving import hub
from bigearthnet_tf.tasks import weight_files

# The project's orders, as its code has them.
S2 = ["B04", "B03", "B02", "B08", "B05", "B06", "B07", "B8A", "B11", "B12"]
BANDS = {2: ["VV", "VH"], 10: S2, 12: [*S2, "VV", "VH"]}
SCOPES = {
    "resnet50_slim": "resnet_v1_50/",
    "resnet101_slim": "resnet_v1_101/",
    "resnet152_slim": "resnet_v1_152/",
    "vgg16": "vgg_16/",
    "vgg19": "vgg_19/",
    "k_branch": "",
}


def small_resnet(x):
    return resnet.resnet(x, (1, 1), form=resnet.SLIM, widths=(4, 8), stem_width=4)


BUILDERS = {
    "resnet": small_resnet,
    "vgg": models.get_model("vgg_test").build,
    "k": models.get_model("k_branch_test").build,
}


@pytest.fixture(params=SCOPES)
def name(request, monkeypatch):
    """A model of the project, under its own name and names, but small."""
    entry = models.get_model(request.param)
    family = entry.name.split("_")[0].rstrip("0123456789")
    small = replace(entry, build=BUILDERS[family])
    monkeypatch.setitem(zoo.MODELS._entries, entry.name, small)
    return entry.name


def checkpoint(path, name, model) -> str:
    tensors = published.dump(model, models.get_model(name).tf1, torch=False)
    return save_tf1(path, {SCOPES[name] + key: v for key, v in tensors.items()})


@pytest.mark.parametrize("labels", [19, 43])
@pytest.mark.parametrize("count", BANDS)
def test_bands_and_labels_are_those_of_the_project(tmp_path, name, count, labels):
    bands = BANDS[count]
    if name == "k_branch":
        if count != 12:
            pytest.skip("it was published for Sentinel-2 alone")
        bands = [*S2, "B01", "B09"]
    options = {"image_size": 32, "statistics": "v1", "interpolation": "tf1_bicubic"}
    model = randomised(name, bands, labels, **options)
    prefix = checkpoint(tmp_path / "iteration-9", name, model)
    found = weight_files.open_published(prefix)
    assert found.model_name == name
    assert found.bands == tuple(bands)
    loaded = hub.from_pretrained(prefix, bands=bands[::-1], image_size=32)
    np.testing.assert_allclose(
        loaded(batch(model)), model(batch(model)), rtol=1e-3, atol=1e-4
    )


def test_a_checkpoint_that_is_cut_short(tmp_path, name):
    bands = [*S2, "B01", "B09"] if name == "k_branch" else S2
    prefix = checkpoint(tmp_path / "x", name, randomised(name, bands))
    data = tmp_path / "x.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(ValueError, match="^.*x: .*damaged or incomplete") as caught:
        hub.from_pretrained(prefix)
    assert "\n" not in str(caught.value)


def test_bands_without_a_branch_and_branches_without_bands(tmp_path):
    entry = models.get_model("k_branch")
    ten = {"bands": S2, "statistics": "v1", "image_size": 32}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            zoo.MODELS._entries, "k_branch", replace(entry, build=BUILDERS["k"])
        )
        whole = randomised("k_branch", [*S2, "B01", "B09"])
        prefix = checkpoint(tmp_path / "x", "k_branch", whole)
        with pytest.raises(ValueError, match="has a branch for bands of 20 pixels"):
            hub.from_pretrained(prefix, other_bands="mean", **ten)
