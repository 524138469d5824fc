"""A run evaluated, its thresholds, others' scores, and runs side by side."""

import csv
import json
import re
import shutil

import numpy as np
import pytest

from bigearthnet_tf import metrics
from bigearthnet_tf.evaluation import predictions, thresholds


def check(outcome, *parts):
    assert outcome.status == 1
    assert "Traceback" not in outcome.err
    for part in parts:
        assert part in outcome.complaint


@pytest.fixture
def trained(call, write_config, records, tmp_path):
    """Config of a trained run, which `tmp_path / "run"` holds."""
    config = write_config(records, modality="MM", bootstrap_rounds=20)
    assert call("train", config).status == 0
    return config


def read(folder, name="eval_result.json"):
    return json.loads((folder / name).read_text())


def test_from_a_run_to_results(call, trained, archive_v2, records, tmp_path):
    run, config = tmp_path / "run", trained
    metadata = json.dumps([str(archive_v2 / "metadata.parquet")])
    asked = ("--thresholds", "tuned", "--set", f"metadata={metadata}")
    first = call("eval", config, *asked)
    assert first.status == 0, first.err
    assert "tuned thresholds" in first.out
    assert "95 %" in first.out
    flat = read(run)
    assert all(isinstance(value, float) for value in flat.values())

    # The stored thresholds and scores give the stored numbers.
    found, chosen = predictions.load(run), thresholds.load(run)
    assert (found.split, chosen.split) == ("test", "val")
    assert found.fingerprint == chosen.fingerprint
    again = metrics.multi_label_report(found.labels, found.scores, chosen.values)
    assert flat["tuned_micro_f1_score"] == again["micro_f1_score"]
    assert flat["micro_f1_score"] != pytest.approx(again["micro_f1_score"])

    stored = read(run, "eval_intervals.json")
    assert stored["rounds"] == 20
    low, high = stored["intervals"]["micro_average_precision"]
    assert low <= high
    with (run / "eval_groups.csv").open() as file:
        kinds = {row["kind"] for row in csv.DictReader(file)}
    assert kinds == {"country", "season", "tile"}
    conventions = read(run, "eval_conventions.json")
    assert set(conventions) == {"tf", "balanced", "torchmetrics", "addons", "sklearn"}
    page, text = (run / "report.html").read_text(), (run / "report.md").read_text()
    assert not re.search(r'(src|href)="(?!data:)', page)
    for words in ("Countries", "Seasons", "Best and worst patches", "trained by"):
        assert words in page
    assert text.startswith("# resnet_test on S1 S2, test split")
    assert f"{flat['tuned_micro_f1_score']:.4f}" in text

    # Called again it scores no validation records; the result is the same.
    before = (run / thresholds.FILE).stat().st_mtime_ns
    second = call("eval", config, *asked)
    assert "tuned before" in second.out
    assert read(run) == flat
    assert (run / thresholds.FILE).stat().st_mtime_ns == before

    # What stands in a file applies to where it belongs; otherwise it says why not.
    of_file = call("eval", config, "--thresholds", run / thresholds.FILE)
    assert of_file.status == 0, of_file.err
    assert read(run) == flat
    foreign = read(run, thresholds.FILE) | {"fingerprint": "others"}
    (tmp_path / "foreign.json").write_text(json.dumps(foreign))
    check(
        call("eval", config, "--thresholds", tmp_path / "foreign.json"),
        "foreign.json: thresholds of other weights (resnet_test at iteration-",
    )
    check(
        call("eval", config, "--thresholds", tmp_path / "none.json"),
        "none.json: no such thresholds",
    )
    check(
        call(
            "eval", config, "--set", "val_tf_record_files=[]", "--thresholds", "tuned"
        ),
        "val_tf_record_files is empty",
    )

    # Scores alone, in any order, give what the model gave but the loss.
    mixed = found.take(np.arange(len(found))[::-1])
    predictions.save(tmp_path / "mixed.npz", mixed)
    other = ("--set", f"out_dir={tmp_path / 'scores'}", "--scores")
    outcome = call("eval", config, *other, tmp_path / "mixed.npz")
    assert outcome.status == 0, outcome.err
    expected = {
        key: value
        for key, value in flat.items()
        if not key.startswith("tuned_") and not key.endswith("entropy_loss")
    }
    assert read(tmp_path / "scores") == expected
    (half := tmp_path / "half.npz").write_bytes(
        (tmp_path / "mixed.npz").read_bytes()[:900]
    )
    check(call("eval", config, *other, half), "half.npz: expected scores as eval.py")
    predictions.save(tmp_path / "few.npz", found.take(np.arange(2)))
    check(call("eval", config, *other, tmp_path / "few.npz"), "different patches")
    val = json.dumps([str(records / "val-*.tfrecord")])
    check(
        call("eval", config, "--set", f"test_tf_record_files={val}", *other, run),
        "different patches", "score the same records",
    )  # fmt: skip
    check(
        call("eval", config, *other, run, "--thresholds", "tuned"),
        "no validation scores to tune",
    )

    compared = call("bigearthnet-tf", "compare", run, tmp_path / "scores",
                    "--rounds", 10, "--out", tmp_path / "compared")  # fmt: skip
    assert compared.status == 0, compared.err
    assert {path.name for path in (tmp_path / "compared").iterdir()} == {
        f"compare.{kind}" for kind in ("html", "md", "csv", "json")
    }
    results = read(tmp_path / "compared", "compare.json")["results"]
    assert {row["difference"] for row in results} == {None, 0}
    check(call("bigearthnet-tf", "compare", run), "at least two runs")
    assert call("bigearthnet-tf", "compare", run, run, "--rounds", 0).status == 2

    # A run of other labels, bands or statistics is another model.
    for change, what in (
        ("modality=S2", "bands"),
        ("label_type=original", "label"),
        ("statistics=v2_120_bicubic", "statistics"),
    ):
        left = (run / "eval_result.json").read_bytes()
        outcome = call("eval", config, "--set", change)
        check(outcome, what)
        assert (run / "eval_result.json").read_bytes() == left
    shutil.rmtree(run)
