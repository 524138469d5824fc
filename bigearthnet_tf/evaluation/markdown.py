"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bigearthnet_tf import escapes


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
    return f"| {' | '.join(map(escapes.in_markdown, cells))} |"


def _text(value: Any, digits: int) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
