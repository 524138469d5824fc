"""Draws the course of one or more runs: losses, metrics, learning rate, throughput.

Reads `history.jsonl` and `config.json` in the folder of each run, and writes PNGs for
papers and `curves.html`, a page that needs nothing else:

    bigearthnet-tf plot runs/resnet50 runs/vit --out curves
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bigearthnet_tf import console, outputs, pictures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "runs", nargs="+", type=console.path, metavar="RUN", help="out_dir of a run"
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
    from bigearthnet_tf.evaluation import curves, curves_page

    runs = curves.read_runs(arguments.runs)
    metrics = curves.choose_metrics(runs, arguments.metrics)
    panels = curves.panels(runs, metrics)
    figures = {
        name: curves.draw(runs, of, arguments.axis) for name, of in panels.items()
    }
    path = arguments.out / "curves.html"
    paths = {name: arguments.out / f"{name}.png" for name in figures}
    outputs.check_folder(arguments.out, arguments.runs)
    outputs.check_files(
        [(path, outputs.is_page), *((png, outputs.is_png) for png in paths.values())]
    )
    for name, figure in figures.items():
        pictures.save_png(figure, paths[name])
        print(paths[name])
    curves_page.write(path, runs, panels, metrics, arguments.axis)
    print(path)
