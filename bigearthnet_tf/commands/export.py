r"""Writes the weights of a run for other tools.

  bigearthnet-tf export runs/resnet50 -o resnet50-s2-v0.2.0

Format timm: config.json and model.safetensors as on reBEN's hub, with timm's names, the
band order of the reBEN tools and their order of labels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bigearthnet_tf import console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "weights", help="folder of a run or checkpoint, or published weights"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--format", choices=("timm",), default="timm")


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    console.load_tensorflow()
    from bigearthnet_tf.serving import hub

    print(hub.export_timm(arguments.weights, arguments.out))
