"""The config on a command line: its path, overrides, and other sources of settings."""

from __future__ import annotations

import argparse
import functools
import shlex
from typing import Any

from bigearthnet_tf.config.projects import translated


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares `config`, whatever it comes from, and `--set`."""
    # One that is not given leaves no default, which would replace the one that is.
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "config",
        nargs="?",
        default=argparse.SUPPRESS,
        help="JSON file, such as configs/resnet50.json",
    )
    options: dict[str, Any] = {"dest": "config", "default": argparse.SUPPRESS}
    source.add_argument(
        "--filepath",
        metavar="CONFIG",
        help="the same, as the CBIR project names its YAML file",
        **options,
    )
    for project in translated.COMMAND_LINES:
        source.add_argument(
            f"--from-{project}",
            type=functools.partial(_command_line, project),
            metavar="ARGUMENTS",
            help=f"arguments of the training script of {project}, as one text",
            **options,
        )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override a key of the config; may be repeated",
    )


def _command_line(project: str, text: str) -> translated.CommandLine:
    # Such as a variable of the shell that is not set.
    if not text.strip():
        raise argparse.ArgumentTypeError(
            "expected the arguments of that script as one text, got an empty one"
        )
    return translated.CommandLine(project, text)


def repeat_arguments(arguments: argparse.Namespace) -> str:
    """Returns a config and its overrides as they stand on a command line."""
    config = arguments.config
    if isinstance(config, str):
        config = shlex.quote(config)
    overrides = [f"--set {shlex.quote(text)}" for text in arguments.set]
    return " ".join([str(config), *overrides])
