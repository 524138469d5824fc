"""What a classification shows of a validation, against scikit-learn and counts."""

import functools
import io

import numpy as np
import pytest
import toy
from PIL import Image
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    jaccard_score,
    precision_score,
    recall_score,
)

from bigearthnet_tf import config as configs
from bigearthnet_tf import pictures
from bigearthnet_tf.tasks import base

ORACLES = {
    "f1": functools.partial(f1_score, zero_division=0),
    "precision": functools.partial(precision_score, zero_division=0),
    "recall": functools.partial(recall_score, zero_division=0),
    "accuracy": functools.partial(jaccard_score, zero_division=0),
    "binary_accuracy": accuracy_score,
}


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    toy.write_records(folder, "val", 5)
    content = {
        "model_name": "resnet_test",
        "label_type": "BigEarthNet-19",
        "modality": "MM",
        "val_tf_record_files": [str(folder / "val-*.tfrecord")],
    }
    return base.open_task(configs.from_dict(content))


@pytest.fixture
def outputs(task):
    rng = np.random.default_rng(0)
    labels = (rng.random((40, len(task.labels))) < 0.3).astype(np.float32)
    labels[:, 0] = 0
    return {"labels": labels, "scores": rng.random(labels.shape).astype(np.float32)}


def test_values_of_single_labels(task, outputs):
    losses = np.zeros(len(outputs["labels"]))
    found = task.per_class(task.metrics({**outputs, "losses": losses}))
    labels, scores = outputs["labels"], outputs["scores"]
    assert set(found) == {"average_precision", *ORACLES}
    for values in found.values():
        assert list(values) == list(task.labels)
    for j, name in enumerate(task.labels):
        for metric, oracle in ORACLES.items():
            value = oracle(labels[:, j], scores[:, j] >= 0.5)
            assert found[metric][name] == pytest.approx(value), metric
        area = average_precision_score(labels[:, j], scores[:, j]) if j else 0
        assert found["average_precision"][name] == pytest.approx(area)


def test_distributions(task, outputs):
    found = task.histograms(outputs)
    labels, scores = outputs["labels"], outputs["scores"]
    assert found["labels_per_patch/true"].tolist() == [
        int(sum(row)) for row in labels.tolist()
    ]
    assert found["labels_per_patch/predicted"].tolist() == [
        sum(score >= 0.5 for score in row) for row in scores.tolist()
    ]
    parts = found["scores/of_true_labels"], found["scores/of_other_labels"]
    assert len(parts[0]) == labels.sum()
    assert sorted(np.concatenate(parts)) == sorted(scores.ravel())


def test_samples_are_the_first_patches_with_their_own_labels(task):
    batch = next(iter(task.scoring_data("val")))
    labels = batch[1].numpy()
    samples = task.samples(3)
    outputs = {"labels": labels, "scores": labels}
    drawn = task.watch(outputs, samples)
    assert set(drawn) == {"label_counts", "samples"}
    texts = [t.get_text() for t in drawn["samples"].get_axes()[0].texts]
    for name in {task.labels[j] for j in np.flatnonzero(labels[:3].max(axis=0))}:
        assert any(name[:20] in text for text in texts)
    assert not any(text.startswith("–") for text in texts[3:])
    for figure in drawn.values():
        assert Image.open(io.BytesIO(pictures.to_png(figure))).size[0] > 300


def test_without_samples_the_counts_are_drawn(task, outputs):
    assert set(task.watch(outputs)) == {"label_counts"}
