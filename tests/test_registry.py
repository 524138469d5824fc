import pytest

from bigearthnet_tf.registry import Registry, nearest_names


@pytest.fixture
def registry():
    made = Registry("model")
    made.add("resnet50", 1)
    made.add("resnet50_slim", 2, ["ResNet50"])
    made.register("vgg16")(3)
    return made


def test_names_and_aliases_lead_to_entries(registry):
    assert registry.get("resnet50") == 1
    assert registry.get("ResNet50") == 2
    assert registry.resolve("ResNet50") == "resnet50_slim"
    assert registry.names() == ["resnet50", "resnet50_slim", "vgg16"]
    assert registry.names("resnet*") == ["resnet50", "resnet50_slim"]
    assert registry.aliases() == {"ResNet50": "resnet50_slim"}


@pytest.mark.parametrize(
    ("name", "aliases"), [("vgg16", []), ("ResNet50", []), ("new", ["resnet50"])]
)
def test_a_name_is_taken_once(registry, name, aliases):
    with pytest.raises(ValueError, match="is taken"):
        registry.add(name, 0, aliases)


def test_unknown_names_are_answered_with_the_nearest(registry):
    with pytest.raises(ValueError, match="unknown model 'vgg17': did you mean 'vgg16'"):
        registry.get("vgg17")
    with pytest.raises(ValueError, match="known: ResNet50, resnet50, resnet50_slim, v"):
        registry.get("xyz")


def test_patterns_find_aliases_and_any_capitals(registry):
    registry.add("k_branch", 4, ["K-BranchCNN"])
    assert registry.names("k-branch*") == ["k_branch"]
    assert registry.names("VGG*") == ["vgg16"]
    assert registry.names("RESNET50") == ["resnet50", "resnet50_slim"]


def test_a_part_of_longer_names_is_answered_with_these():
    known = ["keras_hub/swin_base", "keras_hub/swin_tiny", "vgg16"]
    expected = "did you mean 'keras_hub/swin_base' or 'keras_hub/swin_tiny'?"
    assert nearest_names("Swin", known) == expected


def test_names_that_differ_in_capitals_are_all_offered():
    offered = nearest_names("resnet5O", ["resnet50", "ResNet50"])
    assert offered == "did you mean 'resnet50' or 'ResNet50'?"
