"""Labels of records counted without decoding anything else."""

from collections import Counter

import numpy as np
import pytest
import toy

from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.records import frames, reader, schema


def counts_by_hand(patches, label_type):
    names = Counter()
    for patch in patches:
        converted = patch.labels
        if label_type != patch.label_type:
            converted = label_facts.convert_43_to_19(patch.labels)
        names.update(converted)
    return [names[name] for name in label_facts.LABELS[label_type]]


@pytest.mark.parametrize(
    ("version", "label_type"),
    [("v1", "original"), ("v1", "BigEarthNet-19"), ("v2", "BigEarthNet-19")],
)
def test_equals_a_count_of_the_patches(tmp_path, version, label_type):
    # More than go through TensorFlow at once, over several shards.
    count = reader.COUNTED_AT_ONCE + 7
    toy.write_records(tmp_path, count=count, version=version, bands=("B01",))
    source = reader.open_records(str(tmp_path / "*.tfrecord"))
    kind = "original" if version == "v1" else "BigEarthNet-19"
    patches = [toy.patch(number, kind, ()) for number in range(count)]
    found = reader.count_labels(source, label_type)
    np.testing.assert_array_equal(found, counts_by_hand(patches, label_type))
    assert found.dtype == np.int64


@pytest.mark.parametrize("label_type", ["original", "BigEarthNet-19"])
def test_older_records(shared, label_type):
    folder = shared / "data" / "legacy_tfrecords"
    tried = 0
    for path in sorted(folder.rglob("*.tfrecord")):
        source = reader.open_records(str(path))
        orders = {order for _, order in source.form.label_features}
        if label_type == "original" and not orders & {"O43", "S43"}:
            with pytest.raises(ValueError, match="label_type 'original'"):
                reader.count_labels(source, label_type)
            continue
        patches = [
            schema.decode(serialized, source.form, str(path))
            for serialized in frames.read_all(path)
        ]
        np.testing.assert_array_equal(
            reader.count_labels(source, label_type),
            counts_by_hand(patches, label_type),
        )
        tried += 1
    assert tried


def test_labels_that_the_records_lack(tmp_path):
    toy.write_records(tmp_path, count=2, version="v2", bands=("B01",))
    source = reader.open_records(str(tmp_path / "*.tfrecord"))
    with pytest.raises(ValueError, match="label_type 'original' was asked for"):
        reader.count_labels(source, "original")
