r"""Scores patches with the model of a run.

SOURCE is the root of an archive of either version, the folder of an LMDB, TFRecords
(paths, wildcards, or a folder of them), or the folders of single patches. The result
has a row a patch: its labels, and the score of each label under its name.

  bigearthnet-tf predict runs/resnet50 'records/test-*' -o test.parquet
  bigearthnet-tf predict runs/resnet50 BigEarthNet-S2 --patches lakes.csv \
      -o scores.csv
  bigearthnet-tf predict runs/both BigEarthNet-S2 --s1 BigEarthNet-S1 \
      --metadata metadata.parquet --thresholds tuned -o all.parquet
  bigearthnet-tf predict runs/resnet50 Encoded-BigEarthNet -o all.parquet

The table gets its name when it is whole.
"""

from __future__ import annotations

import argparse

from bigearthnet_tf import console, outputs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "run", type=console.path, help="folder of a run, or of one of its checkpoints"
    )
    parser.add_argument("source", nargs="+", help="what to score")
    parser.add_argument(
        "-o", "--out", type=console.path, required=True, help="table, .parquet or .csv"
    )
    parser.add_argument("--checkpoint", choices=("best", "last"), default="best")
    parser.add_argument(
        "--thresholds",
        default="0.5",
        metavar="VALUE|tuned|FILE",
        help="from which score on a label is given: one number, those of the run, or "
        "a thresholds.json (0.5)",
    )
    parser.add_argument(
        "--s1",
        metavar="PATH",
        help="root of Sentinel-1, its LMDB of the CBIR project, or the folder of a "
        "single patch's partner",
    )
    parser.add_argument(
        "--metadata",
        nargs="+",
        type=console.path,
        default=[],
        metavar="FILE",
        help="of version 2, in Parquet or in the CSV files of reBEN's earlier scripts: "
        "which Sentinel-1 patch belongs to which",
    )
    parser.add_argument(
        "--patches",
        nargs="+",
        type=console.path,
        default=[],
        metavar="CSV",
        help="lists of the patches to score (all that are there)",
    )
    parser.add_argument(
        "--batch-size",
        type=console.at_least_one,
        default=64,
        metavar="N",
        help="patches at once (64)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    console.load_tensorflow()
    from bigearthnet_tf.serving import (
        chosen_thresholds,
        patch_scores,
        patch_sources,
        points,
        trained,
    )

    points.check_name(arguments.out)
    read = [*arguments.source, *arguments.patches, *arguments.metadata]
    read += [arguments.run, *filter(None, [arguments.s1])]
    outputs.check_file(arguments.out, patch_scores.is_earlier, read)
    model = trained.load(arguments.run, arguments.checkpoint)
    thresholds = chosen_thresholds.find(
        arguments.thresholds, arguments.run, model.labels, model.fingerprint
    )
    source = patch_sources.open_source(
        arguments.source,
        model.bands,
        s1=arguments.s1,
        tables=arguments.metadata,
        lists=arguments.patches,
    )
    count = patch_scores.write(
        model, source, arguments.out, thresholds, arguments.batch_size
    )
    print(f"{arguments.out}: {count} patches, {len(model.labels)} labels")
