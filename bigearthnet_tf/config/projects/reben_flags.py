"""Flags of reBEN's `train_BigEarthNetv2_0.py`, as typer reads them.

They and their defaults are those of version 0.2.0 and of the fork with DINOv3;
`train_BENv2.py`, the earlier name, has a part of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from bigearthnet_tf import files, registry

_SCRIPT = "train_BigEarthNetv2_0.py"


def _whole(text: str) -> int:
    return _number(text, int, "a whole number")


def _real(text: str) -> float:
    return _number(text, float, "a number")


def _number(text: str, read: Callable[[str], Any], expected: str) -> Any:
    try:
        return read(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected {expected}, got {files.echo(text)}"
        ) from None


# Kind and default of each; `bool` is a pair of `--x` and `--no-x`.
_FLAGS: dict[str, tuple[Callable[[str], Any], Any]] = {
    "architecture": (str, "resnet101"),
    "seed": (_whole, 42),
    "lr": (_real, 0.001),
    "epochs": (_whole, 100),
    "bs": (_whole, 512),
    "drop-rate": (_real, 0.15),
    "drop-path-rate": (_real, 0.15),
    "warmup": (_whole, 1000),
    "workers": (_whole, 8),
    "bandconfig": (str, "all"),
    "use-wandb": (bool, False),
    "upload-to-hub": (bool, False),
    "test-run": (bool, True),
    "hf-entity": (str, None),
    "dinov3-model-name": (str, None),
    "linear-probe": (bool, False),
    "head-type": (str, "linear"),
    "head-mlp-dims": (str, None),
    "head-dropout": (_real, None),
    "resume-from": (str, None),
    "config-path": (str, None),
    "run-name": (str, None),
    "devices": (_whole, None),
    "strategy": (str, None),
}
DEFAULTS = {name: default for name, (_, default) in _FLAGS.items()}
# What an earlier README calls them.
_ALIASES = {"architecture": ["--architectures"]}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raises ValueError instead of ending the program."""
        raise ValueError(f"{_SCRIPT}: {message}")


def parse(words: Sequence[str]) -> dict[str, Any]:
    """Returns the values of the flags that are given, of several of one the last.

    Args:
        words: of a command line, with hyphens or underscores in the flags.

    Raises:
        ValueError: unknown flags, all of them in one line; a value that is missing or
            no value of its flag.
    """
    parser = _Parser(prog="", add_help=False, allow_abbrev=False)
    for name, (kind, _) in _FLAGS.items():
        spellings = [f"--{name}", *_ALIASES.get(name, [])]
        how: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
        if kind is bool:
            how["action"] = argparse.BooleanOptionalAction
        else:
            how["type"] = kind
        parser.add_argument(*spellings, **how)
    found, unknown = parser.parse_known_args([_with_hyphens(word) for word in words])
    _refuse(unknown)
    return vars(found)


def _with_hyphens(word: str) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _refuse(unknown: Sequence[str]) -> None:
    """Names unknown arguments, all in one line."""
    if not unknown:
        return
    # Behind an unknown flag stands its value.
    flags = [word for word in unknown if word.startswith("-")] or unknown
    known = [f"--{name}" for name in _FLAGS]
    said = []
    for word in flags:
        spelt = word.partition("=")[0]
        near = registry.nearest_names(spelt, known, 1)
        question = f" ({near})" if near.startswith("did") else ""
        said.append(files.echo(spelt) + question)
    raise ValueError(
        f"{_SCRIPT} has no argument {', '.join(said)}; "
        "docs/migration/reben.md lists those that it has"
    )
