"""All that is measured of predictions: at 0.5 and at other thresholds."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf import console, metrics
from bigearthnet_tf.evaluation import confusions, report
from bigearthnet_tf.evaluation.predictions import Predictions
from bigearthnet_tf.evaluation.thresholds import Thresholds
from bigearthnet_tf.metrics import bootstrap

HEADLINES = (
    "macro_average_precision",
    "micro_average_precision",
    "macro_f1_score_class_avg",
    "micro_f1_score",
    "sample_f1_score",
    "macro_auroc",
    "hamming_loss",
)
PLAIN, TUNED = "threshold 0.5", "tuned thresholds"
LEVEL = 0.95
# Everything else follows from the scores alone.
_DECIDED = re.compile(
    r"(sample|micro|macro|weighted)_(precision|recall|specificity|(binary_)?accuracy|"
    r"f\d+(_\d+)?_score)|hamming_loss|subset_accuracy"
)

Intervals = dict[str, tuple[float, float]]


def is_decided(key: str) -> bool:
    """Returns whether a metric depends on the thresholds."""
    return _DECIDED.match(key) is not None


@dataclass(frozen=True, eq=False)
class Measured:
    """Predictions and all that is measured of them.

    Attributes:
        predictions: of the test split.
        plain: all metrics at 0.5, and the loss where it is known.
        thresholds: that are applied beside 0.5; None for none.
        tuned: the metrics that depend on thresholds, at these.
        intervals: of `plain`; empty without resampling.
        tuned_intervals: of `tuned`.
        others: metrics of baselines at 0.5, by their names.
        rounds: of the resampling.
        seed: likewise.
    """

    predictions: Predictions
    plain: Mapping[str, float]
    thresholds: Thresholds | None
    tuned: Mapping[str, float]
    intervals: Intervals
    tuned_intervals: Intervals
    others: Mapping[str, Mapping[str, float]]
    rounds: int
    seed: int

    @property
    def limits(self) -> NDArray[np.float64]:
        """The thresholds that pictures go by, float64 (labels,)."""
        if self.thresholds is not None:
            return self.thresholds.values
        return np.full(len(self.predictions.label_order), 0.5)

    def columns(self) -> dict[str, Mapping[str, float]]:
        """Returns headings to metrics: at 0.5, tuned, baselines."""
        tuned = {TUNED: self.tuned} if self.tuned else {}
        return {PLAIN: self.plain, **tuned, **self.others}

    def bounds(self) -> dict[str, Intervals]:
        """Returns the intervals of columns by their headings."""
        return {PLAIN: self.intervals, TUNED: self.tuned_intervals}

    def flat(self) -> dict[str, float]:
        """Returns what `eval_result.json` holds."""
        result = dict(self.plain) | {f"tuned_{k}": v for k, v in self.tuned.items()}
        if self.thresholds is not None:
            values = self.thresholds.thresholds
            result |= {f"tuned_threshold_class{j}": v for j, v in enumerate(values)}
        return result

    def intervals_json(self) -> dict[str, Any]:
        """Returns what `eval_intervals.json` holds."""
        both = self.intervals | {
            f"tuned_{key}": bounds for key, bounds in self.tuned_intervals.items()
        }
        return {
            "level": LEVEL,
            "rounds": self.rounds,
            "seed": self.seed,
            "method": "percentiles of a bootstrap over patches",
            "intervals": {key: list(bounds) for key, bounds in both.items()},
        }

    def conventions(self) -> dict[str, dict[str, Any]]:
        """Returns the metrics at 0.5 as others count and call them; None for NaN."""
        labels, scores = self.predictions.labels, self.predictions.scores
        # Those that decide alike share a report.
        found: dict[str, dict[str, Any]] = {}
        for counted, named in (
            ("tf", ("tf", "balanced")),
            ("torchmetrics", ("torchmetrics", "addons")),
            ("sklearn", ("sklearn",)),
        ):
            of = metrics.multi_label_report(labels, scores, convention=counted)
            found |= {name: metrics.rename(of, name) for name in named}
        return {
            name: {key: _without_nan(value) for key, value in of.items()}
            for name, of in found.items()
        }

    def confusions(self) -> list[dict[str, Any]]:
        """Returns the most frequent pairs of a missed label and a false alarm."""
        predicted = self.predictions.scores >= self.limits
        return confusions.rows(
            self.predictions.labels, predicted, self.predictions.label_order
        )

    def per_class(self) -> list[dict[str, Any]]:
        """Returns a row for each label, with all that tables have of it."""
        order, labels = self.predictions.label_order, self.predictions.labels
        rows = report.per_class_table(self.plain, order, labels.sum(axis=0).astype(int))
        cells = metrics.confusion_matrices(labels, self.predictions.scores)
        for j, row in enumerate(rows):
            (_, false), (missed, hits) = cells[j].tolist()
            row |= {
                "true_positives": hits,
                "false_positives": false,
                "false_negatives": missed,
                "specificity": self.plain[f"macro_specificity_class{j}"],
                "calibration_error": self.plain[f"calibration_error_class{j}"],
                "brier_score": self.plain[f"brier_score_class{j}"],
            }
            for name, key in (
                ("average_precision", f"average_precision_class{j}"),
                ("f1", f"macro_f1_score_class{j}"),
            ):
                low, high = self.intervals.get(key, (None, None))
                row |= {f"{name}_low": low, f"{name}_high": high}
            if self.thresholds is not None:
                row |= {
                    "threshold": self.thresholds.thresholds[j],
                    "tuned_precision": self.tuned[f"macro_precision_class{j}"],
                    "tuned_recall": self.tuned[f"macro_recall_class{j}"],
                    "tuned_f1": self.tuned[f"macro_f1_score_class{j}"],
                }
        return rows


def measure(
    found: Predictions,
    chosen: Thresholds | None,
    loss: Mapping[str, float],
    *,
    rounds: int,
    seed: int,
) -> Measured:
    """Measures predictions.

    Args:
        found: of the test split.
        chosen: thresholds to apply beside 0.5; None for none.
        loss: of the split by its name, or nothing.
        rounds: resamplings for the intervals; 0 for none.
        seed: of the resampling.
    """
    labels, scores = found.labels, found.scores
    plain = {**loss, **metrics.multi_label_report(labels, scores)}
    tuned: dict[str, float] = {}
    intervals: Intervals = {}
    tuned_intervals: Intervals = {}
    if rounds:
        intervals = bootstrap.intervals(
            resample(labels, scores, 0.5, rounds, seed), LEVEL
        )
    if chosen is not None:
        at = metrics.multi_label_report(labels, scores, chosen.values)
        tuned = {key: value for key, value in at.items() if is_decided(key)}
        if rounds:
            again = resample(labels, scores, chosen.values, rounds, seed, areas=False)
            again = {key: values for key, values in again.items() if is_decided(key)}
            tuned_intervals = bootstrap.intervals(again, LEVEL)
    others = {
        name: metrics.multi_label_report(labels, theirs)
        for name, theirs in found.others.items()
    }
    return Measured(
        found, plain, chosen, tuned, intervals, tuned_intervals, others, rounds, seed
    )


def resample(
    labels: NDArray[np.uint8],
    scores: NDArray[np.float32],
    threshold: float | NDArray[np.float64],
    rounds: int,
    seed: int,
    *,
    areas: bool = True,
    what: str = "resampling",
) -> bootstrap.Replicates:
    """Returns `bootstrap.replicates` and shows how far it is."""
    return bootstrap.replicates(
        labels,
        scores,
        threshold,
        rounds=rounds,
        seed=seed,
        areas=areas,
        progress=lambda blocks: console.progress(
            blocks,
            total=bootstrap.num_blocks(len(labels), rounds),
            desc=what,
            unit="block",
            leave=False,
        ),
    )


def _without_nan(value: float | list[float]) -> Any:
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if math.isnan(value) else value
