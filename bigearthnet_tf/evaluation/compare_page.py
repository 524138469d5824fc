"""A comparison of runs as a page, as Markdown, and as a picture."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bigearthnet_tf import escapes, files, outputs, pictures
from bigearthnet_tf import runs as run_folders
from bigearthnet_tf.evaluation import compare, generated, markdown, page, plots, report
from bigearthnet_tf.evaluation.compare import Comparison, Difference
from bigearthnet_tf.pictures import GREY, INK, LIGHT, OKABE_ITO
from bigearthnet_tf.training import stopping

_STYLE = """\
td:nth-child(2) { font-weight: 400; }
td.better { color: #157f3b; font-weight: 600; }
td.worse { color: #b3470a; font-weight: 600; }
@media (prefers-color-scheme: dark) {
  td.better { color: #5fce86; } td.worse { color: #ff9d5c; }
}
"""
_KINDS = ("json", "csv", "md", "html")
_MARKERS = "osD^vPX"


def check_outputs(folder: Path, runs: Sequence[Path]) -> None:
    """Checks that a comparison replaces nothing but an earlier one.

    Args:
        folder: where it goes.
        runs: that are read.

    Raises:
        ValueError: the folder is one of them.
        OSError: foreign files are there, or the folder can't be written to.
    """
    outputs.check_folder(folder, runs)
    known = outputs.has_keys("runs", "patches", "rounds", "results")
    paths = [folder / f"compare.{kind}" for kind in _KINDS]
    outputs.check_files([(path, outputs.beside(paths[0], known)) for path in paths])


def write(folder: Path, found: Comparison) -> list[Path]:
    """Writes `compare.html`, `.md`, `.csv` and `.json`, all or none.

    Args:
        folder: made if need be.
        found: the comparison.

    Returns:
        Their paths.

    Raises:
        OSError: a file can't be written.
    """
    paths = {kind: folder / f"compare.{kind}" for kind in _KINDS}
    texts = {
        "html": _page(found),
        "md": _markdown(found),
        "csv": report.per_class_csv(compare.rows(found)),
        # The first to get its name: it says that the others are ours.
        "json": files.to_json(compare.to_json(found)),
    }
    files.write_together({paths[kind]: text.encode() for kind, text in texts.items()})
    return [paths[kind] for kind in ("html", "md", "csv", "json")]


def _note(found: Comparison) -> str:
    return (
        f"{len(found.runs[0].predictions):,} patches, the same of all runs. Below the "
        f"numbers and in brackets 95 % intervals: percentiles of {found.rounds:,} "
        f"resamplings of the patches (seed {found.seed}), of the differences to "
        f"{found.runs[0].name} with the same draws for both. A difference is marked "
        "where its interval excludes 0: of many labels some do so by chance. Other "
        "seeds of the training are not in it."
    )


def _is_generated(found: Comparison) -> bool:
    return generated.is_marked(run.config for run in found.runs)


def _titles(found: Comparison) -> dict[str, str]:
    return {key: report.HEADLINES.get(key, key) for key in compare.MEASURES}


def _page(found: Comparison) -> str:
    names = [run.name for run in found.runs]
    facts = {
        run.name: " · ".join(
            [
                str(run.config.get("model_name", "scores alone")),
                *(str(run.config[k]) for k in ("modality",) if k in run.config),
                f"iteration {run.predictions.iteration}",
                str(run.path),
            ]
        )
        for run in found.runs
    }
    sections = [
        generated.as_html(_is_generated(found)),
        page.definitions(facts),
        page.section(
            "Results",
            _table(found, _titles(found))
            + f'<p class="note">{html.escape(_note(found))}</p>',
        ),
        page.section(
            "Average precision of each label, difference",
            report.figure_html(
                f"Difference of average precision to {names[0]}, with 95 % intervals; "
                "filled where they exclude 0",
                pictures.to_png(forest(found)),
            ),
        ),
        page.section("Average precision of each label", _labels(found, 0)),
        page.section("F1 of each label", _labels(found, 1)),
        page.section("What differs in the configs", _configs(found)),
    ]
    return page.render(f"{' against '.join(names)}", sections, _STYLE)


def _labels(found: Comparison, which: int) -> str:
    stem = list(compare.PER_LABEL.values())[which]
    titles = {
        f"{stem}_class{j}": f"{name} ({found.positives[j]:,})"
        for j, name in enumerate(found.labels)
    }
    return _table(found, titles)


def _table(found: Comparison, titles: dict[str, str]) -> str:
    """Returns values of all runs and, of all but the first, the differences."""
    heads = [""]
    for number, run in enumerate(found.runs):
        heads += [run.name] if number == 0 else [run.name, "difference"]
    lines = []
    for key, title in titles.items():
        cells = [page.cell(title, row_head=True)]
        for number, values in enumerate(found.values):
            low, high = found.intervals[number][key]
            between = f"{low:.4f}–{high:.4f}"
            cells.append(page.cell(f"{values[key]:.4f}", below=between))
            if number:
                of = found.differences[number - 1][key]
                kind = _kind(key, of)
                text = f"{of.low:+.4f} to {of.high:+.4f}"
                cells.append(page.cell(f"{of.value:+.4f}", below=text, kind=kind))
        lines.append(cells)
    return page.table(heads, lines)


def _kind(key: str, of: Difference) -> str:
    if not of.is_clear:
        return ""
    is_better = (of.value > 0) != stopping.lower_is_better(key)
    return "better" if is_better else "worse"


def _configs(found: Comparison) -> str:
    configs = [run.config for run in found.runs]
    lines = [
        [page.cell(key, row_head=True), *map(page.json_cell, values)]
        for key, values in run_folders.config_differences(configs).items()
    ]
    return page.table(["Key", *(run.name for run in found.runs)], lines)


def forest(found: Comparison) -> Figure:
    """Returns the differences of average precision of each label to the first run.

    A line a label, in their order, with the mean over the labels on top; a marker and
    an interval for each run but the first.
    """
    names = ["macro mean", *found.labels]
    keys = ["macro_average_precision"]
    keys += [f"average_precision_class{j}" for j in range(len(found.labels))]
    others = len(found.differences)
    step = 0.62 / others
    figure = plots.new_page(9.0, 1.3 + (0.26 + 0.1 * others) * len(names))
    axes = figure.subplots()
    axes.axvline(0, color=INK, linewidth=1)
    for number, differences in enumerate(found.differences):
        of = [differences[key] for key in keys]
        places = np.arange(len(names)) + (number - (others - 1) / 2) * step
        values = np.array([each.value for each in of])
        bounds = np.array([[each.low, each.high] for each in of])
        colour = OKABE_ITO[number % len(OKABE_ITO)]
        axes.hlines(places, bounds[:, 0], bounds[:, 1], color=colour, linewidth=1.5)
        faces = [colour if each.is_clear else "white" for each in of]
        for place, value, face in zip(places, values, faces, strict=True):
            axes.plot(
                value, place, _MARKERS[number % len(_MARKERS)], color=colour,
                markerfacecolor=face, markersize=6,
            )  # fmt: skip
        axes.plot(
            [], [], _MARKERS[number % len(_MARKERS)], color=colour,
            label=found.runs[number + 1].name,
        )  # fmt: skip
    counts = ["", *(f"  ({count:,})" for count in found.positives)]
    labels = [
        textwrap.fill(name, 50) + count
        for name, count in zip(names, counts, strict=True)
    ]
    axes.set_yticks(np.arange(len(names)), labels, fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.axhline(0.5, color=GREY, linewidth=0.8)
    axes.set_xlabel(f"average precision less that of {found.runs[0].name}", fontsize=10)
    axes.grid(axis="x", color=LIGHT, linewidth=0.8)
    plots.finish(axes)
    axes.tick_params(axis="y", length=0, pad=7)
    figure.legend(loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    return plots.laid_out(figure)


def _markdown(found: Comparison) -> str:
    names = [run.name for run in found.runs]
    head = escapes.in_markdown(" against ".join(names))
    parts = [f"# {head}"]
    parts += [generated.as_markdown(True)] if _is_generated(found) else []
    parts += [escapes.in_markdown(_note(found)), "## Results"]
    parts.append(markdown.table(_markdown_rows(found, _titles(found))))
    for title, stem in zip(
        ("Average precision", "F1"), compare.PER_LABEL.values(), strict=True
    ):
        of = {f"{stem}_class{j}": name for j, name in enumerate(found.labels)}
        parts += [f"## {title} of each label"]
        parts.append(markdown.table(_markdown_rows(found, of)))
    return "\n\n".join(parts) + "\n"


def _markdown_rows(found: Comparison, titles: dict[str, str]) -> Sequence[Any]:
    table = []
    for key, title in titles.items():
        row: dict[str, Any] = {"": title}
        for number, run in enumerate(found.runs):
            row[run.name] = found.values[number][key]
            if number:
                of = found.differences[number - 1][key]
                sign = "**" if of.is_clear else ""
                row[f"{run.name} difference"] = (
                    f"{sign}{of.value:+.4f}{sign} ({of.low:+.4f} to {of.high:+.4f})"
                )
        table.append(row)
    return table
