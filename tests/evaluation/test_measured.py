"""What an evaluation measures, and what stands in its files."""

import numpy as np
import outcomes
import pytest

from bigearthnet_tf import metrics
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.evaluation import (
    extremes,
    markdown,
    measured,
    published,
    thresholds,
)

LOSS = {"sigmoid_cross_entropy_loss": 0.4}


@pytest.fixture(scope="module")
def result():
    one = outcomes.predictions(others={"class priors": np.full((60, 4), 0.25)})
    chosen = thresholds.tune(outcomes.predictions(split="val"), {})
    return measured.measure(one, chosen, LOSS, rounds=40, seed=1)


def test_flat_numbers_are_the_report_and_that_of_the_thresholds(result):
    one, flat = result.predictions, result.flat()
    plain = metrics.multi_label_report(one.labels, one.scores)
    tuned = metrics.multi_label_report(one.labels, one.scores, result.limits)
    for key, value in plain.items():
        assert flat[key] == value
    assert flat.keys() - plain.keys() - set(LOSS) == {
        *(f"tuned_{key}" for key in plain if measured.is_decided(key)),
        *(f"tuned_threshold_class{j}" for j in range(4)),
    }
    for key in plain:
        if measured.is_decided(key):
            assert flat[f"tuned_{key}"] == tuned[key]
        else:  # thresholds do not change it
            assert tuned[key] == plain[key]
    assert flat["tuned_macro_f1_score_class_avg"] > flat["macro_f1_score_class_avg"]


def test_without_thresholds_and_rounds_nothing_of_them_is_there():
    one = outcomes.predictions()
    result = measured.measure(one, None, {}, rounds=0, seed=1)
    assert result.flat() == metrics.multi_label_report(one.labels, one.scores)
    assert list(result.columns()) == [measured.PLAIN]
    assert "threshold" not in result.per_class()[0]
    assert result.per_class()[0]["f1_low"] is None


def test_intervals_hold_the_value(result):
    stored = result.intervals_json()
    assert stored["rounds"] == 40
    for key in ("micro_f1_score", "tuned_micro_f1_score", "average_precision_class0"):
        low, high = stored["intervals"][key]
        assert low < result.flat()[key] < high, key


def test_rows_of_labels_agree_with_the_matrices(result):
    one = result.predictions
    for j, row in enumerate(result.per_class()):
        given, truth = one.scores[:, j] >= 0.5, one.labels[:, j] > 0
        assert row["true_positives"] == (given & truth).sum()
        assert row["false_positives"] == (given & ~truth).sum()
        assert row["false_negatives"] == (~given & truth).sum()
        assert row["tuned_f1"] == result.tuned[f"macro_f1_score_class{j}"]


def test_conventions_have_all_names_and_no_nan(result):
    found = result.conventions()
    assert list(found) == ["tf", "balanced", "torchmetrics", "addons", "sklearn"]
    # No patch has the last label, and none is given it: 0/0 of the TF project is NaN.
    one = outcomes.predictions(scores=np.zeros((60, 4), np.float32))
    found = measured.measure(one, None, {}, rounds=0, seed=1).conventions()
    assert found["tf"]["macro_accuracy_class_avg"] is None
    assert found["torchmetrics"]["MultilabelAccuracy_macro"] is not None


def test_best_and_worst_go_by_cross_entropy(result):
    one = result.predictions
    values = extremes.cross_entropy(one)
    scores = one.scores.astype(float).clip(1e-7, 1 - 1e-7)
    expected = [
        -np.mean([np.log(s if t else 1 - s) for s, t in zip(*pair, strict=True)])
        for pair in zip(scores, one.labels, strict=True)
    ]
    np.testing.assert_allclose(values, expected)
    chosen = extremes.choose(one, 3)
    assert chosen["Worst"][0] == np.argmax(values)
    assert chosen["Best"][0] == np.argmin(values)
    sets = {one.labels[row].tobytes() for row in chosen["Best"]}
    assert len(sets) == 3
    few = extremes.choose(one.take(np.array([0])), 8)
    assert few == {"Best": [0], "Worst": [0]}


def test_published_results_are_of_the_same_model_bands_and_labels():
    v2 = ("BigEarthNet-19", "v2")
    every = band_facts.resolve_bands("all")
    found = published.find("resnet50", every[::-1], *v2)
    assert list(found) == ["reBEN v0.2.0, seed 42", "reBEN v0.2.0, seed 0"]
    assert found["reBEN v0.2.0, seed 42"]["macro_average_precision"] == 0.703272
    for other in (
        ("resnet50", band_facts.resolve_bands("s2"), *v2),
        ("resnet101", every, *v2),
        ("resnet50", every, "BigEarthNet-19", "v1"),
        ("resnet50", every, "original", "v2"),
    ):
        assert published.find(*other) == {}
    known = {"micro_precision", *metrics.multi_label_report(*(np.eye(2),) * 2)}
    results = published.table()["results"]
    assert results
    for row in results:
        names = set(row) - {"model", "bands", "version", "seed", "epochs"}
        assert names <= known
        assert band_facts.resolve_bands(row["bands"])
    assert "not of the same patches" in published.note(750)
    assert "not of the same" not in published.note(119_825)


def test_markdown_tables():
    rows = [{"a": "x|y", "b": 0.25, "c": None}, {"a": "z\nw", "b": 2, "c": 1234}]
    assert markdown.table(rows, 2).splitlines() == [
        "| a | b | c |",
        "| --- | --: | --: |",
        "| x\\|y | 0.25 |  |",
        "| z w | 2 | 1,234 |",
    ]
    assert markdown.table([]) == ""
