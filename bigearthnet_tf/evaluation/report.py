"""A run's results as one HTML page, and as a CSV with one line per label.

The page stands alone: styles and pictures are inside it, nothing is loaded from
elsewhere. It says what it is given and nothing else, so the same results give the same
page. All text is escaped.
"""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from bigearthnet_tf import files, pictures
from bigearthnet_tf.evaluation import generated, page, plots

Rows = Sequence[Mapping[str, Any]]
"""One mapping per label, all with the same keys: column name to text or number."""

Picture = tuple[str, bytes]
"""Caption and PNG."""

Intervals = Mapping[str, tuple[float, float]]
"""Lower and upper bound of each metric that has them."""

# Key in the metrics, and the words of the first table. Arrows point to the better.
HEADLINES = {
    "macro_average_precision": "Average precision, macro\N{NO-BREAK SPACE}↑",
    "micro_average_precision": "Average precision, micro\N{NO-BREAK SPACE}↑",
    "macro_f1_score_class_avg": "F1, macro\N{NO-BREAK SPACE}↑",
    "micro_f1_score": "F1, micro\N{NO-BREAK SPACE}↑",
    "sample_f1_score": "F1, samples\N{NO-BREAK SPACE}↑",
    "macro_precision_class_avg": "Precision, macro\N{NO-BREAK SPACE}↑",
    "macro_recall_class_avg": "Recall, macro\N{NO-BREAK SPACE}↑",
    "macro_auroc": "ROC area, macro\N{NO-BREAK SPACE}↑",
    "label_ranking_avg_precision": "Label ranking average precision\N{NO-BREAK SPACE}↑",
    "ranking_loss": "Ranking loss\N{NO-BREAK SPACE}↓",
    "coverage": "Coverage\N{NO-BREAK SPACE}↓",
    "one_error": "One-error\N{NO-BREAK SPACE}↓",
    "hamming_loss": "Hamming loss\N{NO-BREAK SPACE}↓",
    "subset_accuracy": "Exact matches\N{NO-BREAK SPACE}↑",
    "macro_calibration_error": "Calibration error, macro\N{NO-BREAK SPACE}↓",
    "brier_score": "Brier score\N{NO-BREAK SPACE}↓",
}
# Column of the table per label, and the stem of its keys in the metrics.
_PER_LABEL = {
    "precision": "macro_precision_class",
    "recall": "macro_recall_class",
    "f1": "macro_f1_score_class",
    "average_precision": "average_precision_class",
    "auroc": "auroc_class",
}
_WITH_BAR = ("average_precision", "iou")
# A column of this ending stands below the numbers of the column of the same name.
_INTERVAL = "_95"
_COLUMN_TITLES = {
    "label": "Label",
    "count": "Positives",
    "pixels": "Pixels",
    "predicted_pixels": "Predicted pixels",
    "iou": "IoU",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "average_precision": "Average precision",
    "auroc": "ROC area",
    "calibration_error": "Calibration error",
    "threshold": "Tuned threshold",
    "tuned_f1": "F1 at it",
}


def write_report(
    path: Path | str,
    *,
    title: str,
    run: Mapping[str, Any],
    metrics: Mapping[str, float],
    per_class: Rows = (),
    baselines: Mapping[str, Mapping[str, float]] | None = None,
    figures: Sequence[Picture] = (),
    config: Mapping[str, Any] | None = None,
    headlines: Mapping[str, str] = MappingProxyType(HEADLINES),
    more: Sequence[str] = (),
    style: str = "",
    model: str = "model",
    intervals: Mapping[str, Intervals] | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Writes the page of a run, atomically. Sections without content are left out.

    Args:
        path: the file to write.
        title: of the page.
        run: what was run, in the order to show it: model, bands, labels, iteration,
            command, data, seed.
        metrics: what `metrics.multi_label_report` returns. The first table shows the
            main ones, the last all of them.
        per_class: what `per_class_table` returns.
        baselines: name of each baseline to its metrics, shown beside the model's.
        figures: pairs of caption and PNG.
        config: the resolved config.
        headlines: keys of the first table, and their words; others are left out.
        more: finished sections that come after the figures.
        style: CSS that they need.
        model: heading of the column of `metrics`.
        intervals: of columns by their heading, shown below the numbers.
        notes: paragraphs below the first table.

    Raises:
        OSError: the file can't be written.
    """
    columns = {model: metrics, **(baselines or {})}
    said = "".join(f'<p class="note">{html.escape(text)}</p>\n' for text in notes)
    shown = {key: text for key, text in headlines.items() if key in metrics}
    every = {key: key for column in columns.values() for key in column}
    sections = [
        generated.as_html(generated.is_marked([config])),
        page.definitions(run),
        page.section(
            "Results", comparison(shown, columns, ".4f", intervals or {}) + said
        ),
        page.section("Labels", _label_table(per_class)),
        page.section("Figures", "".join(figure_html(*pair) for pair in figures)),
        *more,
        page.folded("All measures", comparison(every, columns, ".6g")),
        page.folded("Config", _settings(config or {})),
    ]
    files.write_text(path, page.render(title, sections, style))


def per_class_table(
    metrics: Mapping[str, float],
    names: Sequence[str],
    counts: Sequence[int] | np.ndarray,
) -> list[dict[str, Any]]:
    """Returns one row per label: its name, number of positives, and metrics.

    Args:
        metrics: what `metrics.multi_label_report` returns.
        names: label names, in the order of the labels.
        counts: positives of each label in the evaluated split.

    Returns:
        Rows of label, count, precision, recall, f1, average_precision and auroc.

    Raises:
        ValueError: metrics or counts of another number of labels than names.
    """
    stem = next(iter(_PER_LABEL.values()))
    known = sum(re.fullmatch(rf"{stem}\d+", key) is not None for key in metrics)
    if not len(names) == len(counts) == known:
        raise ValueError(
            f"expected names, counts and metrics of the same labels, got {len(names)} "
            f"names, {len(counts)} counts and the metrics of {known} labels"
        )
    return [
        {"label": name, "count": int(count)}
        | {column: metrics[f"{stem}{j}"] for column, stem in _PER_LABEL.items()}
        for j, (name, count) in enumerate(zip(names, counts, strict=True))
    ]


def write_per_class_csv(path: Path | str, rows: Rows) -> None:
    """Writes rows, such as those of `per_class_table`, as CSV, atomically.

    Numbers keep all their digits; the first line has the columns' names.

    Raises:
        ValueError: no rows, or rows with different columns.
        OSError: the file can't be written.
    """
    if not rows:
        raise ValueError(f"{path}: expected at least one row, got none")
    files.write_text(path, per_class_csv(rows))


def per_class_csv(rows: Rows) -> str:
    """Returns the text that `write_per_class_csv` writes, of one row or more."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def comparison(
    titles: Mapping[str, str],
    columns: Mapping[str, Mapping[str, float]],
    form: str,
    intervals: Mapping[str, Intervals] = MappingProxyType({}),
) -> str:
    """Returns a table with a line per measure and a column per set of metrics.

    Args:
        titles: keys of the metrics, and their words.
        columns: heading to metrics; a dash stands where one lacks a measure.
        form: of the numbers.
        intervals: of columns by their heading, shown below the numbers.
    """
    lines = []
    for key, title in titles.items():
        cells = [page.cell(title, row_head=True)]
        for name, column in columns.items():
            text = format(column[key], form) if key in column else "–"
            bounds = intervals.get(name, {}).get(key)
            below = "–".join(format(bound, form) for bound in bounds) if bounds else ""
            cells.append(page.cell(text, below=below))
        lines.append(cells)
    return page.table(["Measure", *columns], lines)


def _label_table(rows: Rows) -> str:
    """Returns the table of the labels, with a bar behind the average precision."""
    if not rows:
        return ""
    columns = [column for column in rows[0] if not column.endswith(_INTERVAL)]
    lines = []
    for row in rows:
        cells = []
        for index, column in enumerate(columns):
            value = row[column]
            forms = {int: ",d", float: ".4f"}
            text = format(value, forms.get(type(value), ""))
            bar = float(value) if column in _WITH_BAR else None
            below = str(row.get(column + _INTERVAL, ""))
            cells.append(page.cell(text, row_head=index == 0, bar=bar, below=below))
        lines.append(cells)
    titles = [_COLUMN_TITLES.get(column, column) for column in columns]
    return page.table(titles, lines, kind="labels")


def _settings(config: Mapping[str, Any]) -> str:
    """Returns the table of a config, values as JSON."""
    lines = [
        [page.cell(key, row_head=True), page.json_cell(value)]
        for key, value in config.items()
    ]
    return page.table(["Key", "Value"], lines)


def rendered(figures: Sequence[tuple[str, plots.Figure]]) -> list[Picture]:
    """Returns figures as PNGs, each drawn once for all places that show it."""
    return [(caption, pictures.to_png(figure)) for caption, figure in figures]


def figure_html(caption: str, png: bytes) -> str:
    """Returns a picture with its caption."""
    caption = html.escape(caption)
    source = plots.to_data_uri(png)
    return (
        f'<figure><div class="scroll" tabindex="0"><img src="{source}" '
        f'alt="{caption}"></div><figcaption>{caption}</figcaption></figure>\n'
    )
