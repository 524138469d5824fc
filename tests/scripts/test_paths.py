"""Whole paths: an archive is prepared, trained on, evaluated."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import bigearthnet_tf
from bigearthnet_tf.records import reader
from bigearthnet_tf.training import logs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def records(archive_v2, tmp_path_factory):
    out = tmp_path_factory.mktemp("records")
    command = [
        sys.executable, ROOT / "prep_splits.py", "-r", archive_v2 / "BigEarthNet-S2",
        "-s", archive_v2 / "BigEarthNet-S1", "-o", out, "--workers", "2",
        "--metadata", archive_v2 / "metadata.parquet", "--shard-size-mb", "1",
    ]  # fmt: skip
    subprocess.run(command, check=True, cwd=ROOT)
    return out


def test_from_archive_to_report(call, records, write_config, tmp_path):
    config = write_config(records, modality="MM", baselines=True)
    trained = call("train", config)
    assert trained.status == 0, trained.err
    assert f"python eval.py {config}" in trained.out
    evaluated = call("eval", config)
    assert evaluated.status == 0, evaluated.err

    run = tmp_path / "run"
    expected = {
        "config.json", "environment.json", "checkpoints", "logs", "history.jsonl",
        "eval_result.json", "eval_baselines.json", "eval_per_class.csv",
        "eval_scores.npz", "report.html",
    }  # fmt: skip
    assert {path.name for path in run.iterdir()} == expected
    assert {p.name for p in (run / "logs").iterdir()} == {
        "training",
        "validation",
        "test",
    }
    result = json.loads((run / "eval_result.json").read_text())
    assert all(isinstance(value, float) for value in result.values())
    assert np.isfinite(list(result.values())).all()
    assert {"macro_average_precision", "sample_f1_score", "hamming_loss"} <= set(result)
    with (run / "eval_per_class.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == list(
        json.loads((run / "config.json").read_text()) and _labels(records)
    )
    # The stored scores give the stored numbers.
    with np.load(run / "eval_scores.npz") as stored:
        again = bigearthnet_tf.metrics.multi_label_report(
            stored["labels"], stored["scores"]
        )
        names = stored["names"].tolist()
    for key, value in again.items():
        assert result[key] == pytest.approx(value, abs=1e-12), key
    assert names == reader.read_names(reader.open_records(str(records / "test-*")))
    baselines = json.loads((run / "eval_baselines.json").read_text())
    assert set(baselines) == {"class priors", "logistic regression on band statistics"}
    for value in ("macro_average_precision", "class priors", "logistic regression"):
        assert value in evaluated.out


def _labels(records):
    manifest = json.loads((records / "test.manifest.json").read_text())
    return manifest["label_order"]["BigEarthNet-19"]


def test_called_again_a_run_continues(call, records, write_config, tmp_path):
    """Two epochs in one call, or one and then another, give the same weights."""
    keys = {
        "augmentation": ["flips", "quarter_turns"],
        "drop_rate": 0.2,
        "log_per_iteration": 1,
        "shuffle_buffer_size": 5,
    }
    whole = write_config(records, **keys, out_dir=str(tmp_path / "whole"))
    assert call("train", whole).status == 0
    for epochs in (1, 2):
        part = write_config(
            records, **keys, out_dir=str(tmp_path / "parts"), nb_epoch=epochs
        )
        outcome = call("train", part)
    assert "continuing from" in outcome.out
    a, b = (last_weights(tmp_path / name) for name in ("whole", "parts"))
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
    assert iterations(tmp_path / "whole") == iterations(tmp_path / "parts")
    assert "are done" in call("train", part).out


def last_weights(run):
    import tensorflow as tf

    folders = (run / "checkpoints").glob("iteration-*")
    newest = max(folders, key=lambda path: int(path.name.split("-")[1]))
    checkpoint = tf.train.load_checkpoint(str(newest / "state"))
    names = checkpoint.get_variable_to_shape_map()
    return {n: checkpoint.get_tensor(n) for n in names if n.endswith("VALUE")}


def iterations(run):
    return [(point["split"], point["iteration"]) for point in logs.read_history(run)]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["short_cnn", "resnet_test"])
def test_two_replicas_and_one_device_give_the_same_weights(
    records, write_config, tmp_path, model
):
    """20 iterations, the same global batch, no dropout; in fresh processes."""
    for name, devices in (("one", "cpu"), ("two", "cpu:2")):
        config = write_config(
            records,
            model_name=model,
            image_size=32,
            devices=devices,
            nb_epoch=10,
            learning_rate=1e-3,
            out_dir=str(tmp_path / name),
        )
        command = [sys.executable, ROOT / "train.py", config]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert f"over {1 if name == 'one' else 2} replica(s)" in done.stdout
    one, two = (last_weights(tmp_path / name) for name in ("one", "two"))
    assert iterations(tmp_path / "one")[-1][1] >= 20
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=0, atol=1e-5)


def test_the_rate_is_the_configs_after_a_restart_too(
    call, records, write_config, tmp_path
):
    assert call("train", write_config(records, nb_epoch=1)).status == 0
    before = last_weights(tmp_path / "run")
    assert call("train", write_config(records, learning_rate=1e-12)).status == 0
    after = last_weights(tmp_path / "run")
    kernels = [n for n in before if n.startswith("model/") and before[n].ndim == 4]
    for name in kernels:
        np.testing.assert_allclose(before[name], after[name], atol=1e-9)
    assert logs.read_history(tmp_path / "run")[-2]["learning_rate"] < 1e-11


@pytest.mark.parametrize("keys", [{"batch_size": 2}, {"seed": 7}])
def test_another_order_of_data_is_no_continuation(
    call, records, write_config, tmp_path, keys
):
    assert call("train", write_config(records, nb_epoch=1)).status == 0
    before = (tmp_path / "run" / "config.json").read_bytes()
    outcome = call("train", write_config(records, **keys))
    assert outcome.status == 1
    assert f"can't be continued with {next(iter(keys))}" in outcome.complaint
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_a_test_run_has_a_folder_of_its_own(call, records, write_config, tmp_path):
    outcome = call("train", write_config(records, nb_epoch=50), "--test-run")
    assert outcome.status == 0
    assert not (tmp_path / "run").exists()
    run = tmp_path / "run-test-run"
    assert iterations(run)[-1][1] == 4
    assert f"out_dir={run}" in outcome.out


def test_fine_tuning_starts_from_the_weights_of_another_run(
    call, records, write_config, tmp_path
):
    first = write_config(records, nb_epoch=1, out_dir=str(tmp_path / "first"))
    assert call("train", first).status == 0
    model_file = next((tmp_path / "first" / "checkpoints").glob("iteration-*"))
    second = write_config(
        records,
        nb_epoch=1,
        fine_tune=True,
        model_file=str(model_file),
        learning_rate=1e-12,
        out_dir=str(tmp_path / "second"),
    )
    outcome = call("train", second)
    assert "starting from the weights of" in outcome.out
    a, b = (last_weights(tmp_path / name) for name in ("first", "second"))
    kernels = [n for n in a if n.startswith("model/") and a[n].ndim == 4]
    assert kernels
    for name in kernels:
        np.testing.assert_allclose(a[name], b[name], atol=1e-9)


def test_expected_sizes_are_compared_with_the_files(call, records, write_config):
    outcome = call("train", write_config(records, training_size=269695), "--test-run")
    assert "the config expects 269695 records, the files hold" in outcome.out


@pytest.mark.slow
def test_killed_at_any_moment_a_run_ends_with_the_same_weights(
    records, write_config, tmp_path
):
    """SIGKILL three times, wherever the run is; dropout and augmentation are on."""

    def start(name):
        config = write_config(
            records,
            nb_epoch=40,
            drop_rate=0.3,
            augmentation=["flips", "quarter_turns"],
            shuffle_buffer_size=5,
            save_checkpoint_per_iteration=7,
            keep_checkpoints=2,
            out_dir=str(tmp_path / name),
        )
        return subprocess.Popen([sys.executable, ROOT / "train.py", config], cwd=ROOT)

    assert start("whole").wait() == 0
    folder = tmp_path / "killed" / "checkpoints"
    for iteration in (14, 28, 42):
        process = start("killed")
        wait_for(folder, iteration, process)
        process.kill()
        process.wait()
    assert newest(folder) < 80 == newest(tmp_path / "whole" / "checkpoints")
    assert start("killed").wait() == 0
    whole, killed = (last_weights(tmp_path / name) for name in ("whole", "killed"))
    for name in whole:
        np.testing.assert_array_equal(whole[name], killed[name])


def newest(folder) -> int:
    found = [int(p.name.split("-")[1]) for p in folder.glob("iteration-*")]
    return max(found, default=0)


def wait_for(folder, iteration, process, seconds=120):
    deadline = time.monotonic() + seconds
    while newest(folder) < iteration:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
