"""Which file systems there are, and full disks: one line that names the file."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# The file systems that TensorFlow 2.21 has by itself, besides plain paths. That of s3://
# was in tensorflow-io, which does not load beside this version.
SCHEMES = ("gs", "file", "ram")
_LOCAL = "expected a local path"
EXPECTED = f"{_LOCAL} or gs:// (mount other buckets, or copy the files)"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")

# What NumPy, HDF5 and FAISS say of a full disk, without a number.
_FULL_TEXT = (
    r"requested and \d+ written|errno = (28|27|122)\b|No space left|File too large|"
    "Disk quota exceeded"
)
_ADVICE = "make room"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_scheme(path: str, schemes: Sequence[str] = ()) -> str:
    """Returns a path as it is, unless it lies where nothing can read or write.

    Args:
        path: with or without a scheme (`gs://bucket/folder`).
        schemes: those that are allowed; none where the path has to be a local one.

    Raises:
        ValueError: it has another scheme.
    """
    found = _SCHEME.match(path)
    if found and found[1] not in schemes:
        raise ValueError(
            EXPECTED if schemes else f"{_LOCAL} (mount the bucket, or copy the files)"
        )
    return path


@contextmanager
def room_for(path: Path | str) -> Iterator[None]:
    """Turns the errors of a full disk into one that names what is written there.

    Args:
        path: of the file or folder, not of a temporary one.

    Raises:
        OSError: the disk is full, or the file exceeds what is allowed.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = getattr(error, "errno", None)
        known = re.search(_FULL_TEXT, str(error))
        # What says more already stays.
        if _ADVICE in str(error):
            raise
        if number not in _FULL and not (number is None and known):
            raise
        reason = os.strerror(number) if number else "too few bytes could be written"
        free = shutil.disk_usage(_existing(Path(path))).free
        raise OSError(
            number or errno.ENOSPC,
            f"{path}: can't be written ({reason}, {free / 1e6:.0f} MB are free); make "
            "room, or choose another disk",
        ) from error


def reserve(path: Path) -> None:
    """Gives a file with holes all the room that it needs.

    Writing into a hole through a memory map ends the process by SIGBUS, without a word,
    where the disk is full.

    Args:
        path: the file; its size stays.

    Raises:
        OSError: there is too little room; says how much is needed.
    """
    size = path.stat().st_size
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        free = shutil.disk_usage(path.parent).free
        raise OSError(
            error.errno,
            f"{path}: needs {size / 1e6:.1f} MB ({error.strerror}, {free / 1e6:.1f} MB "
            "are free); make room, or choose another disk",
        ) from error


def _existing(path: Path) -> Path:
    """Returns the nearest folder that is there."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())
