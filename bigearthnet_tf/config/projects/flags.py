"""Flags of other projects' training scripts: a parser that raises, plain refusals."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from bigearthnet_tf import files, registry


class Parser(argparse.ArgumentParser):
    """An argument parser that raises ValueError where argparse ends the program.

    Args:
        script: whose arguments are read, for messages.
    """

    def __init__(self, script: str) -> None:
        super().__init__(prog="", add_help=False, allow_abbrev=False)
        self.script = script

    def error(self, message: str) -> NoReturn:
        """Raises ValueError with argparse's message."""
        told = message.replace("ignored explicit argument", "takes no value, got")
        raise ValueError(f"{self.script}: {told}")


def whole(text: str) -> int:
    """Returns a whole number, for argparse."""
    return int(_number(text, int, "a whole number"))


def real(text: str) -> float:
    """Returns a number, for argparse."""
    return float(_number(text, float, "a number"))


def _number(text: str, read: Callable[[str], Any], expected: str) -> Any:
    try:
        return read(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected {expected}, got {files.echo(text)}"
        ) from None


def refuse(
    unknown: Sequence[str], known: Iterable[str], script: str, page: str
) -> None:
    """Names unknown arguments, all in one line; does nothing if there are none.

    Args:
        unknown: words that the parser left.
        known: flags of the script, with their dashes.
        script: its name.
        page: that lists its flags.

    Raises:
        ValueError: there are unknown arguments.
    """
    if not unknown:
        return
    by_name = {flag.lstrip("-"): flag for flag in known}
    # Behind an unknown flag stands its value.
    words = [word for word in unknown if word.startswith("--") and word != "--"]
    told = []
    for word in dict.fromkeys(words or unknown):
        spelt = word.partition("=")[0]
        near = registry.nearest_names(spelt.lstrip("-"), by_name, 1)
        name = near.removeprefix("did you mean ").strip("'?")
        is_near = near.startswith("did") and name in by_name
        question = f" (did you mean {by_name[name]!r}?)" if is_near else ""
        told.append(files.echo(spelt) + question)
    raise ValueError(
        f"{script}: no argument {', '.join(told)}; {page} lists those that there are"
    )
