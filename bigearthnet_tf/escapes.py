"""Names, paths and values that come from anywhere, as Markdown shows them."""

from __future__ import annotations

import html
import re
from typing import Any


def in_markdown(value: Any) -> str:
    """Returns a value as Markdown on one line that shows it, HTML in it and all.

    Names, paths and values of configs come from anywhere, and Markdown lets HTML pass.
    """
    return html.escape(" ".join(str(value).split()), quote=False).replace("|", r"\|")


def as_code(value: Any) -> str:
    """Returns a value as code within a line, which no value can end."""
    shown = " ".join(str(value).split()).replace("|", r"\|")
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    mark, blank = "`" * (longest + 1), " " if longest else ""
    return f"{mark}{blank}{shown}{blank}{mark}"
