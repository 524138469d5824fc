"""Draws the course of one or more runs: losses, metrics, learning rate, throughput.

Reads `history.jsonl` and `config.json` in the folder of each run, and writes PNGs for
papers, `curves.html`, a page that needs nothing else, and `curves.csv`, all points:

    bigearthnet-tf plot runs/resnet50 runs/vit --out curves

A folder without a history stands for all runs below it that left event files of
TensorBoard, such as the storage path of balanced-bigearthnet:

    bigearthnet-tf plot --storage_path storage --out curves
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bigearthnet_tf import console, files, outputs, pictures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    # One that is not given leaves no default, which would replace the one that is.
    given = parser.add_mutually_exclusive_group(required=True)
    options: dict[str, Any] = {"type": console.path, "default": argparse.SUPPRESS}
    given.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="out_dir of a run, or a folder with event files",
        **options,
    )
    given.add_argument(
        "--storage_path",
        dest="runs",
        nargs=1,
        metavar="FOLDER",
        help="the same, as balanced-bigearthnet names it",
        **options,
    )
    parser.add_argument(
        "--out",
        type=console.path,
        default=Path("curves"),
        metavar="DIR",
        help="folder to write (curves)",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        default=[],
        metavar="NAME",
        help="of the validation (average precision and F1, and each run's monitor)",
    )
    parser.add_argument(
        "--axis",
        choices=("iteration", "epoch"),
        default="iteration",
        help="what to draw against (iteration)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    console.load_tensorflow()
    from bigearthnet_tf.evaluation import curves, curves_page, histories

    runs = histories.read_runs(arguments.runs)
    metrics = curves.choose_metrics(runs, arguments.metrics)
    panels = curves.panels(runs, metrics)
    if not panels:
        known = sorted({name for run in runs for name in run.measures("validation")})
        what = (
            f"choose --metrics of: {', '.join(known)}"
            if known
            else "no value is a finite number"
        )
        raise ValueError(
            f"{arguments.runs[0]}: expected a loss, a learning rate or a metric of the "
            f"validation, found none; {what}"
        )
    figures = {
        name: curves.draw(runs, of, arguments.axis) for name, of in panels.items()
    }
    path, table = arguments.out / "curves.html", arguments.out / "curves.csv"
    paths = {name: arguments.out / f"{name}.png" for name in figures}
    outputs.check_folder(arguments.out, arguments.runs)
    outputs.check_files(
        [
            (path, outputs.is_page),
            (table, outputs.has_columns(*histories.COLUMNS)),
            *((png, outputs.is_png) for png in paths.values()),
        ]
    )
    for name, figure in figures.items():
        pictures.save_png(figure, paths[name])
        print(paths[name])
    curves_page.write(path, runs, panels, metrics, arguments.axis)
    print(path)
    files.write_text(table, histories.as_csv(runs))
    print(table)
