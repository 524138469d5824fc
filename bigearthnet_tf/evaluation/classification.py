"""Evaluation of multi-label classification on the test split."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np

from bigearthnet_tf import files, metrics, pictures
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.evaluation import baselines, plots, report
from bigearthnet_tf.records import reader
from bigearthnet_tf.tasks.classification import Classification
from bigearthnet_tf.training import logs, scoring
from bigearthnet_tf.training.session import Session

HEADLINES = (
    "macro_average_precision",
    "micro_average_precision",
    "macro_f1_score_class_avg",
    "micro_f1_score",
    "sample_f1_score",
    "macro_auroc",
    "hamming_loss",
)


def evaluate(
    session: Session, model: keras.Model, iteration: int, out_dir: Path
) -> list[str]:
    """Scores the test split and writes every number, table and picture of it.

    Leaves in the folder of the run: `eval_result.json` (flat, numbers),
    `eval_per_class.csv`, `eval_scores.npz` (names, labels and scores in the order of
    the records), `report.html`, with `baselines` also `eval_baselines.json`, and
    TensorBoard scalars and pictures in `logs/test`.

    Args:
        session: config, devices and task.
        model: with the weights to evaluate.
        iteration: at which they were saved.
        out_dir: folder of the run.

    Returns:
        Lines for the user.
    """
    task = cast(Classification, session.task)
    scorer = scoring.Scorer(task, model, session.strategy)
    outputs = scorer.score("test", session.config.batch_size)
    result = task.metrics(outputs)
    others, their_scores = _baselines(task, outputs) if _wanted(session) else ({}, {})

    counts = outputs["labels"].sum(axis=0).astype(int)
    table = report.per_class_table(result, task.labels, counts)
    figures = _figures(task, outputs, result, others, out_dir)

    files.write_json(out_dir / "eval_result.json", result)
    if others:
        files.write_json(out_dir / "eval_baselines.json", others)
    report.write_per_class_csv(out_dir / "eval_per_class.csv", table)
    _save_scores(out_dir / "eval_scores.npz", task, outputs, their_scores)
    _write_tensorboard(out_dir, iteration, result, figures)
    report.write_report(
        out_dir / "report.html",
        title=f"{task.model_name} on {session.config.modality}, test split",
        run=_describe(task, iteration),
        metrics=result,
        per_class=table,
        baselines=others,
        figures=figures,
        config=session.config.model_dump(),
    )
    return _lines(result, others, out_dir, iteration)


def _wanted(session: Session) -> bool:
    return session.config.baselines and session.task.num_records("train") > 0


def _baselines(
    task: Classification, outputs: dict[str, np.ndarray]
) -> tuple[dict[str, dict[str, float]], dict[str, np.ndarray]]:
    """Fits the baselines on the training split and scores the test split with them."""
    train_features, train_labels = baselines.collect_band_moments(
        _unpadded(task, "train")
    )
    test_features, _ = baselines.collect_band_moments(_unpadded(task, "test"))
    scores = {
        "class priors": baselines.class_priors(train_labels, len(test_features)),
        "logistic regression on band statistics": baselines.logistic_regression(
            train_features, train_labels, test_features
        ),
    }
    labels = outputs["labels"]
    reports = {
        name: metrics.multi_label_report(labels, s) for name, s in scores.items()
    }
    return reports, scores


def _unpadded(
    task: Classification, split: str
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    for groups, labels, weights in task.scoring_data(split).as_numpy_iterator():
        present = weights > 0
        yield {name: g[present] for name, g in groups.items()}, labels[present]


def _figures(
    task: Classification,
    outputs: dict[str, np.ndarray],
    result: dict[str, float],
    others: dict[str, dict[str, float]],
    out_dir: Path,
) -> list[tuple[str, plots.Figure]]:
    """Draws the pictures of the report."""
    table = label_facts.TABLES[task.label_type]

    def per_label(values: dict[str, float]) -> list[float]:
        keys = range(len(task.labels))
        return [values[f"average_precision_class{j}"] for j in keys]

    figures = [
        (
            "Average precision of each label on the test split",
            plots.per_label_bars(
                task.labels,
                per_label(result),
                outputs["labels"].sum(axis=0).astype(int),
                {name: per_label(values) for name, values in others.items()},
                [label.colour for label in table],
            ),
        ),
        (
            "Precision and recall of each label",
            plots.precision_recall_curves(
                outputs["labels"], outputs["scores"], task.labels
            ),
        ),
    ]
    history = _history(out_dir)
    if history:
        figures.append(
            ("Course of the training", plots.history_curves(history, "Training"))
        )
    return figures


def _history(out_dir: Path) -> dict[str, list[tuple[int, float]]]:
    """Returns loss and headline metrics by split from the run's history."""
    series: dict[str, list[tuple[int, float]]] = {}
    for point in logs.read_history(out_dir):
        split, iteration = point["split"], point["iteration"]
        for key, value in point.items():
            shown = key.endswith("cross_entropy_loss") or key in HEADLINES[:3]
            if shown and split != "test" and value is not None:
                series.setdefault(f"{split}/{key}", []).append((iteration, value))
    return series


def _save_scores(
    path: Path,
    task: Classification,
    outputs: dict[str, np.ndarray],
    their_scores: dict[str, np.ndarray],
) -> None:
    """Keeps the scores, so that thresholds and comparisons need no second pass."""
    with files.write_atomically(path) as temporary, temporary.open("wb") as file:
        arrays: dict[str, Any] = {
            "names": np.array(reader.read_names(task.source("test"))),
            "label_order": np.array(task.labels),
            "labels": outputs["labels"].astype(np.uint8),
            "scores": outputs["scores"],
        }
        arrays |= {f"scores of {name}": s for name, s in their_scores.items()}
        np.savez_compressed(file, **arrays)


def _write_tensorboard(
    out_dir: Path,
    iteration: int,
    result: dict[str, float],
    figures: list[tuple[str, plots.Figure]],
) -> None:
    log = logs.RunLog(out_dir)
    log.write("test", iteration, logs.overall(result))
    for caption, figure in figures:
        image = pictures.to_png(figure, dpi=100)
        log.write_png("test", iteration, f"report/{caption}", image)
    log.close()


def _describe(task: Classification, iteration: int) -> dict[str, str]:
    return {
        "model": task.model_name,
        "bands": " ".join(task.bands),
        "labels": f"{len(task.labels)} ({task.label_type})",
        "iteration": str(iteration),
        "training records": str(task.num_records("train")),
        "test records": str(task.num_records("test")),
        "statistics": task.statistics,
        "seed": str(task.config.seed),
        "command": " ".join(sys.argv),
    }


def _lines(
    result: dict[str, float],
    others: dict[str, dict[str, float]],
    out_dir: Path,
    iteration: int,
) -> list[str]:
    columns = {f"iteration {iteration}": result, **others}
    names = {name: name.split(" on ")[0] for name in columns}
    header = " ".join(f"{names[name]:>20}" for name in columns)
    lines = [f"{'':26}{header}"]
    for key in HEADLINES:
        row = " ".join(f"{values[key]:20.4f}" for values in columns.values())
        lines.append(f"{key:26}{row}")
    lines.append(f"report: {out_dir / 'report.html'}")
    lines.append(f"tables: {out_dir / 'eval_result.json'}, eval_per_class.csv")
    return lines
