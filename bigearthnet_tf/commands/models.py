"""Lists the architectures."""

from __future__ import annotations

import argparse

from bigearthnet_tf import console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("pattern", nargs="?", default="*", help="wildcard")


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    console.load_tensorflow()
    from bigearthnet_tf import models

    names = models.list_models(arguments.pattern)
    if not names:
        raise ValueError(f"no model matches {arguments.pattern!r}; try '*'")
    print("\n".join(names))
