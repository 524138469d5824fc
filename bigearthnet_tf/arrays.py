"""NumPy files of other people, read without pickles and with clear errors."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf import files

# What NumPy and zipfile raise of damaged and foreign files.
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    SyntaxError,
    RuntimeError,  # an encrypted member
    NotImplementedError,  # an unknown way to compress
    OverflowError,
    MemoryError,  # a shape that no memory holds
    RecursionError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
_WORDS = {
    "U": "text",
    "f": "floats",
    "i": "whole numbers",
    "u": "whole numbers",
    "b": "true or false",
}


def read_npz(path: Path | str, expected: str, remedy: str) -> dict[str, NDArray[Any]]:
    """Reads all arrays of an `.npz`.

    Args:
        path: the file.
        expected: what it should hold, for messages.
        remedy: what to do if it does not.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no `.npz`, damaged, or with pickles in it.
    """
    files.check_is_file(path)
    try:
        # Opened here: of a damaged file NumPy would leave its own open.
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except _UNREADABLE as error:
        raise _refusal(path, expected, remedy, error) from error


def open_npy(path: Path | str, expected: str, remedy: str) -> NDArray[Any]:
    """Maps the array of an `.npy` into memory, to be read only.

    Args:
        path: the file.
        expected: what it should hold, for messages.
        remedy: what to do if it does not.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no `.npy` of numbers, or damaged.
    """
    files.check_is_file(path)
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except _UNREADABLE as error:
        raise _refusal(path, expected, remedy, error) from error


def _refusal(
    path: Path | str, expected: str, remedy: str, error: BaseException
) -> ValueError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if "allow_pickle" in reason or "Python objects" in reason:
        # NumPy says how to unpickle them, which nobody should.
        reason = "it holds no plain arrays, or a pickle, which may run anything"
    return ValueError(
        f"{path}: expected {expected}, but it does not read ({reason[:120]}); {remedy}"
    )


def take(
    arrays: Mapping[str, NDArray[Any]],
    name: str,
    kinds: str,
    dimensions: int,
    path: Path | str,
) -> NDArray[Any]:
    """Returns an array that has the right type and number of dimensions.

    Args:
        arrays: from `read_npz`.
        name: of the array.
        kinds: of its dtype, as NumPy writes them (`U`, `f`, `iu`).
        dimensions: how many it has.
        path: the file, for messages.

    Raises:
        ValueError: there is no such array, or it is of another type or shape.
    """
    if name not in arrays:
        raise ValueError(f"{path}: the array {name!r} is missing")
    array = arrays[name]
    if array.dtype.kind not in kinds or array.ndim != dimensions:
        words = " or ".join(dict.fromkeys(_WORDS[kind] for kind in kinds))
        raise ValueError(
            f"{path}: expected {name} to be {words} in {dimensions} dimension(s), got "
            f"{array.dtype} of shape {array.shape}"
        )
    return array
