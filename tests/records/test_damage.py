"""A record that TensorFlow can't read is named with its shard."""

import pytest
import tensorflow as tf
import toy

from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.records import damage, reader, verification


def write(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


@pytest.mark.parametrize(("number", "place"), [(0, 8), (1, 12), (2, 20)])
def test_checksums(tmp_path, number, place):
    files = [str(tmp_path / name) for name in ("a.tfrecord", "b.tfrecord")]
    for path in files:
        write(path, [b"0123456789"] * 3)
    data = bytearray((tmp_path / "b.tfrecord").read_bytes())
    data[26 * number + place] ^= 4
    (tmp_path / "b.tfrecord").write_bytes(data)
    with (
        pytest.raises(ValueError, match=rf"b\.tfrecord: record {number} is damaged"),
        damage.reading(lambda: files, "test"),
    ):
        list(tf.data.TFRecordDataset(files))


def test_contents(tmp_path):
    path = str(tmp_path / "a.tfrecord")
    write(path, [b"no record at all"])
    spec = {"B02": tf.io.FixedLenFeature((), tf.string)}
    dataset = tf.data.TFRecordDataset(path).batch(1)
    with (
        pytest.raises(ValueError, match=r"a\.tfrecord: record 0"),
        damage.reading(lambda: [path]),
    ):
        list(dataset.map(lambda rows: tf.io.parse_example(rows, spec)))


def test_other_errors_pass():
    with pytest.raises(tf.errors.InvalidArgumentError), damage.reading(list):
        raise tf.errors.InvalidArgumentError(None, None, "of the model")


def test_a_file_that_is_whole_again(tmp_path):
    path = str(tmp_path / "a.tfrecord")
    write(path, [b"x"])
    with (
        pytest.raises(ValueError, match="is whole now"),
        damage.reading(lambda: [path]),
    ):
        raise tf.errors.DataLossError(None, None, "corrupted record at 0")


def spoil(path, feature, change):
    """Changes a feature of the second record of an int64 shard."""
    examples = [
        tf.train.Example.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(path))
    ]
    change(examples[1].features.feature[feature])
    write(path, [example.SerializeToString() for example in examples])


def put(place, value):
    def change(feature):
        feature.int64_list.value[place] = value

    return change


def as_floats(feature):
    values = [value + 0.6 for value in feature.int64_list.value]
    feature.float_list.value.extend(values)


LABELS = "original_labels"
VECTOR = f"{LABELS}_multi_hot"


@pytest.mark.parametrize(
    ("feature", "change", "message"),
    [
        ("B04", put(5, 70_000), "B04 has values beyond uint16"),
        ("B04", put(5, -5), "B04 has values beyond uint16"),
        ("B04", as_floats, "expected B04 as one bytes value or a list of int64"),
        (VECTOR, put(-1, 2), r"expected 0 or 1 for each label, got \[0, 1, 2\]"),
        (VECTOR, put(-1, -1), "expected 0 or 1 for each label"),
    ],
)
def test_values_that_mean_nothing_are_no_numbers(tmp_path, feature, change, message):
    toy.write_records(tmp_path, count=3, record_format="int64")
    (path,) = tmp_path.glob("train*.tfrecord")
    (tmp_path / "train.manifest.json").unlink()
    spoil(path, feature, change)
    source = reader.open_records(str(path))
    parse = reader.parser(source, ("B04", "B03"), "original")
    with (
        pytest.raises(ValueError, match=rf"record 1: .*{message}"),
        damage.reading(lambda: source.files),
    ):
        list(tf.data.TFRecordDataset(list(source.files)).batch(3).map(parse))


def flip(feature):
    numbers = feature.int64_list.value
    numbers[0] = 1 - numbers[0]


@pytest.mark.parametrize(
    ("feature", "change", "name"),
    [
        (VECTOR, flip, label_facts.LABELS["original"][0]),
        (LABELS, lambda f: f.bytes_list.value.append(b"Sandcastles"), "Sandcastles"),
    ],
)
def test_labels_that_differ_from_their_names_are_found(tmp_path, feature, change, name):
    toy.write_records(tmp_path, count=3, record_format="int64")
    (path,) = tmp_path.glob("train*.tfrecord")
    assert verification.read_whole(None, str(path), lambda: None).fault is None
    spoil(path, feature, change)
    fault = verification.read_whole(None, str(path), lambda: None).fault
    assert f"{path}: record 1: " in fault
    assert f"by name, but {name} is in one of the two alone" in fault
    spoil(path, LABELS, lambda feature: feature.Clear())
    if feature == VECTOR:
        assert verification.read_whole(None, str(path), lambda: None).fault is None
