"""The report of a classification: page, Markdown, pictures."""

from __future__ import annotations

import html
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bigearthnet_tf import escapes, files
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.evaluation import (
    confusions,
    extremes,
    generated,
    markdown,
    outcome_plots,
    page,
    plots,
    published,
    report,
)
from bigearthnet_tf.evaluation.measured import HEADLINES, PLAIN, TUNED, Measured
from bigearthnet_tf.tasks.classification import Classification
from bigearthnet_tf.training import logs

Rows = Sequence[Mapping[str, Any]]

_KINDS = {"country": "Countries", "season": "Seasons", "tile": "Tiles"}
_GROUP_TITLES = {
    "group": "",
    "patches": "Patches",
    "labels_present": "Labels present",
    "micro_average_precision": "AP, micro",
    "macro_average_precision_present": "AP, macro of labels present",
    "micro_f1_score": "F1, micro",
    "macro_f1_score_present": "F1, macro of labels present",
}
_CONFUSION_TITLES = {
    "missed": "Missed",
    "given": "Given, wrongly",
    "patches": "Patches",
    "share": "Of those that miss it",
    "lift": "Times chance",
}
_RELIABILITY = (
    "How often scores come true, of all labels and of each; ECE is the expected "
    "calibration error, n the positives, bars the shares of the scores"
)
_CONFUSIONS = (
    "Confusions: in how many percent of the patches that miss a label another is given "
    "wrongly, at {}"
)
# Columns of the page's table of labels; the CSV has more.
_SHOWN = ("precision", "recall", "f1", "average_precision", "auroc")


def draw(task: Classification, result: Measured, out_dir: Path) -> list[report.Picture]:
    """Returns the pictures of the report with their captions."""
    labels, scores = result.predictions.labels, result.predictions.scores
    colours = [label.colour for label in label_facts.TABLES[task.label_type]]

    def per_label(values: Mapping[str, float]) -> list[float]:
        return [values[f"average_precision_class{j}"] for j in range(len(task.labels))]

    others = {name: per_label(values) for name, values in result.others.items()}
    predicted = scores >= result.limits
    missed = ((labels > 0) & ~predicted).sum(axis=0)
    figures = [
        (
            "Average precision of each label on the test split",
            plots.per_label_bars(
                task.labels,
                per_label(result.plain),
                labels.sum(axis=0).astype(int),
                others,
                colours,
                _bounds(result),
            ),
        ),
        (
            "Precision and recall of each label",
            plots.precision_recall_curves(labels, scores, task.labels),
        ),
        (
            _RELIABILITY,
            outcome_plots.reliability_curves(labels, scores, task.labels),
        ),
        (
            _CONFUSIONS.format(PLAIN if result.thresholds is None else TUNED),
            outcome_plots.confusion_map(
                confusions.matrix(labels, predicted), missed, task.labels
            ),
        ),
    ]
    history = _history(out_dir)
    if history:
        curves = plots.history_curves(history, "Training")
        figures.append(("Course of the training", curves))
    return report.rendered(figures)


def _bounds(result: Measured) -> list[tuple[float, float]] | None:
    """Returns the interval of the average precision of each label, if there are any."""
    keys = [f"average_precision_class{j}" for j in range(result.predictions.num_labels)]
    return [result.intervals[key] for key in keys] if result.intervals else None


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


def write(
    out_dir: Path,
    task: Classification,
    result: Measured,
    by_group: Rows,
    figures: Sequence[report.Picture],
) -> None:
    """Writes `report.html` and `report.md`."""
    title = f"{task.model_name} on {' '.join(_sensors(task))}, test split"
    run = _describe(task, result) | _training(out_dir)
    known = published.find(
        task.model_name,
        task.bands,
        task.label_type,
        task.source("test").archive_version,
    )
    notes = _notes(result, len(known) > 0)
    columns = result.columns()
    report.write_report(
        out_dir / "report.html",
        title=title,
        run=run,
        metrics=result.plain,
        per_class=_label_rows(result),
        baselines={k: v for k, v in columns.items() if k != PLAIN} | known,
        figures=figures,
        config=task.config.model_dump(),
        more=[
            page.section(
                "Frequent confusions", _table(result.confusions(), _CONFUSION_TITLES)
            ),
            *_group_sections(by_group),
            extremes.section(
                result.predictions, result.limits, task.source("test").files
            ),
            page.folded("Under the names of others", _conventions(result)),
        ],
        style=extremes.STYLE,
        model=PLAIN,
        intervals=result.bounds(),
        notes=notes,
    )
    banner = generated.as_markdown(task.config.generated)
    text = _markdown(title, banner, run, result, by_group, known, notes)
    files.write_text(out_dir / "report.md", text)


def _sensors(task: Classification) -> list[str]:
    sensors = {"S1" if band in ("VV", "VH") else "S2" for band in task.bands}
    return sorted(sensors)


def _describe(task: Classification, result: Measured) -> dict[str, str]:
    found = result.predictions
    said = {
        "model": task.model_name,
        "bands": " ".join(task.bands),
        "labels": f"{len(task.labels)} ({task.label_type})",
        "iteration": str(found.iteration) if found.iteration >= 0 else "not known",
        "training records": _count(task, "train"),
        "test records": str(len(found)),
        "statistics": task.statistics,
        "seed": str(task.config.seed),
        "command": shlex.join(sys.argv),
    }
    if result.thresholds is not None:
        chosen = result.thresholds
        said["thresholds"] = (
            f"{chosen.kind.replace('_', ' ')}, largest {chosen.objective} on "
            f"{chosen.patches:,} patches of {chosen.split}"
        )
    return said


def _count(task: Classification, split: str) -> str:
    """Returns the number of records; published weights come without them."""
    try:
        return str(task.num_records(split))
    except FileNotFoundError:
        return "not here"


def _training(out_dir: Path) -> dict[str, str]:
    """Returns the command that trained the run, where its folder has it."""
    path = out_dir / "environment.json"
    command = files.read_json(path).get("command") if path.is_file() else None
    return {"trained by": str(command)} if command else {}


def _notes(result: Measured, is_published: bool) -> list[str]:
    notes = []
    if result.intervals:
        notes.append(
            f"Below the numbers: 95 % intervals, percentiles of {result.rounds:,} "
            "resamplings of the patches (seed "
            f"{result.seed}). Patches of one tile and date are alike, so the intervals "
            "are rather too narrow, and say nothing of other seeds of the training."
        )
    absent = int(result.plain["num_labels_without_positives"])
    if absent:
        notes.append(
            f"{absent} of {len(result.predictions.label_order)} labels have no "
            "positive in this split; they count as 0 in every macro mean."
        )
    if result.thresholds is not None and result.thresholds.undecided:
        names = ", ".join(result.thresholds.undecided)
        notes.append(f"No positive to tune a threshold on, so 0.5: {names}.")
    if is_published:
        notes.append(published.note(len(result.predictions)))
    return notes


def _label_rows(result: Measured) -> list[dict[str, Any]]:
    """Returns the table of the labels as the page has it."""
    rows = []
    for row in result.per_class():
        shown: dict[str, Any] = {"label": row["label"], "count": row["count"]}
        for column in _SHOWN:
            shown[column] = row[column]
            if (
                column == "average_precision"
                and row["average_precision_low"] is not None
            ):
                shown["average_precision_95"] = (
                    f"{row['average_precision_low']:.3f}–"
                    f"{row['average_precision_high']:.3f}"
                )
        shown["calibration_error"] = row["calibration_error"]
        if "threshold" in row:
            shown |= {"threshold": row["threshold"], "tuned_f1": row["tuned_f1"]}
        rows.append(shown)
    return rows


def _group_sections(by_group: Rows) -> list[str]:
    sections = []
    for kind, title in _KINDS.items():
        rows = [row for row in by_group if row["kind"] == kind]
        content = _table(rows, _GROUP_TITLES)
        make = page.folded if kind == "tile" else page.section
        sections.append(make(title, content))
    return sections


def _table(rows: Rows, titles: Mapping[str, str]) -> str:
    """Returns rows as a table; micro average precision with its interval below."""
    lines = []
    for row in rows:
        cells = []
        for index, key in enumerate(titles):
            value = row[key]
            low, high = row.get("micro_ap_low"), row.get("micro_ap_high")
            is_bounded = key == "micro_average_precision" and low is not None
            below = f"{low:.4f}–{high:.4f}" if is_bounded else ""
            if isinstance(value, str) and index:
                cells.append(f'<td class="text">{html.escape(value)}</td>')
            else:
                form = ".1f" if key == "lift" else ".4f"
                cells.append(
                    page.cell(_text(value, form), row_head=index == 0, below=below)
                )
        lines.append(cells)
    return page.table(list(titles.values()), lines, kind="labels")


def _text(value: Any, form: str) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return format(value, form)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _conventions(result: Measured) -> str:
    lines = [
        [page.cell(key, row_head=True), page.cell(name), page.cell(_exact(value))]
        for name, of in result.conventions().items()
        for key, value in of.items()
        if not isinstance(value, list) and "_class" not in key.replace("class_avg", "")
    ]
    return page.table(["Measure", "Convention", "Value"], lines, kind="labels")


def _exact(value: float | None) -> str:
    return "NaN" if value is None else f"{value:.6g}"


def _markdown(
    title: str,
    banner: str,
    run: Mapping[str, str],
    result: Measured,
    by_group: Rows,
    known: Mapping[str, Mapping[str, float]],
    notes: Sequence[str],
) -> str:
    columns = {**result.columns(), **known}
    headlines = []
    for key, words in report.HEADLINES.items():
        row: dict[str, Any] = {"": words}
        for name, values in columns.items():
            text = f"{values[key]:.4f}" if key in values else "–"
            bounds = result.bounds().get(name, {}).get(key)
            between = f" ({bounds[0]:.4f}–{bounds[1]:.4f})" if bounds else ""
            row[name] = text + between
        headlines.append(row)
    parts = [
        f"# {escapes.in_markdown(title)}",
        *([banner] if banner else []),
        "\n".join(f"- {name}: {escapes.in_markdown(of)}" for name, of in run.items()),
        "## Results",
        markdown.table(headlines),
        *map(escapes.in_markdown, notes),
        "## Labels",
        markdown.table(_label_rows(result)),
    ]
    for kind, words in _KINDS.items():
        rows = [
            {
                words if k == "group" else t or k: row[k]
                for k, t in _GROUP_TITLES.items()
            }
            for row in by_group
            if row["kind"] == kind
        ]
        if rows:
            parts += [f"## {words}", markdown.table(rows)]
    if result.confusions():
        parts += ["## Frequent confusions", markdown.table(result.confusions())]
    return "\n\n".join(parts) + "\n"
