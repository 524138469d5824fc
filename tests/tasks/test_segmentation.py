"""Labels of pixels: from records with maps to losses, metrics, weights and results."""

import csv
import dataclasses
import json

import keras
import map_records
import numpy as np
import programs
import pytest
import tensorflow as tf
import toy
from sklearn import metrics as oracle

from bigearthnet_tf import config as configs
from bigearthnet_tf import evaluation
from bigearthnet_tf.models import freezing
from bigearthnet_tf.records import map_reader, reader
from bigearthnet_tf.tasks import base
from bigearthnet_tf.training import initial_weights, session
from bigearthnet_tf.training.checkpoints import CheckpointFolder
from bigearthnet_tf.training.state import State


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return map_records.write_all(tmp_path_factory.mktemp("records"))


def config_of(records, **keys):
    files = {
        f"{key}_tf_record_files": [str(records / f"{split}-*.tfrecord")]
        for key, split in (("tr", "train"), ("val", "val"), ("test", "test"))
    }
    content = {
        "task": "segmentation",
        "model_name": "resnet_test",
        "label_type": "BigEarthNet-19",
        "modality": "S2",
        "batch_size": 2,
        "image_size": 32,
        "decoder_width": 2,
        "devices": "cpu",
        "learning_rate": 0.01,
        "nb_epoch": 1,
    }
    return configs.from_dict(content | files | keys)


def open_task(records, **keys):
    return base.open_task(config_of(records, **keys))


def test_maps_become_labels_of_pixels(records, tmp_path):
    map_records.write(tmp_path, "int64", 3, record_format="int64")
    for pattern, first in ((records / "test-*", 20), (tmp_path / "int64-*", 0)):
        source = reader.open_records(str(pattern))
        parse = map_reader.parser(source, ("B02", "VV"), "BigEarthNet-19")
        names, seen = reader.read_names(source), 0
        for serialized in tf.data.TFRecordDataset(list(source.files)).batch(2):
            groups, classes = parse(serialized)
            assert set(groups) == {"s1_10m", "s2_10m"}
            assert classes.dtype == "uint8"
            for each in classes.numpy():
                h, v = map(int, names[seen].split("_")[-2:])
                assert h * 91 + v >= first
                expected = map_records.classes_of(map_records.clc_map(h * 91 + v))
                np.testing.assert_array_equal(each, expected)
                seen += 1
        counts = map_reader.count_pixels(source, "BigEarthNet-19")
        assert counts.shape == (19,)
        assert 0 < counts.sum() < seen * 120**2


def test_records_without_maps_say_how_to_prepare_them(tmp_path):
    toy.write_records(tmp_path, "train", 3, version="v2")
    task = open_task(tmp_path)
    with pytest.raises(ValueError, match=r"no reference maps .* prep_splits.py --maps"):
        task.num_records("train")


@pytest.mark.parametrize("split", ["train", "val"])
def test_maps_without_a_labelled_pixel_train_nothing(tmp_path, monkeypatch, split):
    map_records.write_all(tmp_path)
    for path in tmp_path.glob(f"{split}*"):
        path.unlink()
    sea_of_none = np.full((120, 120), 999, np.uint16)
    monkeypatch.setattr(map_records, "clc_map", lambda number: sea_of_none)
    map_records.write(tmp_path, split, 3)
    with pytest.raises(ValueError, match=f"{split}-.*no pixel .* has a label of"):
        open_task(tmp_path).data_fingerprint()


def test_maps_of_another_size_are_not_taken_for_others(records, tmp_path):
    """Not even four of half the side for one."""
    with tf.io.TFRecordWriter(str(tmp_path / "train-00000-of-00001.tfrecord")) as out:
        for path in sorted(records.glob("train-*.tfrecord")):
            for serialized in tf.data.TFRecordDataset(str(path)):
                example = tf.train.Example.FromString(serialized.numpy())
                stored = example.features.feature["reference_map"].bytes_list
                stored.value[0] = stored.value[0][: 60 * 60 * 2]
                out.write(example.SerializeToString())
    source = reader.open_records(str(records / "train-*.tfrecord"))
    source = dataclasses.replace(source, files=tuple(map(str, tmp_path.iterdir())))
    with (
        pytest.raises(ValueError, match="train records: a reference map is not of 120"),
        base.reading(open_task(records), "train"),
    ):
        map_reader.count_pixels(source, "BigEarthNet-19")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model_name": "keras_hub/swin_tiny"}, "gives no maps .* resnet50"),
        ({"mixup_alpha": 0.2}, "mixup_alpha goes with labels of patches"),
        ({"thresholds": "tuned"}, "thresholds and metadata are for .* of patches"),
        ({"cutmix_alpha": 0.2}, "cutmix_alpha goes with labels of patches"),
        ({"loss": "sigmoid_focal_cross_entropy"}, r"is of patches|loss"),
        ({"decoder": "deeplab"}, "decoder"),
        ({"task": "classification", "dice_weight": 1.0}, "dice_weight needs task"),
        ({"task": "classification", "class_weights": "root"}, "class_weights goes"),
    ],
)
def test_what_does_not_go_with_pixels(records, keys, message):
    with pytest.raises(ValueError, match=message):
        open_task(records, **keys)


def labelled_losses(logits, classes, weights):
    """Cross-entropies of all labelled pixels times their weights, and the weights."""
    logits = logits.astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    there = classes < logits.shape[-1]
    own = np.take_along_axis(logs[there], classes[there][:, None].astype(int), 1)[:, 0]
    each = weights[classes[there]]
    return -own * each, each


def test_mean_over_labelled_pixels_of_the_batch(records):
    """In a batch whose patches have different numbers of labelled pixels."""
    task = open_task(records, class_weights="balanced", dice_weight=0.3, batch_size=4)
    model = task.build_model()
    groups, classes, weights = next(iter(task.scoring_data("val")))
    classes = classes.numpy()
    classes[0, 10:] = 255
    batch = (groups, classes, weights)
    logits = np.asarray(model(groups, training=False))
    assert logits.shape == (4, 120, 120, 19)
    counts = task.pixel_counts
    present = counts > 0
    balanced = np.zeros(19)
    balanced[present] = counts.sum() / (present.sum() * counts[present])
    losses, each = labelled_losses(logits, classes, balanced)
    found = np.asarray(task.losses(model, batch, training=False))
    assert found.shape == (4,)
    plain = open_task(records, class_weights="balanced", batch_size=4)
    without = np.asarray(plain.losses(model, batch, training=False))
    expected = losses.sum() / each.sum()
    assert without.mean() == pytest.approx(expected, rel=1e-5)
    assert without.mean() < found.mean() < without.mean() + 0.3
    outputs = {k: np.asarray(v) for k, v in task.outputs(model, batch).items()}
    assert outputs.pop("weight").tolist() == [1, 1, 1, 1]
    metrics = task.metrics(outputs)
    assert metrics[task.loss_name] == pytest.approx(found.mean(), rel=1e-5)
    given = logits.argmax(axis=-1)
    there = classes < 19
    np.testing.assert_array_equal(
        outputs["confusion"].sum(axis=0),
        oracle.confusion_matrix(classes[there], given[there], labels=range(19)),
    )
    assert list(metrics) == task.metric_names()


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_a_batch_without_labels_is_no_fault(records, name):
    task = open_task(records, pixel_loss=name, focal_gamma=0.5, dice_weight=0.5)
    model = task.build_model()
    groups, classes, weights = next(iter(task.scoring_data("val")))
    nothing = np.full_like(classes, 255)
    with tf.GradientTape() as tape:
        found = task.losses(model, (groups, nothing, weights), training=True)
    np.testing.assert_array_equal(found, 0)
    for gradient in tape.gradient(found, model.trainable_variables):
        np.testing.assert_array_equal(gradient, 0)


def test_labels_of_patches_are_those_of_their_maps(records):
    task = open_task(records)
    _, classes, _ = next(iter(task.scoring_data("val")))
    found = task.labels_of_patches(classes).numpy()
    assert found.shape == (2, 19)
    for each, own in zip(classes.numpy(), found, strict=True):
        there = np.unique(each)
        np.testing.assert_array_equal(np.flatnonzero(own), there[there < 19])


def test_maps_move_with_their_images(records):
    """In the step that trains, where random states are values of a scope."""
    task = open_task(
        records, image_size=120, augmentation=["flips", "quarter_turns"], batch_size=6
    )
    model = task.build_model()
    groups, classes = next(iter(task.training_data(0)))
    names = [layer.name for layer in model.layers]
    last = [n for n in names if n.startswith("augmentation")][-1]
    front = keras.Model(model.input, model.get_layer(last).output)
    seen = []
    task._loss = lambda classes, logits: seen.append(np.asarray(classes)) or fake()

    class fake:
        weight = total = dice = keras.ops.ones(6)

    states = [(v, keras.ops.copy(v.value)) for v in front.non_trainable_variables]
    for scope in (False, True):
        if scope:
            with keras.StatelessScope(states):
                task.losses(model, (groups, classes), training=True)
        for variable, value in states:
            variable.assign(value)
        if not scope:
            task.losses(model, (groups, classes), training=True)
            for variable, value in states:
                variable.assign(value)
    image = np.asarray(front(groups, training=True))[..., task.bands.index("B02")]
    assert not np.array_equal(seen[0], classes)
    for moved in seen:
        # Bands of 10 m follow from the labels: each value goes with one label.
        for label in np.unique(moved):
            own = image[moved == label]
            np.testing.assert_allclose(own, own[0], atol=1e-6)


def save(task, model, folder):
    saved = CheckpointFolder(folder / "checkpoints", task.describe())
    saved.save(State(model), 3, None, {"config": task.config.model_dump()})
    saved.wait()
    return str(folder)


def test_weights_of_classifiers_and_of_segmentations(records, tmp_path):
    bands = {"bands": ["B02", "B03", "B04"]}
    classifier = open_task(records, task="classification", seed=5, **bands)
    run = save(classifier, classifier.build_model(), tmp_path / "classifier")
    keys = {"weights": run, "weights_head": "new", **bands}
    task = open_task(records, **keys)
    model = task.build_model()
    assert initial_weights.load(task.config, task, model)
    theirs, _, _ = initial_weights.restore_run(run, "best")
    for layer in theirs.layers:
        if layer.weights and not layer.name.startswith("head"):
            for own, value in zip(
                model.get_layer(layer.name).weights, layer.weights, strict=True
            ):
                np.testing.assert_array_equal(own, value)
    with pytest.raises(ValueError, match="no decoder; set weights_head to new"):
        same = open_task(records, weights=run, **bands)
        initial_weights.load(same.config, same, model)
    with pytest.raises(ValueError, match="set model_name to match"):
        other = open_task(records, model_name="vgg_test", **keys)
        initial_weights.load(other.config, other, other.build_model())
    freezing.freeze_backbone(model)
    trained = {v.path.split("/")[0] for v in model.trainable_variables}
    assert trained
    assert all(name.startswith("head") for name in trained)
    # Those of a segmentation come as a whole, decoder and all.
    whole = save(task, model, tmp_path / "whole")
    again = open_task(records, weights=whole, seed=9, **bands)
    fresh = again.build_model()
    initial_weights.load(again.config, again, fresh)
    for own, value in zip(fresh.weights, model.weights, strict=True):
        np.testing.assert_array_equal(own, value)


def test_evaluation_writes_what_scikit_learn_says(records, tmp_path):
    config = config_of(
        records, baselines=True, bootstrap_rounds=50, out_dir=str(tmp_path)
    )
    opened = session.open_session(config)
    with opened.strategy.scope():
        model = opened.task.build_model()
    # So that it gives several labels.
    model.get_layer("head").bias.assign(np.linspace(0, 0.5, 19))
    lines = evaluation.evaluate(opened, model, 7, tmp_path)
    assert any(line.startswith("mean_iou") for line in lines)
    truth, given = [], []
    for groups, classes, weights in opened.task.scoring_data("test"):
        logits = np.asarray(model(groups, training=False))
        present = weights.numpy() > 0
        truth.append(classes.numpy()[present])
        given.append(logits.argmax(axis=-1)[present])
    truth, given = np.concatenate(truth), np.concatenate(given)
    there = truth < 19
    truth, given = truth[there], given[there]
    result = json.loads((tmp_path / "eval_result.json").read_text())
    assert result["labelled_pixels"] == there.sum()
    assert result["pixel_accuracy"] == pytest.approx((truth == given).mean())
    iou = oracle.jaccard_score(truth, given, average="macro", zero_division=0)
    assert result["mean_iou"] == pytest.approx(iou)
    with (tmp_path / "eval_per_class.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 19
    each = oracle.jaccard_score(
        truth, given, average=None, labels=range(19), zero_division=0
    )
    np.testing.assert_allclose([float(row["iou"]) for row in rows], each)
    assert [int(row["pixels"]) for row in rows] == [
        int((truth == label).sum()) for label in range(19)
    ]
    baselines = json.loads((tmp_path / "eval_baselines.json").read_text())
    most = baselines["commonest label"]
    commonest = np.argmax(opened.task.pixel_counts)
    assert most["pixel_accuracy"] == pytest.approx((truth == commonest).mean())
    # Labels follow from the bands, so a linear model knows them.
    linear = baselines["logistic regression of single pixels"]
    assert linear["pixel_accuracy"] > 0.9
    intervals = json.loads((tmp_path / "eval_intervals.json").read_text())
    low, high = intervals["pixel_accuracy"]
    assert low <= result["pixel_accuracy"] <= high
    page = (tmp_path / "report.html").read_text()
    assert page.count("<img src=") >= 3
    assert "commonest label" in page


def test_pictures_of_a_validation(records):
    task = open_task(records)
    model = task.build_model()
    batch = next(iter(task.scoring_data("val")))
    outputs = {k: np.asarray(v) for k, v in task.outputs(model, batch).items()}
    drawn = task.watch(outputs, task.samples(2))
    assert set(drawn) == {"confusion", "samples"}
    sheet = drawn["samples"]
    assert len(sheet.axes) == 8
    assert "wrong" in sheet.axes[3].get_xlabel()
    assert set(task.watch(outputs)) == {"confusion"}
    assert task.histograms(outputs)["pixel_accuracy_of_patches"].shape == (2,)
    features = task.embedder(model)(batch[0])
    assert set(features) == {"h_s2"}


TRAIN = """
    import json, sys
    from bigearthnet_tf import console
    console.load_tensorflow()
    import numpy as np
    from pathlib import Path
    from bigearthnet_tf import config as configs
    from bigearthnet_tf.training import session, scoring

    content, found = json.loads(sys.argv[1]), {}
    for devices, epochs in (("cpu:2", [2]), ("cpu", [1, 2])):
        out = Path(sys.argv[2]) / devices.replace(":", "")
        own = {"devices": devices, "out_dir": str(out)}
        for count in epochs:  # the second time it continues
            config = configs.from_dict(content | own | {"nb_epoch": count})
            opened = session.open_session(config)
            session.train(opened, *session.build(opened), out)
        model, _ = session.load_trained(opened, out, "last")
        scorer = scoring.Scorer(opened.task, model, opened.strategy)
        metrics = opened.task.metrics(scorer.score("test", config.batch_size))
        weights = [np.asarray(v.value) for v in model.trainable_variables]
        found[devices] = opened.strategy.num_replicas_in_sync, weights, metrics
    (two, many, pairs), (one, alone, own) = found.values()
    assert (one, two) == (1, 2)
    # Rounding grows from step to step, but stays far below the steps themselves.
    begun = [np.asarray(v.value) for v in session.build(opened)[0].trainable_variables]
    apart, moved = (
        sum(((a - b) ** 2).sum() for a, b in zip(alone, other, strict=True)) ** 0.5
        for other in (many, begun)
    )
    assert apart < 1e-3 * moved, apart / moved
    assert abs(own["mean_iou"] - pairs["mean_iou"]) < 1e-2
    loss = opened.task.loss_name
    assert abs(own[loss] - pairs[loss]) < 1e-3 * own[loss]
    print("done")
"""


@pytest.mark.long
def test_two_replicas_give_what_one_gives_that_is_continued(records, tmp_path):
    """Although the labelled pixels are not shared out evenly."""
    config = config_of(
        records, batch_size=4, optimizer="sgd", learning_rate=0.05,
        augmentation=["flips"], class_weights="root", dice_weight=0.5, sample_images=0,
    )  # fmt: skip
    content = config.model_dump(mode="json", exclude_defaults=True)
    said = programs.run_program(TRAIN, json.dumps(content), tmp_path)
    assert said.endswith("done")
