r"""Turns the patches of a BigEarthNet archive into sharded TFRecords, split by split.

v1, by lists of patches:
  prep_splits.py -r BigEarthNet-v1.0 -s BigEarthNet-S1-v1.0 -o records \
      -n train.csv val.csv test.csv
v2, by the official splits:
  prep_splits.py -r BigEarthNet-S2 -s BigEarthNet-S1 -o records \
      --metadata metadata.parquet
v2, from the LMDB of the reBEN tools:
  prep_splits.py --lmdb Encoded-BigEarthNet -o records --metadata metadata.parquet
the same, with the CSV files of earlier versions of those tools:
  prep_splits.py --lmdb Encoded-BigEarthNet -o records --metadata \
      patch_id_split_mapping.csv patch_id_s1_mapping.csv patch_id_label_mapping.csv
v1, from the LMDB of bigearthnet_encoder and ConfigILM, or the two of the CBIR project:
  prep_splits.py --lmdb BigEarthNetEncoded.lmdb -o records -n train.csv val.csv test.csv
"""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING

from bigearthnet_tf import console, outputs

# The functions import what they need, so that signals are answered from the first
# moment.
if TYPE_CHECKING:
    import pandas as pd

    from bigearthnet_tf.archive.patch import PatchEntry, PatchSource

logger = logging.getLogger("prep_splits")


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = console.parser(
        __doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _add_sources(parser.add_argument_group("what to read"))
    _add_outputs(parser.add_argument_group("what to write"))
    _add_manner(parser.add_argument_group("how"))
    arguments, others = parser.parse_known_args()
    if others and arguments.runner is None:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    arguments.beam_options = others
    folders = arguments.root is not None or arguments.s1_root is not None
    if folders == (arguments.lmdb is not None):
        parser.error(
            "give -r with the Sentinel-2 patches, -s with Sentinel-1, or both; or "
            "--lmdb alone"
        )
    if len(arguments.lmdb or ()) > 2:
        parser.error("give --lmdb one folder, or one of each sensor")
    if folders and arguments.sensors is not None:
        parser.error("give --sensors with --lmdb alone; folders are chosen by -r, -s")
    if arguments.maps is not None and folders != (arguments.maps != ""):
        parser.error("give --maps the folder of the reference maps; none with --lmdb")
    if arguments.library == "pytorch":
        parser.error(
            "-l pytorch: the LMDB of pyarrow values is not written; leave -l out for "
            "TFRecords, which train.py reads; of v2, bigearthnet-tf convert RECORDS -o "
            "FOLDER --to lmdb also writes an LMDB as the reBEN tools read it"
        )
    if arguments.splits is None and arguments.metadata is None:
        parser.error("give -n with lists of patches, or --metadata for those of v2")
    return arguments


def _add_sources(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-r",
        "--root",
        *("-r2", "--root_folder", "--root_folder_s2"),  # as the TF project has them
        type=console.path,
        help="Sentinel-2 patches",
    )
    group.add_argument(
        "-s",
        "--s1-root",
        *("-r1", "--root_folder_s1"),  # likewise
        type=console.path,
        help="Sentinel-1 patches, to add VV and VH",
    )
    group.add_argument(
        "--lmdb",
        type=console.path,
        nargs="+",
        metavar="FOLDER",
        help="LMDB of the reBEN tools (v2) or of bigearthnet_encoder (v1), or one for "
        "each sensor of the CBIR project, instead of -r and -s",
    )
    group.add_argument(
        "--sensors",
        nargs="+",
        choices=("S1", "S2"),
        help="of the LMDB (those that it has)",
    )
    group.add_argument(
        "-n",
        "--splits",
        type=console.path,
        nargs="+",
        metavar="CSV",
        help="lists of patches, one a line, or S2 and S1 name; the name of the file up "
        "to its first dot is that of the split",
    )
    group.add_argument(
        "--metadata",
        type=console.path,
        nargs="+",
        metavar="FILE",
        help="metadata.parquet of v2, or the three CSV files of reBEN's earlier "
        "scripts (splits, Sentinel-1 names, labels); with the table of patches with "
        "snow, cloud or shadow behind it, those are included",
    )
    group.add_argument(
        "--maps",
        type=str,
        nargs="?",
        const="",
        metavar="FOLDER",
        help="add the reference maps of v2, from their folder; those in the LMDB need "
        "no folder",
    )


def _add_outputs(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-o",
        "--out",
        "--out_folder",
        type=console.place,
        required=True,
        help="folder for the records, local or behind gs://",
    )
    group.add_argument(
        "--record-format",
        choices=("bytes", "int64"),
        default="bytes",
        help="int64 for the tools of the older projects",
    )
    group.add_argument(
        "--shard-size-mb",
        type=console.number(above=0),
        default=128,
        help="of a file, about (128)",
    )
    group.add_argument(
        "--seed", type=console.seed, default=42, help="of the order of the records (42)"
    )
    group.add_argument(
        "--on-error",
        choices=("fail", "skip"),
        default="fail",
        help="skip leaves out patches that are missing or damaged and lists them in "
        "OUT/<split>.left_out.csv",
    )
    group.add_argument(
        "--overwrite",
        action="store_true",
        help="replace other records in OUT, and discard unfinished work on them",
    )


def _add_manner(group: argparse._ArgumentGroup) -> None:
    console.add_workers(group)
    group.add_argument(
        "--runner",
        metavar="NAME",
        help="convert on this Apache Beam runner instead; its own options may follow",
    )
    # Of the TF project and balanced-bigearthnet, which ask for the library.
    group.add_argument(
        "-l",
        "--library",
        choices=("tensorflow", "pytorch"),
        help=argparse.SUPPRESS,
    )
    group.add_argument("--update_json", action="store_true", help=argparse.SUPPRESS)


def check_outputs(arguments: argparse.Namespace) -> None:
    """Refuses to write over what is read: an archive's folder, or a list of patches."""
    if "://" in arguments.out:
        return
    from pathlib import Path

    from bigearthnet_tf.archive import splits

    roots = [arguments.root, arguments.s1_root, arguments.maps]
    roots += arguments.lmdb or []
    lists = arguments.splits or []
    outputs.check_folder(arguments.out, filter(None, roots))
    for path in lists:
        left_out = Path(arguments.out, f"{splits.split_name(path)}.left_out.csv")
        outputs.check_file(left_out, outputs.has_columns("patch", "reason"), lists)


def list_patches(
    arguments: argparse.Namespace, table: pd.DataFrame | None
) -> dict[str, list[PatchEntry]]:
    """Returns the patches of each split, from the lists or the official splits."""
    from bigearthnet_tf.archive import metadata, splits

    if table is not None and arguments.splits is None:
        present = [
            split for split in metadata.SPLITS if (table["split"] == split).any()
        ]
        if not present:
            raise ValueError(f"{arguments.metadata[0]}: lists no patch of any split")
        return {s: metadata.entries_from_metadata(table, s) for s in present}
    return splits.read_split_lists(arguments.splits)


def open_source(
    arguments: argparse.Namespace, table: pd.DataFrame | None
) -> PatchSource:
    """Returns the reader of the patches."""
    from bigearthnet_tf.archive import archives, lmdb_store

    if arguments.lmdb is not None:
        path, *others = arguments.lmdb
        return lmdb_store.open_lmdb(
            path,
            table,
            other=next(iter(others), None),
            sensors=arguments.sensors,
            reference_maps=arguments.maps is not None,
        )
    return archives.open_archive(
        arguments.root, arguments.s1_root, metadata=table, maps_root=arguments.maps
    )


def main() -> None:
    """Runs the command line."""
    arguments = parse_arguments()
    check_outputs(arguments)
    from bigearthnet_tf.archive import metadata

    table = metadata.read_tables(arguments.metadata) if arguments.metadata else None
    patches = list_patches(arguments, table)
    source = open_source(arguments, table)

    if arguments.update_json:
        logger.info(
            "--update_json: the JSON files of the archive stay as they are; records "
            "have the 19 labels beside the original ones"
        )
    # Converting needs TensorFlow, which takes seconds to import.
    console.load_tensorflow()
    from bigearthnet_tf.records import convert, preparation

    execute: convert.Executor = convert.Local(arguments.workers)
    if arguments.runner is not None:
        from bigearthnet_tf.records import beam

        execute = beam.Runner(["--runner", arguments.runner, *arguments.beam_options])

    preparation.prepare(
        source,
        patches,
        arguments.out,
        execute,
        seed=arguments.seed,
        shard_size_mb=arguments.shard_size_mb,
        record_format=arguments.record_format,
        reference_maps=arguments.maps is not None,
        overwrite=arguments.overwrite,
        skip_errors=arguments.on_error == "skip",
    )


if __name__ == "__main__":
    console.run(main)
