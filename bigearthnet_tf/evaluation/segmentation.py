"""Evaluation of labels of pixels on the test split."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bigearthnet_tf import files
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.evaluation import pixel_baselines, plots, report
from bigearthnet_tf.metrics import bootstrap
from bigearthnet_tf.metrics import pixels as metrics
from bigearthnet_tf.records import inspection, reader
from bigearthnet_tf.tasks import map_pictures, pixel_pictures, segmentation
from bigearthnet_tf.tasks import pictures as task_pictures
from bigearthnet_tf.tasks.segmentation import Segmentation
from bigearthnet_tf.training import logs, scoring
from bigearthnet_tf.training.session import Session

HEADLINES = {
    "mean_iou": "IoU, mean\N{NO-BREAK SPACE}↑",
    "frequency_weighted_iou": "IoU, weighted by pixels\N{NO-BREAK SPACE}↑",
    "pixel_accuracy": "Pixel accuracy\N{NO-BREAK SPACE}↑",
    "balanced_accuracy": "Balanced accuracy\N{NO-BREAK SPACE}↑",
    "macro_f1": "F1, macro\N{NO-BREAK SPACE}↑",
    "kappa": "Cohen's kappa\N{NO-BREAK SPACE}↑",
}
# Patches that are shown: drawn at random, and those with the most wrong pixels.
_DRAWN, _WORST = 6, 4

Figures = list[tuple[str, Figure]]


@dataclass(frozen=True)
class Outcome:
    """What came of the test split.

    Attributes:
        confusions: (patches, labels, labels) int32 of each patch, rows the truth.
        result: metrics over all of them.
        intervals: of metrics, 95 % by resampling patches; empty without.
        others: confusion of each baseline, by its name.
    """

    confusions: NDArray[np.int32]
    result: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    others: dict[str, NDArray[np.int64]]

    @property
    def confused(self) -> NDArray[np.int64]:
        """Confusion of the split, (labels, labels)."""
        return self.confusions.sum(axis=0, dtype=np.int64)

    def columns(self) -> dict[str, dict[str, float]]:
        """Returns the metrics of each baseline, by its name."""
        return {n: metrics.pixel_report(each) for n, each in self.others.items()}


def evaluate(
    session: Session, model: keras.Model, iteration: int, out_dir: Path
) -> list[str]:
    """Scores the test pixels of a segmentation and writes all results.

    Leaves in the folder of the run `eval_result.json` (flat, numbers),
    `eval_intervals.json`, `eval_per_class.csv`, `eval_confusion.csv` (pixels, rows the
    truth), with `baselines` also `eval_baselines.json`; `report.html`, and scalars and
    pictures in `logs/test`.

    Memory: a confusion matrix a patch, 1.4 kB for 19 labels, 173 MB for the 119,825
    test patches of v2, and twice that more while intervals are worked out; no map is
    kept.

    Args:
        session: config, devices and task.
        model: with the weights to evaluate.
        iteration: at which they were saved.
        out_dir: folder of the run.

    Returns:
        Lines for the user.

    Raises:
        ValueError: damaged records, a patch with pixels that are NaN or infinite, or
            maps without a label.
    """
    task, config = cast(Segmentation, session.task), session.config
    scorer = scoring.Scorer(task, model, session.strategy)
    outputs = scorer.score("test", config.batch_size)
    names = functools.partial(reader.read_names, task.source("test"))
    scoring.check_finite(outputs, names, "test")
    confusions = outputs["confusion"]
    if not confusions.any():
        raise ValueError(
            f"no pixel of the test maps has a label of {task.label_type}: there is "
            "nothing to measure"
        )
    outcome = Outcome(
        confusions,
        task.metrics(outputs),
        intervals(confusions, config.bootstrap_rounds, config.seed),
        _baselines(task, confusions) if config.baselines else {},
    )
    _write_tables(task, outcome, out_dir)
    figures = report.rendered(_draw(task, model, outcome, out_dir))
    logs.write_test(out_dir, iteration, logs.overall(outcome.result), figures)
    _write_page(session, task, outcome, iteration, out_dir, figures)
    return _lines(outcome, iteration, out_dir)


def intervals(
    confusions: NDArray[np.int32], rounds: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Returns 95 % intervals of the metrics over all labels, by resampling patches.

    Pixels of a patch are alike, so patches are drawn, each with all of its pixels.

    Args:
        confusions: (patches, labels, labels) of each patch.
        rounds: draws; 0 for no intervals.
        seed: of the draws.
    """
    if not rounds or not len(confusions):
        return {}
    patches, labels, _ = confusions.shape
    flat = confusions.reshape(patches, -1)
    values: dict[str, list[float]] = {name: [] for name in HEADLINES}
    for drawn in bootstrap.draws(patches, rounds, seed):
        # float64 holds these counts exactly.
        for each in drawn.T.astype(np.float64) @ flat:
            found = metrics.pixel_report(each.reshape(labels, labels))
            for name, own in values.items():
                own.append(found[name])
    return {name: bootstrap.interval(np.array(own)) for name, own in values.items()}


def _baselines(
    task: Segmentation, confusions: NDArray[np.int32]
) -> dict[str, NDArray[np.int64]]:
    confused = confusions.sum(axis=0, dtype=np.int64)
    return {
        pixel_baselines.LINEAR: pixel_baselines.linear(task),
        pixel_baselines.MAJORITY: pixel_baselines.majority(confused, task.pixel_counts),
    }


def _write_tables(task: Segmentation, outcome: Outcome, out_dir: Path) -> None:
    """Writes what other programs read."""
    files.write_json(out_dir / "eval_result.json", outcome.result)
    for name, content in (
        ("intervals", {n: list(bounds) for n, bounds in outcome.intervals.items()}),
        ("baselines", outcome.columns()),
    ):
        path = out_dir / f"eval_{name}.json"
        if content:
            files.write_json(path, content)
        else:
            path.unlink(missing_ok=True)  # of an evaluation before
    report.write_per_class_csv(out_dir / "eval_per_class.csv", per_class(task, outcome))
    table = [
        {"true": name, **dict(zip(task.labels, map(int, counts), strict=True))}
        for name, counts in zip(task.labels, outcome.confused, strict=True)
    ]
    report.write_per_class_csv(out_dir / "eval_confusion.csv", table)


def per_class(task: Segmentation, outcome: Outcome) -> list[dict[str, Any]]:
    """Returns a row for each label: its pixels in truth and prediction, its metrics."""
    given = outcome.confused.sum(axis=0)
    return [
        {
            "label": name,
            "pixels": int(outcome.confused[j].sum()),
            "predicted_pixels": int(given[j]),
            **{key: outcome.result[f"{key}_class{j}"] for key in metrics.PER_LABEL},
        }
        for j, name in enumerate(task.labels)
    ]


def _draw(
    task: Segmentation, model: keras.Model, outcome: Outcome, out_dir: Path
) -> Figures:
    """Returns the pictures of the report with their captions."""
    confused, table = outcome.confused, label_facts.TABLES[task.label_type]
    occurs = np.flatnonzero(confused.sum(axis=0) + confused.sum(axis=1))
    figures: Figures = [
        (
            "Intersection over union of each label",
            plots.per_label_bars(
                [table[j].name for j in occurs],
                [outcome.result[f"iou_class{j}"] for j in occurs],
                confused.sum(axis=1)[occurs],
                {
                    name: [found[f"iou_class{j}"] for j in occurs]
                    for name, found in outcome.columns().items()
                },
                [table[j].colour for j in occurs],
                measure="IoU",
                counted="pixels",
            ),
        ),
        (
            "Which label is taken for which, in per cent of the pixels of a true one",
            pixel_pictures.confusion(confused, map_pictures.short_names(table)),
        ),
    ]
    for title, rows in choose(outcome.confusions, task.config.seed).items():
        if rows:
            figures.append((title, _sheet(task, model, rows)))
    history = _history(task, out_dir)
    if history:
        course = plots.history_curves(history, "Course of the run")
        figures.append(("Losses and metrics while it was learnt", course))
    return figures


def choose(confusions: NDArray[np.int32], seed: int) -> dict[str, list[int]]:
    """Returns rows of patches to show, by what they have in common.

    Args:
        confusions: (patches, labels, labels); patches without labels are not shown.
        seed: of the draw.
    """
    right = np.trace(confusions, axis1=1, axis2=2)
    labelled = confusions.sum(axis=(1, 2))
    rows = np.flatnonzero(labelled)
    drawn = np.random.default_rng(seed).permutation(rows)[:_DRAWN]
    share = right[rows] / labelled[rows]
    worst = rows[np.argsort(share, kind="stable")[:_WORST]]
    return {
        "Test patches drawn at random": [int(row) for row in drawn],
        "Test patches with the largest share of wrong pixels": [int(r) for r in worst],
    }


def _sheet(task: Segmentation, model: keras.Model, rows: Sequence[int]) -> Figure:
    """Draws patches of the test split; each is read by its place."""
    source = task.source("test")
    splits = inspection.look(list(source.files))
    names = reader.read_names(source)
    codes = label_facts.class_table(task.label_type)
    images, maps, given = [], [], []
    for row in rows:
        _, patch = inspection.read_record(splits, row)
        every = tuple(patch.bands)
        images.append(task_pictures.composite(_grouped(patch.bands, every), every)[0])
        maps.append(codes[patch.reference_map])
        groups = _grouped(patch.bands, task.bands)
        given.append(segmentation.predict(model, groups)[0])
    return map_pictures.sheet(
        np.stack(images),
        np.stack(maps),
        np.stack(given),
        label_facts.TABLES[task.label_type],
        [_in_two_lines(names[row]) for row in rows],
    )


def _in_two_lines(name: str) -> str:
    """Breaks the name of a patch where it says orbit and place."""
    return name.replace("_N9999_", "\nN9999_", 1)


def _grouped(
    bands: Mapping[str, NDArray[Any]], wanted: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Returns band groups of one patch, (1, bands, rows, columns) each."""
    return {
        group: np.stack([bands[name] for name in names])[None]
        for group, names in band_facts.group_bands(wanted).items()
    }


def _history(task: Segmentation, out_dir: Path) -> dict[str, list[tuple[float, float]]]:
    """Returns loss and headline metrics by split from the run's history."""
    shown = (task.loss_name, "mean_iou", "pixel_accuracy")
    series: dict[str, list[tuple[float, float]]] = {}
    for point in logs.read_history(out_dir):
        split, iteration = point["split"], point["iteration"]
        for key in shown:
            if split != "test" and point.get(key) is not None:
                series.setdefault(f"{split}/{key}", []).append((iteration, point[key]))
    return series


def _write_page(
    session: Session,
    task: Segmentation,
    outcome: Outcome,
    iteration: int,
    out_dir: Path,
    figures: Sequence[report.Picture],
) -> None:
    left_out = "Pixels without a label are left out everywhere"
    notes = [f"{left_out}. Means are over the labels that occur."]
    if outcome.intervals:
        notes.append(
            "Below the numbers stand 95 % intervals: percentiles over "
            f"{session.config.bootstrap_rounds:,} resamplings of the test patches."
        )
    report.write_report(
        out_dir / "report.html",
        title=f"Labels of pixels with {task.model_name}, test split",
        run={
            "model": f"{task.model_name} with decoder {task.config.decoder}",
            "bands": " ".join(task.bands),
            "labels": f"{len(task.labels)} ({task.label_type})",
            "iteration": iteration,
            "test patches": f"{len(outcome.confusions):,}",
            "labelled pixels": f"{int(outcome.confused.sum()):,}",
            "records": list(session.config.test_tf_record_files),
            "seed": session.config.seed,
            "command": " ".join(sys.argv),
        },
        metrics=outcome.result,
        per_class=per_class(task, outcome),
        baselines=outcome.columns(),
        figures=figures,
        config=session.config.model_dump(),
        headlines={task.loss_name: "Loss\N{NO-BREAK SPACE}↓", **HEADLINES},
        intervals={"model": outcome.intervals},
        notes=notes,
    )


def _lines(outcome: Outcome, iteration: int, out_dir: Path) -> list[str]:
    columns = {f"iteration {iteration}": outcome.result, **outcome.columns()}
    width = max(map(len, columns)) + 2
    lines = [f"{'':26}" + "".join(f"{name:>{width}}" for name in columns)]
    for key in HEADLINES:
        cells = "".join(f"{found[key]:{width}.4f}" for found in columns.values())
        bounds = outcome.intervals.get(key)
        between = f"   95 %: {bounds[0]:.4f} to {bounds[1]:.4f}" if bounds else ""
        lines.append(f"{key:26}{cells}{between}")
    lines.append(f"report: {out_dir / 'report.html'}")
    lines.append(f"tables: {out_dir / 'eval_result.json'}, eval_per_class.csv")
    return lines
