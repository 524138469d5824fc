"""A run evaluated, its thresholds, others' scores, and runs side by side."""

import csv
import json
import re

import numpy as np
import pytest

from bigearthnet_tf import config as configs
from bigearthnet_tf import metrics
from bigearthnet_tf.evaluation import predictions, thresholds


@pytest.fixture(scope="module")
def evaluated(records, archive_v2, tmp_path_factory):
    """A trained and evaluated run with tuned thresholds; config.json lies in it."""
    from bigearthnet_tf import evaluation
    from bigearthnet_tf.training import session

    out = tmp_path_factory.mktemp("evaluated") / "run"
    config = configs.from_dict(
        {
            "model_name": "resnet_test",
            "modality": "MM",
            "label_type": "BigEarthNet-19",
            "batch_size": 4,
            "nb_epoch": 1,
            "learning_rate": 0.01,
            "devices": "cpu",
            "sample_images": 0,
            "out_dir": str(out),
            "bootstrap_rounds": 20,
            "thresholds": "tuned",
            "metadata": [str(archive_v2 / "metadata.parquet")],
            **{
                f"{key}_tf_record_files": [str(records / f"{split}-*.tfrecord")]
                for key, split in (("tr", "train"), ("val", "val"), ("test", "test"))
            },
        }
    )
    opened = session.open_session(config, alone=True)
    session.train(opened, *session.build(opened), out)
    configs.save(config, out / "config.json")
    evaluation.evaluate(opened, *session.load_trained(opened, out, "best"), out)
    return out


def evaluate(call, run, *arguments):
    return call("eval", run / "config.json", *arguments)


def read(folder, name="eval_result.json"):
    return json.loads((folder / name).read_text())


def check(outcome, *parts):
    assert outcome.status == 1
    assert "Traceback" not in outcome.err
    for part in parts:
        assert part in outcome.complaint


def test_stored_scores_and_thresholds_give_the_stored_numbers(evaluated):
    flat = read(evaluated)
    assert all(isinstance(value, float) for value in flat.values())
    found, chosen = predictions.load(evaluated), thresholds.load(evaluated)
    assert (found.split, chosen.split) == ("test", "val")
    assert found.fingerprint == chosen.fingerprint
    for prefix, limit in (("", 0.5), ("tuned_", chosen.values)):
        again = metrics.multi_label_report(found.labels, found.scores, limit)
        for key in ("micro_f1_score", "macro_recall_class3", "subset_accuracy"):
            assert flat[prefix + key] == again[key]
    assert flat["micro_f1_score"] != flat["tuned_micro_f1_score"]
    stored = read(evaluated, "eval_intervals.json")
    assert stored["rounds"] == 20
    assert "tuned_micro_f1_score" in stored["intervals"]


def test_tables_and_pages_have_all_parts(evaluated):
    with (evaluated / "eval_groups.csv").open() as file:
        kinds = {row["kind"] for row in csv.DictReader(file)}
    assert kinds == {"country", "season", "tile"}
    conventions = read(evaluated, "eval_conventions.json")
    assert set(conventions) == {"tf", "balanced", "torchmetrics", "addons", "sklearn"}
    page = (evaluated / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', page)
    for words in ("tuned thresholds", "Countries", "Seasons", "Best and worst patches"):
        assert words in page
    text = (evaluated / "report.md").read_text()
    assert text.startswith("# resnet_test on S1 S2, test split")
    assert f"{read(evaluated)['tuned_micro_f1_score']:.4f}" in text


def test_thresholds_are_tuned_once_and_apply_where_they_belong(
    call, evaluated, tmp_path
):
    flat, file = read(evaluated), evaluated / thresholds.FILE
    before = file.stat().st_mtime_ns
    again = evaluate(call, evaluated)
    assert again.status == 0, again.err
    assert "tuned before" in again.out
    assert "95 %" in again.out
    assert file.stat().st_mtime_ns == before
    of_file = evaluate(call, evaluated, "--thresholds", file)
    assert of_file.status == 0, of_file.err
    assert read(evaluated) == flat

    foreign = tmp_path / "foreign.json"
    foreign.write_text(json.dumps(read(file.parent, file.name) | {"fingerprint": "x"}))
    check(
        evaluate(call, evaluated, "--thresholds", foreign),
        "foreign.json: thresholds of other weights (resnet_test at iteration-",
    )
    check(
        evaluate(call, evaluated, "--thresholds", tmp_path / "none.json"),
        "none.json: no such thresholds",
    )
    check(
        evaluate(call, evaluated, "--set", "val_tf_record_files=[]"),
        "val_tf_record_files is empty",
    )


def test_scores_alone_give_what_the_model_gave(call, evaluated, tmp_path):
    found = predictions.load(evaluated)
    mixed = tmp_path / "mixed.npz"
    predictions.save(mixed, found.take(np.arange(len(found))[::-1]))
    out = tmp_path / "scores"
    asked = ("--set", f"out_dir={out}", "--thresholds", evaluated / thresholds.FILE)
    outcome = evaluate(call, evaluated, *asked, "--scores", mixed)
    assert outcome.status == 0, outcome.err
    expected = read(evaluated)
    del expected["sigmoid_cross_entropy_loss"]
    assert read(out) == expected

    compared = call(
        "bigearthnet-tf", "compare", evaluated, out, "--rounds", 10, "--tuned",
        "--out", tmp_path / "compared",
    )  # fmt: skip
    check(compared, "scores/thresholds.json: no such thresholds")
    compared = call(
        "bigearthnet-tf", "compare", evaluated, out, "--rounds", 10,
        "--out", tmp_path / "compared",
    )  # fmt: skip
    assert compared.status == 0, compared.err
    assert {path.name for path in (tmp_path / "compared").iterdir()} == {
        f"compare.{kind}" for kind in ("html", "md", "csv", "json")
    }
    results = read(tmp_path / "compared", "compare.json")["results"]
    assert {row["difference"] for row in results} == {None, 0}

    # Nothing of this evaluation stands beside the results of the next one.
    assert (out / "eval_intervals.json").is_file()
    without = (*asked, "--set", "bootstrap_rounds=0")
    assert evaluate(call, evaluated, *without, "--scores", mixed).status == 0
    assert not (out / "eval_intervals.json").exists()


def test_other_scores_are_refused(call, evaluated, records, tmp_path):
    def scores(path, *arguments):
        asked = ("--set", f"out_dir={tmp_path / 'out'}", "--scores", path)
        return evaluate(call, evaluated, *asked, *arguments)

    found = predictions.load(evaluated)
    half, few = tmp_path / "half.npz", tmp_path / "few.npz"
    half.write_bytes((evaluated / predictions.FILE).read_bytes()[:900])
    none = ("--thresholds", "none")
    check(scores(half, *none), "half.npz: expected scores as eval.py")
    predictions.save(few, found.take(np.arange(2)))
    check(scores(few, *none), "different patches")
    val = json.dumps([str(records / "val-*.tfrecord")])
    check(
        scores(evaluated, *none, "--set", f"test_tf_record_files={val}"),
        "different patches", "score the same records",
    )  # fmt: skip
    check(scores(evaluated), "no validation scores to tune")
    assert not (tmp_path / "out" / "eval_result.json").exists()


def test_a_comparison_of_too_few_is_refused(call, evaluated, tmp_path):
    check(call("bigearthnet-tf", "compare", evaluated), "at least two runs")
    check(
        call("bigearthnet-tf", "compare", evaluated, tmp_path),
        "no scores of a classification in this folder",
    )
    outcome = call("bigearthnet-tf", "compare", evaluated, evaluated, "--rounds", 0)
    assert outcome.status == 2


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("modality=S2", "bands"),
        ("label_type=original", "label"),
        ("statistics=v2_120_bicubic", "statistics"),
    ],
)
def test_a_run_of_other_inputs_or_labels_is_refused(call, evaluated, change, what):
    left = (evaluated / "eval_result.json").read_bytes()
    check(evaluate(call, evaluated, "--set", change), what)
    assert (evaluated / "eval_result.json").read_bytes() == left
