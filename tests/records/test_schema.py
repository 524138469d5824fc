import numpy as np
import pytest
import tensorflow as tf
import toy

from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.records import schema


def parse(serialized: bytes) -> dict:
    example = tf.train.Example.FromString(serialized)
    return {
        name: list(getattr(feature, feature.WhichOneof("kind")).value)
        for name, feature in example.features.feature.items()
    }


@pytest.mark.parametrize("label_type", ["original", "BigEarthNet-19"])
def test_bytes_are_those_of_the_raster(label_type):
    patch = toy.patch(3, label_type)
    features = parse(schema.encode(patch))
    for name, raster in patch.bands.items():
        (stored,) = features[name]
        little = raster.astype(raster.dtype.newbyteorder("<"))
        assert stored == little.tobytes()
    assert features["patch_name_s2"] == [patch.name_s2.encode()]
    assert features["patch_name_s1"] == [patch.name_s1.encode()]


def test_rasters_of_the_other_byte_order_give_the_same_record():
    patch = toy.patch(3)
    swapped = {n: b.astype(b.dtype.newbyteorder(">")) for n, b in patch.bands.items()}
    other = type(patch)(patch.name_s2, patch.name_s1, swapped, patch.labels, "original")
    assert schema.encode(other) == schema.encode(patch)


def test_int64_form_is_that_of_the_multi_modal_project():
    patch = toy.patch(4, "BigEarthNet-19")
    example = tf.train.Example.FromString(schema.encode(patch, "int64"))
    features = example.features.feature
    assert set(features) == {
        *patch.bands,
        "BigEarthNet-19_labels",
        "BigEarthNet-19_labels_multi_hot",
        "patch_name_s1",
        "patch_name_s2",
    }
    assert features["B02"].int64_list.value == patch.bands["B02"].ravel().tolist()
    np.testing.assert_array_equal(
        np.float32(features["VH"].float_list.value), patch.bands["VH"].ravel()
    )


def test_a_patch_with_43_labels_carries_its_19_too():
    patch = toy.patch(5, "original")
    features = parse(schema.encode(patch))
    assert [name.decode() for name in features["original_labels"]] == list(patch.labels)
    assert len(features["original_labels_multi_hot"]) == 43
    expected = label_facts.convert_43_to_19(patch.labels)
    stored = [name.decode() for name in features.get("BigEarthNet-19_labels", [])]
    assert stored == list(expected)
    assert sum(features["BigEarthNet-19_labels_multi_hot"]) == len(expected)


def make_example(**features) -> bytes:
    def feature(value):
        if isinstance(value[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))

    made = {name.replace("__", "-"): feature(v) for name, v in features.items()}
    return tf.train.Example(
        features=tf.train.Features(feature=made)
    ).SerializeToString()


@pytest.mark.parametrize(
    ("features", "label_features", "name"),
    [
        (
            {"original_labels_multi_hot": [0] * 43, "patch_name": [b"x"]},
            (("original_labels_multi_hot", "O43"),),
            "patch_name",
        ),
        (
            {"BigEarthNet__19_labels_multi_hot": [0] * 19, "patch_name": [b"x"]},
            (("BigEarthNet-19_labels_multi_hot", "O19"),),
            "patch_name",
        ),
        (
            {"original_labels_multi_hot": [0] * 19, "patch_name": [b"x"]},
            (("original_labels_multi_hot", "B19"),),
            "patch_name",
        ),
        (
            {"BigEarthNet__43_labels_multi_hot": [0] * 43},
            (("BigEarthNet-43_labels_multi_hot", "S43"),),
            None,
        ),
    ],
    ids=["A", "B", "D", "alphabetical"],
)
def test_older_forms_are_recognised_by_their_features(features, label_features, name):
    form = schema.recognise(make_example(B02=[1] * 14400, **features), "x.tfrecord")
    assert form.encoding == "int64"
    assert form.bands == ("B02",)
    assert form.label_features == label_features
    assert form.name_s2 == name


@pytest.mark.parametrize(
    ("names", "differing"),
    [
        (["Pastures", "Airports"], None),  # of the 43: airports are none of the 19
        (["Pastures"], None),
        (["Pastures", "Coniferous forest"], "Coniferous forest"),
        (["Airports"], "Pastures"),
        ([], None),
    ],
)
def test_names_of_the_43_beside_a_vector_of_the_19(names, differing):
    """Records of balanced-bigearthnet, which has the order B19."""
    vector = [int(name == "Pastures") for name in label_facts.ORDERS["B19"]]
    features = {"original_labels": [name.encode() for name in names]} if names else {}
    serialized = make_example(
        B02=[1] * 14400, original_labels_multi_hot=vector, **features
    )
    form = schema.recognise(serialized, "x")
    assert form.label_features == (("original_labels_multi_hot", "B19"),)
    if differing is None:
        assert schema.decode(serialized, form, "x").labels == ("Pastures",)
        return
    with pytest.raises(ValueError, match=f"by name, but {differing} is in one of"):
        schema.decode(serialized, form, "x")


@pytest.mark.parametrize(
    ("serialized", "message"),
    [
        (b"\xff\xffno example", "the first record is something else"),
        (make_example(image=[b"png"]), r"got features \['image'\]"),
        (make_example(B02=[1] * 14400), r"got features \['B02'\]"),
    ],
)
def test_foreign_records_are_refused(serialized, message):
    with pytest.raises(ValueError, match=message) as caught:
        schema.recognise(serialized, "some.tfrecord")
    assert str(caught.value).startswith("some.tfrecord: ")


def test_labels_that_do_not_follow_from_the_records_are_refused():
    form = schema.recognise(
        make_example(B02=[1] * 14400, BigEarthNet__19_labels_multi_hot=[0] * 19), "x"
    )
    with pytest.raises(ValueError, match="label_type 'original' was asked for"):
        form.label_source("original", "x.tfrecord")


def test_19_labels_under_the_name_of_the_43_say_what_to_ask_for():
    """Records of balanced-bigearthnet, whose sets.json says `original` as shipped."""
    vector = [1, *[0] * 18]
    form = schema.recognise(
        make_example(B02=[1] * 14400, original_labels_multi_hot=vector), "x"
    )
    with pytest.raises(ValueError, match="--set label_type=BigEarthNet-19") as caught:
        form.label_source("original", "x.tfrecord")
    assert "hold 19 labels, under the name of the 43" in str(caught.value)
    assert form.label_source("BigEarthNet-19", "x.tfrecord")[1] == "B19"
