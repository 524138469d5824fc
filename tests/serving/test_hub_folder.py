"""What a hub folder says of itself: read, checked, and wrong in every way."""

import json

import closeness
import pytest
from published_files import O19, S19, as_hub_has_it, batch, randomised

from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.serving import hub
from bigearthnet_tf.tasks import weight_files

S2 = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return as_hub_has_it(randomised(), tmp_path_factory.mktemp("hub") / "v0.2.0", "s2")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", r"expected an object of keys and values, got \[1\]"),
        ('"a"', "expected an object of keys and values, got 'a'"),
        ('{"config": null}', "expected an object of keys and values, got None"),
        ("{", "expected JSON, but line 1"),
        ("", "expected JSON, but line 1"),
        ("{}", "timm_model_name: is missing"),
    ],
)
def test_content_that_is_no_config(folder, content, message):
    (folder / "config.json").write_text(content)
    with pytest.raises(ValueError, match=f"^{folder}/config.json: {message}"):
        hub.from_pretrained(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("timm_model_name", None, "timm_model_name: should be a valid string"),
        ("channels", "ten", "channels: should be a valid integer, got 'ten'"),
        ("channels", None, "channels: should be a valid integer, got None"),
        ("channels", 12, "channels is 12, but 10 are named"),
        ("bands", 5, "bands: should be a valid list, got 5"),
        ("bands", ["B02", "B99"], "bands: unknown band 'B99'"),
        ("image_size", None, "image_size: should be a valid integer"),
        ("image_size", "big", "image_size: should be a valid integer"),
        ("image_size", -3, "image_size: should be greater than 0"),
        ("classes", None, "classes: should be a valid integer"),
        ("classes", 43, "classes is 43, but 19 are named"),
        ("class_names", ["a"] * 19, "class_names: unknown label 'a'"),
        ("class_names", [S19[0]] * 19, "class_names: expected all 19 or all 43"),
        ("class_names", "abc", "class_names: should be a valid list"),
        ("statistics", "v7", "statistics: unknown band statistics 'v7'"),
        ("statistics", {"mean": {"B02": 1.0}}, "statistics: statistics: expected"),
        ("interpolation", "cubic", "interpolation: unknown interpolation 'cubic'"),
    ],
)
def test_values_that_do_not_go(folder, key, value, message):
    content = {
        "timm_model_name": "resnet_test",
        "channels": 10,
        "classes": 19,
        "image_size": 32,
        "bands": S2,
        "class_names": list(S19),
    }
    (folder / "config.json").write_text(json.dumps(content | {key: value}))
    with pytest.raises(ValueError, match=message) as caught:
        hub.from_pretrained(folder)
    assert str(caught.value).startswith(f"{folder}/config.json: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("order", [S19, S19[::-1], O19])
def test_labels_are_in_the_order_that_the_folder_says(tmp_path, order):
    model = randomised()
    folder = as_hub_has_it(
        model, tmp_path / "x-v0.2.0", "s2", order, class_names=list(order)
    )
    loaded = hub.from_pretrained(folder)
    closeness.assert_close(loaded(batch(model)), model(batch(model)), closeness.NETWORK)


def test_all_43_labels(tmp_path):
    names = tuple(reversed(label_facts.LABELS["original"]))
    model = randomised(labels=43)
    folder = as_hub_has_it(
        model, tmp_path / "x-v0.2.0", "s2", names, class_names=list(names)
    )
    loaded = hub.from_pretrained(folder)
    assert loaded.output_shape == (None, 43)
    closeness.assert_close(loaded(batch(model)), model(batch(model)), closeness.NETWORK)


@pytest.mark.parametrize("version", ["0.1.1", "0.2.0"])
def test_three_bands_are_red_green_and_blue(tmp_path, version):
    model = randomised(bands=["B02", "B03", "B04"])
    folder = as_hub_has_it(model, tmp_path / f"x-v{version}", ["B04", "B03", "B02"])
    assert weight_files.open_published(str(folder)).bands == ("B04", "B03", "B02")
    loaded = hub.from_pretrained(folder, bands=["B02", "B03", "B04"])
    closeness.assert_close(loaded(batch(model)), model(batch(model)), closeness.NETWORK)


def test_a_file_out_of_such_a_folder_is_not_taken_for_imagenet(tmp_path):
    folder = as_hub_has_it(randomised(), tmp_path / "x-v0.1.1", "s2")
    with pytest.raises(ValueError, match=f"name the folder, {folder}"):
        weight_files.open_published(str(folder / "model.safetensors"), "resnet18")
    (folder / "config.json").write_text('{"architecture": "resnet18"}')
    found = weight_files.open_published(str(folder / "model.safetensors"), "resnet18")
    assert found.labels is None


def test_the_folder_is_known_by_its_name_from_within(tmp_path, monkeypatch):
    folder = as_hub_has_it(randomised(), tmp_path / "x-v0.1.1", "s2")
    monkeypatch.chdir(folder)
    assert weight_files.open_published(".").bands[3] == "B08"
