"""`bigearthnet-tf COMMAND`: everything beside preparing, training and evaluating."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from bigearthnet_tf import config, console
from bigearthnet_tf.archive import sample


def main() -> None:
    """Entry point of the console script."""
    console.run(run)


def run() -> None:
    """Reads the command line and calls the command."""
    parser = console.parser(
        "Tools for BigEarthNet archives, records and models.", prog="bigearthnet-tf"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_sample(commands)
    _add_models(commands)
    _add_schema(commands)
    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.command(arguments)


def _add_sample(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "sample", help="write a generated archive in the genuine layout"
    )
    command.add_argument("--patches", type=int, required=True, help="number of patches")
    command.add_argument("--out", type=Path, required=True, help="folder to write")
    command.add_argument("--version", choices=("v1", "v2"), default="v2")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="processes (all cores)"
    )
    command.set_defaults(command=_sample)


def _sample(arguments: argparse.Namespace) -> None:
    with console.progress(
        total=arguments.patches, desc="generating", unit="patch"
    ) as bar:
        folder = sample.write_archive(
            arguments.out,
            arguments.patches,
            version=arguments.version,
            seed=arguments.seed,
            workers=arguments.workers,
            progress=bar.update,
        )
    print(f"{folder}: {arguments.patches} generated patches, not real ones")


def _add_models(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("models", help="list the architectures")
    command.add_argument("pattern", nargs="?", default="*", help="wildcard")
    command.set_defaults(command=_models)


def _models(arguments: argparse.Namespace) -> None:
    console.load_tensorflow()
    from bigearthnet_tf import models

    names = models.list_models(arguments.pattern)
    if not names:
        raise ValueError(f"no model matches {arguments.pattern!r}; try '*'")
    print("\n".join(names))


def _add_schema(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "schema", help="print the JSON schema of configs (configs/schema.json)"
    )
    command.add_argument(
        "--markdown", action="store_true", help="print the table of configs/README.md"
    )
    command.set_defaults(command=_schema)


def _schema(arguments: argparse.Namespace) -> None:
    if arguments.markdown:
        print(config.markdown_table())
    else:
        print(json.dumps(config.json_schema(), indent=2))
