r"""Writes a trained model for other tools.

  bigearthnet-tf export runs/resnet50 -o resnet50-s2-v0.2.0
  bigearthnet-tf export runs/resnet50 -o resnet50.onnx
  bigearthnet-tf export runs/resnet50 -o resnet50.tflite
  bigearthnet-tf export runs/resnet50 -o resnet50.keras
  bigearthnet-tf export runs/resnet50 --format savedmodel -o serving/resnet50/1

Without --format the ending of OUT decides. A folder gets the format timm, or a
SavedModel where timm has no such model.

Format timm: config.json and model.safetensors as on reBEN's hub, with timm's names, the
band order of the reBEN tools and their order of labels. All names begin as those tools
expect; with --prefix "" timm itself reads the file:

  bigearthnet-tf export runs/resnet50 -o for-timm --prefix ""
  timm.create_model("resnet50", in_chans=10, num_classes=19,
                    checkpoint_path="for-timm/model.safetensors")

The other formats take digital numbers by the names of the band groups, and give scores;
NaN for a patch with a pixel that is NaN or infinite, which the format timm can't check.
Bands, labels, statistics and thresholds are inside. Each is opened in its own runtime
and must give the scores of the original but for float32's rounding before it appears.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from bigearthnet_tf import console

logger = logging.getLogger(__name__)

# Of files that are none of these formats; a folder may end in a version, as `v0.2.0`.
_OTHER_ENDINGS = (".h5", ".pb", ".pt", ".pth", ".safetensors", ".zip")
FORMATS = ("timm", "keras", "savedmodel", "onnx", "litert")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "weights", help="folder of a run or checkpoint, or published weights"
    )
    parser.add_argument(
        "-o", "--out", type=console.path, required=True, help="file or folder to write"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="(by the ending of OUT: .keras, .onnx, .tflite; else timm where timm has "
        "the model, and savedmodel where not)",
    )
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


def _by_ending(out: Path) -> str | None:
    """Returns the format that a file is of by its name; None for a folder."""
    return {".keras": "keras", ".onnx": "onnx", ".tflite": "litert"}.get(out.suffix)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    form = arguments.format or _by_ending(arguments.out)
    if form is None and arguments.out.suffix in _OTHER_ENDINGS:
        raise ValueError(
            f"{arguments.out}: expected a folder, or a file .keras, .onnx or .tflite, "
            f"got {arguments.out.suffix}; no format has it"
        )
    if arguments.prefix is not None:
        form = form or "timm"
        if form != "timm":
            raise ValueError(f"--prefix is for --format timm, not {form}")
    console.load_tensorflow()
    from bigearthnet_tf.serving import export, hub

    if form is None:
        form = "timm" if hub.has_timm_form(arguments.weights) else "savedmodel"
        logger.info("%s: written as %s", arguments.out, form)
    if form == "timm":
        prefix = hub.HUB_PREFIX if arguments.prefix is None else arguments.prefix
        print(hub.export_timm(arguments.weights, arguments.out, prefix))
    else:
        print(
            export.export(
                arguments.weights,
                arguments.out,
                form,
                overwrite=arguments.overwrite,
            )
        )
