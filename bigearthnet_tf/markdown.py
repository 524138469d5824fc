"""Markdown: tables, and texts that stay texts."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any


def text(value: Any) -> str:
    """Returns a value as Markdown on one line that shows it, HTML in it and all.

    Names, paths and values of configs come from anywhere, and Markdown lets HTML pass.
    """
    return html.escape(" ".join(str(value).split()), quote=False).replace("|", r"\|")


def code(value: Any) -> str:
    """Returns a value as code within a line, which no value can end."""
    shown = " ".join(str(value).split()).replace("|", r"\|")
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    mark, blank = "`" * (longest + 1), " " if longest else ""
    return f"{mark}{blank}{shown}{blank}{mark}"


def table(rows: Sequence[Mapping[str, Any]], digits: int = 4) -> str:
    """Returns rows as a table; nothing for no rows.

    Args:
        rows: all with the same keys, which head the columns.
        digits: of numbers that are not whole, after the point. None stays empty.
    """
    if not rows:
        return ""
    numeric = [
        all(isinstance(row[key], int | float | None) for row in rows) for key in rows[0]
    ]
    rule = ("--:" if is_number else "---" for is_number in numeric)
    lines = [_line(rows[0]), _line(rule)]
    lines += [_line(_text(value, digits) for value in row.values()) for row in rows]
    return "\n".join(lines)


def _line(cells: Any) -> str:
    return f"| {' | '.join(map(text, cells))} |"


def _text(value: Any, digits: int) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
