import io
import logging

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.histogram import metadata as histogram_facts

from bigearthnet_tf.training import logs


def accumulate(folder):
    accumulator = event_accumulator.EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def read_tensorboard(folder):
    accumulator = accumulate(folder)
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
        "optimization/learning_rate": [(6, 0.25)]
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
        ("gradient_norm", "optimization"),
        ("weight_norm", "optimization"),
        ("images_per_second", "performance"),
        ("input_wait_share", "performance"),
        ("gpu_memory_gb", "performance"),
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


def test_a_history_that_other_programs_have_saved_reads_alike(tmp_path):
    log = logs.RunLog(tmp_path)
    for iteration in (2, 4):
        log.write("training", iteration, {"mse_loss": 1.0})
    points = logs.read_history(tmp_path)
    path = tmp_path / "history.jsonl"
    text = path.read_text().replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n")
    assert logs.read_history(tmp_path, strict=True) == points


def test_values_that_are_not_finite_are_null_in_the_history(tmp_path):
    logs.RunLog(tmp_path).write("training", 1, {"mse_loss": float("nan")})
    assert logs.read_history(tmp_path)[0]["mse_loss"] is None


def test_tensorboard_forgets_the_points_beyond(tmp_path):
    """A reader sees each iteration once, after any number of continuations."""
    figure = Figure(figsize=(0.1, 0.1))
    for start, end in ((0, 6), (4, 8), (4, 7), (7, 9)):
        log = logs.RunLog(tmp_path, start)
        for iteration in range(start + 1, end + 1):
            log.write("training", iteration, {"mse_loss": start + 0.5})
            log.write_figures("validation", iteration, {"scores": figure})
        log.close()
    points = read_tensorboard(tmp_path / "logs" / "training")["loss/mse_loss"]
    assert points == [(i, 0.5) for i in range(1, 5)] + [
        (5, 4.5), (6, 4.5), (7, 4.5), (8, 7.5), (9, 7.5)
    ]  # fmt: skip
    shown = accumulate(tmp_path / "logs" / "validation").Tensors("scores")
    assert [event.step for event in shown] == list(range(1, 10))
    assert [p["iteration"] for p in logs.read_history(tmp_path)] == list(range(1, 10))


def test_a_run_from_the_start_forgets_all_but_an_evaluation_nothing(tmp_path):
    folder = tmp_path / "logs" / "training"
    for iteration, expected in ((0, [(2, 1.0)]), (None, [(2, 1.0), (3, 1.0)])):
        log = logs.RunLog(tmp_path, iteration)
        log.write("training", expected[-1][0], {"mse_loss": 1.0})
        log.close()
        assert read_tensorboard(folder) == {"loss/mse_loss": expected}
    logs.RunLog(tmp_path, 0).close()
    assert read_tensorboard(folder) == {}


def test_event_files_of_a_killed_run_are_mended(tmp_path):
    """Half an event at the end, and half a file of a continuation."""
    log = logs.RunLog(tmp_path, 0)
    for iteration in (1, 2, 3):
        log.write("training", iteration, {"mse_loss": 1.0})
    log.close()
    folder = tmp_path / "logs" / "training"
    (path,) = folder.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    path.with_name(f".{path.name}.1.tmp").write_bytes(content)
    log = logs.RunLog(tmp_path, 1)
    log.write("training", 2, {"mse_loss": 2.0})
    log.close()
    assert read_tensorboard(folder) == {"loss/mse_loss": [(1, 1.0), (2, 2.0)]}


def test_event_files_without_points_beyond_are_not_touched(tmp_path):
    log = logs.RunLog(tmp_path, 0)
    log.write("training", 3, {"mse_loss": 1.0})
    log.close()
    (path,) = (tmp_path / "logs" / "training").iterdir()
    before = path.stat().st_ino
    logs.RunLog(tmp_path, 3).close()
    assert path.stat().st_ino == before


def test_single_labels_have_curves_by_name(tmp_path):
    log = logs.RunLog(tmp_path)
    names = {"Beaches, dunes, sands": 0.25, "Marine waters": 0.5}
    single = {"average_precision": names, "f1": names}
    log.write("validation", 7, {"macro_auroc": 0.75}, single)
    log.close()
    assert read_tensorboard(tmp_path / "logs" / "validation") == {
        "macro/macro_auroc": [(7, 0.75)],
        **{
            f"single_label_{metric}/{name}": [(7, value)]
            for metric in ("average_precision", "f1")
            for name, value in names.items()
        },
    }
    # One line a point, so that whoever reads it has all of a validation at once.
    assert logs.read_history(tmp_path) == [
        {
            "split": "validation",
            "iteration": 7,
            "macro_auroc": 0.75,
            "average_precision/Beaches, dunes, sands": 0.25,
            "average_precision/Marine waters": 0.5,
            "f1/Beaches, dunes, sands": 0.25,
            "f1/Marine waters": 0.5,
        }
    ]


def test_figures_arrive_as_they_are(tmp_path):
    figure = Figure(figsize=(2, 1), facecolor="red")
    figure.add_axes((0.5, 0, 0.5, 1)).set_facecolor("blue")
    log = logs.RunLog(tmp_path)
    log.write_figures("validation", 3, {"scores": figure})
    log.close()
    accumulator = accumulate(tmp_path / "logs" / "validation")
    (event,) = accumulator.Tensors("scores")
    width, height, png = tf.make_ndarray(event.tensor_proto)
    assert (event.step, int(width), int(height)) == (3, 200, 100)
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    assert pixels[50, 30].tolist() == [255, 255, 255]
    assert pixels[50, 150].tolist() == [0, 0, 255]


def test_histograms_count_every_value(tmp_path):
    values = np.repeat([1.0, 2.0, 5.0], [7, 2, 1]).reshape(5, 2)
    log = logs.RunLog(tmp_path)
    log.write_histograms("validation", 3, {"labels_per_patch/true": values})
    log.close()
    accumulator = accumulate(tmp_path / "logs" / "validation")
    (event,) = accumulator.Tensors("labels_per_patch/true")
    bins = tf.make_ndarray(event.tensor_proto)
    plugin = accumulator.SummaryMetadata("labels_per_patch/true").plugin_data
    assert plugin.plugin_name == histogram_facts.PLUGIN_NAME
    assert {float(n) for n in bins[:, 2] if n} == {7.0, 2.0, 1.0}


def test_a_half_line_at_the_end_is_left_out_and_mended(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text('{"split": "training", "iteration": 2}\n{"split": "trai')
    assert [point["iteration"] for point in logs.read_history(tmp_path, True)] == [2]
    # Evaluation goes on in the same file.
    logs.RunLog(tmp_path).write("test", 2, {"mse_loss": 1.0})
    assert [point["split"] for point in logs.read_history(tmp_path, True)] == [
        "training",
        "test",
    ]


@pytest.mark.parametrize("damage", ["\0\0\0", "[1]", '{"iteration": 3}', '{"a": 1'])
def test_damage_before_the_end_is_told(tmp_path, damage, caplog):
    good = '{"split": "training", "iteration": 2}\n'
    (tmp_path / "history.jsonl").write_text(f"{good}{damage}\n{good}")
    with pytest.raises(ValueError, match=r"history\.jsonl: line 2 of 3 is not a point"):
        logs.read_history(tmp_path, strict=True)
    caplog.set_level(logging.WARNING)
    # A training does not fall over its own log.
    logs.RunLog(tmp_path, iteration=2)
    assert "line 2 of 3" in caplog.text
    assert len(logs.read_history(tmp_path, strict=True)) == 2


def test_a_silent_log_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = logs.RunLog.silent()
    log.write("training", 1, {"mse_loss": 1.0}, {"f1": {"Marine waters": 1.0}})
    log.write_figures("validation", 1, {"scores": Figure()})
    log.write_histograms("validation", 1, {"scores": [1.0]})
    log.close()
    assert not list(tmp_path.iterdir())
