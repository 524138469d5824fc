"""Label tables as balanced-bigearthnet has them: a CSV with a column for each label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bigearthnet_tf import files, tables
from bigearthnet_tf.archive import labels, names
from bigearthnet_tf.registry import nearest_names

PATCH_COLUMN = "patch"


def read_label_table(
    path: Path | str,
) -> tuple[list[str], NDArray[np.uint8], tuple[str, ...], str]:
    """Returns patches and labels of a label table.

    Its header names the columns: `patch` with Sentinel-2 names, and one of 0 and 1
    for each label, by name or acronym, in any order. A first column without a
    name is an index and passed over. Half a million patches with 43 labels take 500 MB.

    Args:
        path: the CSV file.

    Returns:
        Patch names (patches,); uint8 of shape (patches, labels); names of the labels
        in the order of the table; their nomenclature.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a CSV file in UTF-8, `patch` is missing, a column is no label,
            a label or patch is there twice, or a value is not 0 or 1.
    """
    path = Path(path)
    table = _read_csv(path)
    if PATCH_COLUMN not in table:
        raise ValueError(
            f"{path}: expected a column {PATCH_COLUMN!r} with patch names, got "
            f"{', '.join(map(repr, table.columns[:4]))}, ..."
        )
    columns = [str(column) for column in table.columns if column != PATCH_COLUMN]
    if columns and columns[0].startswith(tables.NAMELESS):
        columns = columns[1:]
    label_type = _nomenclature(columns, path)
    found = tuple(labels.find_label(column, label_type) for column in columns)
    for name in found:
        if found.count(name) > 1:
            raise ValueError(f"{path}: two columns for the label {name!r}")
    patches = _check_patches(table[PATCH_COLUMN], path)
    return patches, _check_values(table, columns, path), found, label_type


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        table = tables.read_csv(
            path, f"a CSV file with a column {PATCH_COLUMN!r} and one for each label"
        )
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such label table") from None
    if table.empty:
        raise ValueError(f"{path}: expected one patch a line, but there is none")
    return table


def _label_types(columns: Sequence[str]) -> list[str]:
    """Returns the nomenclatures that have all the columns among their labels."""
    return [
        label_type
        for label_type, table in labels.TABLES.items()
        if set(columns) <= {text for own in table for text in (own.name, own.acronym)}
    ]


def _nomenclature(columns: Sequence[str], path: Path) -> str:
    if not columns:
        raise ValueError(f"{path}: expected a column for each label, got none")
    fitting = _label_types(columns)
    if fitting:
        return fitting[0]
    known = [own.name for table in labels.TABLES.values() for own in table]
    strangers = [column for column in columns if not _label_types([column])]
    if strangers:
        raise ValueError(
            f"{path}: the column {strangers[0]!r} is no label: "
            f"{nearest_names(strangers[0], dict.fromkeys(known))}"
        )
    raise ValueError(
        f"{path}: the columns are labels of both nomenclatures mixed, expected those "
        "of the 43 or those of the 19"
    )


def _check_patches(column: pd.Series[Any], path: Path) -> list[str]:
    text = column.fillna("").astype(str).str.strip()
    are_names = text.str.fullmatch(names.S2_V1_PATTERN) | text.str.fullmatch(
        names.S2_V2_PATTERN
    )
    for wrong, what in (
        (~are_names, "not a Sentinel-2 patch name"),
        (text.duplicated(), "this patch occurs twice"),
    ):
        if wrong.any():
            raise ValueError(
                f"{path}:{tables.line_of(wrong)}: {what}: "
                f"{files.echo(text[wrong].iloc[0])}"
            )
    return list(text)


def _check_values(
    table: pd.DataFrame, columns: Sequence[str], path: Path
) -> NDArray[np.uint8]:
    multi_hot = np.empty((len(table), len(columns)), np.uint8)
    for index, column in enumerate(columns):
        wrong = ~table[column].isin([0, 1])
        if wrong.any():
            raise ValueError(
                f"{path}:{tables.line_of(wrong)}: expected 0 or 1 for {column!r}, got "
                f"'{str(table[column][wrong].iloc[0])[:60]}'"
            )
        multi_hot[:, index] = table[column]
    return multi_hot
