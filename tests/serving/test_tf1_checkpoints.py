"""Checkpoints of the TU Berlin TensorFlow models, made small, through their readers."""

from dataclasses import replace

import closeness
import pytest
from published_files import O19, batch, randomised, save_tf1

from bigearthnet_tf import models
from bigearthnet_tf.models import published, resnet, zoo
from bigearthnet_tf.serving import hub
from bigearthnet_tf.tasks import pretrained, weight_files

# The project's orders, as its code has them.
S2 = ["B04", "B03", "B02", "B08", "B05", "B06", "B07", "B8A", "B11", "B12"]
S1, ALL, K_BRANCH = ["VV", "VH"], [*S2, "VV", "VH"], [*S2, "B01", "B09"]
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


# K-BranchCNN was published for Sentinel-2 alone.
CASES = [("k_branch", K_BRANCH)] + [
    (name, bands) for name in SCOPES if name != "k_branch" for bands in (S1, S2, ALL)
]


@pytest.fixture
def small(monkeypatch):
    """Makes the project's models small, under their own names and their tensors'."""
    for name in SCOPES:
        build = BUILDERS[name.split("_")[0].rstrip("0123456789")]
        entry = replace(models.get_model(name), build=build)
        monkeypatch.setitem(zoo.MODELS._entries, name, entry)


def checkpoint(path, name, model) -> str:
    tensors = published.dump(model, models.get_model(name).tf1, torch=False)
    return save_tf1(path, {SCOPES[name] + key: v for key, v in tensors.items()})


@pytest.mark.parametrize("labels", [19, 43])
@pytest.mark.parametrize(("name", "bands"), CASES)
def test_bands_and_labels_are_those_of_the_project(
    tmp_path, small, name, bands, labels
):
    options = {"image_size": 32, "statistics": "v1", "interpolation": "tf1_bicubic"}
    model = randomised(name, bands, labels, **options)
    prefix = checkpoint(tmp_path / "iteration-9", name, model)
    found = weight_files.open_published(prefix)
    assert found.model_name == name
    assert found.bands == tuple(bands)
    loaded = hub.from_pretrained(prefix, bands=bands[::-1], image_size=32)
    closeness.assert_close(loaded(batch(model)), model(batch(model)), closeness.NETWORK)


def test_a_checkpoint_that_is_cut_short(tmp_path, small):
    prefix = checkpoint(tmp_path / "x", "vgg16", randomised("vgg16", S2))
    data = tmp_path / "x.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"^.*x: .*damaged or incomplete") as caught:
        hub.from_pretrained(prefix)
    assert "\n" not in str(caught.value)


def test_every_resolution_needs_its_branch(tmp_path, small):
    whole = randomised("k_branch", K_BRANCH)
    prefix = checkpoint(tmp_path / "x", "k_branch", whole)
    for bands, message in (
        (S2, "has a branch for bands of 20 pixels, .*choose one of them too, such as"),
        (["VV", "VH", "B01"], "has a branch for bands of 60 pixels"),
    ):
        with pytest.raises(ValueError, match=message):
            hub.from_pretrained(prefix, bands=bands, other_bands="mean")
    without = weight_files.open_published(prefix)
    model = randomised("k_branch", K_BRANCH)
    with pytest.raises(ValueError, match="no branch for bands of 20 pixels; leave the"):
        pretrained.load_into(
            model, replace(without, bands=tuple(S2)), O19, other_bands="zero"
        )
