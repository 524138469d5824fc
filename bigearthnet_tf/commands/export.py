r"""Writes a trained model for other tools.

  bigearthnet-tf export runs/resnet50 -o resnet50-s2-v0.2.0
  bigearthnet-tf export runs/resnet50 --format onnx -o resnet50.onnx
  bigearthnet-tf export runs/resnet50 --format litert -o resnet50.tflite
  bigearthnet-tf export runs/resnet50 --format keras -o resnet50.keras
  bigearthnet-tf export runs/resnet50 --format savedmodel -o serving/resnet50/1

Format timm: config.json and model.safetensors as on reBEN's hub, with timm's names, the
band order of the reBEN tools and their order of labels. All names begin as those tools
expect; with --prefix "" timm itself reads the file:

  bigearthnet-tf export runs/resnet50 -o for-timm --prefix ""
  timm.create_model("resnet50", in_chans=10, num_classes=19,
                    checkpoint_path="for-timm/model.safetensors")

The other formats take digital numbers by the names of the band groups, and give scores.
Bands, labels, statistics and thresholds are inside. Each is opened in its own runtime
and must give the scores of the original to 1e-5 before it appears.
"""

from __future__ import annotations

import argparse

from bigearthnet_tf import console

FORMATS = ("timm", "keras", "savedmodel", "onnx", "litert")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "weights", help="folder of a run or checkpoint, or published weights"
    )
    parser.add_argument(
        "-o", "--out", type=console.path, required=True, help="file or folder to write"
    )
    parser.add_argument("--format", choices=FORMATS, default="timm")
    parser.add_argument(
        "--prefix",
        type=str,
        help="timm: of the names of all tensors (model.vision_encoder.)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace an earlier export (timm always does)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    if arguments.prefix is not None and arguments.format != "timm":
        raise ValueError(f"--prefix is for --format timm, not {arguments.format}")
    console.load_tensorflow()
    from bigearthnet_tf.serving import export, hub

    if arguments.format == "timm":
        prefix = hub.HUB_PREFIX if arguments.prefix is None else arguments.prefix
        print(hub.export_timm(arguments.weights, arguments.out, prefix))
    else:
        print(
            export.export(
                arguments.weights,
                arguments.out,
                arguments.format,
                overwrite=arguments.overwrite,
            )
        )
