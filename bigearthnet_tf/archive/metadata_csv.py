"""Metadata of v2 in the CSV files of reBEN's earlier scripts.

ConfigILM 0.6 took three of them, each with a header: `patch_id,split`,
`patch_id,s1_name`, and `patch_id,label` with a row for each label of a patch
(`patch_id_split_mapping.csv` and so on; `split_csv`, `s1_mapping_csv` and `labels_csv`
in its dictionary of paths). Two more come with them: `patch_id,country` and
`patch_id,s2v1_name`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bigearthnet_tf import files, tables

logger = logging.getLogger(__name__)

PATCH = "patch_id"
# The column that makes a file one of the mappings, and what ConfigILM calls the file.
MAPPINGS = {
    "split": "split_csv",
    "s1_name": "s1_mapping_csv",
    "label": "labels_csv, a row for each label",
    "country": "countries, if any",
    "s2v1_name": "names in v1, if any",
}
_REQUIRED = ("split", "s1_name", "label")


def is_csv(path: Path | str) -> bool:
    """Tells whether a path ends in `.csv`."""
    return Path(path).suffix.casefold() == ".csv"


def read(paths: Sequence[Path | str]) -> pd.DataFrame:
    """Returns the patches of the split file, with what the other files say of them.

    Patches that have no split were never read there: they are left out, which is
    logged.

    Args:
        paths: the files in any order; what each is follows from its columns.

    Returns:
        `patch_id`, `labels` (lists), `split`, `s1_name`, and `country` and `s2v1_name`
        where there are such files. Names and labels are not checked.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not CSV, no mapping, one that is missing or comes twice, an empty
            field, a patch that is in a file twice, or one that a file lacks.
    """
    mappings: dict[str, pd.DataFrame] = {}
    sources: dict[str, Path | str] = {}
    for path in paths:
        column, mapping = _read_mapping(path)
        if column in mappings:
            raise ValueError(
                f"expected one file with the column {column}, got {sources[column]} "
                f"and {path}: give each once"
            )
        mappings[column], sources[column] = mapping, path
    _check_complete(sources)
    frame = mappings.pop("split")
    for column, mapping in mappings.items():
        _compare(frame[PATCH], mapping.index, sources[column], sources["split"])
        frame = frame.join(mapping, on=PATCH)
    return frame.rename(columns={"label": "labels"})


def _read_mapping(path: Path | str) -> tuple[str, pd.DataFrame]:
    """Returns the column of a mapping and the mapping, indexed by patch but for splits.

    The labels of a patch are a list.
    """
    table = tables.read_csv(
        path, "a CSV file with patch_id and split, s1_name or label", as_written=True
    )
    found = tables.by_plain_names(table, {PATCH, *MAPPINGS}, path)
    columns = [name for name in MAPPINGS if name in found]
    if PATCH in found and len(columns) > 1:
        raise ValueError(
            f"{path}: expected {PATCH} and one other column of reBEN's, got "
            f"{' and '.join(columns)}: give a file for each"
        )
    if PATCH not in found or not columns:
        known = ", ".join(f"{name} ({what})" for name, what in MAPPINGS.items())
        raise ValueError(
            f"{path}: expected the column {PATCH} and one of {known}; got "
            f"{', '.join(files.echo(name) for name in table.columns[:6])}"
        )
    column = columns[0]
    mapping = table[[found[PATCH], found[column]]].astype(str)
    mapping = mapping.set_axis([PATCH, column], axis=1).apply(lambda c: c.str.strip())
    if mapping.empty:
        raise ValueError(f"{path}: expected a row for each patch, got none")
    _check_rows(mapping, column, path)
    if column == "label":
        mapping = mapping.groupby(PATCH, sort=False)[column].agg(list).reset_index()
    return column, mapping if column == "split" else mapping.set_index(PATCH)


def _check_rows(mapping: pd.DataFrame, column: str, path: Path | str) -> None:
    for name in (PATCH, column):
        empty = mapping[name] == ""
        if empty.any():
            raise ValueError(
                f"{path}:{tables.line_of(empty)}: expected a value in {name}, but the "
                "field is empty"
            )
    key = [PATCH, column] if column == "label" else [PATCH]
    twice = mapping.duplicated(key)
    if twice.any():
        said = " with ".join(mapping.loc[twice, key].iloc[0])
        raise ValueError(
            f"{path}:{tables.line_of(twice)}: {said} occurs twice: remove one of the "
            "rows"
        )


def _check_complete(sources: dict[str, Path | str]) -> None:
    missing = [name for name in _REQUIRED if name not in sources]
    if missing:
        wanted = ", ".join(f"{name} ({MAPPINGS[name]})" for name in missing)
        raise ValueError(
            f"{' and '.join(map(str, sources.values()))}: metadata in CSV are three "
            f"files together; give also the one with {PATCH} and {wanted}"
        )


def _compare(
    patches: pd.Series[str],
    known: pd.Index[str],
    path: Path | str,
    split_path: Path | str,
) -> None:
    """Logs the patches that a mapping has beyond those of the splits.

    Raises:
        ValueError: it lacks some of them.
    """
    lacking = patches[~patches.isin(known)]
    if len(lacking):
        raise ValueError(
            f"{path}: lacks {len(lacking)} of the {len(patches)} patches of "
            f"{split_path}, first {lacking.iloc[0]}: add them, or leave them out of "
            "the splits"
        )
    beyond = known[~known.isin(patches)]
    if len(beyond):
        logger.warning(
            "%s: %d patches left out, which %s has no split for, first %s",
            path,
            len(beyond),
            split_path,
            beyond[0],
        )
