"""What tasks count in training, against loops and the metrics of a validation."""

import map_records
import numpy as np
import pytest
import tensorflow as tf
import toy

from bigearthnet_tf import config as configs
from bigearthnet_tf import metrics
from bigearthnet_tf.metrics import pixels as pixel_metrics
from bigearthnet_tf.tasks import base, counting


def as_arrays(counts):
    return {name: each.numpy() for name, each in counts.items()}


@pytest.fixture(scope="module")
def classification(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    toy.write_records(folder, "train", 8)

    def open_task(**keys):
        content = {
            "model_name": "resnet_test",
            "label_type": "BigEarthNet-19",
            "batch_size": 4,
            "label_smoothing": 0.2,
            "tr_tf_record_files": [str(folder / "train-*.tfrecord")],
        }
        return base.open_task(configs.from_dict(content | keys))

    return open_task


@pytest.mark.parametrize("compiled", [False, True])
def test_labels_of_several_batches(compiled):
    """Decisions are those of a validation, on exact halves and by float32 scores."""
    rng = np.random.default_rng(0)
    labels = (rng.random((40, 7)) < 0.3).astype(np.float32)
    logits = rng.normal(size=labels.shape).astype(np.float32)
    logits[::3, 2], logits[:, 3], logits[1] = 0, -1e-9, -5
    count = tf.function(counting.count_labels, jit_compile=compiled)
    counts = [
        as_arrays(count(tf.constant(labels[rows]), tf.constant(logits[rows])))
        for rows in (slice(0, 15), slice(15, 40))
    ]
    shapes = counting.label_count_shapes(7)
    assert {name: each.shape for name, each in counts[0].items()} == shapes
    summed = {name: counts[0][name] + counts[1][name] for name in shapes}
    found = metrics.counted_report(**summed)
    whole = metrics.multi_label_report(labels, tf.sigmoid(logits).numpy())
    assert found == pytest.approx({name: whole[name] for name in found}, rel=1e-12)
    assert len(found) > 30


def test_classification_counts_the_pass_that_it_learns_from(classification):
    task = classification()
    batch = next(iter(task.training_data(0)))
    rng = np.random.default_rng(1)
    logits = tf.constant(rng.normal(size=(4, 19)), tf.float32)
    calls = []

    def model(images, training):
        calls.append(training)
        return logits

    losses, counts = task.counted_losses(model, batch)
    assert calls == [True]
    found = task.counted_metrics(as_arrays(counts))
    whole = metrics.multi_label_report(batch[1], tf.sigmoid(logits).numpy())
    assert found == pytest.approx({name: whole[name] for name in found}, rel=1e-12)
    np.testing.assert_array_equal(losses, task.losses(model, batch, training=True))
    assert not np.allclose(losses, task.losses(model, batch, training=False))
    assert set(found) <= set(task.metric_names())


def test_of_mixed_patches_a_label_counts_from_half_of_the_area(classification):
    task = classification(mixup_alpha=1.0)
    task.build_model()
    images, labels = next(iter(task.training_data(0)))
    task._mixing = lambda images, labels: (images, 0.5 * labels)
    logits = tf.where(labels > 0, 4.0, -4.0)
    _, counts = task.counted_losses(lambda *_, **__: logits, (images, labels))
    assert task.counted_metrics(as_arrays(counts))["subset_accuracy"] == 1
    task._mixing = lambda images, labels: (images, 0.49 * labels)
    _, counts = task.counted_losses(lambda *_, **__: logits, (images, labels))
    assert task.counted_metrics(as_arrays(counts))["label_cardinality"] == 0


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", [tf.int32, tf.float32, tf.float64])
def test_confusions_of_examples(compiled, dtype):
    rng = np.random.default_rng(2)
    truth = rng.integers(-1, 6, (3, 8, 9)).astype(np.int32)  # -1 and 5: none
    logits = rng.normal(size=(3, 8, 9, 5)).astype(np.float32)
    count = tf.function(counting.confusions, jit_compile=compiled)
    found = count(tf.constant(truth), tf.constant(logits), dtype).numpy()
    expected = np.zeros((3, 5, 5))
    for place in np.ndindex(truth.shape):
        if 0 <= truth[place] < 5:
            expected[place[0], truth[place], logits[place].argmax()] += 1
    assert found.dtype == dtype.as_numpy_dtype
    np.testing.assert_array_equal(found, expected)


def test_segmentation_counts_the_pixels_that_it_learns_from(tmp_path):
    """As they are after augmentation."""
    map_records.write(tmp_path, "train", 4)
    task = base.open_task(
        configs.from_dict(
            {
                "task": "segmentation",
                "model_name": "resnet_test",
                "label_type": "BigEarthNet-19",
                "modality": "S2",
                "batch_size": 4,
                "image_size": 32,
                "decoder_width": 2,
                "augmentation": ["flips", "quarter_turns"],
                "tr_tf_record_files": [str(tmp_path / "train-*.tfrecord")],
            }
        )
    )
    model = task.build_model()
    images, classes = next(iter(task.training_data(0)))
    seen = {}

    class Seen:
        layers = model.layers

        def __call__(self, images, training):
            seen["logits"] = model(images, training=training)
            return seen["logits"]

    def loss(classes, logits):
        seen["classes"] = classes
        return original(classes, logits)

    original, task._loss = task._loss, loss
    losses, counts = task.counted_losses(Seen(), (images, classes))
    moved = seen["classes"].numpy()
    assert not np.array_equal(moved, classes)
    given = seen["logits"].numpy().argmax(axis=-1)
    counts = as_arrays(counts)
    expected = pixel_metrics.confusion(moved, given, 19)
    assert expected.sum() > 0
    np.testing.assert_array_equal(counts["confusion"], expected)
    assert counts["confusion"].shape == task.count_shapes["confusion"]
    assert losses.shape == (4,)
    found = task.counted_metrics(counts)
    assert found == pixel_metrics.pixel_report(expected)
    assert set(found) <= set(task.metric_names())


def test_land_cover_counts_the_pixels_that_it_learns_from():
    content = {
        "task": "land_cover",
        "model_name": "pixel_transformer",
        "loss": "softmax_cross_entropy",
    }
    task = base.open_task(configs.from_dict(content))
    series = dict.fromkeys(("bands", "doy", "mask"), tf.zeros((16, 1, 6)))
    codes = np.random.default_rng(3).choice([10, 20, 80, 100], 16)
    codes = tf.where(tf.range(16) < 5, 255, codes)
    logits = np.random.default_rng(4).normal(size=(16, len(task.classes)))
    logits = tf.constant(logits, tf.float32)
    losses, counts = task.counted_losses(
        lambda series, training: {"logits": logits}, (series, codes)
    )
    counts = as_arrays(counts)
    given, truth = logits.numpy().argmax(axis=1), task.class_numbers(codes).numpy()
    expected = pixel_metrics.confusion(truth[5:], given[5:], len(task.classes))
    assert expected.sum() == 11
    np.testing.assert_array_equal(counts["confusion"], expected)
    assert counts["confusion"].shape == task.count_shapes["confusion"]
    assert losses.shape == (16,)
    found = task.counted_metrics(counts)
    assert found == pixel_metrics.pixel_report(expected)
    assert set(found) <= set(task.metric_names())
