"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pydantic

Content = TypeVar("Content", bound=pydantic.BaseModel)


@contextmanager
def write_atomically(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it to `path` on success.

    The temporary file carries the process id, so that two writers do not meet in
    it, and is removed when the body raises.

    Args:
        path: the file to write; its folder is made if need be.

    Raises:
        OSError: the folder can't be made or written to, or the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
