r"""Writes a trained classification as a folder for others, or puts it on the hub.

  bigearthnet-tf publish runs/resnet50 -o resnet50-s2 \
      --data "BigEarthNet v2, official split"
  bigearthnet-tf publish runs/resnet50 --repo-id ORG/resnet50-s2 --licence mit \
      --data "BigEarthNet v2, official split"

The folder has weights, config, labels, bands, statistics, thresholds and results of the
best checkpoint, an example picture and a model card. bigearthnet_tf.from_pretrained and
`eval.py --checkpoint FOLDER` take it. Evaluate the run first, for there to be results.
The Hugging Face hub wants the extra huggingface, and a login: hf auth login.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bigearthnet_tf import console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("run", help="folder of a run or checkpoint")
    parser.add_argument("-o", "--out", type=console.path, help="folder to write")
    parser.add_argument("--repo-id", metavar="ORG/NAME", help="where on the hub")
    parser.add_argument("--private", action="store_true", help="for the owner alone")
    parser.add_argument(
        "--data",
        required=True,
        metavar="TEXT",
        help="what the records hold, for the model card; generated ones are called so",
    )
    parser.add_argument(
        "--licence",
        "--license",
        default="unknown",
        metavar="ID",
        help="of the weights, such as mit or cdla-permissive-1.0 (unknown)",
    )
    parser.add_argument(
        "--allow-generated",
        action="store_true",
        help="publish a run on generated data, with a banner that says so",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an earlier publication"
    )


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    if arguments.out is None and arguments.repo_id is None:
        raise ValueError("name a folder (-o) or an id on the hub (--repo-id), or both")
    console.load_tensorflow()
    from bigearthnet_tf.serving import publish

    if arguments.repo_id is not None:
        publish.check_hub(arguments.repo_id)
    with tempfile.TemporaryDirectory() as unnamed:
        name = (arguments.repo_id or "").split("/")[-1]
        folder = publish.publish(
            arguments.run,
            arguments.out or Path(unnamed) / name,
            data=arguments.data,
            licence=arguments.licence,
            repo_id=arguments.repo_id,
            overwrite=arguments.overwrite,
            allow_generated=arguments.allow_generated,
        )
        if arguments.out is not None:
            print(folder)
        if arguments.repo_id is not None:
            print(publish.upload(folder, arguments.repo_id, arguments.private))
