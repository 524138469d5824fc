r"""Writes a generated archive, or generated tiles of time series.

bigearthnet-tf sample --patches 1000 --out archive       the genuine layout
bigearthnet-tf sample --time-series --out tiles          .npy tiles with labels
"""

from __future__ import annotations

import argparse

from bigearthnet_tf import console
from bigearthnet_tf.archive import sample, tile_sample


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--patches", type=console.whole(0), help="number of patches")
    what.add_argument(
        "--time-series",
        action="store_true",
        help="tiles with seasons by class, clouds, labels and their place",
    )
    parser.add_argument(
        "--out", type=console.path, required=True, help="folder to write"
    )
    parser.add_argument("--version", choices=("v1", "v2"), help="of the archive (v2)")
    parser.add_argument("--seed", type=console.seed, default=0)
    console.add_workers(parser)
    series = parser.add_argument_group("time series")
    for name, help_line in (
        ("tiles", "number of tiles (6)"),
        ("size", "rows and columns of a tile (96)"),
        ("dates", "acquisitions of a tile, about (80)"),
        ("years", "over how many years (2)"),
    ):
        series.add_argument(
            f"--{name}", type=console.whole(0), metavar="N", help=help_line
        )
    parser.set_defaults(refuse=parser.error)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    given = {
        name: value
        for name in ("tiles", "size", "dates", "years")
        if (value := getattr(arguments, name)) is not None
    }
    if arguments.time_series:
        if arguments.version is not None:
            arguments.refuse("--version is for --patches alone")
        _write_tiles(arguments, given)
        return
    if given:
        arguments.refuse(f"--{next(iter(given))} is for --time-series alone")
    with console.progress(
        total=arguments.patches, desc="generating", unit="patch"
    ) as bar:
        folder = sample.write_archive(
            arguments.out,
            arguments.patches,
            version=arguments.version or "v2",
            seed=arguments.seed,
            workers=arguments.workers,
            progress=bar.update,
        )
    print(f"{folder}: {arguments.patches} generated patches, not real ones")


def _write_tiles(arguments: argparse.Namespace, given: dict[str, int]) -> None:
    total = given.setdefault("tiles", 6)
    with console.progress(total=total, desc="generating", unit="tile") as bar:
        folder = tile_sample.write_tiles(
            arguments.out, **given, seed=arguments.seed, progress=bar.update
        )
    print(f"{folder}: {total} generated tiles of time series, not real ones")
