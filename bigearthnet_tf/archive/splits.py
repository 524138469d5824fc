"""Lists of patches as CSV files: one split a file, named like it.

Two forms are in use, both without a header: one Sentinel-2 name a line, or the
Sentinel-2 name and its Sentinel-1 partner, separated by a comma.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bigearthnet_tf import files
from bigearthnet_tf.archive import names, pairs
from bigearthnet_tf.archive.patch import PatchEntry

REPORT = "report.json"
LISTS = "sha256_of_lists"


def split_name(path: Path | str) -> str:
    """Returns the split that a CSV file stands for: its name up to the first dot."""
    return Path(path).name.split(".")[0]


def read_rows(path: Path | str) -> list[tuple[str, list[str]]]:
    """Returns the fields of each line that is not blank, with where it stands.

    Args:
        path: a CSV file; a byte order mark and CRLF line ends are accepted.

    Returns:
        Pairs of `"<path>:<line>"`, for messages, and the stripped fields.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not CSV in UTF-8.
    """
    path = Path(path)
    try:
        text = files.read_text(path, "a CSV file")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such list of patches") from None
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    found = []
    try:
        for row in reader:
            fields = [field.strip() for field in row]
            if any(fields):
                found.append((f"{path}:{reader.line_num}", fields))
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: no CSV: {error}") from error
    return found


def read_split_csv(path: Path | str) -> list[PatchEntry]:
    """Returns the patches of a list, in its order.

    Args:
        path: a CSV file of one of the two forms; its name gives the split.

    Returns:
        Entries with name, partner where given, and split.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no patch in it, a name that is none or in the wrong column, more
            than two columns, or a patch twice; the message gives file and line.
    """
    split = split_name(path)
    entries = []
    first_seen: dict[str, str] = {}
    for where, fields in read_rows(path):
        entry = _read_entry(fields, split, where)
        if entry.name in first_seen:
            raise ValueError(
                f"{where}: {entry.name} is listed twice, first in "
                f"{first_seen[entry.name]}"
            )
        first_seen[entry.name] = where
        entries.append(entry)
    if not entries:
        raise ValueError(f"{path}: expected one patch name a line, but it is empty")
    return entries


def _read_entry(fields: list[str], split: str, where: str) -> PatchEntry:
    if len(fields) > 2:
        raise ValueError(
            f"{where}: expected one or two columns (Sentinel-2 name, Sentinel-1 name), "
            f"got {len(fields)}"
        )
    sensors = []
    for field in filter(None, fields):
        try:
            sensors.append(names.parse_name(field).sensor)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    if sensors not in (["S2"], ["S2", "S1"]) or not fields[0]:
        raise ValueError(
            f"{where}: expected a Sentinel-2 name, then its Sentinel-1 name or nothing,"
            f" got {','.join(fields)!r}"
        )
    if len(sensors) == 2:
        pairs.check(fields[0], fields[1], where)
    return PatchEntry(
        name=fields[0], name_s1=fields[1] if len(sensors) == 2 else None, split=split
    )


def read_split_lists(paths: Iterable[Path | str]) -> dict[str, list[PatchEntry]]:
    """Returns the patches of several lists, each a split of its own.

    Raises:
        FileNotFoundError: no such list.
        ValueError: a list is wrong, two stand for one split, or a patch is in two.
    """
    lists: dict[str, list[PatchEntry]] = {}
    where: dict[str, Path | str] = {}
    for path in paths:
        split = split_name(path)
        if split in where:
            raise ValueError(
                f"{path}: a second list for split {split!r}, after {where[split]}; "
                "rename one"
            )
        where[split] = path
        lists[split] = read_split_csv(path)
    check_disjoint(lists)
    return lists


def check_disjoint(lists: Mapping[str, Iterable[PatchEntry]]) -> None:
    """Refuses a patch that is in two splits.

    Args:
        lists: split to its patches.

    Raises:
        ValueError: names the patch and the splits.
    """
    seen: dict[str, str] = {}
    for split, entries in lists.items():
        for entry in entries:
            if seen.setdefault(entry.name, split) != split:
                raise ValueError(
                    f"{entry.name} is in split {seen[entry.name]!r} and in {split!r}: "
                    "what is trained on can't be tested on; mend the lists"
                )


def write_split_csv(path: Path | str, entries: Iterable[PatchEntry]) -> None:
    """Writes a list that `read_split_csv` reads, with partners where they are known.

    Raises:
        ValueError: no entry.
    """
    text = format_rows(entries)
    if not text:
        raise ValueError(f"{path}: expected at least one patch to write, got none")
    files.write_text(path, text)


def format_rows(entries: Iterable[PatchEntry]) -> str:
    """Returns the text of a list, with partners where they are known."""
    lines = [
        entry.name if entry.name_s1 is None else f"{entry.name},{entry.name_s1}"
        for entry in entries
    ]
    return "".join(f"{line}\n" for line in lines)


def write_folder(
    folder: Path | str,
    lists: Mapping[str, str],
    report: Mapping[str, Any],
    pictures_and_tables: Mapping[str, bytes],
    *,
    overwrite: bool = False,
) -> None:
    """Writes the lists of a split with what is said of it.

    All content is on disk before the first file gets its name, so a full disk leaves
    what was there. Lists of another split that the folder holds are replaced or
    removed with `overwrite`, never mixed with the new ones.

    Args:
        folder: made if need be.
        lists: split to the text of its list; it becomes `<split>.csv`.
        report: becomes `report.json`, with the checksums of the lists in it.
        pictures_and_tables: name to content of what else is written.
        overwrite: replace another split.

    Raises:
        ValueError: the folder holds another split, or a list that was changed since,
            and `overwrite` is not given.
        OSError: a file of such a name is there that the report of no earlier split
            names, the folder can't be written to, or the disk is full.
    """
    folder = Path(folder)
    names_of_lists = {f"{split}.csv": text.encode() for split, text in lists.items()}
    checksums = {name: _sum(data) for name, data in names_of_lists.items()}
    earlier = _checksums_of(folder)
    others = [
        name
        for name in (*names_of_lists, *pictures_and_tables, REPORT)
        if (folder / name).exists()
    ]
    foreign = others if not earlier else [n for n in names_of_lists if n not in earlier]
    foreign = [name for name in foreign if name in others]
    if foreign and overwrite:
        raise FileExistsError(
            f"{folder}: holds {foreign[0]}, which no report of an earlier split there "
            "names: choose another folder, or move that"
        )
    changed = [
        n for n in names_of_lists if n in others and checksums[n] != _sum_of(folder / n)
    ]
    if others and (changed or earlier != checksums) and not overwrite:
        raise ValueError(
            f"{folder}: holds another split already ({', '.join(others)}): choose "
            "another folder, or pass --overwrite"
        )
    text = json.dumps({**report, LISTS: checksums}, indent=2, allow_nan=False)
    # The last to be entered is the first to get its name: the report ends the work.
    contents = {
        REPORT: f"{text}\n".encode(),
        **pictures_and_tables,
        **names_of_lists,
    }
    stale = earlier.keys() - checksums.keys()
    try:
        files.write_together(
            {folder / name: data for name, data in contents.items()},
            [folder / name for name in stale],
        )
    except OSError as error:
        raise OSError(
            f"{folder}: can't be written to ({error.strerror}); what was there is as "
            "it was: free some space, or choose another folder"
        ) from error


def _sum_of(path: Path) -> str:
    files.check_is_file(path)
    return _sum(path.read_bytes())


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _checksums_of(folder: Path) -> dict[str, str]:
    """Returns the lists that the report in a folder names; none without a report."""
    try:
        stored = dict(files.read_json(folder / REPORT)[LISTS])
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return {}
    # Only names of lists, whatever somebody wrote into the report.
    return {
        name: str(checksum)
        for name, checksum in stored.items()
        if Path(name).name == name and name.endswith(".csv")
    }
