r"""Compares separate and joint encoders and all fusions of two sensors, by one config.

  bigearthnet-tf sweep configs/contrastive/resnet50_separate.json
  bigearthnet-tf sweep --filepath args.yaml --set loss_func=contrastive

A contrastive config is trained once for each kind of encoders, which serves all
fusions; a classification for each pair. Stopped and called again it goes on. The runs
lie in folders of out_dir, beside the table: sweep.md, sweep.csv and sweep.json.
"""

from __future__ import annotations

import argparse

from bigearthnet_tf import config as configs
from bigearthnet_tf import console, runs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    configs.add_arguments(parser)
    parser.add_argument("--encoders", nargs="+", default=["separate", "joint"])
    parser.add_argument("--fusions", nargs="+", default=["concat", "avg", "max", "sum"])


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    # A file may leave open what is compared, as that of the CBIR project does.
    given = {text.partition("=")[0] for text in arguments.set}
    compared = {"encoders=separate": {"encoders", "type"}, "fusion=concat": {"fusion"}}
    filled = [text for text, names in compared.items() if not names & given]
    config = configs.load(arguments.config, [*arguments.set, *filled])
    root = runs.out_dir(config)
    console.load_tensorflow()
    from bigearthnet_tf.evaluation import sweep

    rows = sweep.sweep(config, arguments.encoders, arguments.fusions, print)
    for line in sweep.table(rows):
        print(line)
    print(f"{root / 'sweep.md'}, sweep.csv, sweep.json")
