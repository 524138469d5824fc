"""`bigearthnet-tf COMMAND`: everything beside preparing, training and evaluating."""

from __future__ import annotations

import argparse
import importlib
import sys

from bigearthnet_tf import console

COMMANDS = {
    "sample": "write a generated archive in the genuine layout",
    "convert": "write records in another form, or as an LMDB",
    "split": "divide patches into splits, with a report",
    "statistics": "measure means, deviations and percentiles of the bands",
    "tiles": "write tiles of time series as records",
    "inspect": "list, verify, print and draw records",
    "embed": "write the features of a run for patches",
    "index": "keep features in an index that can be searched",
    "retrieve": "find the patches that are most alike a patch",
    "sweep": "compare encoders and fusions of two sensors",
    "predict": "score patches with the model of a run",
    "map": "map a scene or a tile with the model of a run",
    "points": "write embeddings and classes of tiles at points",
    "regress": "predict a quantity at points from embeddings",
    "export": "write a trained model for other tools",
    "publish": "write a run for others, or put it on the Hugging Face hub",
    "plot": "draw the course of runs",
    "compare": "put evaluated runs side by side, with paired bootstrap",
    "models": "list the architectures",
    "schema": "print the JSON schema of configs",
}


def main() -> None:
    """Entry point of the console script."""
    console.run(run)


def run() -> None:
    """Reads the command line and calls the command."""
    parser = console.parser(
        "Tools for BigEarthNet archives, records and models.", prog="bigearthnet-tf"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    called = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    for name, help_line in COMMANDS.items():
        command = commands.add_parser(
            name, help=help_line, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
        if name != called:
            continue
        module = importlib.import_module(f"bigearthnet_tf.commands.{name}")
        command.description = module.__doc__
        module.add_arguments(command)
        command.set_defaults(command=module.run)
    arguments = parser.parse_args()
    arguments.command(arguments)


if __name__ == "__main__":
    main()
