"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pydantic

_WILDCARD = re.compile(r"[][*?\\]")

Content = TypeVar("Content", bound=pydantic.BaseModel)


@contextmanager
def made_folder(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Makes a folder with those above it, and removes those that stay empty.

    Args:
        folder: what is to be written into; those that were there before stay.

    Raises:
        OSError: it can't be made.
    """
    folder = Path(folder)
    new = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        # One that holds something stays, and those above it.
        with suppress(OSError):
            for path in new:
                path.rmdir()


@contextmanager
def write_atomically(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it to `path` on success.

    The temporary file carries the process id, so that two writers do not meet in
    it, and is removed when the body raises, as is a folder made for it.

    Args:
        path: the file to write; its folder is made if need be.

    Raises:
        OSError: the folder can't be made or written to, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with made_folder(path.parent):
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def expand(path: str) -> str:
    """Returns a path whose leading `~` is the home folder.

    What is there under that very name is taken as it is.
    """
    if os.path.lexists(path):
        return path
    # Not by pathlib, which would fold the two slashes of gs:// into one.
    return os.path.expanduser(path)  # noqa: PTH111


@contextmanager
def plain_path(path: Path | str) -> Iterator[str]:
    """Yields a path to the same files that TensorFlow takes for no pattern.

    TensorFlow looks for the files of a checkpoint by wildcards, and so never sees those
    in a folder such as `runs [1]`. A path with such a character gets links beside the
    system's temporary files, which are gone at the end.

    Args:
        path: a file, a folder, or the prefix of a checkpoint's files.
    """
    path = Path(path)
    if not _WILDCARD.search(str(path)):
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in path.absolute().parent.iterdir():
            if file.name.startswith(path.name):
                link = Path(folder, f"plain{file.name.removeprefix(path.name)}")
                link.symlink_to(file)
        yield str(Path(folder, "plain"))


def write_text(path: Path | str, text: str) -> None:
    """Writes a UTF-8 text file atomically."""
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, content: Any) -> None:
    """Writes indented JSON atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Reads a JSON file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON; the message says where the first fault is.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: expected JSON, but line {error.lineno} column {error.colno} "
            f"does not parse ({error.msg})"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected JSON in UTF-8, but byte {error.start} is not UTF-8"
        ) from error


def read_checked(path: Path | str, form: type[Content]) -> Content:
    """Reads a JSON file whose keys have types.

    Args:
        path: the file.
        form: its keys.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, or not of this form; the message names the first key that
            is missing or wrong.
    """
    content = read_json(path)
    try:
        return form.model_validate(content)
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing":
        reason = "is missing"
    elif fault["type"] == "model_type":
        reason = f"expected an object of keys and values, got {fault['input']!r:.60}"
    else:
        expected = fault["msg"].removeprefix("Input ").removeprefix("Value error, ")
        reason = f"{expected}, got {fault['input']!r:.60}"
    raise ValueError(f"{path}: {key}{': ' if key else ''}{reason}")
