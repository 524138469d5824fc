"""Whether a file or folder may be written where the user wants it, for all commands.

Nothing of the user's is replaced: no input of the same call, and no file but an earlier
product of the same command. Every kind of product has a way to be recognised.
"""

from __future__ import annotations

import csv
import mmap
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from bigearthnet_tf import files

StrPath = str | os.PathLike[str]
# Tells whether a file is an earlier product of the command that asks.
Recogniser = Callable[[Path], bool]

PNG_SOFTWARE = "bigearthnet_tf"
HTML_GENERATOR = '<meta name="generator" content="bigearthnet_tf">'
# The marks of pictures and pages stand before their content.
_HEAD_BYTES = 4096


def check_file(
    path: StrPath, is_earlier: Recogniser, inputs: Iterable[StrPath] = ()
) -> None:
    """Checks that a file may be written, before the work.

    Args:
        path: of the file; it need not be there, nor its folder.
        is_earlier: recognises what may be replaced.
        inputs: what the same call reads; patterns and other names of no file are
            passed over.

    Raises:
        ValueError: an empty name, or the path is one of the inputs.
        OSError: a folder, a device, or a file of another kind is there, or the folder
            can't be written to.
    """
    path = Path(path)
    if path.name in ("", ".."):
        raise ValueError(f"{path}: expected the name of a file")
    _check_no_input(path, inputs)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; give the name of a file")
    if path.exists():
        if not path.is_file():
            raise FileExistsError(f"{path}: is no regular file; choose another name")
        # There is nothing to lose in an empty file.
        if path.stat().st_size and not is_earlier(path):
            raise FileExistsError(
                f"{path}: is there already and was not written by this command; choose "
                "another name, or remove it"
            )
    _check_writable(path, path.absolute().parent)


def check_files(
    wanted: Iterable[tuple[StrPath, Recogniser]], inputs: Iterable[StrPath] = ()
) -> None:
    """Checks several files of one call, as `check_file` does; they must differ.

    Raises:
        ValueError: two are the same, or as for `check_file`.
        OSError: as for `check_file`.
    """
    taken = list(inputs)
    for path, is_earlier in wanted:
        check_file(path, is_earlier, taken)
        taken.append(path)


def check_folder(path: StrPath, inputs: Iterable[StrPath] = ()) -> None:
    """Checks that files may be written into a folder, which need not be there.

    Raises:
        ValueError: the folder is one of the inputs.
        OSError: there is a file, or the folder can't be written to.
    """
    path = Path(path)
    _check_no_input(path, inputs)
    if path.exists() and not path.is_dir():
        raise FileExistsError(
            f"{path}: can't be written to, it is no folder; choose another name"
        )
    _check_writable(path, path.absolute())


def check_replaceable(
    path: StrPath, names: Iterable[str], inputs: Iterable[StrPath] = ()
) -> None:
    """Checks a folder that is replaced as a whole.

    Args:
        path: of the folder.
        names: what an earlier product has in it.
        inputs: what the same call reads.

    Raises:
        ValueError: an input lies in the folder.
        OSError: something else does, or as for `check_folder`.
    """
    path, inputs = Path(path), list(inputs)
    check_folder(path, inputs)
    real = os.path.realpath(path)
    for source in inputs:
        if os.path.realpath(source).startswith(f"{real}{os.sep}"):
            raise ValueError(
                f"{path}: {os.fspath(source)}, which is read, lies there; choose "
                "another output"
            )
    there = {child.name for child in path.iterdir()} if path.is_dir() else set()
    foreign = sorted(there - set(names))
    if foreign:
        raise FileExistsError(
            f"{path}: holds {foreign[0]}, which this command did not write; choose "
            "another folder, or move that"
        )


def is_png(path: Path) -> bool:
    """Recognises a picture of this package."""
    return _begins_with(path, f"Software\0{PNG_SOFTWARE}")


def is_page(path: Path) -> bool:
    """Recognises an HTML page of this package."""
    return _begins_with(path, HTML_GENERATOR)


def contains(text: str) -> Recogniser:
    """Recognises a file that has a text anywhere in it."""

    def recognise(path: Path) -> bool:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return content.find(text.encode()) >= 0

    return recognise


def has_keys(*keys: str) -> Recogniser:
    """Recognises a JSON object that has these keys."""

    def recognise(path: Path) -> bool:
        with suppress(OSError, ValueError):
            content = files.read_json(path)
            return isinstance(content, dict) and set(keys) <= set(content)
        return False

    return recognise


def has_columns(*names: str) -> Recogniser:
    """Recognises a table in CSV or Parquet that has these columns."""

    def recognise(path: Path) -> bool:
        return set(names) <= set(columns_of(path))

    return recognise


def beside(path: Path, is_earlier: Recogniser) -> Recogniser:
    """Recognises a file by the one that is written together with it.

    Args:
        path: of the other file.
        is_earlier: recognises that one.
    """
    return lambda _: path.is_file() and is_earlier(path)


def columns_of(path: Path) -> Sequence[str]:
    """Returns the columns of a table in CSV or Parquet; none of anything else."""
    with suppress(OSError, ValueError, csv.Error):
        if path.suffix == ".parquet":
            # Takes longer to import than most of what is checked here.
            from pyarrow import parquet

            return list(parquet.read_schema(path).names)
        with path.open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file), [])
    return []


def _begins_with(path: Path, mark: str) -> bool:
    with path.open("rb") as file:
        return mark.encode() in file.read(_HEAD_BYTES)


def _check_no_input(path: Path, inputs: Iterable[StrPath]) -> None:
    for source in inputs:
        same = os.path.realpath(source) == os.path.realpath(path)
        with suppress(OSError, ValueError):
            # Also by another name, and by a hard link.
            same = same or path.samefile(source)
        if same:
            raise ValueError(
                f"{path}: is read by the same call, or written twice by it; choose "
                "another output"
            )


def _check_writable(path: Path, folder: Path) -> None:
    there = next(f for f in (folder, *folder.parents) if os.path.lexists(f))
    if not there.is_dir() or not os.access(there, os.W_OK):
        reason = "which is no folder" if not there.is_dir() else "which is not allowed"
        raise PermissionError(
            f"{path}: can't write into {there}, {reason}; choose another place"
        )
