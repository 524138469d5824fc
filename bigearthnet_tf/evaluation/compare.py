"""Runs side by side on the same patches, with paired bootstrap.

Every round of the bootstrap draws the same patches for all runs, so that what makes
some patches harder than others drops out of the differences. An interval that holds 0
leaves open which run is better; of 19 or 43 labels one or two exclude it by chance
alone. It says nothing of other seeds of the training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bigearthnet_tf import files, metrics
from bigearthnet_tf.evaluation import measured, predictions, thresholds
from bigearthnet_tf.evaluation.predictions import Predictions
from bigearthnet_tf.metrics import bootstrap

LEVEL = measured.LEVEL
MEASURES = (
    "macro_average_precision",
    "micro_average_precision",
    "macro_f1_score_class_avg",
    "micro_f1_score",
    "sample_f1_score",
    "macro_precision_class_avg",
    "macro_recall_class_avg",
    "macro_auroc",
    "label_ranking_avg_precision",
    "ranking_loss",
    "coverage",
    "one_error",
    "hamming_loss",
    "subset_accuracy",
    "brier_score",
)
# Stems of what is compared for each label.
PER_LABEL = {"average_precision": "average_precision", "f1": "macro_f1_score"}


@dataclass(frozen=True, eq=False)
class Run:
    """A run that was evaluated.

    Attributes:
        name: what tells it from the others.
        path: its folder, or the file of its scores.
        config: its keys; empty where only scores are known.
        predictions: in the order of the first run.
        thresholds: from which labels are given, float64 (labels,).
    """

    name: str
    path: Path
    config: Mapping[str, Any]
    predictions: Predictions
    thresholds: np.ndarray


@dataclass(frozen=True)
class Difference:
    """A metric of a run less that of the first one.

    Attributes:
        value: on the patches as they are.
        low: lower bound of the 95 % interval.
        high: upper bound.
        share_higher: of the rounds in which it is above 0, half of those where it is 0.
    """

    value: float
    low: float
    high: float
    share_higher: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs, their metrics, and the differences to the first run.

    Attributes:
        runs: at least two.
        labels: names of the labels.
        positives: of each label.
        values: metrics of each run.
        intervals: of each run's metrics.
        differences: of each run but the first.
        rounds: of the bootstrap.
        seed: likewise.
    """

    runs: Sequence[Run]
    labels: tuple[str, ...]
    positives: list[int]
    values: list[dict[str, float]]
    intervals: list[measured.Intervals]
    differences: list[dict[str, Difference]]
    rounds: int
    seed: int

    def compared(self) -> dict[str, str]:
        """Returns what is compared: key to its label, empty for all labels."""
        found = dict.fromkeys(MEASURES, "")
        for stem in PER_LABEL.values():
            found |= {f"{stem}_class{j}": name for j, name in enumerate(self.labels)}
        return found


def read(paths: Sequence[Path], tuned: bool = False) -> list[Run]:
    """Returns runs with their scores in the order of the first one's patches.

    Args:
        paths: folders of runs that were evaluated, or files of scores.
        tuned: take the thresholds of each run's `thresholds.json` instead of 0.5.

    Raises:
        FileNotFoundError: a run was not evaluated, or has no thresholds.
        ValueError: fewer than two runs, one of them twice, scores of other patches or
            labels, or thresholds of other weights.
    """
    if len(paths) < 2:
        raise ValueError(f"expected at least two runs to compare, got {len(paths)}")
    twice = {path.resolve() for path in paths}
    if len(twice) < len(paths):
        raise ValueError("expected different runs, one of them is named twice")
    found: list[Run] = []
    for path, name in zip(paths, _names(paths), strict=True):
        scores = predictions.load(path)
        if found:
            scores = predictions.align(scores, found[0].predictions)
        limits = np.full(len(scores.label_order), 0.5)
        if tuned:
            own = path if path.is_dir() else path.parent
            chosen = thresholds.load(own)
            where = own / thresholds.FILE
            thresholds.check(chosen, where, scores.label_order, scores.fingerprint)
            limits = chosen.values
        config = path / "config.json"
        known = files.read_json(config) if config.is_file() else {}
        found.append(Run(name, path, known, scores, limits))
    return found


def _names(paths: Sequence[Path]) -> list[str]:
    """Returns the shortest ends of paths that tell them apart."""
    whole = [path.resolve() for path in paths]
    if all(path.name == predictions.FILE for path in whole):
        whole = [path.parent for path in whole]
    for depth in range(1, 8):
        names = ["/".join(path.parts[-depth:]) for path in whole]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def compare(runs: Sequence[Run], *, rounds: int = 1000, seed: int = 42) -> Comparison:
    """Compares runs with the first one.

    Args:
        runs: of `read`.
        rounds: of the bootstrap.
        seed: of its draws, the same ones for all runs.

    Raises:
        ValueError: no round.
    """
    values, replicates = [], []
    for run in runs:
        labels, scores = run.predictions.labels, run.predictions.scores
        values.append(metrics.multi_label_report(labels, scores, run.thresholds))
        replicates.append(
            measured.resample(
                labels, scores, run.thresholds, rounds, seed, what=run.name
            )
        )
    first = runs[0].predictions
    result = Comparison(
        runs,
        first.label_order,
        first.labels.sum(axis=0).astype(int).tolist(),
        values,
        [bootstrap.intervals(of, LEVEL) for of in replicates],
        [],
        rounds,
        seed,
    )
    differences = [
        {
            key: _difference(
                values[number][key] - values[0][key],
                replicates[number][key] - replicates[0][key],
            )
            for key in result.compared()
        }
        for number in range(1, len(runs))
    ]
    return dataclasses.replace(result, differences=differences)


def _difference(value: float, sampled: np.ndarray) -> Difference:
    low, high = bootstrap.interval(sampled, LEVEL)
    share = (sampled > 0).mean() + (sampled == 0).mean() / 2
    return Difference(value, low, high, float(share))


def rows(found: Comparison) -> list[dict[str, Any]]:
    """Returns a row for each measure, of all labels and of each, and each run."""
    table = []
    for key, label in found.compared().items():
        measure = key.split("_class")[0] if label else key
        for number, run in enumerate(found.runs):
            low, high = found.intervals[number][key]
            of = found.differences[number - 1][key] if number else None
            table.append(
                {
                    "measure": measure,
                    "label": label,
                    "run": run.name,
                    "value": found.values[number][key],
                    "low": low,
                    "high": high,
                    "difference": of.value if of else None,
                    "difference_low": of.low if of else None,
                    "difference_high": of.high if of else None,
                    "share_higher": of.share_higher if of else None,
                }
            )
    return table


def to_json(found: Comparison) -> dict[str, Any]:
    """Returns everything as JSON has it."""
    return {
        "runs": [
            {
                "name": run.name,
                "path": str(run.path),
                "model": run.config.get("model_name"),
                "iteration": run.predictions.iteration,
                "split": run.predictions.split,
                "generated": bool(run.config.get("generated")),
                "thresholds": run.thresholds.tolist(),
            }
            for run in found.runs
        ],
        "patches": len(found.runs[0].predictions),
        "labels": list(found.labels),
        "positives": found.positives,
        "reference": found.runs[0].name,
        "level": LEVEL,
        "rounds": found.rounds,
        "seed": found.seed,
        "results": rows(found),
    }
