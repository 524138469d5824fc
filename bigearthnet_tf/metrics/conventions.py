"""What others call the same measures, and where they count otherwise.

| | predicted | accuracy | Jaccard, never there | AUROC, one class | LRAP, no label |
|---|---|---|---|---|---|
| `default` | score >= t | both | 0 | 0 | 0 |
| `tf` | score >= t | Jaccard | NaN | – | 0 |
| `balanced` | score >= t | binary, in percent | – | – | – |
| `torchmetrics` | score > t | binary | – | 0 | – |
| `addons` | score > t | – | – | – | – |
| `sklearn` | score >= t | Jaccard | 0 | NaN | 1 |

`tf` is the TU Berlin TensorFlow project, `balanced` balanced-bigearthnet,
`torchmetrics` what reBEN reports, `addons` tensorflow-addons 0.23. scikit-learn takes
predictions, not scores, for what needs a threshold t. All else is the same in all of
them: 0/0 is 0 and counts in the means, the average precision of a label without
positives included; in weighted means such a label has weight 0, and its NaN does not
count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Report = Mapping[str, float]
Renamed = dict[str, float | list[float]]

_MACRO_ALONE = ("average_precision", "auroc")


@dataclass(frozen=True)
class Convention:
    """How somebody counts, and what they call it.

    Attributes:
        strict: whether a label is predicted where score > threshold, not >=.
        undefined_accuracy: Jaccard index of a label neither present nor predicted.
        undefined_auroc: ROC area of a label without positives or negatives.
        unlabelled_ranking: label ranking average precision of a sample without labels.
        rename: from our report to theirs, under their names.
    """

    strict: bool = False
    undefined_accuracy: float = 0.0
    undefined_auroc: float = 0.0
    unlabelled_ranking: float = 0.0
    rename: Callable[[Report], Renamed] = dict

    def decide(self, scores: np.ndarray, threshold: np.ndarray) -> np.ndarray:
        """Returns where a label is predicted, bool."""
        return scores > threshold if self.strict else scores >= threshold


def find(name: str) -> Convention:
    """Returns a convention by its name.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in CONVENTIONS:
        raise ValueError(
            f"unknown convention {name!r}: expected one of {', '.join(CONVENTIONS)}"
        )
    return CONVENTIONS[name]


def rename(report: Report, convention: str) -> Renamed:
    """Returns those measures of a report that a convention has, under its names.

    Args:
        report: of `multi_label_report` with the same convention.
        convention: its name.

    Returns:
        Numbers; a list, in the order of the labels, for what they give by class.

    Raises:
        ValueError: no such convention.
    """
    return find(convention).rename(report)


def averaged(name: str, average: str) -> str:
    """Returns our key of a measure: `macro_f1_score_class_avg`, `micro_auroc`, ...

    Args:
        name: `f1_score`, `average_precision`, ...
        average: `macro`, `micro`, `sample` or `weighted`.
    """
    suffix = "_class_avg" if average == "macro" and name not in _MACRO_ALONE else ""
    return f"{average}_{name}{suffix}"


def by_class(report: Report, name: str) -> list[float]:
    """Returns a measure of each label, in their order."""
    stem = f"{name}_class"
    prefixed = f"macro_{stem}"
    if f"{prefixed}0" in report:
        stem = prefixed
    values, label = [], 0
    while f"{stem}{label}" in report:
        values.append(report[f"{stem}{label}"])
        label += 1
    return values


_TF_OWN = (
    *(f"sample_{name}" for name in ("precision", "recall", "accuracy")),
    *(f"micro_{name}" for name in ("precision", "recall", "accuracy")),
    *(f"macro_{name}_class_avg" for name in ("precision", "recall", "accuracy")),
    *(f"sample_{name}" for name in ("f1_score", "f2_score", "f0_5_score")),
    *(f"micro_{name}" for name in ("f1_score", "f2_score", "f0_5_score")),
    *(f"macro_{name}_class_avg" for name in ("f1_score", "f2_score", "f0_5_score")),
    "hamming_loss",
    "subset_accuracy",
    "one_error",
    "coverage",
    "ranking_loss",
    "label_ranking_avg_precision",
    "label_cardinality",
)
_TF_PER_CLASS = re.compile(
    r"macro_(precision|recall|accuracy|f1_score|f2_score|f0_5_score)_class\d+"
)


def _tf(report: Report) -> Renamed:
    return {
        key: value
        for key, value in report.items()
        if key in _TF_OWN or _TF_PER_CLASS.fullmatch(key)
    }


_TORCHMETRICS = {
    "Accuracy": "binary_accuracy",
    "AUROC": "auroc",
    "AveragePrecision": "average_precision",
    "F1Score": "f1_score",
    "FBetaScore": "f2_score",  # reBEN's beta
    "Precision": "precision",
    "Recall": "recall",
    "Specificity": "specificity",
}


def _torchmetrics(report: Report) -> Renamed:
    renamed: Renamed = {}
    for theirs, ours in _TORCHMETRICS.items():
        for average in ("macro", "micro", "sample"):
            key = averaged(ours, average)
            if key in report:
                renamed[f"Multilabel{theirs}_{average}"] = report[key]
        renamed[f"Multilabel{theirs}_class"] = by_class(report, ours)
    return renamed


def _addons(report: Report) -> Renamed:
    renamed: Renamed = {"HammingLoss": report["hamming_loss"]}
    for theirs, ours in (
        ("F1Score_{}", "f1_score"),
        ("FBetaScore_{}_beta0.5", "f0_5_score"),
        ("FBetaScore_{}_beta2.0", "f2_score"),
    ):
        for average in ("macro", "micro", "weighted"):
            renamed[theirs.format(average)] = report[averaged(ours, average)]
    return renamed


_SKLEARN = {
    "precision_score": "precision",
    "recall_score": "recall",
    "f1_score": "f1_score",
    "fbeta_score_2": "f2_score",
    "fbeta_score_0.5": "f0_5_score",
    "jaccard_score": "accuracy",
    "average_precision_score": "average_precision",
    "roc_auc_score": "auroc",
}
_SKLEARN_SINGLE = {
    "accuracy_score": "subset_accuracy",
    "hamming_loss": "hamming_loss",
    "coverage_error": "coverage",
    "label_ranking_loss": "ranking_loss",
    "label_ranking_average_precision_score": "label_ranking_avg_precision",
}


def _sklearn(report: Report) -> Renamed:
    renamed: Renamed = {t: report[ours] for t, ours in _SKLEARN_SINGLE.items()}
    for theirs, ours in _SKLEARN.items():
        for average in ("macro", "micro", "weighted", "sample"):
            key = averaged(ours, average)
            if key in report:
                words = "samples" if average == "sample" else average
                renamed[f"{theirs}_{words}"] = report[key]
        renamed[f"{theirs}_none"] = by_class(report, ours)
    return renamed


def _balanced(report: Report) -> Renamed:
    # The columns of its scores.csv: the second recall has no "micro" in its name.
    renamed: Renamed = {
        f"macro_{short}": report[f"macro_{ours}_class_avg"]
        for short, ours in _BALANCED.items()
    }
    renamed |= {
        "recall" if short == "recall" else f"micro_{short}": report[f"micro_{ours}"]
        for short, ours in _BALANCED.items()
    }
    return {**renamed, "accuracy": 100 * report["micro_binary_accuracy"]}


_BALANCED = {
    "precision": "precision",
    "recall": "recall",
    "f1": "f1_score",
    "f2": "f2_score",
}

CONVENTIONS: dict[str, Convention] = {
    "default": Convention(),
    "tf": Convention(undefined_accuracy=np.nan, rename=_tf),
    "balanced": Convention(rename=_balanced),
    "torchmetrics": Convention(strict=True, rename=_torchmetrics),
    "addons": Convention(strict=True, rename=_addons),
    "sklearn": Convention(
        undefined_auroc=np.nan, unlabelled_ranking=1.0, rename=_sklearn
    ),
}
