"""A record that TensorFlow can't read is named with its shard."""

import pytest
import tensorflow as tf

from bigearthnet_tf.records import damage


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
