"""A run's results as one HTML page, and as a CSV with one line per label.

The page stands alone: styles and pictures are inside it, nothing is loaded from
elsewhere. It says what it is given and nothing else, so the same results give the same
page. All text is escaped.
"""

from __future__ import annotations

import csv
import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from bigearthnet_tf import files
from bigearthnet_tf.evaluation import plots

Rows = Sequence[Mapping[str, Any]]
"""One mapping per label, all with the same keys: column name to text or number."""

# Key in the metrics, and the words of the first table. Arrows point to the better.
_HEADLINES = {
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
}
# Column of the table per label, and the stem of its keys in the metrics.
_PER_LABEL = {
    "precision": "macro_precision_class",
    "recall": "macro_recall_class",
    "f1": "macro_f1_score_class",
    "average_precision": "average_precision_class",
    "auroc": "auroc_class",
}
_COLUMN_TITLES = {
    "label": "Label",
    "count": "Positives",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "average_precision": "Average precision",
    "auroc": "ROC area",
}

_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<main>
<h1>$title</h1>
$body
</main>
</body>
</html>
""")

_STYLE = """\
:root {
  color-scheme: light dark;
  --page: #fff; --ink: #1b1f24; --soft: #5c6670; --line: #d8dde3; --bar: #cfe3f1;
  --head: #f4f6f8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14181d; --ink: #e6e9ed; --soft: #9aa5b1; --line: #333b45; --bar: #1f4058;
    --head: #1d232a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans",
    sans-serif;
}
main { max-width: 1100px; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .6rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem;
  margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; min-width: 50%; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
  font-variant-numeric: tabular-nums; }
thead th { background: var(--head); color: var(--soft); font-weight: 600;
  vertical-align: bottom; }
th:first-child, td.text { text-align: left; }
td.text { overflow-wrap: anywhere; min-width: 14rem; }
tbody th { font-weight: 400; min-width: 11rem; background: var(--page); }
th:first-child { position: sticky; left: 0; z-index: 1; }
td:nth-child(2) { font-weight: 600; }
td.bar { background: linear-gradient(var(--bar), var(--bar)) no-repeat 0 50% / 0 75%; }
.labels td:nth-child(2) { font-weight: 400; }
figure { margin: 0 0 2rem; }
img { display: block; max-width: 100%; height: auto; background: #fff; padding: .5rem;
  border: 1px solid var(--line); border-radius: 6px; }
figcaption { color: var(--soft); margin-top: .4rem; }
summary { cursor: pointer; font-size: 1.2rem; font-weight: 700;
  margin: 2.5rem 0 .6rem; }
@media (max-width: 600px) {
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; }
  th, td { padding: .3rem .45rem; }
  tbody th { min-width: 8rem; }
  table { font-size: .85rem; }
  img { max-width: none; width: 760px; }
}
"""


def write_report(
    path: Path | str,
    *,
    title: str,
    run: Mapping[str, Any],
    metrics: Mapping[str, float],
    per_class: Rows = (),
    baselines: Mapping[str, Mapping[str, float]] | None = None,
    figures: Sequence[tuple[str, plots.Figure]] = (),
    config: Mapping[str, Any] | None = None,
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
        figures: pairs of caption and picture.
        config: the resolved config.

    Raises:
        OSError: the file can't be written.
    """
    columns = {"model": metrics, **(baselines or {})}
    headlines = {key: text for key, text in _HEADLINES.items() if key in metrics}
    every = {key: key for column in columns.values() for key in column}
    sections = [
        _definitions(run),
        _section("Results", _comparison(headlines, columns, ".4f")),
        _section("Labels", _label_table(per_class)),
        _section("Figures", "".join(_figure(*pair) for pair in figures)),
        _folded("All measures", _comparison(every, columns, ".6g")),
        _folded("Config", _settings(config or {})),
    ]
    page = _PAGE.substitute(
        title=html.escape(title), style=_STYLE, body="\n".join(filter(None, sections))
    )
    files.write_text(path, page)


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
    with (
        files.write_atomically(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _section(title: str, content: str) -> str:
    """Returns content under a heading, or nothing if there is none."""
    return f"<section><h2>{title}</h2>\n{content}</section>" if content else ""


def _folded(title: str, content: str) -> str:
    """Returns content that opens on a click, or nothing if there is none."""
    if not content:
        return ""
    return f"<details><summary>{title}</summary>\n{content}</details>"


def _definitions(pairs: Mapping[str, Any]) -> str:
    """Returns names and values as a list."""
    lines = [
        f"<dt>{html.escape(str(name))}</dt><dd>{html.escape(_text(value))}</dd>\n"
        for name, value in pairs.items()
    ]
    return f"<dl>\n{''.join(lines)}</dl>" if lines else ""


def _comparison(
    titles: Mapping[str, str], columns: Mapping[str, Mapping[str, float]], form: str
) -> str:
    """Returns a table with a line per measure and a column per set of metrics."""
    lines = [
        [
            _cell(title, row_head=True),
            *(
                _cell(format(column[key], form) if key in column else "–")
                for column in columns.values()
            ),
        ]
        for key, title in titles.items()
    ]
    return _table(["Measure", *columns], lines)


def _label_table(rows: Rows) -> str:
    """Returns the table of the labels, with a bar behind the average precision."""
    if not rows:
        return ""
    lines = []
    for row in rows:
        cells = []
        for index, (column, value) in enumerate(row.items()):
            forms = {int: ",d", float: ".4f"}
            text = format(value, forms.get(type(value), ""))
            bar = float(value) if column == "average_precision" else None
            cells.append(_cell(text, row_head=index == 0, bar=bar))
        lines.append(cells)
    titles = [_COLUMN_TITLES.get(column, column) for column in rows[0]]
    return _table(titles, lines, kind="labels")


def _settings(config: Mapping[str, Any]) -> str:
    """Returns the table of a config, values as JSON."""
    lines = [
        [
            _cell(key, row_head=True),
            f'<td class="text">{html.escape(_json(value))}</td>',
        ]
        for key, value in config.items()
    ]
    return _table(["Key", "Value"], lines)


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]], kind: str = "") -> str:
    """Returns a table of finished cells that scrolls sideways where it must."""
    if not lines:
        return ""
    head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in heads)
    body = "".join(f"<tr>{''.join(cells)}</tr>\n" for cells in lines)
    return (
        f'<div class="scroll" tabindex="0"><table class="{kind}">\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n"
    )


def _cell(text: str, *, row_head: bool = False, bar: float | None = None) -> str:
    """Returns one cell; `bar` is the share of it that is shaded."""
    text = html.escape(text)
    if row_head:
        # Keys are long: on a narrow screen they may break after an underscore.
        return f'<th scope="row">{text.replace("_", "_<wbr>")}</th>'
    if bar is None:
        return f"<td>{text}</td>"
    return f'<td class="bar" style="background-size: {bar:.1%} 75%">{text}</td>'


def _figure(caption: str, figure: plots.Figure) -> str:
    """Returns a picture with its caption."""
    caption = html.escape(caption)
    source = plots.to_data_uri(figure)
    return (
        f'<figure><div class="scroll" tabindex="0"><img src="{source}" '
        f'alt="{caption}"></div><figcaption>{caption}</figcaption></figure>\n'
    )


def _text(value: Any) -> str:
    """Returns a value as a reader would write it: lists with commas."""
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)


def _json(value: Any) -> str:
    """Returns a value as JSON, or as text if it has no JSON form."""
    return json.dumps(value, ensure_ascii=False, default=str)
