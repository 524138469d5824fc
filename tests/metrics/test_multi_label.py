"""The report against three reference implementations, scikit-learn and itself."""

import functools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from bigearthnet_tf import metrics
from bigearthnet_tf.metrics import conventions

CASES = ("ordinary_19", "ties_19", "degenerate_43", "one_row_19", "exact_half_19")
# tensorflow-addons and torchmetrics predict where score > 0.5, the TF project where
# score >= 0.5. Above the next float64, >= decides as they do, on exact halves too.
STRICT = np.nextafter(0.5, 1)
PER_CLASS = (
    "precision",
    "recall",
    "f1_score",
    "f2_score",
    "f0_5_score",
    "accuracy",
    "specificity",
    "binary_accuracy",
)


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


def test_balanced_bigearthnet_counts_in_percent_and_calls_micro_recall_recall():
    labels, scores = np.array([[1, 0], [1, 1]]), np.array([[0.9, 0.6], [0.2, 0.5]])
    report = metrics.multi_label_report(labels, scores, convention="balanced")
    found = metrics.rename(report, "balanced")
    assert found["accuracy"] == 50
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["macro_precision"] == 0.75
    assert "macro_precision,macro_recall,macro_f1,macro_f2,micro_precision,recall," in (
        ",".join(found) + ","
    )


def per_class(report, name, num_labels):
    prefix = "macro_" if name in PER_CLASS else ""
    return np.array([report[f"{prefix}{name}_class{j}"] for j in range(num_labels)])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("convention", "source"),
    [
        ("tf", "tf1_project"),
        ("torchmetrics", "torchmetrics_1.9.0"),
        ("addons", "tensorflow_addons_0.23"),
    ],
)
def test_every_value_of_the_reference_under_its_convention(
    reference, case, convention, source
):
    labels, scores, expected = reference(case, source)
    report = metrics.multi_label_report(labels, scores, convention=convention)
    found = metrics.rename(report, convention)
    found = {name.removeprefix("Multilabel"): each for name, each in found.items()}
    # Losses of addons are in tests/losses, its matrices below.
    elsewhere = {
        name
        for name in expected
        if name.startswith("SigmoidFocal") or name == "MultiLabelConfusionMatrix"
    }
    beyond = found.keys() - (expected.keys() - elsewhere)
    # torchmetrics gave no means over samples for the single row.
    assert expected.keys() - elsewhere <= found.keys()
    assert not beyond or (case == "one_row_19" and all("sample" in n for n in beyond))
    for name in found.keys() - beyond:
        wanted = np.asarray(expected[name], float)  # "NaN" becomes NaN
        # In float32 where they are above 1: coverage.
        bound = 1e-6 * max(1, np.nanmax(wanted, initial=0))
        np.testing.assert_allclose(
            found[name], wanted, rtol=0, atol=bound, err_msg=name
        )
    if convention == "addons":
        matrices = metrics.confusion_matrices(labels, scores, convention=convention)
        assert (matrices == expected["MultiLabelConfusionMatrix"]).all()


@pytest.mark.parametrize("case", CASES)
def test_the_default_has_no_nan_and_is_strict_one_float_above(reference, case):
    labels, scores, expected = reference(case, "tf1_project")
    assert len(expected) == 25 + 6 * labels.shape[1]
    ours = metrics.multi_label_report(labels, scores)
    theirs = metrics.multi_label_report(labels, scores, convention="tf")
    assert np.isfinite(list(ours.values())).all()
    for name, value in theirs.items():
        if np.isnan(value):
            assert "macro_accuracy" in name
        else:
            assert ours[name] == value, name
    strict = metrics.multi_label_report(labels, scores, convention="torchmetrics")
    assert strict == metrics.multi_label_report(labels, scores, STRICT)


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


def random_case(seed):
    """Ties, empty and full labels, label-free samples, and single rows."""
    rng = np.random.default_rng(seed)
    samples = 1 if seed % 5 == 0 else int(rng.integers(2, 60))
    num_labels = int(rng.integers(2, 12))
    frequency = rng.choice([0, 0.1, 0.4, 1], num_labels, p=[0.15, 0.35, 0.35, 0.15])
    labels = (rng.random((samples, num_labels)) < frequency).astype(int)
    levels = rng.choice([4, 20, 10**9])
    scores = np.clip(rng.normal(0.4 + 0.2 * labels, 0.25), 0, 1)
    return labels, np.round(scores * levels) / levels, rng.choice([0.25, 0.5, 0.8])


@pytest.mark.parametrize("seed", range(50))
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.filterwarnings("ignore:No positive class found")
def test_equals_scikit_learn(seed):
    labels, scores, threshold = random_case(seed)
    predicted = (scores >= threshold).astype(int)
    report = metrics.multi_label_report(labels, scores, threshold, "sklearn")
    found = metrics.rename(report, "sklearn")
    expected = {
        "hamming_loss": sklearn_metrics.hamming_loss(labels, predicted),
        "accuracy_score": sklearn_metrics.accuracy_score(labels, predicted),
    }
    for name in (
        "coverage_error",
        "label_ranking_loss",
        "label_ranking_average_precision_score",
    ):
        expected[name] = getattr(sklearn_metrics, name)(labels, scores)
    for average in ("samples", "micro", "macro", "weighted", None):
        for name in ("precision_score", "recall_score", "f1_score", "jaccard_score"):
            expected[f"{name}_{str(average).lower()}"] = getattr(sklearn_metrics, name)(
                labels, predicted, average=average, zero_division=0
            )
        for beta in (0.5, 2):
            expected[f"fbeta_score_{beta}_{str(average).lower()}"] = (
                sklearn_metrics.fbeta_score(
                    labels, predicted, beta=beta, average=average, zero_division=0
                )
            )
        if average != "samples":
            for name in ("average_precision_score", "roc_auc_score"):
                expected[f"{name}_{str(average).lower()}"] = getattr(
                    sklearn_metrics, name
                )(labels, scores, average=average)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-12, err_msg=name)
    matrices = sklearn_metrics.multilabel_confusion_matrix(labels, predicted)
    assert (metrics.confusion_matrices(labels, scores, threshold) == matrices).all()


# Columns that are always, never and sometimes true, in any company.
ONE_CLASS = {
    "no_positives": [[0, 1, 1], [0, 0, 0], [0, 1, 0]],
    "no_negatives": [[1, 1, 1], [1, 0, 0], [1, 1, 0]],
    "both": [[0, 1, 1, 0], [0, 1, 0, 1], [0, 1, 1, 1]],
    "neither_beside_them": [[0, 1], [0, 1]],
    "nothing": [[0, 0], [0, 0], [0, 0]],
    "everything": [[1, 1], [1, 1], [1, 1]],
    "one_row": [[0, 1, 1]],
    "one_positive": [[0, 0, 0], [0, 0, 1]],
}


@pytest.mark.parametrize("labels", ONE_CLASS.values(), ids=ONE_CLASS)
@pytest.mark.parametrize("convention", conventions.CONVENTIONS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.filterwarnings("ignore:No positive class found")
def test_averages_of_labels_with_one_class(labels, convention):
    """Means by the convention's own numbers of the labels, where one is undefined.

    A label without positives has weight 0 in a weighted mean, whatever its value.
    """
    labels, how = np.array(labels), conventions.find(convention)
    scores = np.random.default_rng(labels.size).choice([0.2, 0.5, 0.7], labels.shape)
    predicted = how.decide(scores, np.array(0.5)).astype(int)
    report = metrics.multi_label_report(labels, scores, convention=convention)
    counted = {
        ours: functools.partial(getattr(sklearn_metrics, name), zero_division=0)
        for ours, name in (
            ("precision", "precision_score"),
            ("recall", "recall_score"),
            ("f1_score", "f1_score"),
            ("accuracy", "jaccard_score"),
        )
    }
    ranked = {
        "average_precision": sklearn_metrics.average_precision_score,
        "auroc": sklearn_metrics.roc_auc_score,
    }
    never = ~(labels | predicted).any(axis=0)
    for name, function in {**counted, **ranked}.items():
        given = scores if name in ranked else predicted
        each = np.array(function(labels, given, average=None), float)
        if name == "auroc":
            each[np.isnan(each)] = how.undefined_auroc
        elif name == "accuracy":
            each[never] = how.undefined_accuracy
        np.testing.assert_allclose(conventions.by_class(report, name), each, rtol=1e-12)
        # Where a label with positives has NaN, scikit-learn's mean is NaN too.
        present = labels.any(axis=0)
        expected = {"macro": each.mean(), "weighted": 0.0}
        if present.any():
            expected["weighted"] = np.average(
                each[present], weights=labels.sum(axis=0)[present]
            )
        for average, value in expected.items():
            found = report[conventions.averaged(name, average)]
            np.testing.assert_allclose(found, value, rtol=1e-12, err_msg=name)
            if convention == "sklearn":
                theirs = function(labels, given, average=average)
                np.testing.assert_allclose(found, theirs, rtol=1e-12, err_msg=name)


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
        if "specificity" in name:
            continue  # 0 without negatives
        if name in expect_zero or "calibration" in name or "brier" in name:
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
    other = ("average_precision", "auroc", "num_positives")
    other += ("calibration_error", "brier_score")
    assert len(report) == 25 + 6 + 3 * 2 + 10 + 3 + 13 * 5
    for name in (*PER_CLASS, *other):
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


def test_an_unknown_convention_is_refused():
    with pytest.raises(ValueError, match="'keras': expected one of default, tf, "):
        metrics.multi_label_report(*GOOD, convention="keras")
