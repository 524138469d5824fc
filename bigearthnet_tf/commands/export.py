r"""Writes the weights of a run for other tools.

  bigearthnet-tf export runs/resnet50 -o resnet50-s2-v0.2.0

Format timm: config.json and model.safetensors as on reBEN's hub, with timm's names, the
band order of the reBEN tools and their order of labels. All names begin as those tools
expect; with --prefix "" timm itself reads the file:

  bigearthnet-tf export runs/resnet50 -o for-timm --prefix ""
  timm.create_model("resnet50", in_chans=10, num_classes=19,
                    checkpoint_path="for-timm/model.safetensors")
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
    parser.add_argument(
        "--prefix", help="of the names of all tensors (model.vision_encoder.)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    console.load_tensorflow()
    from bigearthnet_tf.serving import hub

    prefix = hub.HUB_PREFIX if arguments.prefix is None else arguments.prefix
    print(hub.export_timm(arguments.weights, arguments.out, prefix))
