"""Where records lie: a local disk or a bucket behind `gs://`.

A thin layer over TensorFlow's file systems, which turns their errors into those of
Python. Paths are strings, because `pathlib` folds the two slashes of a scheme into
one. Besides `gs://` there are `file://` and `ram://`, the memory of the process.
"""

from __future__ import annotations

import errno
import os
import posixpath
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from bigearthnet_tf import disk, files

StrPath = str | os.PathLike[str]

_TEMPORARY = ".tmp"
_WILDCARD = re.compile(r"[*?\[\\]")

_ERRORS: dict[type[tf.errors.OpError], tuple[type[OSError], int]] = {
    tf.errors.NotFoundError: (FileNotFoundError, errno.ENOENT),
    tf.errors.PermissionDeniedError: (PermissionError, errno.EACCES),
    tf.errors.ResourceExhaustedError: (OSError, errno.ENOSPC),
}


def is_remote(path: StrPath) -> bool:
    """Tells whether a path has a scheme."""
    return "://" in os.fspath(path)


def local_path(path: StrPath) -> str | None:
    """Returns a path of this machine's file system, None for one elsewhere."""
    path = os.fspath(path).removeprefix("file://")
    return None if is_remote(path) else path


def join(folder: StrPath, *parts: str) -> str:
    """Returns a path below a folder."""
    return posixpath.join(os.fspath(folder), *parts)


def folder_of(path: StrPath) -> str:
    """Returns the folder that a path lies in."""
    return posixpath.dirname(os.fspath(path)) or "."


def name_of(path: StrPath) -> str:
    """Returns the last part of a path."""
    return posixpath.basename(os.fspath(path))


@contextmanager
def python_errors(path: StrPath) -> Iterator[None]:
    """Raises TensorFlow's errors on a file as those of Python.

    Raises:
        OSError: FileNotFoundError and PermissionError where they fit.
    """
    try:
        yield
    except tf.errors.UnimplementedError as error:
        raise OSError(f"{os.fspath(path)}: {disk.EXPECTED}") from error
    except tf.errors.OpError as error:
        kind, number = _ERRORS.get(type(error), (OSError, errno.EIO))
        reason = os.strerror(number)
        if kind is OSError:
            if number == errno.EIO:
                reason = error.message.rpartition(";")[2].strip()
            reason = f"could not be read or written ({reason}); make room, call again"
        raise kind(number, reason, os.fspath(path)) from error


def exists(path: StrPath) -> bool:
    """Tells whether there is a file or folder."""
    with python_errors(path):
        return bool(tf.io.gfile.exists(os.fspath(path)))


def is_folder(path: StrPath) -> bool:
    """Tells whether a path is that of a folder."""
    with python_errors(path):
        return bool(tf.io.gfile.isdir(os.fspath(path)))


def size(path: StrPath) -> int:
    """Returns the bytes of a file.

    Raises:
        FileNotFoundError: no such file.
    """
    with python_errors(path):
        return int(tf.io.gfile.stat(os.fspath(path)).length)


def modified(path: StrPath) -> int:
    """Returns when a file was last written, in nanoseconds.

    Raises:
        FileNotFoundError: no such file.
    """
    local = local_path(path)
    if local is not None:
        # TensorFlow says whole seconds.
        return Path(local).stat().st_mtime_ns
    with python_errors(path):
        return int(tf.io.gfile.stat(os.fspath(path)).mtime_nsec)


def glob(pattern: StrPath) -> list[str]:
    """Returns the paths that match a pattern, sorted; wildcards as in a shell.

    What is there comes before what a pattern could mean: a file, and the folders that
    a pattern begins with, are taken as they are, brackets in their names included.
    """
    pattern = os.fspath(pattern)
    with python_errors(pattern):
        if tf.io.gfile.exists(pattern):
            return [pattern]
        return sorted(tf.io.gfile.glob(_escape_folders(pattern)))


def _escape_folders(pattern: str) -> str:
    """Returns a pattern that has no wildcards in the folders that are there."""
    folder = posixpath.dirname(pattern)
    while folder.strip("/") and not os.path.isdir(folder):  # noqa: PTH112
        folder = posixpath.dirname(folder)
    if is_remote(pattern) or not _WILDCARD.search(folder):
        return pattern
    # TensorFlow names what lies below the working directory ./folder otherwise.
    start = "" if folder.startswith(("/", ".")) else "./"
    return start + _WILDCARD.sub(r"\\\g<0>", folder) + pattern[len(folder) :]


def list_folder(folder: StrPath) -> list[str]:
    """Returns the names of what lies in a folder, sorted; none if it is not there."""
    try:
        with python_errors(folder):
            return sorted(
                name.rstrip("/") for name in tf.io.gfile.listdir(os.fspath(folder))
            )
    except FileNotFoundError:
        return []


def open_to_read(path: StrPath) -> Any:
    """Opens a file to read bytes; it has `read(n)`, `seek` and `close`.

    Reading far away raises TensorFlow's errors: do it within `python_errors`.
    """
    path = os.fspath(path)
    if is_remote(path):
        return tf.io.gfile.GFile(path, "rb")
    # TensorFlow's file systems fill a large buffer for each small read.
    return open(path, "rb")  # noqa: PTH123


def read_text(path: StrPath) -> str:
    """Returns a UTF-8 text file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not UTF-8.
    """
    with python_errors(path), open_to_read(path) as file:
        return files.decode(bytes(file.read()), os.fspath(path), "text")


def read_object(path: StrPath) -> dict[str, Any]:
    """Reads a JSON file that holds an object of keys and values.

    Raises:
        FileNotFoundError: no such file.
        ValueError: as `files.read_json`, or it holds something else.
    """
    local = local_path(path)
    if local is not None:
        content = files.read_json(local)
    else:
        content = files.parse_json(read_text(path), os.fspath(path))
    if not isinstance(content, dict):
        raise ValueError(
            f"{os.fspath(path)}: expected an object of keys and values, got "
            f"{files.echo(content)}; copy it again, or prepare the records again"
        )
    return content


@contextmanager
def write_atomically(path: StrPath) -> Iterator[str]:
    """Yields a temporary path beside `path`; renames it to `path` on success.

    Raises:
        OSError: the folder can't be made or written to, or the disk is full;
            nothing is left behind.
    """
    path = os.fspath(path)
    folder = folder_of(path)
    temporary = join(folder, f".{name_of(path)}.{uuid.uuid4().hex[:12]}{_TEMPORARY}")
    with python_errors(path):
        make_folder(folder)
        try:
            yield temporary
            move(temporary, path)
        finally:
            if tf.io.gfile.exists(temporary):
                tf.io.gfile.remove(temporary)


def write_text(path: StrPath, text: str) -> None:
    """Writes a UTF-8 text file atomically."""
    with write_atomically(path) as temporary, tf.io.gfile.GFile(temporary, "wb") as out:
        out.write(text.encode())


def make_folder(folder: StrPath) -> None:
    """Makes a folder and those above it, if need be."""
    with python_errors(folder):
        tf.io.gfile.makedirs(os.fspath(folder))


def move(source: StrPath, target: StrPath) -> None:
    """Renames a file, replacing what is there."""
    with python_errors(target):
        tf.io.gfile.rename(os.fspath(source), os.fspath(target), overwrite=True)


def copy(source: StrPath, target: StrPath) -> None:
    """Copies a file; the copy appears when it is whole.

    Raises:
        FileNotFoundError: no such file.
        OSError: the copy can't be written, or the disk is full.
    """
    with write_atomically(target) as temporary:
        tf.io.gfile.copy(os.fspath(source), temporary)


def remove_temporary(folder: StrPath) -> None:
    """Removes what `write_atomically` left in a folder when it was killed."""
    for name in list_folder(folder):
        if name.endswith(_TEMPORARY):
            remove(join(folder, name))


def remove(path: StrPath) -> None:
    """Removes a file, if it is there."""
    try:
        with python_errors(path):
            tf.io.gfile.remove(os.fspath(path))
    except FileNotFoundError:
        return


def remove_folder(folder: StrPath) -> None:
    """Removes a folder with all that is in it, if it is there."""
    try:
        with python_errors(folder):
            tf.io.gfile.rmtree(os.fspath(folder))
    except FileNotFoundError:
        return


def free_bytes(folder: StrPath) -> int | None:
    """Returns the free bytes of a folder's disk; None where nobody can tell."""
    local = local_path(folder)
    if local is None:
        return None
    existing = os.path.abspath(local)  # noqa: PTH100 - strings throughout
    while not os.path.exists(existing):  # noqa: PTH110
        existing = os.path.dirname(existing)  # noqa: PTH120
    return shutil.disk_usage(existing).free
