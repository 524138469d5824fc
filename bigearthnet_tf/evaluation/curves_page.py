"""The course of runs as one HTML page that needs nothing else.

The pictures are drawn into it as SVG, one a panel, so that they find their place on any
screen, in the colours of the page, light or dark.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from bigearthnet_tf import files, pictures
from bigearthnet_tf.evaluation import curves, generated, page
from bigearthnet_tf.evaluation.curves import Axis, Panel, Run

# Iteration and value.
Point = Sequence[float] | np.ndarray

_TITLES = {
    "losses": "Losses",
    "metrics": "Metrics",
    "optimization": "Optimisation",
    "throughput": "Throughput",
}
_PANEL = (4.6, 3.0)  # inches, of which a screen makes what it can
# The colours of the drawing follow those of the page.
_VARIABLES = {
    pictures.INK: "var(--ink)",
    pictures.GREY: "var(--soft)",
    pictures.LIGHT: "var(--line)",
}
_NOTE = (
    '<p class="note">Where a training has many points, the thin line is the points and '
    "the thick one their mean over a thirtieth of the course.</p>"
)
_STYLE = """\
.key { list-style: none; margin: 0 0 1rem; padding: 0; }
.key li { display: grid; grid-template-columns: 44px 1fr; gap: 0 .8rem;
  align-items: center; padding: .15rem 0; overflow-wrap: anywhere; }
.key small { color: var(--soft); font-size: .85rem; grid-column: 2; }
.panels { display: grid; gap: 1rem 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); }
.panels figure { margin: 0; }
.panels svg { display: block; width: 100%; height: auto; }
td:nth-child(2) { font-weight: 400; }
td.best { font-weight: 700; }
td small { color: var(--soft); font-weight: 400; white-space: nowrap; }
.note { color: var(--soft); font-size: .9rem; max-width: 46rem; }
"""


def write(
    path: Path | str,
    runs: Sequence[Run],
    drawn: Mapping[str, Sequence[Panel]],
    metrics: Sequence[str],
    axis: Axis = "iteration",
) -> None:
    """Writes the page, atomically.

    Args:
        path: the file to write.
        runs: at least one.
        drawn: panels of each picture, as `curves.panels` returns them.
        metrics: those of the validation that the table has.
        axis: what the curves are drawn against.

    Raises:
        OSError: the file can't be written.
        ValueError: epochs that nobody can tell.
    """
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    sections = [
        generated.as_html(generated.is_marked(run.config for run in runs)),
        _key(runs),
        page.section("Results", _results(runs, metrics)),
        *(
            page.section(_TITLES[name], _panels(runs, of, axis))
            for name, of in drawn.items()
        ),
        page.section("What differs in the configs", _differences(runs)),
    ]
    files.write_text(path, page.render(f"Training of {title}", sections, _STYLE))


def _key(runs: Sequence[Run]) -> str:
    """Returns the list of runs with how their curves look."""
    items = []
    for number, run in enumerate(runs):
        facts = [str(run.folder), f"{run.iterations:,} iterations"]
        if "model_name" in run.config:
            facts.insert(0, str(run.config["model_name"]))
        items.append(
            f"<li>{_sample(number)}<b>{html.escape(run.name)}</b>"
            f"<small>{html.escape(' · '.join(facts))}</small></li>\n"
        )
    return f'<ul class="key">\n{"".join(items)}</ul>\n{_NOTE}'


def _sample(number: int) -> str:
    """Returns a stroke as the curves of a run have it."""
    colour = curves.COLOURS[number % len(curves.COLOURS)]
    dashes = curves.DASHES[number % len(curves.DASHES)]
    strokes = " ".join(f"{2.5 * length:g}" for length in dashes)
    return (
        '<svg width="44" height="10" aria-hidden="true"><path d="M0 5H44" '
        f'stroke="{_VARIABLES.get(colour, colour)}" stroke-width="2.5" '
        f'stroke-dasharray="{strokes}"/></svg>'
    )


def _panels(runs: Sequence[Run], drawn: Sequence[Panel], axis: Axis) -> str:
    """Returns the panels side by side, as many as there is room for."""
    figures = [Figure(figsize=_PANEL, layout="constrained") for _ in drawn]
    places = [figure.subplots() for figure in figures]
    for axes, panel in zip(places, drawn, strict=True):
        curves.draw_panel(axes, runs, panel, axis)
    curves.share_scales(places, drawn)
    found = "".join(
        f"<figure>{_svg(figure, panel.title)}</figure>\n"
        for figure, panel in zip(figures, drawn, strict=True)
    )
    return f'<div class="panels">\n{found}</div>\n'


def _svg(figure: Figure, title: str) -> str:
    """Returns a figure as SVG in the colours of the page."""
    pictures.without_formulas(figure)
    buffer = io.StringIO()
    # The same figure has the same names inside, and letters look alike everywhere.
    with mpl.rc_context({"svg.hashsalt": "curves", "svg.fonttype": "path"}):
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    label = html.escape(title, quote=True)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def _results(runs: Sequence[Run], metrics: Sequence[str]) -> str:
    """Returns the table of best and last values, a column for each run."""
    losses = [
        measure
        for run in runs
        for measure in run.measures("validation")
        if measure.endswith("_loss")
    ]
    lines = []
    for measure in dict.fromkeys([*metrics, *losses]):
        series = [run.series("validation", measure) for run in runs]
        found = [curves.best(of, measure) if len(of) else None for of in series]
        lines.append(_line(f"{measure}, best", found, best=_winner(measure, found)))
        last = [of[-1] if len(of) else None for of in series]
        lines.append(_line(f"{measure}, last", last))
    for measure, what, reduce in (
        ("images_per_second", "median", np.median),
        ("input_wait_share", "mean", np.mean),
        ("memory_gb", "largest", np.max),
        ("gpu_memory_gb", "largest", np.max),
    ):
        series = [run.series("training", measure)[:, 1] for run in runs]
        values = [(np.nan, float(reduce(of))) if len(of) else None for of in series]
        if any(len(of) for of in series):
            lines.append(_line(f"{measure}, {what}", values))
    return page.table(["", *(run.name for run in runs)], lines)


def _winner(measure: str, found: Sequence[Point | None]) -> int | None:
    """Returns the number of the run with the best value, if there are several."""
    present = [number for number, point in enumerate(found) if point is not None]
    if len(present) < 2:
        return None
    values = np.array([found[number] for number in present])
    return present[
        int(np.flatnonzero((values == curves.best(values, measure)).all(1))[0])
    ]


def _line(
    title: str, points: Sequence[Point | None], best: int | None = None
) -> list[str]:
    """Returns a line of the table: values, and at which iteration they were."""
    cells = [page.cell(title, row_head=True)]
    for number, point in enumerate(points):
        if point is None:
            cells.append(page.cell("–"))
            continue
        iteration, value = point
        where = "" if np.isnan(iteration) else f" <small>at {iteration:,.0f}</small>"
        kind = ' class="best"' if number == best else ""
        cells.append(f"<td{kind}>{_number(value)}{where}</td>")
    return cells


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) >= 0.001 else f"{value:.3g}"


def _differences(runs: Sequence[Run]) -> str:
    """Returns the table of config keys whose values differ."""
    lines = [
        [page.cell(key, row_head=True), *map(page.json_cell, values)]
        for key, values in curves.differences(runs).items()
    ]
    return page.table(["Key", *(run.name for run in runs)], lines)
