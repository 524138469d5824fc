"""The report against three reference implementations, scikit-learn and itself."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from bigearthnet_tf import metrics

CASES = ("ordinary_19", "ties_19", "degenerate_43", "one_row_19", "exact_half_19")
# tensorflow-addons and torchmetrics predict where score > 0.5, the TF project where
# score >= 0.5. Above the next float64, >= decides as they do, on exact halves too.
STRICT = np.nextafter(0.5, 1)
PER_CLASS = ("precision", "recall", "f1_score", "f2_score", "f0_5_score", "accuracy")


@pytest.fixture(scope="module")
def reference(shared):
    folder = shared / "reference" / "metrics"
    expected = json.loads((folder / "expected.json").read_text())
    with np.load(folder / "cases.npz") as arrays:
        arrays = dict(arrays)

    def look_up(case, source):
        case = case.replace("exact_half_19", "exact_half")
        return arrays[f"{case}_y"], arrays[f"{case}_s"], expected[case][source]

    return look_up


def per_class(report, name, num_labels):
    prefix = "macro_" if name in PER_CLASS else ""
    return np.array([report[f"{prefix}{name}_class{j}"] for j in range(num_labels)])


@pytest.mark.parametrize("case", CASES)
def test_equals_the_tf_project(reference, case):
    labels, scores, expected = reference(case, "tf1_project")
    report = metrics.multi_label_report(labels, scores)
    assert len(expected) == 25 + 6 * labels.shape[1]
    absent = (report[f"num_positives_class{j}"] == 0 for j in range(labels.shape[1]))
    absent = np.flatnonzero(list(absent))
    for name, value in expected.items():
        if value == "NaN" and name != "macro_accuracy_class_avg":
            # Its Jaccard index has no guard for labels neither present nor predicted.
            assert int(name.removeprefix("macro_accuracy_class")) in absent
            assert report[name] == 0, name
        elif value == "NaN":
            each = per_class(report, "accuracy", labels.shape[1])
            assert report[name] == pytest.approx(each.mean(), abs=1e-15)
        else:
            # Its counts are float64; its means over samples come out in float32.
            relative = 1e-12 if name.startswith(("micro", "macro")) else 2.5e-7
            assert report[name] == pytest.approx(value, rel=relative, abs=1e-15), name


# torchmetrics' name -> ours, for macro, micro and class averages.
TORCHMETRICS = {
    "Precision": "precision",
    "Recall": "recall",
    "F1Score": "f1_score",
    "FBetaScore": "f2_score",
    "AveragePrecision": "average_precision",
    "AUROC": "auroc",
}


@pytest.mark.parametrize("case", CASES)
def test_equals_torchmetrics(reference, case):
    # 0/0 counts as 0 there too. It computes in float32. Its Accuracy counts true
    # negatives, where ours is the Jaccard index: the Hamming loss is its complement.
    labels, scores, expected = reference(case, "torchmetrics_1.9.0")
    report = metrics.multi_label_report(labels, scores, STRICT)
    num_labels = labels.shape[1]
    close = {"rel": 5e-7, "abs": 5e-7}
    for theirs, ours in TORCHMETRICS.items():
        macro = "" if theirs in ("AveragePrecision", "AUROC") else "_class_avg"
        assert report[f"macro_{ours}{macro}"] == pytest.approx(
            expected[f"{theirs}_macro"], **close
        )
        assert report[f"micro_{ours}"] == pytest.approx(
            expected[f"{theirs}_micro"], **close
        )
        assert per_class(report, ours, num_labels) == pytest.approx(
            np.array(expected[f"{theirs}_class"]), **close
        )
        if f"{theirs}_sample" in expected:
            assert report[f"sample_{ours}"] == pytest.approx(
                expected[f"{theirs}_sample"], **close
            )
    assert 1 - report["hamming_loss"] == pytest.approx(
        expected["Accuracy_micro"], **close
    )


@pytest.mark.parametrize("case", CASES)
def test_equals_tensorflow_addons(reference, case):
    labels, scores, expected = reference(case, "tensorflow_addons_0.23")
    report = metrics.multi_label_report(labels, scores, STRICT)
    close = {"rel": 5e-7, "abs": 5e-7}  # float32
    support = np.array(
        [report[f"num_positives_class{j}"] for j in range(len(labels.T))]
    )
    for ours, theirs in {
        "f1_score": "F1Score_{}",
        "f2_score": "FBetaScore_{}_beta2.0",
        "f0_5_score": "FBetaScore_{}_beta0.5",
    }.items():
        each = per_class(report, ours, labels.shape[1])
        ours_by_average = {
            "macro": report[f"macro_{ours}_class_avg"],
            "micro": report[f"micro_{ours}"],
            "weighted": each @ support / support.sum(),
        }
        for average, value in ours_by_average.items():
            assert value == pytest.approx(expected[theirs.format(average)], **close)
    assert report["hamming_loss"] == pytest.approx(expected["HammingLoss"], **close)
    for j, ((_, false_pos), (false_neg, true_pos)) in enumerate(
        expected["MultiLabelConfusionMatrix"]
    ):
        assert true_pos + false_neg == support[j]
        found = report[f"macro_recall_class{j}"] * support[j]
        assert found == pytest.approx(true_pos)
        if true_pos:
            predicted = true_pos / report[f"macro_precision_class{j}"]
            assert predicted == pytest.approx(true_pos + false_pos)


@pytest.mark.parametrize("case", ["ties_19", "exact_half_19"])
def test_scores_of_exactly_one_half_are_predicted(reference, case):
    labels, scores, tf_project = reference(case, "tf1_project")
    _, _, torchmetrics = reference(case, "torchmetrics_1.9.0")
    inclusive = metrics.multi_label_report(labels, scores)["micro_recall"]
    strict = metrics.multi_label_report(labels, scores, STRICT)["micro_recall"]
    assert inclusive == pytest.approx(tf_project["micro_recall"])
    assert strict == pytest.approx(torchmetrics["Recall_micro"])
    gained = labels[scores == 0.5].sum() / labels.sum()
    assert gained > 0.05
    assert inclusive - strict == pytest.approx(gained)


@st.composite
def predictions(draw, max_samples=12, max_labels=6, levels=8):
    """Labels and scores small enough to hit ties and every degenerate case."""
    shape = (draw(st.integers(1, max_samples)), draw(st.integers(1, max_labels)))
    size = shape[0] * shape[1]
    bits = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    steps = draw(st.lists(st.integers(0, levels), min_size=size, max_size=size))
    return np.reshape(bits, shape), np.reshape(steps, shape) / levels


SKLEARN_AVERAGES = {
    "sample_{}": "samples",
    "micro_{}": "micro",
    "macro_{}_class_avg": "macro",
}


@settings(deadline=None, max_examples=60)
@given(predictions(), st.sampled_from([0.25, 0.5, 0.8]))
def test_equals_scikit_learn(case, threshold):
    labels, scores = case
    predicted = (scores >= threshold).astype(int)
    if labels.shape[1] == 1:  # scikit-learn takes a single column for a binary task
        labels, scores = np.repeat(labels, 2, axis=1), np.repeat(scores, 2, axis=1)
        predicted = np.repeat(predicted, 2, axis=1)
    report = metrics.multi_label_report(labels, scores, threshold)
    functions = {
        "precision": sklearn_metrics.precision_score,
        "recall": sklearn_metrics.recall_score,
        "accuracy": sklearn_metrics.jaccard_score,
    }
    for key, average in SKLEARN_AVERAGES.items():
        for name, function in functions.items():
            value = function(labels, predicted, average=average, zero_division=0)
            assert report[key.format(name)] == pytest.approx(value, abs=1e-12)
        for name, beta in {"f1_score": 1, "f2_score": 2, "f0_5_score": 0.5}.items():
            value = sklearn_metrics.fbeta_score(
                labels, predicted, beta=beta, average=average, zero_division=0
            )
            assert report[key.format(name)] == pytest.approx(value, abs=1e-12)
    assert report["hamming_loss"] == pytest.approx(
        sklearn_metrics.hamming_loss(labels, predicted)
    )
    assert report["subset_accuracy"] == pytest.approx(
        sklearn_metrics.accuracy_score(labels, predicted)
    )
    assert report["label_cardinality"] == pytest.approx(labels.sum(axis=1).mean())


@settings(deadline=None, max_examples=60)
@given(predictions(), st.randoms(use_true_random=False))
def test_order_of_samples_and_labels_does_not_matter(case, random):
    labels, scores = case
    report = metrics.multi_label_report(labels, scores)
    rows, columns = list(range(labels.shape[0])), list(range(labels.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    other = metrics.multi_label_report(
        labels[rows][:, columns], scores[rows][:, columns]
    )
    # Of equal top scores the first label counts: one-error does depend on the order.
    top = scores == scores.max(axis=1, keepdims=True)
    if (top.sum(axis=1) > 1).any():
        del report["one_error"]
    for name, value in report.items():
        stem, _, index = name.rpartition("class")
        if index.isdigit():
            name = f"{stem}class{columns.index(int(index))}"
        assert other[name] == pytest.approx(value, abs=1e-12), name


@settings(deadline=None, max_examples=40)
@given(predictions())
def test_perfect_scores_give_one(case):
    labels, _ = case
    labels = labels.copy()
    labels[:, 0] = 1  # no sample without labels
    labels = np.vstack([labels, np.ones_like(labels[:1])])
    report = metrics.multi_label_report(labels, labels.astype(float))
    expect_zero = {"one_error", "hamming_loss", "ranking_loss"}
    for name, value in report.items():
        if name in expect_zero:
            assert value == 0, name
        elif name in {"coverage", "label_cardinality"}:
            assert value == pytest.approx(labels.sum(axis=1).mean()), name
        elif "auroc" not in name and not name.startswith("num_"):
            assert value == pytest.approx(1, abs=1e-12), name
    num_mixed = (~labels.astype(bool).all(axis=0)).sum()
    assert report["macro_auroc"] == pytest.approx(num_mixed / labels.shape[1])


def test_labels_without_positives_or_negatives_are_counted_as_zero():
    labels = np.array([[0, 1, 1], [0, 1, 0]])
    scores = np.array([[0.1, 0.9, 0.8], [0.2, 0.8, 0.3]])
    report = metrics.multi_label_report(labels, scores)
    assert report["num_labels_without_positives"] == 1
    assert report["num_labels_without_negatives"] == 1
    assert report["macro_average_precision"] == pytest.approx(2 / 3)
    assert report["macro_auroc"] == pytest.approx(1 / 3)
    assert report["macro_f1_score_class_avg"] == pytest.approx(2 / 3)
    assert [report[f"num_positives_class{j}"] for j in range(3)] == [0, 2, 1]


def test_report_is_flat_finite_floats_under_the_documented_names():
    labels, scores = np.eye(4, 5, dtype=bool), np.full((4, 5), 0.5, np.float32)
    report = metrics.multi_label_report(labels, scores)
    assert all(type(value) is float for value in report.values())
    assert np.isfinite(list(report.values())).all()
    assert len(report) == 25 + 6 + 9 * 5
    for name in (*PER_CLASS, "average_precision", "auroc", "num_positives"):
        assert len(per_class(report, name, 5)) == 5
    json.dumps(report, allow_nan=False)


def test_threshold_for_each_label():
    labels = np.array([[1, 0], [0, 1]])
    scores = np.array([[0.2, 0.7], [0.1, 0.8]])
    report = metrics.multi_label_report(labels, scores, np.array([0.2, 0.8]))
    assert report["subset_accuracy"] == 1
    assert metrics.multi_label_report(labels, scores, 0.75)["subset_accuracy"] == 0.5


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_label_and_score_types_do_not_matter(dtype):
    random = np.random.default_rng(0)
    labels, scores = random.random((20, 4)) < 0.4, random.random((20, 4), np.float32)
    report = metrics.multi_label_report(labels.astype(dtype), scores)
    assert report == metrics.multi_label_report(labels, scores.astype(np.float64))


GOOD = np.array([[0, 1], [1, 0]]), np.array([[0.1, 0.9], [0.8, 0.2]])


@pytest.mark.parametrize(
    ("labels", "scores", "threshold", "message"),
    [
        (GOOD[0][0], GOOD[1][0], 0.5, r"labels of shape \(samples, labels\).*\(2,\)"),
        (GOOD[0][:0], GOOD[1][:0], 0.5, r"neither of them 0.*\(0, 2\)"),
        (GOOD[0][:, :0], GOOD[1][:, :0], 0.5, r"neither of them 0.*\(2, 0\)"),
        (GOOD[0], GOOD[1][:1], 0.5, r"labels' shape \(2, 2\), got \(1, 2\)"),
        (GOOD[0] * 2, GOOD[1], 0.5, "labels to be 0 or 1, got 2 for sample 0, label 1"),
        (GOOD[0] * np.nan, GOOD[1], 0.5, "labels to be 0 or 1, got nan"),
        (GOOD[0], GOOD[1] * [np.nan, 1], 0.5, "got nan for sample 0, label 0"),
        (GOOD[0], GOOD[1] * 2, 0.5, r"got 1.8 for sample 0, label 1; .* sigmoid"),
        (GOOD[0], -GOOD[1], 0.5, r"probabilities in \[0, 1\]"),
        (GOOD[0].astype(str), GOOD[1], 0.5, "labels to be numbers"),
        (GOOD[0], GOOD[1].astype(object), 0.5, "scores to be numbers, got object"),
        (*GOOD, [0.5] * 3, r"threshold to be one number or 2.*\(3,\)"),
        (*GOOD, float("nan"), "with NaN"),
    ],
)
def test_bad_input_is_refused_in_one_line(labels, scores, threshold, message):
    with pytest.raises(ValueError, match=message) as raised:
        metrics.multi_label_report(labels, scores, threshold)
    assert "\n" not in str(raised.value)
