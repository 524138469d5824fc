"""What folders of features and of indexes have in common on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf import arrays, disk, files

Memmap = np.memmap[Any, np.dtype[Any]]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keeps other processes from writing the same folder meanwhile.

    Raises:
        OSError: one is doing so, or the folder above can't be written.
    """
    lock = filelock.FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0)
    with files.made_folder(folder.parent):
        try:
            lock.acquire()
        except filelock.Timeout:
            raise OSError(
                f"{folder}: another process is writing it; wait for it"
            ) from None
        try:
            yield
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()


def make_array(path: Path, shape: tuple[int, ...], dtype: type) -> Memmap:
    """Returns a new array on disk, which has the room that it needs.

    Raises:
        OSError: the disk has not; names the array and its bytes.
    """
    with disk.room_for(path):
        array: Memmap = np.lib.format.open_memmap(
            path, mode="w+", dtype=dtype, shape=shape
        )
    disk.reserve(path)
    return array


def open_array(
    path: Path, shape: tuple[int, ...], dtype: type, advice: str
) -> NDArray[Any]:
    """Opens an array that stays on disk until it is used.

    Args:
        path: of the array.
        shape: that it should have.
        dtype: that it should have.
        advice: what to do where it is damaged.

    Raises:
        ValueError: missing, damaged, of another shape or dtype.
    """
    try:
        array = arrays.open_npy(path, "features", "")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: damaged or missing; {advice}") from error
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f"{path}: expected {np.dtype(dtype)} of shape {shape}, got {array.dtype} "
            f"of {array.shape}; {advice}"
        )
    return array


def write_names(path: Path, names: Sequence[str]) -> None:
    """Writes a name a line, which is read ten times faster than JSON."""
    files.write_text(path, "\n".join(names))


def read_names(path: Path, count: int, advice: str) -> list[str]:
    """Reads what `write_names` wrote.

    Args:
        path: of the names.
        count: how many there should be.
        advice: what to do where they are damaged.

    Raises:
        ValueError: missing, or another number of names than expected.
    """
    try:
        names = files.read_text(path).split("\n")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: damaged or missing; {advice}") from error
    if len(names) != count:
        raise ValueError(f"{path}: expected {count} names, got {len(names)}; {advice}")
    return names
