"""Evaluation of pixel time series: land cover, and embeddings by probes."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf import files
from bigearthnet_tf.evaluation import pixel_features, pixel_plots, probes, report
from bigearthnet_tf.evaluation.pixel_features import Labelled
from bigearthnet_tf.metrics import pixels as metrics
from bigearthnet_tf.tasks import pixel_pictures, pixels
from bigearthnet_tf.tasks.barlow_twins import BarlowTwins
from bigearthnet_tf.tasks.land_cover import LandCover
from bigearthnet_tf.training import logs, scoring
from bigearthnet_tf.training.session import Session

HEADLINES = {
    "overall_accuracy": "Overall accuracy\N{NO-BREAK SPACE}↑",
    "balanced_accuracy": "Balanced accuracy\N{NO-BREAK SPACE}↑",
    "macro_f1": "F1, macro\N{NO-BREAK SPACE}↑",
    "weighted_f1": "F1, weighted\N{NO-BREAK SPACE}↑",
    "mean_iou": "IoU, mean\N{NO-BREAK SPACE}↑",
    "kappa": "Cohen's kappa\N{NO-BREAK SPACE}↑",
}
_TWINS = {
    "barlow_twins_loss": "Barlow Twins loss\N{NO-BREAK SPACE}↓",
    "rank_me_embedding": "RankMe of the embedding\N{NO-BREAK SPACE}↑",
    "rank_me_projection": "RankMe of the projection\N{NO-BREAK SPACE}↑",
    "knn_accuracy": "Accuracy of 20 nearest neighbours\N{NO-BREAK SPACE}↑",
}
PRETRAINED, RANDOM = "this encoder, linear", "random encoder, linear"
MEDIANS = "monthly medians, random forest"
MEDIANS_LINEAR = "monthly medians, linear"

Figures = list[tuple[str, Any]]
# From a split to the embeddings of its labelled pixels, computed once.
Embed = Callable[[str], Labelled]


def evaluate(
    session: Session, model: keras.Model, iteration: int, out_dir: Path
) -> list[str]:
    """Scores the test pixels of a land cover run and writes all results.

    Leaves in the folder of the run `eval_result.json` (flat, numbers),
    `eval_per_class.csv`, `eval_confusion.csv` (rows the truth), `report.html`, and
    TensorBoard scalars and pictures in `logs/test`; with `spatial_folds` also
    `eval_spatial_folds.csv`, with `baselines` `eval_label_efficiency.csv`.

    Args:
        session: config, devices and task.
        model: with the weights to evaluate.
        iteration: at which they were saved.
        out_dir: folder of the run.

    Returns:
        Lines for the user.
    """
    task = cast(LandCover, session.task)
    scorer = scoring.Scorer(task, model, session.strategy)
    outputs = scorer.score("test", session.config.batch_size)
    confused = task.confused(outputs)
    loss = {task.loss_name: task.metrics(outputs)[task.loss_name]}
    result = {**loss, **_result(confused)}
    figures = _confusion("Test pixels: which class is taken for which", task, confused)
    embed = _embedder(task, model)
    _spatial_folds(task, embed, out_dir, result)
    rows = []
    if session.config.baselines:
        rows = _label_efficiency(task, model, embed, out_dir, figures)
    _write(session, task, iteration, out_dir, result, confused, figures, rows)
    return _lines(result, rows, HEADLINES, out_dir, iteration)


def evaluate_embeddings(
    session: Session, model: keras.Model, iteration: int, out_dir: Path
) -> list[str]:
    """Evaluates the embeddings of a Barlow Twins run on the test pixels.

    The loss, RankMe and the accuracy of nearest neighbours; where training and test
    pixels have labels also a linear probe, and the label-efficiency curve beside an
    encoder of random weights and monthly medians, linearly and by a random forest.
    Leaves what `evaluate` does; its confusion and classes are those of the linear probe
    on up to `probe_pixels` labels.

    Args:
        session: config, devices and task.
        model: with the weights to evaluate.
        iteration: at which they were saved.
        out_dir: folder of the run.

    Returns:
        Lines for the user.
    """
    task = cast(BarlowTwins, session.task)
    scorer = scoring.Scorer(task, model, session.strategy)
    outputs = scorer.score("test", session.config.batch_size)
    result = task.metrics(outputs)
    figures: Figures = [
        (f"Test pixels: {name.replace('_', ' ')} of the projections", figure)
        for name, figure in task.watch(outputs).items()
    ]
    confused, rows = None, []
    labelled = [task.find(split) for split in ("train", "test")]
    if all(source and source.num_labelled for source in labelled):
        embed = _embedder(task, model)
        train, test = embed("train"), embed("test")
        told = probes.linear_probe(
            train.features, train.classes, test.features, task.config.seed
        )
        confused = metrics.confusion(test.classes, told, len(task.classes))
        result |= _result(confused)
        title = f"Linear probe on {len(train.classes):,} labels"
        figures += _confusion(title, task, confused)
        rows = _label_efficiency(task, model, embed, out_dir, figures)
        _spatial_folds(task, embed, out_dir, result)
    _write(session, task, iteration, out_dir, result, confused, figures, rows)
    return _lines(result, rows, _TWINS | HEADLINES, out_dir, iteration)


def _result(confused: NDArray[np.int64]) -> dict[str, float]:
    """Returns the metrics of a confusion matrix, over all and of single classes."""
    every = metrics.pixel_report(confused)
    single = {key: value for key, value in every.items() if "_class" in key}
    total = {"labelled_pixels": every["labelled_pixels"]}
    return {**probes.overall(confused), **total, **single}


def _confusion(
    title: str, task: pixels.PixelTask, confused: NDArray[np.int64]
) -> Figures:
    names = [each.name for each in task.classes]
    return [(title, pixel_pictures.confusion(confused, names))]


def _embedder(task: pixels.PixelTask, model: keras.Model) -> Embed:
    return functools.cache(functools.partial(pixel_features.embed, model, task))


def _spatial_folds(
    task: pixels.PixelTask, embed: Embed, out_dir: Path, result: dict[str, float]
) -> None:
    """Cross-validates linear probes on the test pixels, if the config asks for it."""
    config = task.config
    if not config.spatial_folds:
        return
    source = task.find("test")
    rows = probes.spatial_folds(
        embed("test"),
        list(source.tiles.values()) if source else [],
        config.spatial_folds,
        config.spatial_block_size,
        len(task.classes),
        config.seed,
    )
    report.write_per_class_csv(out_dir / "eval_spatial_folds.csv", rows)
    for metric in HEADLINES:
        values = [row[metric] for row in rows]
        result[f"spatial_folds_{metric}"] = float(np.mean(values))
        result[f"spatial_folds_{metric}_std"] = float(np.std(values))


def _label_efficiency(
    task: pixels.PixelTask,
    model: keras.Model,
    embed: Embed,
    out_dir: Path,
    figures: Figures,
) -> list[dict[str, Any]]:
    """Compares the encoder with what it has to beat, by the number of labels."""
    untrained = _embedder(task, _random_encoder(task, model))
    monthly = functools.partial(pixel_features.monthly_medians, task)
    own, other, medians = (
        (each("train"), each("test")) for each in (embed, untrained, monthly)
    )
    features: dict[str, tuple[Labelled, Labelled, probes.Probe]] = {
        PRETRAINED: (*own, probes.linear_probe),
        RANDOM: (*other, probes.linear_probe),
        MEDIANS: (*medians, probes.random_forest),
        MEDIANS_LINEAR: (*medians, probes.linear_probe),
    }
    config = task.config
    rows = list(
        probes.label_efficiency(
            features,
            config.probe_labels,
            config.probe_repeats,
            len(task.classes),
            config.seed,
        )
    )
    report.write_per_class_csv(out_dir / "eval_label_efficiency.csv", rows)
    title = f"Balanced accuracy on the test pixels, {config.probe_repeats} draws"
    figures.append((title, pixel_plots.label_efficiency(rows, "balanced_accuracy")))
    return rows


def _random_encoder(task: pixels.PixelTask, model: keras.Model) -> keras.Model:
    """Returns the same network untrained, with the statistics of the trained one."""
    config = task.config.model_copy(update={"seed": task.config.seed + 1})
    random = pixels.build_from(config, task.describe())
    layer = "preprocessing_standardize"
    random.get_layer(layer).set_weights(model.get_layer(layer).get_weights())
    return random


def _write(
    session: Session,
    task: pixels.PixelTask,
    iteration: int,
    out_dir: Path,
    result: Mapping[str, float],
    confused: NDArray[np.int64] | None,
    figures: Figures,
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Writes tables, page and TensorBoard."""
    files.write_json(out_dir / "eval_result.json", dict(result))
    per_class: list[dict[str, Any]] = []
    if confused is not None:
        names = [each.name for each in task.classes]
        per_class = [
            {"label": name, "count": int(confused[j].sum())}
            | {key: result[f"{key}_class{j}"] for key in metrics.PER_LABEL}
            for j, name in enumerate(names)
        ]
        report.write_per_class_csv(out_dir / "eval_per_class.csv", per_class)
        table = [
            {"true": name, **dict(zip(names, map(int, counts), strict=True))}
            for name, counts in zip(names, confused, strict=True)
        ]
        report.write_per_class_csv(out_dir / "eval_confusion.csv", table)
    shown = report.rendered(figures)
    logs.write_test(out_dir, iteration, logs.overall(result), shown)
    report.write_report(
        out_dir / "report.html",
        title=f"{task.name.replace('_', ' ').capitalize()} with {task.model_name}",
        run={
            "model": task.model_name,
            "bands": " ".join(task.bands),
            "dates a view": task.config.sample_size,
            "iteration": iteration,
            "test pixels": f"{task.num_records('test'):,}",
            "seed": task.config.seed,
            "command": " ".join(sys.argv),
        },
        metrics=result,
        per_class=per_class,
        baselines=_baselines(rows),
        figures=shown,
        config=session.config.model_dump(),
        headlines=_TWINS | HEADLINES,
    )


def _baselines(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Returns columns of the page: every kind of features and number of labels."""
    return {
        f"{row['features']}, {row['labels']} labels a class": {
            metric: row[metric] for metric in HEADLINES
        }
        for row in rows
    }


def _lines(
    result: Mapping[str, float],
    rows: Sequence[Mapping[str, Any]],
    headlines: Mapping[str, str],
    out_dir: Path,
    iteration: int,
) -> list[str]:
    lines = [f"{'':34}{f'iteration {iteration}':>16}"]
    lines += [f"{key:34}{result[key]:16.4f}" for key in headlines if key in result]
    folds = "spatial_folds_balanced_accuracy"
    if folds in result:
        lines.append(f"{folds:34}{result[folds]:16.4f} ± {result[f'{folds}_std']:.4f}")
    counts = list(dict.fromkeys(row["labels"] for row in rows))
    if counts:
        heads = "".join(f"{count:>16,}" for count in counts)
        lines.append(f"{'balanced accuracy by labels a class':34}{heads}")
    for name in dict.fromkeys(row["features"] for row in rows):
        own = [row for row in rows if row["features"] == name]
        cells = "".join(
            f"{row['balanced_accuracy']:9.3f} ± {row['balanced_accuracy_std']:.2f}"
            for row in own
        )
        lines.append(f"  {name:32}{cells}")
    lines.append(f"report: {out_dir / 'report.html'}")
    lines.append(f"tables: {out_dir / 'eval_result.json'}, eval_confusion.csv")
    return lines
