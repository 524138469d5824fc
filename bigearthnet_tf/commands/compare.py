"""Puts evaluated runs side by side, with a paired bootstrap over the test patches.

Reads what `eval.py` left in the folder of each run; the runs must have been scored on
the same patches with the same labels. The others are compared with the first one:

    bigearthnet-tf compare runs/resnet50 runs/vit --out compare

Writes `compare.html`, a page that needs nothing else, and `compare.md`, `.csv` and
`.json`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bigearthnet_tf import console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "runs",
        nargs="+",
        type=console.path,
        metavar="RUN",
        help="out_dir of an evaluated run, or a file of scores (eval_scores.npz)",
    )
    parser.add_argument(
        "--out",
        type=console.path,
        default=Path("compare"),
        metavar="DIR",
        help="folder to write (compare)",
    )
    parser.add_argument(
        "--tuned",
        action="store_true",
        help="at the thresholds of each run's thresholds.json instead of 0.5",
    )
    parser.add_argument(
        "--rounds",
        type=console.at_least_one,
        default=1000,
        metavar="N",
        help="resamplings of the patches (1000)",
    )
    parser.add_argument(
        "--seed",
        type=console.seed,
        default=42,
        metavar="N",
        help="of the resampling (42)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    console.load_tensorflow()
    from bigearthnet_tf.evaluation import compare, compare_page

    compare_page.check_outputs(arguments.out, arguments.runs)
    runs = compare.read(arguments.runs, arguments.tuned)
    found = compare.compare(runs, rounds=arguments.rounds, seed=arguments.seed)
    width = max(len(run.name) for run in runs)
    for key in compare.MEASURES[:4]:
        print(key)
        for number, one in enumerate(runs):
            line = f"  {one.name:{width}}  {found.values[number][key]:.4f}"
            if number:
                of = found.differences[number - 1][key]
                line += f"  {of.value:+.4f} (95 %: {of.low:+.4f} to {of.high:+.4f})"
            print(line)
    for path in compare_page.write(arguments.out, found):
        print(path)
