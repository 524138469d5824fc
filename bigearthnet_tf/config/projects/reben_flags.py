"""Flags of reBEN's `train_BigEarthNetv2_0.py`, as typer reads them.

They and their defaults are those of version 0.2.0 and of the fork with DINOv3;
`train_BENv2.py`, the earlier name, has a part of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from bigearthnet_tf.config.projects import flags

_SCRIPT = "train_BigEarthNetv2_0.py"


# Kind and default of each; `bool` is a pair of `--x` and `--no-x`.
_FLAGS: dict[str, tuple[Callable[[str], Any], Any]] = {
    "architecture": (str, "resnet101"),
    "seed": (flags.whole, 42),
    "lr": (flags.real, 0.001),
    "epochs": (flags.whole, 100),
    "bs": (flags.whole, 512),
    "drop-rate": (flags.real, 0.15),
    "drop-path-rate": (flags.real, 0.15),
    "warmup": (flags.whole, 1000),
    "workers": (flags.whole, 8),
    "bandconfig": (str, "all"),
    "use-wandb": (bool, False),
    "upload-to-hub": (bool, False),
    "test-run": (bool, True),
    "hf-entity": (str, None),
    "dinov3-model-name": (str, None),
    "linear-probe": (bool, False),
    "head-type": (str, "linear"),
    "head-mlp-dims": (str, None),
    "head-dropout": (flags.real, None),
    "resume-from": (str, None),
    "config-path": (str, None),
    "run-name": (str, None),
    "devices": (flags.whole, None),
    "strategy": (str, None),
}
DEFAULTS = {name: default for name, (_, default) in _FLAGS.items()}
# What an earlier README calls them.
_ALIASES = {"architecture": ["--architectures"]}


def parse(words: Sequence[str]) -> dict[str, Any]:
    """Returns the values of the flags that are given, of several of one the last.

    Args:
        words: of a command line, with hyphens or underscores in the flags.

    Raises:
        ValueError: unknown flags, all of them in one line; a value that is missing or
            no value of its flag.
    """
    parser = flags.Parser(_SCRIPT)
    for name, (kind, _) in _FLAGS.items():
        spellings = [f"--{name}", *_ALIASES.get(name, [])]
        how: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
        if kind is bool:
            how["action"] = argparse.BooleanOptionalAction
        else:
            how["type"] = kind
        parser.add_argument(*spellings, **how)
    found, unknown = parser.parse_known_args([_with_hyphens(word) for word in words])
    known = [f"--{name}" for name in _FLAGS]
    flags.refuse(unknown, known, _SCRIPT, "docs/migration/reben.md")
    return vars(found)


def _with_hyphens(word: str) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value
