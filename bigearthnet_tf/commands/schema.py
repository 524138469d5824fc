"""Prints the JSON schema of configs (configs/schema.json)."""

from __future__ import annotations

import argparse
import json

from bigearthnet_tf import config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "--markdown", action="store_true", help="print the table of configs/README.md"
    )


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    if arguments.markdown:
        print(config.markdown_table())
    else:
        print(json.dumps(config.json_schema(), indent=2))
