"""Tables of other people, CSV and Parquet, read strictly and with clear errors.

Pandas passes over much that changes a table's meaning: with a comma at the end of its
lines it moves every column by one place, and of two columns of one name it renames one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet, types

from bigearthnet_tf import files

NAMELESS = "Unnamed: "  # how pandas calls columns without a name
_PARQUET = b"PAR1"
# Texts that stand for no number.
_EMPTY = ("", "na", "n/a", "nan", "null", "none", "<na>")
_UNREADABLE = (
    pa.ArrowException,
    OSError,
    ValueError,
    KeyError,
    NotImplementedError,
    OverflowError,
    MemoryError,
)


def read(
    path: Path | str, expected: str = "a table", *, as_written: bool = False
) -> pd.DataFrame:
    """Reads CSV or Parquet, whichever the file is by its content.

    Args:
        path: the file.
        expected: what it should be, for messages.
        as_written: see `read_csv`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: as `read_csv` and `read_parquet`.
    """
    files.check_is_file(path)
    with Path(path).open("rb") as file:
        is_parquet = file.read(4) == _PARQUET
    if is_parquet or Path(path).suffix == ".parquet":
        return to_frame(read_parquet(path, expected), path)
    return read_csv(path, expected, as_written=as_written)


def read_csv(
    path: Path | str, expected: str = "a table", *, as_written: bool = False
) -> pd.DataFrame:
    """Reads a table in CSV: a header, commas between columns, points in numbers.

    A byte order mark, CRLF, quotes and a comma at the end of lines are accepted. A
    nameless column gets a name that begins with `NAMELESS`; an empty one at the end is
    left out.

    Args:
        path: the file.
        expected: what it should be, for messages.
        as_written: whether columns stay text unless their numbers are written again
            in the same way: 007, 1.50 and NA do.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not CSV in UTF-8, no header, two columns of one name, semicolons or
            tabs in place of commas, or a line with another number of fields than the
            header.
    """
    files.check_is_file(path)
    files.check_unpacked(path, expected)
    text = files.read_text(path, expected)
    names = _check_form(text, path, expected)
    try:
        table = pd.read_csv(
            io.StringIO(text),
            header=0,
            names=names,
            # Not the index, whatever commas there are at the end of lines.
            index_col=False,
            usecols=range(len(names)),
            skipinitialspace=True,
            low_memory=False,
            dtype=str if as_written else None,
            keep_default_na=not as_written,
        )
    except (ValueError, OverflowError) as error:  # pandas' own are ValueErrors
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path}: expected {expected}, but it does not read ({reason})"
        ) from error
    last = table[names[-1]]
    empty_end = names[-1].startswith(NAMELESS) and (last.isna() | (last == "")).all()
    if empty_end and len(names) > 1:
        table = table.drop(columns=names[-1])
    return table.apply(_numbers_of_text) if as_written else table


def _numbers_of_text(column: pd.Series[Any]) -> pd.Series[Any]:
    """Returns the numbers of a column of text if they are written in the same way."""
    found = pd.to_numeric(column, errors="coerce")
    return found if found.astype(str).eq(column).all() else column


def _check_form(text: str, path: Path | str, expected: str) -> list[str]:
    """Returns the names of the columns, after a look at every line.

    Raises:
        ValueError: as `read_csv`.
    """
    if "\0" in text:
        raise ValueError(f"{path}: expected {expected} in text, got bytes that are 0")
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    names: list[str] = []
    try:
        for row in reader:
            if not names:
                names = _header(row, path, expected) if any(map(str.strip, row)) else []
            elif row and (len(row) < len(names) or any(row[len(names) :])):
                raise ValueError(
                    f"{path}:{reader.line_num}: expected {len(names)} fields, as in "
                    f"the header, got {len(row)}; quote texts that hold commas, and "
                    "write numbers with a point"
                )
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: no CSV: {error}") from error
    if not names:
        raise ValueError(f"{path}: expected {expected}, a header first; it is empty")
    return names


def _header(row: list[str], path: Path | str, expected: str) -> list[str]:
    """Returns the names of the columns."""
    names = [name.strip() for name in row]
    for mark, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and mark in names[0]:
            raise ValueError(
                f"{path}: expected {expected} with commas between columns, got {word}; "
                "save it with commas, and with points in numbers"
            )
    names = [name or f"{NAMELESS}{number}" for number, name in enumerate(names)]
    _check_names(names, path)
    return names


def _check_names(names: list[str], path: Path | str) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(
            f"{path}: the column {files.echo(twice)} is there twice; rename one"
        )


def by_plain_names(
    table: pd.DataFrame, names: Collection[str], path: Path | str
) -> dict[str, Any]:
    """Returns columns by their names without capitals and outer blanks.

    Args:
        table: from `read` or `read_csv`.
        names: plain ones that may stand for one column alone.
        path: the file, for messages.

    Raises:
        ValueError: two columns have one of these names, such as `x` and `X`.
    """
    found: dict[str, Any] = {}
    for column in table.columns:
        name = str(column).strip().casefold()
        if name in names and name in found:
            raise ValueError(
                f"{path}: expected one column {name}, got {found[name]!r} and "
                f"{column!r}; rename or remove one of them"
            )
        found[name] = column
    return found


def line_of(wrong: pd.Series[Any] | NDArray[np.bool_]) -> int:
    """Returns the line of the first row that is true; line 1 is the header."""
    return int(np.asarray(wrong).argmax()) + 2


def numbers(table: pd.DataFrame, column: Any, path: Path | str) -> NDArray[np.float64]:
    """Returns a column as numbers, NaN where a field is empty.

    Args:
        table: from `read` or `read_csv`.
        column: its name.
        path: the file, for messages.

    Raises:
        ValueError: a field is something else, such as a number with a decimal comma,
            or infinite.
    """
    given = table[column]
    if given.dtype.kind == "b":
        raise ValueError(f"{path}: expected numbers in {column!r}, got True and False")
    found = pd.to_numeric(given, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    empty = given.isna() | given.astype(str).str.strip().str.casefold().isin(_EMPTY)
    wrong = (np.isnan(found) & ~empty.to_numpy()) | np.isinf(found)
    if wrong.any():
        first = given[wrong].iloc[0]
        comma = isinstance(first, str) and "," in first
        raise ValueError(
            f"{path}:{line_of(wrong)}: expected a number in {column!r}, got "
            f"{files.echo(first)}"
            f"{'; write it with a point, not a comma' if comma else ''}"
        )
    return found


def read_parquet(path: Path | str, expected: str = "a table") -> pa.Table:
    """Reads a Parquet file.

    Args:
        path: the file.
        expected: what it should be, for messages.

    Raises:
        FileNotFoundError: no such file.
        ValueError: packed, not Parquet or damaged, or two columns of one name.
    """
    files.check_is_file(path)
    files.check_unpacked(path, expected)
    try:
        with parquet.ParquetFile(Path(path)) as file:
            names = file.schema_arrow.names
            table = file.read() if len(set(names)) == len(names) else None
        if table is not None:
            table.validate(full=True)
    except _UNREADABLE as error:
        raise _damaged(path, expected, error) from error
    _check_names(names, path)
    return table


def to_frame(table: pa.Table, path: Path | str) -> pd.DataFrame:
    """Returns a Parquet table as a frame; a stored index is a column like others.

    Raises:
        ValueError: a column has values that pandas has no type for.
    """
    try:
        return table.to_pandas(ignore_metadata=True)
    except _UNREADABLE as error:
        raise _damaged(path, "a table", error) from error


def _damaged(path: Path | str, expected: str, error: BaseException) -> ValueError:
    lines = str(error).replace(f"'{path}'", "it").splitlines()
    lines = [*lines, type(error).__name__]
    return ValueError(
        f"{path}: expected {expected}, but it does not read as Parquet "
        f"({lines[0][:200]}): copy or download it again"
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind) or _is_view(kind))


def _is_view(kind: pa.DataType) -> bool:
    return kind == pa.string_view()


def _is_list_of_text(kind: pa.DataType) -> bool:
    is_list = (
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
    )
    return bool(
        is_list and (_is_text(kind.value_type) or _is_category(kind.value_type))
    )


def _is_category(kind: pa.DataType) -> bool:
    return bool(types.is_dictionary(kind) and _is_text(kind.value_type))


# What a column should hold: how it is called, what it may be, what it is read as.
Form = tuple[str, Callable[[pa.DataType], bool], pa.DataType]
TEXT: Form = ("text", lambda kind: _is_text(kind) or _is_category(kind), pa.string())
TEXTS: Form = ("lists of text", _is_list_of_text, pa.list_(pa.string()))
TRUTH: Form = ("true or false", types.is_boolean, pa.bool_())


def with_forms(
    table: pa.Table, forms: Mapping[str, Form], path: Path | str
) -> pa.Table:
    """Returns a table whose columns hold what they should; categories become text.

    Args:
        table: from `read_parquet`.
        forms: of its columns by name; those that it lacks are passed over.
        path: the file, for messages.

    Raises:
        ValueError: a column holds something else; says what.
    """
    for name, (called, fits, kind) in forms.items():
        if name not in table.column_names:
            continue
        column = table[name]
        # Nothing but null has no type.
        if not (fits(column.type) or types.is_null(column.type)):
            raise ValueError(
                f"{path}: expected {called} in column {name!r}, got {column.type}: "
                f"write the column as {called}"
            )
        if kind == pa.bool_() and column.null_count:
            raise ValueError(
                f"{path}: expected {called} in column {name!r}, got null in "
                f"{column.null_count} of {len(column)} rows: fill it in, or leave the "
                "column out"
            )
        index = table.column_names.index(name)
        try:
            table = table.set_column(index, name, column.cast(kind))
        except _UNREADABLE as error:
            raise _damaged(path, f"{called} in column {name!r}", error) from error
    return table
