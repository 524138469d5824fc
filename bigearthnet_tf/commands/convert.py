r"""Writes records again in another form, or as the LMDB of the reBEN tools.

Nothing is lost on the way: there and back again, records are the same bytes.

  bigearthnet-tf convert 'old/train*.tfrecord' -o records --shard-size-mb 128
  bigearthnet-tf convert 'records/*.tfrecord' -o old --to int64
  bigearthnet-tf convert 'records/*.tfrecord' -o Encoded-BigEarthNet --to lmdb

What an LMDB lacks, labels, pairs and splits, goes to OUT.metadata.parquet beside it.
The way back is prep_splits.py --lmdb OUT --metadata OUT.metadata.parquet.
"""

from __future__ import annotations

import argparse

from bigearthnet_tf import console
from bigearthnet_tf.archive import metadata


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "records",
        nargs="+",
        help="shards of any form, wildcards allowed",
    )
    parser.add_argument(
        "-o", "--out", type=console.place, required=True, help="folder to write"
    )
    parser.add_argument(
        "--to",
        choices=("bytes", "int64", "lmdb"),
        default="bytes",
        help="ours, that of the older projects, or an LMDB (bytes)",
    )
    parser.add_argument(
        "--shard-size-mb",
        type=console.number(above=0),
        help="of a file, about (the shards as they are)",
    )
    parser.add_argument(
        "--metadata",
        type=console.path,
        nargs="+",
        metavar="FILE",
        help="of v2, for the country, snow and clouds of the patches of an LMDB, which "
        "records do not hold",
    )
    console.add_workers(parser)
    parser.add_argument(
        "--on-error",
        choices=("fail", "skip"),
        default="fail",
        help="skip leaves out damaged records and lists them in "
        "OUT/<split>.left_out.csv; not for an LMDB",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what is in the folder"
    )
    parser.set_defaults(refuse=parser.error)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    _refuse_idle_options(arguments)
    table = metadata.read_tables(arguments.metadata) if arguments.metadata else None
    console.load_tensorflow()
    from bigearthnet_tf.records import convert, lmdb_copy, reader, record_archive

    archive = record_archive.RecordArchive(reader.open_records(arguments.records))
    record_archive.check_elsewhere(archive, arguments.out)
    if arguments.to == "lmdb":
        lmdb_copy.write_lmdb(
            archive,
            arguments.out,
            table,
            overwrite=arguments.overwrite,
            tables=arguments.metadata or (),
        )
        return
    plans = record_archive.plan_copy(archive, arguments.to, arguments.shard_size_mb)
    convert.convert(
        archive,
        plans,
        arguments.out,
        convert.Local(arguments.workers),
        overwrite=arguments.overwrite,
        skip_errors=arguments.on_error == "skip",
    )


def _refuse_idle_options(arguments: argparse.Namespace) -> None:
    """Ends a call with options that would change nothing, as argparse ends one."""
    if arguments.to == "lmdb":
        if arguments.shard_size_mb is not None:
            arguments.refuse(
                "--shard-size-mb is not for --to lmdb: an LMDB is one file"
            )
        if arguments.on_error == "skip":
            arguments.refuse(
                "--on-error skip is not for --to lmdb: an LMDB gets all patches or none"
            )
    elif arguments.metadata is not None:
        arguments.refuse(
            "--metadata is for --to lmdb alone: records have no place for what it says"
        )
