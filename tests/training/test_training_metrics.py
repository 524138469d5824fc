"""Label metrics of training: of the last window, however its steps were taken."""

import json

import numpy as np
import pytest
import tensorflow as tf
from test_loop import Line, run

from bigearthnet_tf import metrics
from bigearthnet_tf.metrics import multi_label_report
from bigearthnet_tf.tasks import base, counting
from bigearthnet_tf.training import checkpoints, logs, loop
from bigearthnet_tf.training.window import Window

SIDES = np.array([1.0, -1.0, 0.25], np.float32)
SHIFTS = np.array([0.0, 0.25, -0.5], np.float32)
TIMED = ("images_per_second", "input_wait_share", "memory_gb")


class Signs(Line):
    """Learns three labels of a number; no batch comes twice."""

    def _batch(self, number):
        seed = tf.stack([tf.cast(number, tf.int32), 5])
        x = tf.random.stateless_uniform((4, 1), seed, -2, 2)
        shown = x + tf.random.stateless_uniform((4, 3), seed + 1, -1, 1)
        return x, tf.cast(shown > SHIFTS, tf.float32)

    def training_data(self, start_iteration, share=None):
        return tf.data.Dataset.range(start_iteration, 10**6).map(self._batch)

    @property
    def count_shapes(self):
        return counting.label_count_shapes(3)

    def logits(self, model, x, training):
        return model(x, training=training) * SIDES + SHIFTS

    def losses(self, model, batch, training):
        return self.counted_losses(model, batch)[0]

    def counted_losses(self, model, batch):
        logits = self.logits(model, batch[0], True)
        loss = tf.nn.sigmoid_cross_entropy_with_logits(batch[1], logits)
        return tf.reduce_sum(loss, 1), counting.count_labels(batch[1], logits)

    def counted_metrics(self, counts):
        return metrics.counted_report(**counts)


def training_points(folder):
    return [
        {key: value for key, value in point.items() if key not in TIMED}
        for point in logs.read_history(folder)
        if point["split"] == "training"
    ]


def test_a_point_is_of_the_batches_since_the_last_one(tmp_path):
    """With steps too small to change a weight, a report by hand can be made."""
    task = Signs()
    _, model, _ = run(tmp_path, task, learning_rate=1e-30, log_per_iteration=4)
    found = training_points(tmp_path)
    windows = [(0, 4), (4, 8), (8, 12), (12, 15)]
    assert [point["iteration"] for point in found] == [end for _, end in windows]
    whole = set()
    for point, (start, end) in zip(found, windows, strict=True):
        batches = [task._batch(number) for number in range(start, end)]
        x, labels = (tf.concat(parts, 0) for parts in zip(*batches, strict=True))
        scores = tf.sigmoid(task.logits(model, x, False)).numpy()
        report = multi_label_report(labels, scores)
        measured = {name: point[name] for name in report if name in point}
        assert measured == pytest.approx({n: report[n] for n in measured}, rel=1e-12)
        whole |= set(measured)
        assert not any(name.endswith("_class1") for name in point)
    assert {"micro_f1_score", "macro_recall_class_avg", "sample_accuracy"} <= whole
    # They are not all the same, as those of all steps so far would nearly be.
    assert len({point["micro_f1_score"] for point in found}) == 4


def without_loss(points):
    """Points without what depends on the order of additions."""
    rounded = (Signs.loss_name, "gradient_norm")
    return [{k: v for k, v in each.items() if k not in rounded} for each in points]


STILL = {"learning_rate": 1e-30, "log_per_iteration": 5}


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """The points of a run whose weights don't change, a step a call."""
    folder = tmp_path_factory.mktemp("still")
    run(folder, Signs(), **STILL, iterations_per_call=1)
    return without_loss(training_points(folder))


@pytest.mark.parametrize(
    "keys",
    [{"iterations_per_call": 3, "gradient_accumulation": 2}, {"xla": True}],
    ids=["several a call, in parts", "xla"],
)
def test_how_steps_are_taken_makes_no_difference(tmp_path, monkeypatch, still, keys):
    if "xla" in keys:
        start = loop.Trainer.start
        monkeypatch.setattr(
            loop.Trainer, "start", lambda self, *models: start(self, *models, xla=True)
        )
    run(tmp_path, Signs(), **STILL, **keys)
    assert len(still) == 3
    assert "sample_f1_score" in still[0]
    assert without_loss(training_points(tmp_path)) == still


def test_killed_within_a_window_a_run_writes_the_same_points(tmp_path, monkeypatch):
    """The batches after the restart are those that would have come."""
    keys = {"log_per_iteration": 4, "save_checkpoint_per_iteration": 7}
    _, undisturbed, _ = run(tmp_path / "whole", Signs(), **keys)
    save = loop.Trainer._save

    def killed(self, iteration):
        save(self, iteration)
        if iteration == 7:
            self.checkpoints.wait()
            raise KeyboardInterrupt

    monkeypatch.setattr(loop.Trainer, "_save", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", Signs(), **keys)
    monkeypatch.undo()
    kept = tmp_path / "killed" / "checkpoints" / "iteration-7" / "description.json"
    window = json.loads(kept.read_text())["progress"]["window"]
    assert window["steps"] == 3
    assert sum(window["counts"]["by_sample"]["values"]) == 3 * 4
    _, continued, _ = run(tmp_path / "killed", Signs(), **keys)
    for a, b in zip(undisturbed.weights, continued.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    whole = training_points(tmp_path / "whole")
    assert [point["iteration"] for point in whole] == [4, 8, 12, 15]
    assert training_points(tmp_path / "killed") == whole


def test_a_window_that_counts_other_things_is_damage(tmp_path):
    counts = {"by_label": {"shape": [3, 4], "at": [1], "values": [2]}}
    with pytest.raises(checkpoints.DamagedCheckpoint, match=r"has shape \[3, 4"):
        Window.from_json({"steps": 2, "counts": counts}, Signs(), tmp_path)
    with pytest.raises(checkpoints.DamagedCheckpoint, match="by_label has shape"):
        Window.from_json({"steps": 2, "counts": counts}, Line(), tmp_path)


def test_a_window_of_version_0_1_0_has_no_counts(tmp_path):
    old = {"steps": 2, "losses": 1.5, "gradient_norms": 0.5, "finite_norms": 2}
    window = Window.from_json(old, Signs(), tmp_path)
    assert window == Window(2, 1.5, 0.5, 2)
    assert Window.from_json(window.to_json(), Signs(), tmp_path) == window


class OwnLosses(Signs):
    """What a user derives to learn something else."""

    def losses(self, model, batch, training):
        return 7.0 + 0.0 * model(batch[0], training=training)[:, 0]


class Deeper(OwnLosses):
    """Without a method of its own."""


class Counting(OwnLosses):
    """Counts in its own losses again."""

    def counted_losses(self, model, batch):
        return self.losses(model, batch, True), Signs.counted_losses(
            self, model, batch
        )[1]


@pytest.mark.parametrize("task", [OwnLosses, Deeper])
def test_who_overrides_losses_alone_trains_with_them_uncounted(tmp_path, task):
    run(tmp_path, task())
    points = training_points(tmp_path)
    assert points
    for point in points:
        assert point[task.loss_name] == 7.0
        assert "micro_f1_score" not in point


def test_a_task_without_labels_is_not_asked(tmp_path):
    assert base.counts_labels(Signs())
    assert base.counts_labels(Counting())
    assert not base.counts_labels(Line())
    run(tmp_path)
    points = training_points(tmp_path)
    assert points
    for point in points:
        assert not {"micro_f1_score", "hamming_loss"} & set(point)
