"""HTML pages that stand alone: styles are inside, nothing is loaded from elsewhere.

They are read in light and dark and on narrow screens. All text is escaped.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from string import Template
from typing import Any

from bigearthnet_tf import outputs

_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
$generator
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
td small.below { display: block; font-size: .78rem; font-weight: 400;
  color: var(--soft); white-space: nowrap; }
.labels td:nth-child(2) { font-weight: 400; }
h3 { font-size: 1rem; margin: 1.4rem 0 .5rem; }
.note { color: var(--soft); font-size: .9rem; max-width: 46rem; }
.generated { border-left: .4rem solid #9c1c1c; background: var(--head);
  padding: .6rem .9rem; margin: 0 0 1.2rem; }
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


def render(title: str, sections: Iterable[str], style: str = "") -> str:
    """Returns a page.

    Args:
        title: of the page.
        sections: finished HTML; empty ones are left out.
        style: CSS beside what all pages have.
    """
    return _PAGE.substitute(
        title=html.escape(title),
        generator=outputs.HTML_GENERATOR,
        style=_STYLE + style,
        body="\n".join(filter(None, sections)),
    )


def section(title: str, content: str) -> str:
    """Returns content under a heading, or nothing if there is none."""
    return f"<section><h2>{title}</h2>\n{content}</section>" if content else ""


def folded(title: str, content: str) -> str:
    """Returns content that opens on a click, or nothing if there is none."""
    if not content:
        return ""
    return f"<details><summary>{title}</summary>\n{content}</details>"


def definitions(pairs: Mapping[str, Any]) -> str:
    """Returns names and values as a list."""
    lines = [
        f"<dt>{html.escape(str(name))}</dt><dd>{html.escape(_text(value))}</dd>\n"
        for name, value in pairs.items()
    ]
    return f"<dl>\n{''.join(lines)}</dl>" if lines else ""


def table(heads: Sequence[str], lines: Sequence[Sequence[str]], kind: str = "") -> str:
    """Returns a table of finished cells that scrolls sideways where it must."""
    if not lines:
        return ""
    head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in heads)
    body = "".join(f"<tr>{''.join(cells)}</tr>\n" for cells in lines)
    return (
        f'<div class="scroll" tabindex="0"><table class="{kind}">\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n"
    )


def cell(
    text: str,
    *,
    row_head: bool = False,
    bar: float | None = None,
    below: str = "",
    kind: str = "",
) -> str:
    """Returns one cell.

    Args:
        text: in it.
        row_head: whether it heads its row.
        bar: the share of it that is shaded.
        below: small text under the other.
        kind: its class, for the CSS of a page.
    """
    text = html.escape(text)
    if below:
        text += f'<small class="below">{html.escape(below)}</small>'
    if row_head:
        # Keys are long: on a narrow screen they may break after an underscore.
        return f'<th scope="row">{text.replace("_", "_<wbr>")}</th>'
    if bar is None:
        return f'<td class="{kind}">{text}</td>' if kind else f"<td>{text}</td>"
    return f'<td class="bar" style="background-size: {bar:.1%} 75%">{text}</td>'


def json_cell(value: Any) -> str:
    """Returns a cell with a value as JSON, or as text if it has no JSON form."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return f'<td class="text">{html.escape(text)}</td>'


def _text(value: Any) -> str:
    """Returns a value as a reader would write it: lists with commas."""
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)
