"""Losses of the task: options of the config, class weights, smoothing."""

from pathlib import Path

import numpy as np
import pytest
import toy

from bigearthnet_tf import config as configs
from bigearthnet_tf import losses
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.records import frames
from bigearthnet_tf.tasks import base

COUNT, WEIGHTED = 5, "weighted_sigmoid_cross_entropy"


@pytest.fixture
def records(tmp_path) -> Path:
    for split, count, first in (("train", COUNT, 0), ("val", 2, 100)):
        toy.write_records(tmp_path, split, count, first=first, bands=("B01", "B02"))
    return tmp_path


def open_task(records: Path, **keys):
    content = {
        "model_name": "resnet_test",
        "bands": ["B02"],
        "label_type": "BigEarthNet-19",
        "batch_size": 2,
        "tr_tf_record_files": [str(records / "train-*.tfrecord")],
        "val_tf_record_files": [str(records / "val-*.tfrecord")],
    }
    return base.open_task(configs.from_dict(content | keys))


def losses_of_validation(task):
    """The losses of a batch: in training, in evaluation; its labels and logits."""
    batch = next(iter(task.scoring_data("val")))
    model = task.build_model()
    # Without BatchNorm and dropout both passes give the same logits.
    logits = model(batch[0], training=False)

    def frozen(images, training):
        return logits

    found = [np.asarray(task.losses(frozen, batch, training=t)) for t in (True, False)]
    outputs = task.outputs(model, batch)
    np.testing.assert_allclose(outputs["losses"], found[1], rtol=1e-6)
    return *found, batch[1], logits


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("focal", {"focal_gamma": 1.5, "focal_alpha": 0.4}),
        (
            "asymmetric",
            {
                "asymmetric_gamma_positive": 1.0,
                "asymmetric_gamma_negative": 3.0,
                "asymmetric_clip": 0.1,
            },
        ),
        ("softmax_cross_entropy", {}),
        ("mean_squared_error", {}),
    ],
)
def test_options_of_the_config_reach_the_loss(records, name, options):
    task = open_task(records, loss=name, **options)
    training, validation, labels, logits = losses_of_validation(task)
    expected = losses.build_loss(name, **options)(labels, logits)
    np.testing.assert_allclose(training, expected, rtol=1e-6)
    np.testing.assert_allclose(validation, expected, rtol=1e-6)
    if options:
        default = losses.build_loss(name)(labels, logits)
        assert not np.allclose(expected, default, rtol=1e-3)


def test_labels_are_smoothed_in_training_alone(records):
    task = open_task(records, label_smoothing=0.3)
    training, validation, labels, logits = losses_of_validation(task)
    plain = losses.build_loss("sigmoid_cross_entropy")
    smooth = losses.build_loss("sigmoid_cross_entropy", label_smoothing=0.3)
    np.testing.assert_allclose(training, smooth(labels, logits), rtol=1e-6)
    np.testing.assert_allclose(validation, plain(labels, logits), rtol=1e-6)


def test_positives_weigh_by_their_rarity_in_the_training_records(records):
    task = open_task(records, loss=WEIGHTED)
    _, validation, labels, logits = losses_of_validation(task)
    patches = [toy.patch(number) for number in range(COUNT)]
    names = [label_facts.convert_43_to_19(patch.labels) for patch in patches]
    counts = np.array([sum(label in n for n in names) for label in task.labels])
    weights = np.where(counts > 0, (COUNT - counts) / np.maximum(counts, 1), 1)
    y, x = np.float64(labels), np.float64(logits)
    each = weights * y * np.logaddexp(0, -x) + (1 - y) * np.logaddexp(0, x)
    np.testing.assert_allclose(validation, each.mean(axis=1), rtol=1e-5)


def test_class_weights_need_training_records(records):
    with pytest.raises(ValueError, match="tr_tf_record_files is empty"):
        open_task(records, loss=WEIGHTED, tr_tf_record_files=[])
    with pytest.raises(FileNotFoundError, match="no such records"):
        open_task(records, loss=WEIGHTED, tr_tf_record_files=["gone-*.tfrecord"])
    # Others do without, as for an evaluation.
    open_task(records, tr_tf_record_files=[])


def test_damaged_training_records_are_named(records):
    (shard,) = records.glob("train-*.tfrecord")
    frame = list(frames.walk(shard))[3]
    content = bytearray(shard.read_bytes())
    content[frame.offset + frames.HEADER_BYTES + 1000] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ValueError, match="record 3 is damaged"):
        open_task(records, loss=WEIGHTED)


def test_an_unknown_loss_is_refused_at_once(records):
    with pytest.raises(ValueError, match="unknown loss 'focall': did you mean 'focal'"):
        open_task(records, loss="focall")
