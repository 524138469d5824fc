"""Pre-training, probing and fine-tuning on time series, by the scripts."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import series_records
import tensorflow as tf
from run_files import ROOT, newest, tensors

from bigearthnet_tf.training import logs

TWINS = {
    "task": "barlow_twins",
    "model_name": "pixel_mlp",
    "encoder_width": 32,
    "latent_dim": 16,
    "projector_dims": [24],
    "batch_size": 32,
    "nb_epoch": 6,
    "learning_rate": 0.005,
    "sample_size": 8,
    "pixels_per_block": 64,
    "shuffle_buffer_size": 256,
    "devices": "cpu",
    "deterministic": True,
    "probe_labels": [5, 20],
    "probe_repeats": 2,
    "probe_pixels": 400,
    "evaluation_draws": 2,
}


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    return series_records.write(tmp_path_factory.mktemp("series"))


@pytest.fixture(scope="module")
def write(series, tmp_path_factory):
    """Writes a config; returns its path and the folder of the run."""
    folder = tmp_path_factory.mktemp("runs")

    def write_config(name, **keys):
        path, out = folder / f"{name}.json", folder / name
        content = {**TWINS, **series_records.files(series), "out_dir": str(out)}
        if keys.get("task") == "land_cover":
            del content["projector_dims"]
        path.write_text(json.dumps(content | keys))
        return path, out

    return write_config


@pytest.fixture
def twins(call, write):
    """A run of Barlow Twins, trained once."""
    config, out = write("twins")
    result = call("train", config)
    assert result.status == 0, result.err
    return config, out


def images_of(folder) -> set[str]:
    found = set()
    for path in folder.glob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            kinds = {v.tag for v in event.summary.value if v.metadata.plugin_data.plugin_name == "images"}  # fmt: skip  # noqa: E501
            found |= kinds
    return found


def read_csv(path) -> list[dict]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_twins_are_trained_watched_and_evaluated(call, twins):
    config, out = twins
    points = list(logs.read_history(out))
    training = [p["barlow_twins_loss"] for p in points if p["split"] == "training"]
    assert training[-1] < training[0]
    last = [p for p in points if p["split"] == "validation"][-1]
    assert {"on_diagonal", "rank_me_embedding", "rank_me_projection", "knn_accuracy"} <= set(last)  # fmt: skip  # noqa: E501
    assert any("cross_correlation" in tag for tag in images_of(out / "logs/validation"))
    result = call("eval", config)
    assert result.status == 0, result.err
    assert "this encoder, linear" in result.out
    found = json.loads((out / "eval_result.json").read_text())
    assert all(isinstance(value, float | int) for value in found.values())
    rows = read_csv(out / "eval_label_efficiency.csv")
    assert len(rows) == 4 * 2
    assert {row["labels"] for row in rows} == {"5", "20"}
    page = (out / "report.html").read_text()
    assert "monthly medians, random forest" in page
    again = call("eval", config)
    assert json.loads((out / "eval_result.json").read_text()) == found
    assert again.status == 0


def test_land_cover_starts_from_the_twins(call, write, twins):
    _, first = twins
    config, out = write(
        "probe", task="land_cover", weights=str(first), fine_tune_level=0,
        loss="focal", nb_epoch=2, spatial_folds=2, spatial_block_size=16,
    )  # fmt: skip
    result = call("train", config)
    assert result.status == 0, result.err
    assert f"starting from the encoder of {first}" in result.out
    result = call("eval", config)
    assert result.status == 0, result.err
    before, after = weights_of(first), weights_of(out)
    changed = [
        name
        for name, value in after.items()
        if name not in before or not np.array_equal(value, before[name])
    ]
    assert sorted(changed) == ["head/bias", "head/kernel"]
    counts = read_csv(out / "eval_confusion.csv")
    per_class = read_csv(out / "eval_per_class.csv")
    found = json.loads((out / "eval_result.json").read_text())
    matrix = np.array([[int(v) for k, v in row.items() if k != "true"] for row in counts])  # fmt: skip  # noqa: E501
    assert found["overall_accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum())
    assert [int(row["count"]) for row in per_class] == matrix.sum(axis=1).tolist()
    assert len(read_csv(out / "eval_spatial_folds.csv")) == 2
    assert any("confusion" in tag for tag in images_of(out / "logs/validation"))
    config, out = write(
        "whole", task="land_cover", weights=str(first), head_dims=[16],
        drop_rate=0.1, loss="softmax_cross_entropy", nb_epoch=2,
        backbone_learning_rate_factor=0.1,
    )  # fmt: skip
    result = call("train", config)
    assert result.status == 0, result.err
    after = weights_of(out)
    assert not np.array_equal(after["layer0/kernel"], before["layer0/kernel"])


def weights_of(run) -> dict[str, np.ndarray]:
    """The model's weights in the newest checkpoint, by their paths."""
    path = run / "checkpoints" / f"iteration-{newest(run)}" / "state"
    reader = tf.train.load_checkpoint(str(path))
    return {
        name.split("/", maxsplit=2)[2]: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.startswith("model/") and "seed" not in name
    }


@pytest.mark.long
def test_killed_and_continued_it_is_the_same_run(write):
    """A process of its own that dies as by `kill -9` right after a checkpoint."""
    keys = {
        "nb_epoch": 3,
        "time_dim": 2,
        "log_per_iteration": 1,
        "save_checkpoint_per_iteration": 5,
        "validate_per_iteration": 12,
    }
    whole, whole_out = write("whole_run", **keys)
    killed, killed_out = write("killed_run", **keys)
    program = """
        import os, signal, sys
        sys.path.insert(0, sys.argv[1])
        from bigearthnet_tf import console
        console.load_tensorflow()
        from bigearthnet_tf import config as configs, runs
        from bigearthnet_tf.training import checkpoints, session

        if sys.argv[3] == "kill":
            rename = checkpoints.CheckpointFolder.save
            def save(self, state, iteration, *rest, **keys):
                path = rename(self, state, iteration, *rest, **keys)
                if iteration >= 10:
                    self.wait()
                    os.kill(os.getpid(), signal.SIGKILL)
                return path
            checkpoints.CheckpointFolder.save = save
        config = configs.load(sys.argv[2])
        opened = session.open_session(config)
        session.train(opened, *session.build(opened), runs.out_dir(config))
    """
    import textwrap

    def run(config, how):
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), ROOT, config, how],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert run(killed, "kill").returncode == -9
    assert newest(killed_out) == 10
    for config in (killed, whole):
        done = run(config, "go on")
        assert done.returncode == 0, done.stderr
    left, right = tensors(whole_out), tensors(killed_out)
    assert list(left) == list(right)
    assert newest(whole_out) > 10
    for name, value in left.items():
        np.testing.assert_array_equal(value, right[name], err_msg=name)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"sample_size": 40}, "sample_size 40 needs 40 usable dates a pixel"),
        ({"bands": ["B04"]}, "but bands asks for ['B04']"),
        ({"tr_tf_record_files": ["nothing/*"]}, "nothing/*: no such"),
        ({"model_name": "resnet50"}, "'resnet50'"),
        ({"task": "land_cover", "loss": "focal", "weights": "no"}, "no: no run; expec"),
    ],
)
def test_impossible_runs(call, write, keys, message):
    config, out = write("impossible", **keys)
    result = call("train", config)
    assert result.status == 1
    assert message in result.complaint
    assert not out.exists() or not list(out.rglob("*.index"))


def test_statistics_that_are_no_numbers(call, write, series, tmp_path):
    copy = tmp_path / "records"
    copy.mkdir()
    for path in series.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    manifest = copy / "train.manifest.json"
    content = json.loads(manifest.read_text())
    content["mean"][0] = float("nan")
    manifest.write_text(json.dumps(content))
    config, _ = write("nan", **series_records.files(copy))
    result = call("train", config)
    assert result.status == 1
    assert "train.manifest.json" in result.complaint
    assert "finite" in result.complaint
