"""The loop on a toy task, where everything about a run can be foreseen."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bigearthnet_tf import config as configs
from bigearthnet_tf.training import logs, loop, trial

RECORDS = 20


class Line:
    """Learns y = 3x from 20 points; a task as small as the protocol allows."""

    bad_from = None  # iteration from which the data hold an infinite value
    fragile = False  # whether a single update ruins the weights

    random_state = ()
    default_monitor = "mse_loss"
    loss_name = "sigmoid_cross_entropy_loss"
    needs_whole_batch = False

    def metric_names(self):
        return ["mse_loss", "x_class3"]

    def per_class(self, metrics):
        return {"x": {"a label": metrics["x_class3"]}} if "x_class3" in metrics else {}

    def samples(self, count):
        return count

    def watch(self, outputs, samples):
        assert samples in (None, 5)
        return {}

    def histograms(self, outputs):
        return {"errors": outputs["error"]}

    def num_records(self, split):
        return {"train": RECORDS, "val": 5, "test": 0}[split]

    def data_fingerprint(self):
        return "records"

    def _points(self, count):
        x = tf.random.stateless_uniform((count, 1), (1, 2))
        return tf.data.Dataset.from_tensor_slices((x, 3 * x))

    def training_data(self, start_iteration, share=None):
        batches = self._points(RECORDS).repeat().batch(4, drop_remainder=True)
        if self.bad_from is not None:
            numbered = batches.enumerate()
            batches = numbered.map(
                lambda i, batch: (
                    tf.where(i >= self.bad_from, np.inf, 1.0) * batch[0],
                    batch[1],
                )
            )
        return batches.skip(start_iteration)

    def scoring_data(self, split, share=None):
        return self._points(5).batch(5).map(lambda x, y: (x, y, tf.ones((5,))))

    def losses(self, model, batch, training):
        return tf.reduce_sum((model(batch[0], training=training) - batch[1]) ** 2, 1)

    def outputs(self, model, batch):
        return {"error": model(batch[0])[:, 0] - batch[1][:, 0], "weight": batch[2]}

    def metrics(self, outputs):
        return {"mse_loss": float((outputs["error"] ** 2).mean()), "x_class3": 1.0}

    def describe(self):
        return {"model_name": "line"}


def run(tmp_path, task=None, learning_rate=0.1, test_run=False, **keys):
    keys = {
        "batch_size": 4,
        "nb_epoch": 3,
        "monitor": "mse_loss",
        "save_checkpoint_per_iteration": 5,
        "log_per_iteration": 2,
        "learning_rate": learning_rate,
        "out_dir": str(tmp_path),
    } | keys
    config = configs.from_dict(keys)
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    trainer = loop.Trainer(config, task or Line(), strategy, tmp_path, test_run)
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        optimizer = keras.optimizers.SGD(learning_rate)
        optimizer.build(model.trainable_variables)
    trainer.start(model, optimizer)
    last = trainer.train()
    return trainer, model, last


def points(tmp_path, split):
    return [p["iteration"] for p in logs.read_history(tmp_path) if p["split"] == split]


def test_a_run_does_what_the_config_says(tmp_path):
    trainer, _, last = run(tmp_path)
    assert last == 15 == RECORDS * 3 / 4
    assert points(tmp_path, "training") == [2, 4, 6, 8, 10, 12, 14, 15]
    assert points(tmp_path, "validation") == [5, 10, 15]
    assert trainer.checkpoints.iterations() == [5, 10, 15]
    assert trainer.checkpoints.best().iteration == 15
    history = [p for p in logs.read_history(tmp_path) if p["split"] == "validation"]
    assert history[-1]["mse_loss"] < history[0]["mse_loss"]
    assert "x_class3" not in history[0]
    assert history[0]["x/a label"] == 1.0
    assert {"images_per_second", "learning_rate"} <= set(
        next(p for p in logs.read_history(tmp_path) if p["split"] == "training")
    )
    for name in ("training", "validation"):
        assert list((tmp_path / "logs" / name).glob("events*"))


@pytest.mark.parametrize(
    ("keys", "validated", "saved"),
    [
        ({"validate_per_iteration": 4}, [4, 8, 12, 15], [5, 10, 15]),
        (
            {"save_checkpoint_after_iteration": 8, "keep_checkpoints": 0},
            [5, 10, 15],
            [10, 15],
        ),
        ({"save_checkpoint_per_iteration": 100}, [5, 10, 15], [5, 10, 15]),
        ({"batch_size": 4, "nb_epoch": 1}, [5], [5]),
    ],
)
def test_when_it_validates_and_saves(tmp_path, keys, validated, saved):
    trainer, _, _ = (
        run(tmp_path, keep_checkpoints=0, **keys)
        if ("keep_checkpoints" not in keys)
        else run(tmp_path, **keys)
    )
    assert points(tmp_path, "validation") == validated
    assert set(saved) <= set(trainer.checkpoints.iterations())
    first = keys.get("save_checkpoint_after_iteration", 0)
    assert min(trainer.checkpoints.iterations()) >= first


def test_the_training_loss_is_the_mean_since_the_last_point(tmp_path):
    run(tmp_path / "often", log_per_iteration=1)
    run(tmp_path / "seldom", log_per_iteration=5)

    def losses(folder):
        history = logs.read_history(tmp_path / folder)
        return [
            p["sigmoid_cross_entropy_loss"] for p in history if p["split"] == "training"
        ]

    often = np.array(losses("often")).reshape(3, 5)
    np.testing.assert_allclose(often.mean(axis=1), losses("seldom"), rtol=1e-5)


def test_called_again_it_has_nothing_to_do(tmp_path):
    run(tmp_path)
    before = (tmp_path / "history.jsonl").read_text()
    _, _, last = run(tmp_path)
    assert last == 15
    assert (tmp_path / "history.jsonl").read_text() == before


def test_killed_and_called_again_it_ends_as_if_undisturbed(tmp_path):
    _, undisturbed, _ = run(tmp_path / "a")

    class Killed(loop.Trainer):
        def _save(self, iteration):
            super()._save(iteration)
            if iteration == 10:
                self.checkpoints.wait()
                raise KeyboardInterrupt

    original = loop.Trainer
    loop.Trainer = Killed
    try:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "b")
    finally:
        loop.Trainer = original
    _, continued, last = run(tmp_path / "b")
    assert last == 15
    assert undisturbed.weights
    for a, b in zip(undisturbed.weights, continued.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert points(tmp_path / "b", "training") == points(tmp_path / "a", "training")


def test_an_infinite_loss_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    task = Line()
    task.bad_from = 7
    with pytest.raises(ValueError, match="the loss is no longer finite") as caught:
        run(tmp_path, task)
    assert "iteration-5" in str(caught.value)
    kept = sorted(p.name for p in (tmp_path / "checkpoints").glob("iteration-*"))
    assert kept == ["iteration-5"]


def test_weights_that_are_no_longer_finite_are_not_saved(tmp_path):
    """The loss of the last step is finite, the update it gives is not."""
    with pytest.raises(ValueError, match="no longer finite at iteration 1;"):
        run(tmp_path, learning_rate=3e38, save_checkpoint_per_iteration=1)
    assert not list((tmp_path / "checkpoints").glob("iteration-*"))


def test_an_unknown_monitor_names_the_known_metrics(tmp_path):
    with pytest.raises(ValueError, match=r"no validation metric 'x'; .* mse_loss"):
        run(tmp_path, monitor="x")


def test_a_test_run_takes_a_handful_of_steps(tmp_path):
    _, _, last = run(tmp_path, test_run=True)
    assert last == trial.ITERATIONS


def test_half_a_line_of_history_is_left_out(tmp_path):
    run(tmp_path)
    path = tmp_path / "history.jsonl"
    text = path.read_text()
    path.write_text(text[:-10])
    assert len(logs.read_history(tmp_path)) == len(text.splitlines()) - 1
