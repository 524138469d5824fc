r"""Turns the patches of a BigEarthNet archive into sharded TFRecords, split by split.

v1, by lists of patches:
  prep_splits.py -r BigEarthNet-v1.0 -s BigEarthNet-S1-v1.0 -o records \
      -n train.csv val.csv test.csv
v2, by the official splits:
  prep_splits.py -r BigEarthNet-S2 -s BigEarthNet-S1 -o records \
      --metadata metadata.parquet
"""

import argparse
import os
from pathlib import Path

import pandas as pd

from bigearthnet_tf import console
from bigearthnet_tf.archive import archives, metadata, splits
from bigearthnet_tf.archive.patch import PatchEntry


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = console.parser(
        __doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "-r", "--root", "--root_folder", type=Path, help="Sentinel-2 patches"
    )
    parser.add_argument(
        "-s", "--s1-root", type=Path, help="Sentinel-1 patches, to add VV and VH"
    )
    parser.add_argument(
        "-o", "--out", "--out_folder", required=True, help="for the records"
    )
    parser.add_argument(
        "-n",
        "--splits",
        type=Path,
        nargs="+",
        metavar="CSV",
        help="lists of patches, one a line, or S2 and S1 name; the name of the file up "
        "to its first dot is that of the split",
    )
    parser.add_argument(
        "--metadata",
        type=Path,
        nargs="+",
        metavar="PARQUET",
        help="metadata.parquet of v2; with the table of patches with snow, cloud or "
        "shadow behind it, those are included",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count(),
        help="at most (all cores)",
    )
    parser.add_argument(
        "--record-format",
        choices=("bytes", "int64"),
        default="bytes",
        help="int64 for the tools of the older projects",
    )
    parser.add_argument(
        "--shard-size-mb",
        type=float,
        default=128,
        help="of a file, about (128)",
    )
    parser.add_argument(
        "--seed", type=int, default=42, help="of the order of the records (42)"
    )
    parser.add_argument(
        "--on-error",
        choices=("fail", "skip"),
        default="fail",
        help="skip leaves out patches that are missing or damaged and lists them in "
        "OUT/<split>.left_out.csv",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace other records in OUT"
    )
    # The older projects wanted to be told.
    parser.add_argument(
        "-l", "--library", choices=("tensorflow",), help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    if arguments.root is None and arguments.s1_root is None:
        parser.error("give -r with the Sentinel-2 patches, -s with Sentinel-1, or both")
    if arguments.splits is None and arguments.metadata is None:
        parser.error("give -n with lists of patches, or --metadata for those of v2")
    if arguments.workers < 1:
        parser.error("--workers must be at least 1")
    return arguments


def list_patches(
    arguments: argparse.Namespace, table: pd.DataFrame | None
) -> dict[str, list[PatchEntry]]:
    """Returns the patches of each split, from the lists or the official splits."""
    if table is not None and arguments.splits is None:
        present = [
            split for split in metadata.SPLITS if (table["split"] == split).any()
        ]
        return {s: metadata.entries_from_metadata(table, s) for s in present}
    listed: dict[str, list[PatchEntry]] = {}
    for path in arguments.splits:
        split = splits.split_name(path)
        if split in listed:
            raise ValueError(f"{path}: a second list for split {split!r}; rename one")
        listed[split] = splits.read_split_csv(path)
    return listed


def main() -> None:
    """Runs the command line."""
    arguments = parse_arguments()
    table = metadata.read_tables(arguments.metadata) if arguments.metadata else None
    patches = list_patches(arguments, table)
    archive = archives.open_archive(arguments.root, arguments.s1_root, metadata=table)

    # Converting needs TensorFlow, which takes seconds to import.
    console.load_tensorflow()
    from bigearthnet_tf.records import convert, plan

    skip_errors = arguments.on_error == "skip"
    plan.check_disjoint(patches)
    plans = [
        plan.plan_split(
            archive,
            entries,
            split,
            seed=arguments.seed,
            shard_size_mb=arguments.shard_size_mb,
            record_format=arguments.record_format,
            skip_errors=skip_errors,
        )
        for split, entries in patches.items()
    ]
    convert.convert(
        archive,
        plans,
        arguments.out,
        workers=arguments.workers,
        overwrite=arguments.overwrite,
        skip_errors=skip_errors,
    )


if __name__ == "__main__":
    console.run(main)
