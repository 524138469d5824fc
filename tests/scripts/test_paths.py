"""Whole paths: an archive is prepared, trained on, evaluated."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from run_files import tensors

import bigearthnet_tf
from bigearthnet_tf.records import reader
from bigearthnet_tf.training import logs

ROOT = Path(__file__).parents[2]


@pytest.mark.pictures
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
        "eval_scores.npz", "eval_weights.json", "report.html", "report.md",
        "eval_conventions.json", "eval_intervals.json", "eval_groups.csv",
    }  # fmt: skip
    page = (run / "report.html").read_text()
    assert page.count('<figure><div class="scroll"') == 5
    # Confusions only where there are some.
    left = {path.name for path in run.iterdir()}
    assert left - {"eval_confusions.csv"} == expected
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


@pytest.mark.long
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
    a, b = (tensors(tmp_path / name) for name in ("whole", "parts"))
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
    assert iterations(tmp_path / "whole") == iterations(tmp_path / "parts")
    assert "are done" in call("train", part).out


def iterations(run):
    return [(point["split"], point["iteration"]) for point in logs.read_history(run)]


@pytest.mark.long
def test_the_rate_is_the_configs_after_a_restart_too(
    call, records, write_config, tmp_path
):
    assert call("train", write_config(records, nb_epoch=1)).status == 0
    before = tensors(tmp_path / "run")
    assert call("train", write_config(records, learning_rate=1e-12)).status == 0
    after = tensors(tmp_path / "run")
    kernels = [n for n in before if n.startswith("model/") and before[n].ndim == 4]
    assert kernels
    for name in kernels:
        np.testing.assert_allclose(before[name], after[name], atol=1e-9)
    assert logs.read_history(tmp_path / "run")[-2]["learning_rate"] < 1e-11


def test_a_test_run_has_a_folder_of_its_own(call, records, write_config, tmp_path):
    outcome = call("train", write_config(records, nb_epoch=50), "--test-run")
    assert outcome.status == 0
    assert not (tmp_path / "run").exists()
    run = tmp_path / "run-test-run"
    assert iterations(run)[-1][1] == 4
    assert f"--set out_dir={run} --set batch_size=4" in outcome.out
    assert "training: compiling the first step" in outcome.out


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
    a, b = (tensors(tmp_path / name) for name in ("first", "second"))
    kernels = [n for n in a if n.startswith("model/") and a[n].ndim == 4]
    assert kernels
    for name in kernels:
        np.testing.assert_allclose(a[name], b[name], atol=1e-9)


def test_expected_sizes_are_compared_with_the_files(call, records, write_config):
    outcome = call("train", write_config(records, training_size=269695), "--test-run")
    assert "the config expects 269695 records, the files hold" in outcome.out
