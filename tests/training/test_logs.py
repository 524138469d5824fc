import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from bigearthnet_tf.training import logs


def read_tensorboard(folder):
    accumulator = event_accumulator.EventAccumulator(str(folder))
    accumulator.Reload()
    return {
        tag: [
            (event.step, float(tf.make_ndarray(event.tensor_proto)))
            for event in accumulator.Tensors(tag)
        ]
        for tag in accumulator.Tags()["tensors"]
    }


def test_tensorboard_and_history_hold_the_same_points(tmp_path):
    log = logs.RunLog(tmp_path)
    log.write("validation", 3, {"macro_auroc": 0.5, "mse_loss": 2.0})
    log.write("validation", 6, {"macro_auroc": 0.75, "mse_loss": 1.0})
    log.write("training", 6, {"learning_rate": 0.25})
    log.close()
    assert read_tensorboard(tmp_path / "logs" / "validation") == {
        "macro/macro_auroc": [(3, 0.5), (6, 0.75)],
        "loss/mse_loss": [(3, 2.0), (6, 1.0)],
    }
    assert read_tensorboard(tmp_path / "logs" / "training") == {
        "run/learning_rate": [(6, 0.25)]
    }
    assert logs.read_history(tmp_path) == [
        {"split": "validation", "iteration": 3, "macro_auroc": 0.5, "mse_loss": 2.0},
        {"split": "validation", "iteration": 6, "macro_auroc": 0.75, "mse_loss": 1.0},
        {"split": "training", "iteration": 6, "learning_rate": 0.25},
    ]


@pytest.mark.parametrize(
    ("scalar", "group"),
    [
        ("ranking_loss", "ranking"),
        ("hamming_loss", "labels"),
        ("sigmoid_cross_entropy_loss", "loss"),
        ("micro_f1_score", "micro"),
        ("subset_accuracy", "labels"),
        ("images_per_second", "run"),
    ],
)
def test_scalars_stand_under_headings(tmp_path, scalar, group):
    log = logs.RunLog(tmp_path)
    log.write("test", 1, {scalar: 1.0})
    log.close()
    assert set(read_tensorboard(tmp_path / "logs" / "test")) == {f"{group}/{scalar}"}


def test_a_run_that_continues_drops_the_points_beyond(tmp_path):
    log = logs.RunLog(tmp_path)
    for iteration in (2, 4, 6):
        log.write("training", iteration, {"mse_loss": 1.0})
    logs.RunLog(tmp_path, iteration=4)
    assert [point["iteration"] for point in logs.read_history(tmp_path)] == [2, 4]


def test_values_that_are_not_finite_are_null_in_the_history(tmp_path):
    logs.RunLog(tmp_path).write("training", 1, {"mse_loss": float("nan")})
    assert logs.read_history(tmp_path)[0]["mse_loss"] is None
