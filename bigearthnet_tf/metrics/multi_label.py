"""One report of everything the BigEarthNet projects measure on a labelled split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bigearthnet_tf.metrics import calibration, conventions, counts, ranking


def multi_label_report(
    labels: Any,
    scores: Any,
    threshold: float | np.ndarray = 0.5,
    convention: str = "default",
) -> dict[str, float]:
    """Returns every metric of a multi-label prediction, in float64, without NaN.

    A label is predicted where score >= threshold. Precision, recall, specificity,
    `accuracy` (the Jaccard index), `binary_accuracy` and F_beta are those of
    `counts.measures`. Names and definitions are the TF project's, so results stay
    comparable:

    - `sample_*`: the mean over samples of each sample's value;
    - `micro_*`: from the counts summed over all samples and labels;
    - `macro_*_class_avg`, `macro_*_class<j>`: the mean over labels, and label j's own;
    - `hamming_loss`, `subset_accuracy` (exact matches), `label_cardinality`;
    - `one_error`, `coverage`, `ranking_loss`, `label_ranking_avg_precision` (which is
      the average precision by sample): see `ranking.sample_ranking`.

    Beyond the TF project: `{macro,micro}_average_precision`, `{macro,micro}_auroc`,
    `average_precision_class<j>` and `auroc_class<j>` (`ranking.curve_areas`; micro is
    one curve over all pairs of sample and label), and `num_positives_class<j>`;
    `weighted_*`, means over labels by their positives;
    `{macro,micro}_calibration_error` and `calibration_error_class<j>`
    (`calibration.calibration_errors`, in 15 bins), `brier_score` and
    `brier_score_class<j>`.

    Every 0/0 is 0 and is counted in the means, as in the TF project and in
    torchmetrics; only the TF project's macro accuracy was NaN there. A label without
    positives therefore lowers every macro mean, and one without negatives the macro
    ROC area: `num_labels_without_positives` and `num_labels_without_negatives` say how
    many there are. Other conventions by name: `conventions`; with `tf` and `sklearn`
    there may be NaN.

    Time and memory for 125,866 x 43, the test split of BigEarthNet v1, are in
    `benchmarks/results/metrics.md`; the largest part is the micro curve's sort of 5.4
    million scores. Both grow in proportion to samples times labels; no working array
    has more elements than the scores.

    Args:
        labels: (samples, labels) of 0 and 1, any numeric type or bool.
        scores: (samples, labels) probabilities. float32 is compared with the threshold
            after its exact conversion to float64.
        threshold: one number, or one per label, (labels,).
        convention: who counts: `default`, `tf`, `balanced`, `torchmetrics`, `addons` or
            `sklearn`. The keys stay; `conventions.rename` gives theirs.

    Raises:
        ValueError: shapes that are not as above or not alike, no sample or no label,
            labels other than 0 and 1, scores outside [0, 1], NaN anywhere, or an
            unknown convention.
    """
    how = conventions.find(convention)
    truth, scores = checked(labels, scores)
    predicted = how.decide(scores, checked_threshold(threshold, truth.shape[1]))
    hits = truth & predicted
    by_sample = counts.measures(
        hits.sum(axis=1), predicted.sum(axis=1), truth.sum(axis=1), truth.shape[1]
    )
    num_positives = truth.sum(axis=0)
    report, by_label = _of_decisions(
        np.array([hits.sum(axis=0), predicted.sum(axis=0), num_positives]),
        {name: each.mean() for name, each in by_sample.items()},
        (truth == predicted).all(axis=1).mean(),
        len(truth),
        how.undefined_accuracy,
    )
    ranked = ranking.sample_ranking(truth, scores)
    unlabelled = ~truth.any(axis=1)
    ranked["label_ranking_avg_precision"][unlabelled] = how.unlabelled_ranking
    report |= {name: each.mean() for name, each in ranked.items()}

    curves = _curve_areas(truth, scores, how)
    gaps, pooled_gap = calibration.calibration_errors(truth, scores)
    brier = calibration.brier_scores(truth, scores)
    for name, each in curves.items():
        report[f"macro_{name}"] = each[:-1].mean()
        report[f"micro_{name}"] = each[-1]
    own = {name: each[:-1] for name, each in curves.items()}
    weighted = counts.weighted(by_label | own, num_positives)
    report |= {f"weighted_{name}": value for name, value in weighted.items()}
    report["macro_calibration_error"] = gaps.mean()
    report["micro_calibration_error"] = pooled_gap
    report["brier_score"] = brier.mean()
    report |= _one_sided(num_positives, len(truth))

    columns = {f"macro_{name}": each for name, each in by_label.items()} | own
    columns |= {
        "calibration_error": gaps,
        "brier_score": brier,
        "num_positives": num_positives,
    }
    return _flat(report, columns)


def counted_report(by_label: Any, by_sample: Any) -> dict[str, float]:
    """Returns those metrics of `multi_label_report` that counts of decisions give.

    In its default convention and to the last bits the same numbers; without the areas,
    calibration, ranking and Brier score, which need the scores, and without the values
    of single labels.

    Args:
        by_label: (3, labels) whole numbers: samples that have the label and were given
            it, that were given it, that have it.
        by_sample: (labels + 1, labels + 1, labels + 1) whole numbers: how many samples
            have how many labels right, given and true, in this order.

    Raises:
        ValueError: other shapes, or no sample.
    """
    by_label = np.asarray(by_label, np.int64)
    by_sample = np.asarray(by_sample, np.int64)
    num_labels = by_label.shape[-1]
    if by_label.shape != (3, num_labels) or by_sample.shape != (num_labels + 1,) * 3:
        raise ValueError(
            "expected counts (3, labels) and (labels + 1, labels + 1, labels + 1), got "
            f"{by_label.shape} and {by_sample.shape}"
        )
    samples = int(by_sample.sum())
    if not samples:
        raise ValueError("expected counts of at least one sample")
    hits, predicted, actual = kinds = np.nonzero(by_sample)
    times = by_sample[kinds]
    each = counts.measures(hits, predicted, actual, num_labels)
    means = {name: (value * times).sum() / samples for name, value in each.items()}
    exact = times[(hits == predicted) & (hits == actual)].sum() / samples
    report, measured = _of_decisions(by_label, means, exact, samples)
    weighted = counts.weighted(measured, by_label[2])
    report |= {f"weighted_{name}": value for name, value in weighted.items()}
    report |= _one_sided(by_label[2], samples)
    return _flat(report, {})


def _of_decisions(
    by_label: np.ndarray,
    by_sample: Mapping[str, float],
    exact: float,
    samples: int,
    undefined_accuracy: float = 0.0,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns the metrics that follow from decisions, and those of each label.

    Args:
        by_label: (3, labels) tp, tp + fp, tp + fn.
        by_sample: mean over the samples of each measure.
        exact: share of the samples with all labels right.
        samples: how many.
        undefined_accuracy: of a label that is neither there nor given.
    """
    total = samples * by_label.shape[1]
    hits, predicted, actual = by_label
    measured = counts.measures(hits, predicted, actual, samples)
    never = (predicted == 0) & (actual == 0)
    measured["accuracy"] = np.where(never, undefined_accuracy, measured["accuracy"])
    pooled = counts.measures(hits.sum(), predicted.sum(), actual.sum(), total)
    report: dict[str, Any] = {f"sample_{n}": value for n, value in by_sample.items()}
    report |= {f"micro_{name}": value for name, value in pooled.items()}
    report |= {f"macro_{n}_class_avg": each.mean() for n, each in measured.items()}
    report["hamming_loss"] = (predicted + actual - 2 * hits).sum() / total
    report["subset_accuracy"] = exact
    report["label_cardinality"] = actual.sum() / samples
    return report, measured


def _one_sided(num_positives: np.ndarray, samples: int) -> dict[str, int]:
    """Returns how many labels no sample has, and how many all have."""
    return {
        "num_labels_without_positives": int((num_positives == 0).sum()),
        "num_labels_without_negatives": int((num_positives == samples).sum()),
    }


def _flat(
    report: Mapping[str, Any], columns: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Returns a report with a key for each label of each column."""
    found = dict(report)
    for name, each in columns.items():
        found |= {f"{name}_class{j}": value for j, value in enumerate(each)}
    return {name: float(value) for name, value in found.items()}


def _curve_areas(
    truth: np.ndarray, scores: np.ndarray, how: conventions.Convention
) -> dict[str, np.ndarray]:
    """Returns both areas of each label and, last, of all pairs, (labels + 1,)."""
    areas = np.array(
        [
            *(
                ranking.curve_areas(t, s)
                for t, s in zip(truth.T, scores.T, strict=True)
            ),
            ranking.curve_areas(truth.ravel(), scores.ravel()),
        ]
    )
    positives = np.append(truth.sum(axis=0), truth.sum())
    totals = np.append(np.full(truth.shape[1], len(truth)), truth.size)
    one_class = (positives == 0) | (positives == totals)
    areas[one_class, 1] = how.undefined_auroc
    return {"average_precision": areas[:, 0], "auroc": areas[:, 1]}


def confusion_matrices(
    labels: Any,
    scores: Any,
    threshold: float | np.ndarray = 0.5,
    convention: str = "default",
) -> np.ndarray:
    """Returns [[tn, fp], [fn, tp]] of each label, int64 (labels, 2, 2).

    The order is that of tensorflow-addons' MultiLabelConfusionMatrix and of
    scikit-learn. Arguments and errors as for `multi_label_report`.
    """
    how = conventions.find(convention)
    truth, scores = checked(labels, scores)
    predicted = how.decide(scores, checked_threshold(threshold, truth.shape[1]))
    cells = [
        [(~truth & ~predicted), (~truth & predicted)],
        [(truth & ~predicted), (truth & predicted)],
    ]
    table = [[cell.sum(axis=0) for cell in row] for row in cells]
    return np.array(table, np.int64).transpose(2, 0, 1)


def checked(labels: Any, scores: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels as bool and scores as float64, or raises ValueError."""
    labels, scores = np.asarray(labels), np.asarray(scores)
    if labels.ndim != 2 or 0 in labels.shape:
        raise ValueError(
            f"expected labels of shape (samples, labels), neither of them 0, "
            f"got {labels.shape}"
        )
    if scores.shape != labels.shape:
        raise ValueError(
            f"expected scores of the labels' shape {labels.shape}, got {scores.shape}"
        )
    for name, array, kinds in (("labels", labels, "biuf"), ("scores", scores, "iuf")):
        if array.dtype.kind not in kinds:
            raise ValueError(f"expected {name} to be numbers, got {array.dtype}")
    wrong = ~((labels == 0) | (labels == 1))
    if wrong.any():
        raise ValueError(f"expected labels to be 0 or 1, got {_first(labels, wrong)}")
    wrong = ~((scores >= 0) & (scores <= 1))  # NaN compares false
    if wrong.any():
        raise ValueError(
            f"expected scores to be probabilities in [0, 1], got "
            f"{_first(scores, wrong)}; logits need a sigmoid first"
        )
    return labels.astype(bool), scores.astype(np.float64)


def checked_threshold(threshold: Any, num_labels: int) -> np.ndarray:
    """Returns the threshold as an array, or raises ValueError."""
    array = np.asarray(threshold, np.float64)
    if array.shape not in ((), (num_labels,)) or np.isnan(array).any():
        raise ValueError(
            f"expected threshold to be one number or {num_labels}, one per label, "
            f"got shape {array.shape}" + (" with NaN" if np.isnan(array).any() else "")
        )
    return array


def _first(array: np.ndarray, wrong: np.ndarray) -> str:
    """Returns the first value where `wrong` is set, and its place, as a phrase."""
    sample, label = np.argwhere(wrong)[0]
    return f"{array[sample, label]} for sample {sample}, label {label}"
