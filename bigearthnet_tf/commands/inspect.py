r"""Tells what records hold, verifies them, and shows them.

  bigearthnet-tf inspect records                        all splits in a folder
  bigearthnet-tf inspect 'records/train-*' --verify     reads and checks every record
  bigearthnet-tf inspect records --record 17            prints one record
  bigearthnet-tf inspect records --sheet sheet.png      draws some of them

The listing reads a few bytes of each file. Records are numbered from 0 over all the
files, in the order of folders, splits and shards.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import posixpath
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bigearthnet_tf import console, outputs
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import labels

if TYPE_CHECKING:
    from bigearthnet_tf.records.inspection import Split
    from bigearthnet_tf.records.schema import RecordForm
    from bigearthnet_tf.records.verification import Verification

# Files of a split that are listed one by one.
_LISTED = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "records",
        nargs="+",
        help="files, wildcards, or folders with their splits",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read every record; compare checksums, contents and manifests",
    )
    parser.add_argument(
        "--labels",
        action="store_true",
        help="count the records of each label; implies --verify",
    )
    one = parser.add_mutually_exclusive_group()
    one.add_argument(
        "--record", type=console.whole(0), metavar="N", help="print record N"
    )
    one.add_argument("--name", metavar="PATCH", help="print the record of a patch")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    parser.add_argument(
        "--sheet",
        type=console.path,
        metavar="PNG",
        help="draw records into a picture",
    )
    parser.add_argument(
        "--count",
        type=console.at_least_one,
        default=24,
        help="records on the sheet (24)",
    )
    parser.add_argument(
        "--seed",
        type=console.seed,
        help="draw random records, not ones at even distances",
    )
    console.add_workers(parser)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    console.load_tensorflow()
    from bigearthnet_tf.records import inspection, series_inspection

    series, others = series_inspection.find_series(arguments.records)
    if series:
        _print_series(series, arguments)
        if not others:
            return
    if arguments.sheet is not None:
        outputs.check_file(arguments.sheet, outputs.is_png, arguments.records)
    splits = inspection.look(others)
    one_record = arguments.record is not None or arguments.name is not None
    reads_all = arguments.verify or arguments.labels
    if one_record:
        _print_record(splits, arguments)
    if arguments.sheet is not None:
        _draw_sheet(splits, arguments)
    if reads_all or not (one_record or arguments.sheet):
        _print_splits(splits, arguments, reads_all)


def _print_series(paths: Sequence[str], arguments: argparse.Namespace) -> None:
    """Prints what splits of pixel time series hold, and verifies them if asked to."""
    from bigearthnet_tf.records import block_manifest, series_inspection

    if arguments.record is not None or arguments.name or arguments.sheet:
        raise ValueError(
            f"{paths[0]}: records of pixel time series; --record, --name and --sheet "
            "are for patches, bigearthnet-tf map draws time series"
        )
    described = {path: block_manifest.load(path) for path in paths}
    if arguments.json:
        print(json.dumps([facts.model_dump() for facts in described.values()]))
    else:
        texts = (series_inspection.describe(*each) for each in described.items())
        print("\n\n".join(texts), flush=True)
    if not (arguments.verify or arguments.labels):
        return
    faults = []
    total = sum(facts.num_records for facts in described.values())
    with console.progress(total=total, desc="reading", unit="record") as bar:
        for path, facts in described.items():
            faults += series_inspection.verify(path, facts, bar.update)
    _complain(faults)
    if not arguments.json:
        print(f"{_count(total, 'record')} of time series: all whole")


def _print_splits(
    splits: Sequence[Split], arguments: argparse.Namespace, reads_all: bool
) -> None:
    """Prints what each split holds, and everything that is wrong."""
    if not arguments.json:
        print("\n\n".join(map(_describe, splits)), flush=True)
    verified = _verify(splits, arguments.workers) if reads_all else None
    faults = _faults(splits) if verified is None else verified.faults
    if arguments.json:
        print(json.dumps(_as_json(splits, verified, faults), indent=2))
    elif verified is not None:
        print()
        _print_counts(splits, verified, arguments.labels)
    _complain(faults)
    if verified is not None and not arguments.json:
        records, files = _sum(splits)
        print(f"{_count(records, 'record')} in {_count(files, 'file')}: all whole")


def _verify(splits: Sequence[Split], workers: int) -> Verification:
    from bigearthnet_tf.records import verification

    records, _ = _sum(splits)
    with console.progress(total=records, desc="reading", unit="record") as bar:
        return verification.verify(splits, workers, bar.update)


def _faults(splits: Sequence[Split]) -> list[str]:
    """Returns what can be seen to be wrong without reading the files."""
    return [
        fault
        for split in splits
        for fault in (*split.faults, *(shard.fault for shard in split.shards))
        if fault
    ]


def _complain(faults: Sequence[str]) -> None:
    """Fails if anything is wrong: a single fault is the error itself."""
    if not faults:
        return
    if len(faults) > 1:
        print(*faults, sep="\n", file=sys.stderr)
        raise ValueError(f"{len(faults)} files are not as they should be, see above")
    raise ValueError(faults[0])


def _describe(split: Split) -> str:
    """Returns what a split holds, as lines of text."""
    described, form = split.manifest, split.form
    facts = {
        "records": f"{split.num_records:,} in {_count(len(split.shards), 'file')}",
        "bytes": f"{split.num_bytes:,}",
    }
    if form is not None:
        facts |= _describe_form(form)
    if described is None:
        facts["archive"] = "v1, as older records are" if form else "unknown"
        facts["manifest"] = "none"
    else:
        facts["archive"] = described.archive_version
        facts["written"] = (
            f"by bigearthnet_tf {described.tool_version}, order of seed "
            f"{described.seed}"
        )
        if described.left_out:
            facts["left out"] = f"{described.left_out:,} patches could not be read"
        agrees = not _faults([split])
        facts["manifest"] = (
            "agrees in names and sizes" if agrees else "does not agree with the files"
        )
    lines = [f"{split.folder}, {split.name}:"]
    lines += [f"  {what:<10}{fact}" for what, fact in facts.items()]
    return "\n".join([*lines, *_list_files(split)])


def _describe_form(form: RecordForm) -> dict[str, str]:
    facts = {"form": form.encoding}
    for group, names in band_facts.group_bands(form.bands).items():
        band = band_facts.BANDS[names[0]]
        facts[group] = f"{' '.join(names)}: {band.dtype}, {band.pixels} x {band.pixels}"
    if form.has_map:
        facts["map"] = "reference_map: uint16, 120 x 120"
    for feature, order in form.label_features:
        size = f"{len(labels.ORDERS[order])} labels"
        facts[size] = f"{feature}: int64, {size[:2]}, order {order}"
    facts["names"] = ", ".join(filter(None, (form.name_s2, form.name_s1))) or "none"
    return facts


def _list_files(split: Split) -> list[str]:
    shown = split.shards if len(split.shards) <= _LISTED else split.shards[:_LISTED]
    lines = []
    for shard in shown:
        count = "?" if shard.num_records is None else f"{shard.num_records:,}"
        name = posixpath.basename(shard.path)
        lines.append(f"    {name}  records {count}  bytes {shard.num_bytes:,}")
    if len(shown) < len(split.shards):
        more = len(split.shards) - len(shown)
        lines.append(f"    and {more:,} more; --json lists all")
    return lines


def _print_counts(
    splits: Sequence[Split], verified: Verification, with_labels: bool
) -> None:
    """Prints the records of each label, a column for each split."""
    for label_type, names in labels.LABELS.items() if with_labels else ():
        counts = [c.get(label_type) for c in verified.label_counts]
        columns = {s.name: c for s, c in zip(splits, counts, strict=True) if c}
        if not columns:
            continue
        width = max(map(len, names))
        heads = [f"{name:>{max(9, len(name))}}" for name in columns]
        print(f"{label_type:<{width}}  {'  '.join(heads)}")
        for name in names:
            cells = [
                f"{count[name]:>{len(head)},}"
                for count, head in zip(columns.values(), heads, strict=True)
            ]
            print(f"{name:<{width}}  {'  '.join(cells)}")
        print()
    for overlap in verified.overlaps:
        one, other = overlap.splits
        patches = (
            "1 patch is" if overlap.count == 1 else f"{overlap.count:,} patches are"
        )
        print(
            f"note: {patches} both in {one} and in {other}, such as {overlap.example}"
        )


def _as_json(
    splits: Sequence[Split], verified: Verification | None, faults: Sequence[str]
) -> dict[str, Any]:
    """Returns the listing as JSON takes it."""
    described = []
    for number, split in enumerate(splits):
        facts: dict[str, Any] = {
            "name": split.name,
            "folder": split.folder,
            "num_records": split.num_records,
            "num_bytes": split.num_bytes,
            "form": dataclasses.asdict(split.form) if split.form else None,
            "manifest": split.manifest.model_dump() if split.manifest else None,
            "shards": [
                {
                    "path": shard.path,
                    "num_records": shard.num_records,
                    "num_bytes": shard.num_bytes,
                }
                for shard in split.shards
            ],
        }
        if verified is not None:
            facts["label_counts"] = {
                kind: {name: counts[name] for name in labels.LABELS[kind]}
                for kind, counts in verified.label_counts[number].items()
            }
        described.append(facts)
    result: dict[str, Any] = {"splits": described, "faults": list(faults)}
    if verified is not None:
        result["overlaps"] = [dataclasses.asdict(o) for o in verified.overlaps]
    return result


def _print_record(splits: Sequence[Split], arguments: argparse.Namespace) -> None:
    from bigearthnet_tf.records import inspection

    if arguments.name is None:
        where, patch = inspection.read_record(splits, arguments.record)
    else:
        records, _ = _sum(splits)
        with console.progress(total=records, desc="searching", unit="record") as bar:
            where, patch = inspection.find_record(splits, arguments.name, bar.update)
    facts = inspection.describe_record(patch)
    if arguments.json:
        print(json.dumps({"where": where} | facts, indent=2))
        return
    print(f"{where}\n  Sentinel-2  {patch.name_s2}\n  Sentinel-1  {patch.name_s1}")
    acronyms = labels.acronyms(patch.labels, patch.label_type)
    print(f"\n  labels of {patch.label_type}: {len(patch.labels)}")
    for acronym, name in zip(acronyms, patch.labels, strict=True):
        print(f"    {acronym:<9} {name}")
    print(f"\n  band  {'type':<9}{'shape':<9}{'min':>11}{'mean':>11}{'max':>11}")
    for name, band in facts["bands"].items():
        shape = " x ".join(map(str, band["shape"]))
        low, mean, high = (f"{band[key]:.6g}" for key in ("min", "mean", "max"))
        numbers = f"{low:>11}{mean:>11}{high:>11}"
        print(f"  {name:<6}{band['dtype']:<9}{shape:<9}{numbers}")
    if patch.reference_map is not None:
        print("\n  code  share  label of the reference map")
        for entry in facts["reference_map"]:
            label = entry["label"] or "none"
            print(f"  {entry['code']:>4} {entry['share']:>6.1%}  {label}")


def _draw_sheet(splits: Sequence[Split], arguments: argparse.Namespace) -> None:
    from bigearthnet_tf.records import contact_sheet, inspection

    contact_sheet.check_path(arguments.sheet)
    total = inspection.count_records(splits)
    numbers = contact_sheet.choose(total, arguments.count, arguments.seed)
    records = [
        contact_sheet.Record(number, inspection.read_record(splits, number)[1])
        for number in console.progress(numbers, desc="drawing", unit="record")
    ]
    names = ", ".join(dict.fromkeys(split.name for split in splits))
    title = f"{names}: {len(records):,} of {total:,} records"
    figure = contact_sheet.draw(records, title)
    contact_sheet.save_png(figure, arguments.sheet)
    if not arguments.json:
        for line in contact_sheet.not_drawn([record.patch for record in records]):
            print(line)
        print(f"{arguments.sheet}: {title}")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _sum(splits: Sequence[Split]) -> tuple[int, int]:
    """Returns the numbers of records and of files."""
    files = sum(len(split.shards) for split in splits)
    return sum(split.num_records for split in splits), files
