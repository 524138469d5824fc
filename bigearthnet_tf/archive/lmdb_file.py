"""LMDB files: mapped into memory once a process, and read without locks."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb

from bigearthnet_tf import files
from bigearthnet_tf.archive.bands import Sensor

DATA_FILE = "data.mdb"


class Snapshot:
    """The state of an LMDB when it was opened first, in whichever process.

    Attributes:
        path: the folder with `data.mdb`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: tuple[int, lmdb.Environment] | None = None
        self._revision: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    @property
    def origin(self) -> tuple[str, str, str]:
        """The file as an absolute path, with its size and when it was written."""
        file = (self.path / DATA_FILE).resolve()
        facts = file.stat()
        return str(file), str(facts.st_size), str(facts.st_mtime_ns)

    def stamp(self) -> str:
        """Returns the size of the file and when it was written."""
        _, size, time = self.origin
        return f"{size}@{time}"

    @contextmanager
    def transaction(self) -> Iterator[lmdb.Transaction]:
        """Yields a transaction in whose view nobody has written.

        Without locks a writer knows of no readers. It leaves the pages of the last
        state alone for one transaction and may reuse them in the next: what was read
        holds if no state has followed.

        Raises:
            FileNotFoundError: there is no LMDB.
            OSError: no permission to read it, or another process has written to it.
            ValueError: damaged or cut short.
        """
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), _open(self.path)
        environment = self._opened[1]
        try:
            with environment.begin() as transaction:
                self._revision = self._revision or transaction.id()
                yield transaction
                changed = environment.info()["last_txnid"] != self._revision
        except lmdb.MapResizedError:
            changed = True
        except lmdb.Error as error:
            raise _damaged(self.path, error) from error
        if changed:
            raise OSError(
                f"{self.path}: another process writes to the LMDB: wait until it is "
                "done, then call again"
            )


# LMDB allows one environment a file and process; readers of the same file share it.
_environments: weakref.WeakValueDictionary[tuple[int, int, int], lmdb.Environment]
_environments = weakref.WeakValueDictionary()
_opening = threading.Lock()


def _open(path: Path) -> lmdb.Environment:
    """Returns the environment of a folder, that of this process if there is one."""
    file = path / DATA_FILE
    try:
        facts = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        found = f"there is no {file}"
        if path.exists() and not path.is_dir():
            packed = files.is_packed(path)
            found = "it is a packed file: unpack it" if packed else "it is a file"
        raise FileNotFoundError(
            f"{path}: expected the folder of an LMDB, that of {DATA_FILE}, but {found}"
        ) from None
    if not facts.st_size:
        raise ValueError(f"{file}: it is empty: download or copy it again")
    key = os.getpid(), facts.st_dev, facts.st_ino
    with _opening:
        environment = _environments.get(key)
        if environment is None:
            _close_inherited()
            environment = _environments[key] = _map(path)
    # Touching what is not there would end the process.
    expected = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if facts.st_size < expected:
        raise ValueError(
            f"{file}: cut short: expected {expected} bytes, got {facts.st_size}: "
            "download or copy it again"
        )
    return environment


def _close_inherited() -> None:
    """Closes what was open before a fork: LMDB can't be used across one."""
    for (process, *_), environment in list(_environments.items()):
        if process != os.getpid():
            environment.close()


def _map(path: Path) -> lmdb.Environment:
    try:
        return lmdb.open(
            str(path), readonly=True, lock=False, readahead=False, meminit=False
        )
    except lmdb.ReadonlyError as error:
        raise OSError(
            f"{path}: no permission to read the LMDB: ask its owner, or copy it"
        ) from error
    except lmdb.Error as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: lmdb.Error) -> ValueError:
    return ValueError(
        f"{path}: expected an LMDB, but {DATA_FILE} does not read ({error}): download "
        "or copy it again"
    )


def names_of(transaction: lmdb.Transaction, sensor: Sensor) -> Iterator[str]:
    """Yields the keys that start like the names of a sensor's patches, in order."""
    cursor = transaction.cursor()
    if not cursor.set_range(sensor.encode()):
        return
    for key in cursor.iternext(values=False):
        name = bytes(key).decode(errors="replace")
        if not name.startswith(sensor):
            return
        yield name
