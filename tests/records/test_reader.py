import numpy as np
import pytest
import tensorflow as tf
import toy

from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.records import manifest, reader, schema


def read(source, bands, label_type, batch_size=4):
    parse = reader.parser(source, bands, label_type)
    dataset = tf.data.TFRecordDataset(list(source.files)).batch(batch_size).map(parse)
    groups, labels = {}, []
    for images, batch_labels in dataset:
        for name, group in images.items():
            groups.setdefault(name, []).append(group.numpy())
        labels.append(batch_labels.numpy())
    return {n: np.concatenate(g) for n, g in groups.items()}, np.concatenate(labels)


def expected_group(numbers, names):
    return np.stack(
        [[toy.patch(number).bands[name] for name in names] for number in numbers]
    )


def numbers_of(source):
    """The toy numbers of the patches, in the order of the records."""
    indices = [name.split("_")[-2:] for name in reader.read_names(source)]
    return [int(h) * 91 + int(v) for h, v in indices]


@pytest.mark.parametrize("record_format", schema.RECORD_FORMATS)
def test_every_pixel_comes_back(tmp_path, record_format):
    toy.write_records(tmp_path, count=5, record_format=record_format)
    source = reader.open_records(str(tmp_path / "train*"))
    assert source.form.encoding == record_format
    groups, labels = read(source, toy.ALL_BANDS, "original")
    numbers = numbers_of(source)
    for group, names in {
        "s1_10m": ("VV", "VH"),
        "s2_10m": ("B02", "B03", "B04", "B08"),
        "s2_20m": ("B05", "B06", "B07", "B8A", "B11", "B12"),
        "s2_60m": ("B01", "B09"),
    }.items():
        expected = expected_group(numbers, names)
        assert groups[group].dtype == expected.dtype
        np.testing.assert_array_equal(groups[group], expected)
    for number, vector in zip(numbers, labels, strict=True):
        names = label_facts.from_multi_hot(vector, "original")
        assert names == toy.patch(number).labels


def test_bands_within_a_group_are_in_channel_order(tmp_path):
    toy.write_records(tmp_path, count=3)
    source = reader.open_records(str(tmp_path / "train*"))
    groups, _ = read(source, ("B08", "B04", "VH"), "BigEarthNet-19")
    expected = expected_group(numbers_of(source), ("B04", "B08"))
    np.testing.assert_array_equal(groups["s2_10m"], expected)
    assert set(groups) == {"s2_10m", "s1_10m"}


def write_old(path, count, label_feature, order):
    """Writes records of schema A, B or D with the labels of the toy patches."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(count):
            patch = toy.patch(number)
            labels = patch.labels
            if len(label_facts.ORDERS[order]) == 19:
                labels = label_facts.convert_43_to_19(labels)
            vector = [int(name in labels) for name in label_facts.ORDERS[order]]
            bands = {
                name: tf.train.Feature(
                    int64_list=tf.train.Int64List(value=raster.ravel())
                )
                for name, raster in patch.bands.items()
                if name.startswith("B")
            }
            features = bands | {
                label_feature: tf.train.Feature(
                    int64_list=tf.train.Int64List(value=vector)
                ),
                "patch_name": tf.train.Feature(
                    bytes_list=tf.train.BytesList(value=[patch.name_s2.encode()])
                ),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


@pytest.mark.parametrize(
    ("feature", "order", "label_type"),
    [
        ("original_labels_multi_hot", "O43", "original"),
        ("original_labels_multi_hot", "O43", "BigEarthNet-19"),
        ("BigEarthNet-19_labels_multi_hot", "O19", "BigEarthNet-19"),
        ("original_labels_multi_hot", "B19", "BigEarthNet-19"),
        ("BigEarthNet-43_labels_multi_hot", "S43", "original"),
        ("BigEarthNet-43_labels_multi_hot", "S43", "BigEarthNet-19"),
    ],
)
def test_older_records_give_the_same_tensors(tmp_path, feature, order, label_type):
    write_old(tmp_path / "old.tfrecord", 5, feature, order)
    source = reader.open_records(str(tmp_path / "old.tfrecord"))
    assert (source.num_records, source.archive_version) == (5, "v1")
    groups, labels = read(source, ("B02", "B11", "B01"), label_type)
    np.testing.assert_array_equal(groups["s2_20m"], expected_group(range(5), ("B11",)))
    assert groups["s2_20m"].dtype == np.uint16
    for number, vector in enumerate(labels):
        names = toy.patch(number).labels
        if label_type == "BigEarthNet-19":
            names = label_facts.convert_43_to_19(names)
        assert label_facts.from_multi_hot(vector, label_type) == names


def test_real_records_of_three_schemas(shared):
    folder = shared / "data" / "legacy_tfrecords"
    for file, bands, label_type in (
        ("mm_19.tfrecord", toy.ALL_BANDS, "BigEarthNet-19"),
        ("s2_19.tfrecord", toy.ALL_BANDS[2:], "BigEarthNet-19"),
        ("s2_43_original.tfrecord", toy.ALL_BANDS[2:], "original"),
    ):
        source = reader.open_records(str(folder / file))
        assert source.num_records == 3
        assert source.form.bands == bands
        _, labels = read(source, ("B02",), label_type)
        assert labels.sum() > 0


def truncate(path, size):
    path.write_bytes(path.read_bytes()[:size])


def test_a_truncated_shard_is_refused_by_its_manifest(tmp_path):
    toy.write_records(tmp_path, count=3)
    shard = tmp_path / "train-00000-of-00001.tfrecord"
    truncate(shard, 300_000)
    with pytest.raises(
        ValueError, match=r"expected \d+ bytes by its manifest, got 300"
    ):
        reader.open_records(str(shard))


@pytest.mark.parametrize("size", [5, 300_000])
def test_a_truncated_file_without_manifest_is_refused(tmp_path, size):
    toy.write_records(tmp_path, count=3)
    shard = (tmp_path / "train-00000-of-00001.tfrecord").rename(tmp_path / "a.tfrecord")
    truncate(shard, size)
    with pytest.raises(ValueError, match="truncated, or no TFRecord file"):
        reader.open_records(str(shard))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"some text\n" * 100, "no TFRecord file"),
        (b"PK\x03\x04" * 100, "packed file: unpack it"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path, content, complaint):
    (tmp_path / "a.tfrecord").write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        reader.open_records(str(tmp_path / "a.tfrecord"))


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "a.tfrecord").write_bytes(b"")
    with pytest.raises(ValueError, match="no records"):
        reader.open_records(str(tmp_path / "a.tfrecord"))


def test_patterns_that_match_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\*\.tfrecord: no such records"):
        reader.open_records(str(tmp_path / "none*.tfrecord"))


def test_a_missing_shard_is_noticed(tmp_path):
    toy.write_records(tmp_path, count=9, shard_size_mb=1)
    (tmp_path / "train-00001-of-00003.tfrecord").unlink()
    with pytest.raises(FileNotFoundError, match="names this shard"):
        reader.open_records(str(tmp_path / "train-*.tfrecord"))
    # Whoever names a shard gets it.
    one = reader.open_records(str(tmp_path / "train-00000-of-00003.tfrecord"))
    assert one.num_records == 3


def test_bands_that_the_records_lack(tmp_path):
    toy.write_records(tmp_path, count=3, bands=toy.ALL_BANDS[2:])
    source = reader.open_records(str(tmp_path / "train*"))
    with pytest.raises(ValueError, match="no band VV, VH in these records"):
        reader.parser(source, ("VV", "VH", "B02"), "original")


def test_records_of_different_forms_do_not_mix(tmp_path):
    toy.write_records(tmp_path, "train", count=3)
    toy.write_records(tmp_path, "other", count=3, bands=toy.ALL_BANDS[2:])
    with pytest.raises(ValueError, match="different forms"):
        reader.open_records(str(tmp_path / "*.tfrecord"))


def test_a_fingerprint_tells_contents_apart_but_not_places(tmp_path):
    def written(name, **options):
        folder = tmp_path / name
        toy.write_records(folder, **options)
        return manifest.shards_of(folder, "train")

    one, copy = written("one"), written("copy")
    other = written("other", first=40)
    assert manifest.fingerprint(one) == manifest.fingerprint(copy)
    assert manifest.fingerprint(one) != manifest.fingerprint(other)
    assert manifest.fingerprint([*one, *other]) != manifest.fingerprint([*other, *one])
    for folder in ("one", "copy"):
        (tmp_path / folder / "train.manifest.json").unlink()
    assert manifest.fingerprint(one) == manifest.fingerprint(copy)


def test_a_pattern_that_leaves_shards_out_is_told_from_a_lost_shard(tmp_path):
    toy.write_records(tmp_path, count=9, shard_size_mb=0.3)
    with pytest.raises(ValueError, match=r"train-00001.*the pattern leaves it out"):
        reader.open_records(str(tmp_path / "train-00000*"))
    (tmp_path / "train-00001-of-00009.tfrecord").unlink()
    with pytest.raises(FileNotFoundError, match=r"train-00001.*it is not there"):
        reader.open_records(str(tmp_path / "train-*.tfrecord"))
