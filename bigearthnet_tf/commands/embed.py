r"""Writes the features of a run for the patches of its splits.

  bigearthnet-tf embed configs/contrastive/resnet50_separate.json --split test

Of a contrastive run the projections p_s1, p_s2 and what is before them, h_s1, h_s2; of
a classification the features before the head. Each folder says what it is of; what is
there already is not computed again.
"""

from __future__ import annotations

import argparse

from bigearthnet_tf import config as configs
from bigearthnet_tf import console, runs

SPLITS = ("train", "val", "test")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    configs.add_arguments(parser)
    parser.add_argument(
        "--checkpoint",
        metavar="best|last|PATH",
        help="which weights, as in eval.py",
    )
    parser.add_argument(
        "--split", nargs="+", choices=SPLITS, default=["test"], help="(test)"
    )
    parser.add_argument(
        "--layers",
        nargs="+",
        choices=("h", "p", "fused"),
        help="h: before the projections, p: projections, fused: those of both sensors "
        "as one (h and p of each sensor)",
    )
    parser.add_argument(
        "-o", "--out", type=console.path, help="folder to write, for a single split"
    )


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    if arguments.out and len(arguments.split) > 1:
        raise ValueError("--out is the folder of one split; name one in --split")
    config = configs.load(arguments.config, arguments.set)
    out_dir = runs.out_dir(config)
    console.load_tensorflow()
    from bigearthnet_tf.retrieval import embeddings, stored
    from bigearthnet_tf.training import session, snapshots

    chosen = snapshots.choose(config, out_dir, arguments.checkpoint)
    opened = session.open_session(config, alone=True, weights=[out_dir, chosen.path])
    model, iteration = session.load_trained(opened, out_dir, chosen.path)
    for split in arguments.split:
        folder, is_new = embeddings.embed(
            opened,
            model,
            iteration,
            split,
            out_dir,
            arguments.out,
            arguments.layers,
        )
        facts = stored.load(folder).facts
        layers = ", ".join(f"{name} ({dims})" for name, dims in facts.layers.items())
        print(
            f"{folder}: {facts.num_records} {split} records, {layers}"
            f"{'' if is_new else '; was there already'}"
        )
