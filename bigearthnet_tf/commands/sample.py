"""Writes a generated archive in the genuine layout."""

from __future__ import annotations

import argparse
from pathlib import Path

from bigearthnet_tf import console
from bigearthnet_tf.archive import sample


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("--patches", type=int, required=True, help="number of patches")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--version", choices=("v1", "v2"), default="v2")
    parser.add_argument("--seed", type=int, default=0)
    console.add_workers(parser)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
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
