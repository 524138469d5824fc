r"""Divides patches into splits, as lists for prep_splits.py, with a report.

The official splits of BigEarthNet v2, with a report:
  bigearthnet-tf split --metadata metadata.parquet -o official
Stratified by label, for one country, without winter:
  bigearthnet-tf split --metadata metadata.parquet --ratios 60 20 20 \
      --country Portugal --season spring summer fall -o stratified
Ten folds of a label table of balanced-bigearthnet:
  bigearthnet-tf split --table labels.csv --folds 10 -o folds
Five of them, joined to 60, 20 and 20 percent, with the records of these:
  bigearthnet-tf split --table labels.csv -k 5 -o folds -r BigEarthNet-v1.0 --records
Whole blocks of land, from a v1 archive, without snow and clouds:
  bigearthnet-tf split -r BigEarthNet-v1.0 -s BigEarthNet-S1-v1.0 \
      --ratios 60 20 20 --blocks 10 -o blocks --exclude \
      patches_with_seasonal_snow.csv patches_with_cloud_and_shadow.csv

OUT gets <split>.csv (Sentinel-2 name, and Sentinel-1 name where it is known),
report.md, report.json, report.csv with counts and deviations per label, labels.png.
With --records also records/ as prep_splits.py makes it, and records/sets.json, which
the config key `records` takes; --folds of three or more are joined for it to train,
val (the last but one) and test (the last), whose lists are written too.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bigearthnet_tf import console, outputs, pictures
from bigearthnet_tf.archive import (
    archives,
    division,
    labels,
    metadata,
    patch_set,
    selection,
    split_picture,
    split_report,
    split_summary,
    splits,
    stratification,
)
from bigearthnet_tf.archive.archives import Archive
from bigearthnet_tf.archive.division import Division
from bigearthnet_tf.archive.patch import PatchEntry
from bigearthnet_tf.archive.patch_set import PatchSet
from bigearthnet_tf.archive.split_report import SplitReport

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

_RECORDS = "records"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    sources = parser.add_argument_group("which patches")
    sources.add_argument(
        "--metadata",
        type=console.path,
        nargs="+",
        metavar="FILE",
        help="of v2, in Parquet or in the CSV files of reBEN's earlier scripts; the "
        "second table adds patches with snow, cloud or shadow",
    )
    sources.add_argument(
        "--table",
        "-d",
        "--data_path",
        type=console.path,
        metavar="CSV",
        help="label table: a column 'patch' and one of 0 and 1 for each label",
    )
    sources.add_argument(
        "-r",
        "--root",
        "--root_folder",
        type=console.path,
        help="archive, Sentinel-2; with --table for its pixels alone",
    )
    sources.add_argument(
        "-s", "--s1-root", type=console.path, help="Sentinel-1, for the partners of v1"
    )
    sources.add_argument(
        "--lists",
        type=console.path,
        nargs="+",
        metavar="CSV",
        help="only these patches, in these splits; labels come from the other source",
    )
    ways = parser.add_argument_group("into what; the splits they have if not given")
    ways.add_argument(
        "--ratios",
        type=console.number(above=0),
        nargs="+",
        metavar="R",
        help="such as 60 20 20",
    )
    ways.add_argument(
        "--folds",
        "-k",
        "--k_splits",
        type=console.whole(0),
        metavar="K",
        help="equal parts",
    )
    ways.add_argument(
        "--names",
        nargs="+",
        metavar="SPLIT",
        help="of the splits (train val test, train test, or fold_0 ...)",
    )
    ways.add_argument(
        "--blocks",
        type=console.number(above=0),
        metavar="KM",
        help="keep squares of land of this side together",
    )
    ways.add_argument(
        "--seed", type=console.whole(0, stratification.MAX_SEED), default=0, help="(0)"
    )
    ways.add_argument(
        "--label-type",
        choices=tuple(labels.LABELS),
        help="19 labels instead of 43; patches with none of them are left out",
    )
    filters = parser.add_argument_group("filters; all have to be fulfilled")
    filters.add_argument("--country", nargs="+", default=[], help="one of them")
    filters.add_argument(
        "--season",
        nargs="+",
        default=[],
        help="meteorological, by month: winter (from December), spring, summer, fall",
    )
    filters.add_argument(
        "--label", nargs="+", default=[], help="at least one; name or acronym"
    )
    filters.add_argument(
        "--tile", nargs="+", default=[], help="such as 33UUP or '33U*'"
    )
    for option, text in (("--only", "in one of"), ("--exclude", "in none of")):
        filters.add_argument(
            option,
            nargs="+",
            default=[],
            metavar="LIST",
            help=f"{text} these lists of names; 'snow' and 'cloud' by the metadata",
        )
    output = parser.add_argument_group("output")
    output.add_argument(
        "-o", "--out", "--output_path", type=console.path, required=True, help="folder"
    )
    output.add_argument(
        "--records",
        "-tf",
        "--tfrecord",
        action="store_true",
        help="prepare the records as well, in OUT/records",
    )
    console.add_workers(output)
    output.add_argument(
        "--s2-only",
        action="store_true",
        help="leave Sentinel-1 names out of the lists: one column",
    )
    output.add_argument(
        "--overwrite", action="store_true", help="replace another split in OUT"
    )


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    ratios = _read_ratios(arguments)
    frame = metadata.read_tables(arguments.metadata) if arguments.metadata else None
    archive = _open_archive(arguments, frame)
    patches = _read_patches(arguments, frame, archive)
    patches = _select(patches, arguments)
    divided = _divide(patches, ratios, arguments)
    report = split_report.describe(
        patches, divided, arguments.seed, _settings(arguments)
    )
    if arguments.s2_only:
        patches.table["name_s1"] = ""
    lists = {
        split: list(patches.entries(divided.assigned == index))
        for index, split in enumerate(divided.splits)
    }
    joined = {}
    if arguments.records and arguments.folds and arguments.names is None:
        joined = division.join_folds(list(lists.values()))
    _check_outputs([*lists, *joined], arguments)
    _write(lists | joined, report, arguments)
    for line in split_summary.lines(report):
        print(line)
    print(arguments.out / "report.md")
    if archive is not None and arguments.records:
        _prepare(archive, joined or lists, patches.label_type, arguments)


def _read_ratios(arguments: argparse.Namespace) -> list[float] | None:
    """Returns the ratios that are asked for, summing to 1; None if none are."""
    given, folds = arguments.ratios, arguments.folds
    if given and folds is not None:
        raise ValueError("--ratios and --folds are two ways to say the same: give one")
    if folds is not None:
        if folds < 2:
            raise ValueError(f"expected two --folds or more, got {folds}")
        return [1 / folds] * folds
    if given is None:
        if arguments.blocks is not None or arguments.names:
            raise ValueError("--blocks and --names need --ratios or --folds")
        return None
    whole = 100 if sum(given) > 2 else 1
    stratification.check_ratios(given, whole)
    return [ratio / whole for ratio in given]


def _open_archive(
    arguments: argparse.Namespace, frame: pd.DataFrame | None
) -> Archive | None:
    """Returns the archive that `-r` names, None without."""
    if arguments.root:
        return archives.open_archive(arguments.root, arguments.s1_root, metadata=frame)
    if arguments.s1_root:
        raise ValueError("-s has the partners of the patches of -r: give both")
    if arguments.records:
        raise ValueError(
            "--records needs the pixels of an archive: give its root with -r (and -s)"
        )
    return None


def _read_patches(
    arguments: argparse.Namespace, frame: pd.DataFrame | None, archive: Archive | None
) -> PatchSet:
    """Returns the patches of all sources that are given."""
    if arguments.metadata and arguments.table:
        raise ValueError("--metadata and --table both have labels: give one")
    known = listed = None
    if frame is not None:
        known = patch_set.from_metadata(frame)
    elif arguments.table:
        known = patch_set.from_label_table(arguments.table)
    if arguments.lists:
        listed = patch_set.from_lists(arguments.lists)
    if archive is not None and not arguments.table:
        return patch_set.from_archive(archive, known, listed)
    patches = known or listed
    if listed is not None and known is not None:
        patches = patch_set.combine(listed, known)
    if patches is None:
        raise ValueError(
            "no patches to divide: give --metadata, --table, --lists or -r"
        )
    if archive is not None and archive.root_s1 is not None:
        return patch_set.with_partners(patches, archive)
    return patches


def _select(patches: PatchSet, arguments: argparse.Namespace) -> PatchSet:
    """Returns the patches that are left after filters and change of labels."""
    before, splits_before = len(patches), set(patches.table["split"])
    patches = selection.select(
        patches,
        selection.Filters(
            countries=arguments.country,
            seasons=arguments.season,
            labels=arguments.label,
            tiles=arguments.tile,
            only=arguments.only,
            exclude=arguments.exclude,
        ),
    )
    wanted = arguments.label_type or patches.label_type
    if wanted == labels.ORIGINAL != patches.label_type:
        raise ValueError(
            "the 19 labels don't tell which of the 43 they were made from: leave "
            f"--label-type {wanted} out"
        )
    if wanted != patches.label_type and patches.labels:
        selected = len(patches)
        patches = patch_set.to_19_labels(patches)
        if len(patches) < selected:
            logger.info(
                "%d patches have none of the 19 labels: left out",
                selected - len(patches),
            )
    if len(patches) < before:
        logger.info("%d of %d patches are left", len(patches), before)
    if not (arguments.ratios or arguments.folds):
        for split in sorted(splits_before - set(patches.table["split"])):
            logger.warning("split %r has no patch left", split)
    return patches


def _divide(
    patches: PatchSet, ratios: list[float] | None, arguments: argparse.Namespace
) -> Division:
    present = np.asarray(patches.multi_hot.any(axis=0))
    if not present.all():
        absent = [
            patches.labels[index] for index, found in enumerate(present) if not found
        ]
        logger.warning(
            "no patch has %d of the %d labels: %s",
            len(absent),
            len(present),
            " ".join(labels.acronyms(absent, patches.label_type)),
        )
    if ratios is None:
        return division.as_listed(patches)
    names = division.split_names(
        arguments.names, len(ratios), arguments.folds is not None
    )
    if arguments.blocks is not None:
        return division.by_blocks(
            patches, names, ratios, arguments.blocks, arguments.seed
        )
    if not patches.labels:
        raise ValueError(
            "stratified splits need labels, which lists don't have: give --metadata, "
            "--table or -r as well"
        )
    return division.stratified(patches, names, ratios, arguments.seed)


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the arguments that shaped the split, as the report shows them."""
    left_out = ("command", "debug", "out", "overwrite", "records", "workers")
    return {
        key: " ".join(map(str, value)) if isinstance(value, list) else value
        for key, value in vars(arguments).items()
        if key not in left_out and not (value is None or value is False or value == [])
    }


def _write(
    lists: Mapping[str, Sequence[PatchEntry]],
    report: SplitReport,
    arguments: argparse.Namespace,
) -> None:
    others = {"report.md": split_report.as_markdown(report).encode()}
    if report.labels:
        table = split_report.as_frame(report).to_csv(index=False)
        others["report.csv"] = table.encode()
        others["labels.png"] = pictures.to_png(split_picture.label_figure(report))
    splits.write_folder(
        arguments.out,
        {split: splits.format_rows(entries) for split, entries in lists.items()},
        split_report.as_json(report),
        others,
        overwrite=arguments.overwrite,
    )


def _check_outputs(names: Iterable[str], arguments: argparse.Namespace) -> None:
    """Refuses to write over what is read."""
    given = (arguments.metadata, arguments.lists, arguments.only, arguments.exclude)
    read = [path for paths in given for path in paths or ()]
    read += filter(None, [arguments.table, arguments.root, arguments.s1_root])
    outputs.check_folder(arguments.out, read)
    for split in names:
        outputs.check_file(arguments.out / f"{split}.csv", lambda _: True, read)
    if arguments.records:
        console.load_tensorflow()
        from bigearthnet_tf.records import preparation

        preparation.check_sets(arguments.out / _RECORDS, read)


def _prepare(
    archive: Archive,
    lists: Mapping[str, Sequence[PatchEntry]],
    label_type: str,
    arguments: argparse.Namespace,
) -> None:
    from bigearthnet_tf.records import preparation

    folder = arguments.out / _RECORDS
    sets = preparation.prepare_sets(
        archive,
        lists,
        folder,
        label_type,
        workers=arguments.workers,
        overwrite=arguments.overwrite,
    )
    print(folder)
    if sets is not None:
        logger.info("next: python train.py CONFIG --set records=%s", sets)
