"""Evaluation of multi-label classification on the test split."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf import files
from bigearthnet_tf.evaluation import (
    baselines,
    classification_page,
    groups,
    measured,
    predictions,
    report,
    thresholds,
)
from bigearthnet_tf.evaluation.measured import HEADLINES, Measured
from bigearthnet_tf.evaluation.predictions import Predictions
from bigearthnet_tf.records import reader
from bigearthnet_tf.tasks import base
from bigearthnet_tf.tasks.classification import Classification
from bigearthnet_tf.training import logs, scoring
from bigearthnet_tf.training.session import Session

logger = logging.getLogger(__name__)


def evaluate(
    session: Session, model: keras.Model, iteration: int, out_dir: Path
) -> list[str]:
    """Scores the test split and writes every number, table and picture of it.

    Leaves in the folder of the run:

    - `eval_result.json` (flat, numbers): all metrics at 0.5, and with `thresholds`
      those that depend on them again as `tuned_...`;
    - `eval_intervals.json`, `eval_per_class.csv`, `eval_groups.csv`,
      `eval_confusions.csv`, `eval_conventions.json` (under the names of others), with
      `baselines` also `eval_baselines.json`;
    - `eval_scores.npz`: names, labels and scores in the order of the records;
    - `thresholds.json`, if thresholds were tuned;
    - `report.html` and `report.md`, and scalars and pictures in `logs/test`.

    Args:
        session: config, devices and task.
        model: with the weights to evaluate.
        iteration: at which they were saved.
        out_dir: folder of the run.

    Returns:
        Lines for the user.

    Raises:
        ValueError: thresholds that do not belong to the model, or metadata of other
            patches.
    """
    config, task = session.config, cast(Classification, session.task)
    weights = thresholds.fingerprint(model)
    scorer = scoring.Scorer(task, model, session.strategy)
    # What does not fit is said before the test split is scored.
    chosen = _thresholds(session, scorer, weights, iteration, out_dir)
    outputs = scorer.score("test", config.batch_size)
    found = _predictions(task, outputs, "test", iteration, weights)
    if config.baselines and task.num_records("train") > 0:
        found = dataclasses.replace(found, others=_baselines(task, found))
    loss = {task.loss_name: float(outputs["losses"].astype(np.float64).mean())}
    return write(session, found, chosen, out_dir, loss)


def evaluate_scores(session: Session, path: Path | str, out_dir: Path) -> list[str]:
    """Writes the results of scores that are there already, of whatever made them.

    Args:
        session: config and task; its test records say which patches and labels.
        path: scores as `predictions` has them, or the folder of a run.
        out_dir: folder that gets the results.

    Returns:
        Lines for the user.

    Raises:
        FileNotFoundError: no such file.
        ValueError: scores of other patches or labels, or thresholds of others.
    """
    config, task = session.config, cast(Classification, session.task)
    found = predictions.load(path)
    expected = _truth(task)
    found = predictions.align(found, expected)
    found = dataclasses.replace(found, names_s1=expected.names_s1, split="test")
    chosen = None
    if config.thresholds in (thresholds.PER_LABEL, thresholds.GLOBAL):
        raise ValueError(
            "--scores holds no validation scores to tune thresholds on; name a "
            "thresholds.json that was tuned before"
        )
    if config.thresholds != thresholds.NONE:
        chosen = _load_thresholds(config.thresholds, found)
    return write(session, found, chosen, out_dir, {})


def write(
    session: Session,
    found: Predictions,
    chosen: thresholds.Thresholds | None,
    out_dir: Path,
    loss: Mapping[str, float],
) -> list[str]:
    """Measures predictions of the test split and writes all results.

    Args:
        session: config and task.
        found: in the order of the test records.
        chosen: thresholds to apply beside 0.5; None for none.
        out_dir: folder that gets the results.
        loss: of the split by its name; empty where it is not known.

    Returns:
        Lines for the user.
    """
    config, task = session.config, cast(Classification, session.task)
    result = measured.measure(
        found, chosen, loss, rounds=config.bootstrap_rounds, seed=config.seed
    )
    kinds = groups.find(found, config.metadata)
    by_group = groups.measure(found, kinds, config.bootstrap_rounds, config.seed)
    _write_tables(out_dir, result, by_group)
    predictions.save(out_dir / predictions.FILE, found)
    figures = classification_page.draw(task, result, out_dir)
    iteration = max(result.predictions.iteration, 0)
    logs.write_test(out_dir, iteration, logs.overall(result.flat()), figures)
    classification_page.write(out_dir, task, result, by_group, figures)
    return _lines(result, out_dir)


def _predictions(
    task: Classification,
    outputs: Mapping[str, NDArray[Any]],
    split: str,
    iteration: int,
    weights: str,
) -> Predictions:
    source = task.source(split)
    scoring.check_finite(outputs, lambda: reader.read_names(source), split)
    return Predictions(
        names=reader.read_names(source),
        label_order=tuple(task.labels),
        labels=outputs["labels"].astype(np.uint8),
        scores=outputs["scores"],
        names_s1=reader.read_partner_names(source),
        split=split,
        iteration=iteration,
        fingerprint=weights,
        where=f"the {split} records",
    )


def _truth(task: Classification) -> Predictions:
    """Returns names and labels of the test records, with scores of 0."""
    with base.reading(task, "test"):
        parts = [
            labels[weights > 0]
            for _, labels, weights in task.scoring_data("test").as_numpy_iterator()
        ]
    labels = np.concatenate(parts)
    outputs = {"labels": labels, "scores": np.zeros(labels.shape, np.float32)}
    return _predictions(task, outputs, "test", -1, "")


def _thresholds(
    session: Session,
    scorer: scoring.Scorer,
    weights: str,
    iteration: int,
    out_dir: Path,
) -> thresholds.Thresholds | None:
    """Returns the thresholds that the config asks for, tuned now if need be."""
    config, task = session.config, cast(Classification, session.task)
    asked = config.thresholds
    if asked == thresholds.NONE:
        return None
    if asked not in (thresholds.PER_LABEL, thresholds.GLOBAL):
        found = thresholds.load(asked)
        thresholds.check(found, asked, task.labels, weights)
        return found
    patches = task.num_records("val")
    if not patches:
        raise ValueError(
            f"thresholds {asked!r} are tuned on validation records, but "
            "val_tf_record_files is empty; name them there"
        )
    kind: thresholds.Kind = "global" if asked == thresholds.GLOBAL else "per_label"
    path = out_dir / thresholds.FILE
    stored = thresholds.belongs(path, kind, weights, patches)
    if stored is not None:
        logger.info("thresholds of %s, tuned before: %s", stored.checkpoint, path)
        return stored
    outputs = scorer.score("val", config.batch_size)
    scored = _predictions(task, outputs, "val", iteration, weights)
    tuned = thresholds.tune(scored, task.describe(), kind)
    thresholds.save(path, tuned)
    if tuned.undecided:
        logger.warning(
            "no validation patch has %s: the threshold stays 0.5",
            ", ".join(tuned.undecided),
        )
    return tuned


def _load_thresholds(path: str, found: Predictions) -> thresholds.Thresholds:
    chosen = thresholds.load(path)
    thresholds.check(chosen, path, found.label_order, found.fingerprint)
    return chosen


def _baselines(
    task: Classification, found: Predictions
) -> dict[str, NDArray[np.float64]]:
    """Fits the baselines on the training split and scores the test split with them."""
    train_features, train_labels = baselines.collect_band_moments(
        _unpadded(task, "train")
    )
    test_features, _ = baselines.collect_band_moments(_unpadded(task, "test"))
    return {
        "class priors": baselines.class_priors(train_labels, len(found)),
        "logistic regression on band statistics": baselines.logistic_regression(
            train_features, train_labels, test_features
        ),
    }


def _unpadded(
    task: Classification, split: str
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    with base.reading(task, split):
        for groups_of, labels, weights in task.scoring_data(split).as_numpy_iterator():
            present = weights > 0
            yield {name: g[present] for name, g in groups_of.items()}, labels[present]


def _write_tables(
    out_dir: Path, result: Measured, by_group: list[dict[str, Any]]
) -> None:
    """Writes what other programs read."""
    files.write_json(out_dir / "eval_result.json", result.flat())
    files.write_json(out_dir / "eval_conventions.json", result.conventions())
    report.write_per_class_csv(out_dir / "eval_per_class.csv", result.per_class())
    intervals = result.intervals_json() if result.intervals else {}
    optional: list[tuple[str, Callable[..., None], Any]] = [
        ("eval_baselines.json", files.write_json, dict(result.others)),
        ("eval_intervals.json", files.write_json, intervals),
        ("eval_groups.csv", report.write_per_class_csv, by_group),
        ("eval_confusions.csv", report.write_per_class_csv, result.confusions()),
    ]
    for name, write, content in optional:
        if content:
            write(out_dir / name, content)
        else:
            (out_dir / name).unlink(missing_ok=True)  # of an evaluation before


def _lines(result: Measured, out_dir: Path) -> list[str]:
    columns = result.columns()
    heads = {name: name.split(" on ")[0] for name in columns}
    lines = [f"{'':26}" + " ".join(f"{heads[name]:>20}" for name in columns)]
    for key in HEADLINES:
        cells = [
            f"{values[key]:20.4f}" if key in values else f"{'–':>20}"
            for values in columns.values()
        ]
        bounds = result.intervals.get(key)
        between = f"   95 %: {bounds[0]:.4f} to {bounds[1]:.4f}" if bounds else ""
        lines.append(f"{key:26}{' '.join(cells)}{between}")
    lines.append(f"report: {out_dir / 'report.html'}, report.md")
    lines.append(f"tables: {out_dir / 'eval_result.json'}, eval_per_class.csv")
    return lines
