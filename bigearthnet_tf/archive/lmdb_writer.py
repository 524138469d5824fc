"""Writing the LMDB of BigEarthNet v2, so that the reBEN tools can read the patches.

It is made in `.<name>.partial` beside its final place, together with a note of what is
being written, and moves there when it is whole. Whatever is killed, the next call goes
on with what was committed, and nobody takes a part for the whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

import filelock
import lmdb

from bigearthnet_tf import files
from bigearthnet_tf.archive import lmdb_values
from bigearthnet_tf.archive.lmdb_store import DATA_FILE
from bigearthnet_tf.archive.patch import Patch

# A commit waits for the disk: some hundred patches each, not one.
COMMIT_BYTES = 64 << 20
MAP_BYTES = 1 << 30

_NOTE = "plan"
_LOCK_FILE = "lock.mdb"


def unfinished_folder(path: Path | str) -> Path:
    """Returns where an LMDB is made, until it is whole and moves to its path."""
    path = Path(path)
    return path.with_name(f".{path.name}.partial")


class LmdbWriter:
    """Writes patches into a new LMDB, within a `with` block.

    The LMDB is there when the block ends without an exception; when it does not, the
    next writer of the same plan continues. Memory: 150 MB, for the patches of a commit
    and LMDB's copy of them.

    Args:
        path: folder of the LMDB to be.
        plan: says what is written, such as a hash of the list of patches. What an
            unfinished writer of another plan has left is thrown away.
        overwrite: replace the LMDB that is there, when the new one is whole.
        map_bytes: size of the memory map to begin with; it doubles when it is full.

    Raises:
        FileExistsError: on entering: there is something at `path`.
        OSError: on entering: another process writes there, or it can't be written to;
            later: the disk is full.
    """

    def __init__(
        self,
        path: Path | str,
        plan: str,
        *,
        overwrite: bool = False,
        map_bytes: int = MAP_BYTES,
    ) -> None:
        self.path, self.plan, self.overwrite = Path(path), plan, overwrite
        self._folder = unfinished_folder(path)
        self._map_bytes = map_bytes
        self._pending: dict[bytes, bytes] = {}
        self._pending_bytes = 0
        self._cleanup = ExitStack()

    def __enter__(self) -> LmdbWriter:
        with ExitStack() as stack:
            stack.enter_context(_exclusive(self.path))
            self._check_target()
            self._begin()
            self._environment = _open(self._folder, self._map_bytes)
            stack.callback(self._environment.close)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._cleanup:
            if kind is None:
                self._finish()
            elif not self._environment.stat()["entries"]:
                # Nothing is there to go on with.
                self._cleanup.callback(shutil.rmtree, self._folder, ignore_errors=True)

    def __contains__(self, name: str) -> bool:
        """Says whether a patch or one of its values is there, by its key."""
        return self._stored(name.encode()) is not None

    def write(self, patch: Patch) -> None:
        """Writes the values of a patch; those that are there already are compared.

        Args:
            patch: of v2, with its names; bands that it lacks are not written.

        Raises:
            OSError: the disk is full.
            ValueError: not a patch of v2, a name is missing, a band has a wrong shape
                or dtype, or other values are there under the same name.
        """
        for key, value in lmdb_values.encode(patch).items():
            stored = self._stored(key.encode())
            if stored is None:
                self._pending[key.encode()] = value
                self._pending_bytes += len(value)
            elif stored != value:
                raise ValueError(
                    f"{self.path}: key {key} was written before with other pixels: "
                    "list each patch once, or remove "
                    f"{self._folder} if the source has changed"
                )
        # Patches are committed whole: the key of one stands for all its values.
        if self._pending_bytes >= COMMIT_BYTES:
            self._commit()

    def _stored(self, key: bytes) -> bytes | None:
        if key in self._pending:
            return self._pending[key]
        with self._environment.begin() as transaction:
            stored = transaction.get(key)
        return None if stored is None else bytes(stored)

    def _commit(self) -> None:
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    for key, value in self._pending.items():
                        transaction.put(key, value)
                break
            except lmdb.MapFullError:
                self._environment.set_mapsize(2 * self._environment.info()["map_size"])
            except lmdb.Error as error:
                raise self._failed(error) from error
        self._pending.clear()
        self._pending_bytes = 0

    def _finish(self) -> None:
        """Moves the LMDB to its place."""
        self._commit()
        count = self._environment.stat()["entries"]
        if not count:
            self._cleanup.callback(shutil.rmtree, self._folder, ignore_errors=True)
            raise ValueError(f"{self.path}: expected patches to write, got none")
        try:
            self._environment.sync(True)
        except lmdb.Error as error:
            raise self._failed(error) from error
        self._environment.close()
        if self.path.exists():
            shutil.rmtree(self.path)
        self._folder.rename(self.path)
        (self.path / _NOTE).unlink()

    def _check_target(self) -> None:
        """Refuses to replace what it should not, before the work instead of after."""
        if not self.path.exists():
            return
        folder = self.path.is_dir() and not self.path.is_symlink()
        present = {child.name for child in self.path.iterdir()} if folder else set()
        if not folder or not present <= {DATA_FILE, _LOCK_FILE, _NOTE}:
            raise FileExistsError(
                f"{self.path}: there is something else than an LMDB: choose another "
                "output folder"
            )
        if present and not self.overwrite:
            raise FileExistsError(
                f"{self.path}: there is an LMDB already: choose another output folder, "
                "or pass --overwrite"
            )

    def _begin(self) -> None:
        """Makes the folder, or empties that of another plan."""
        note = self._folder / _NOTE
        if not note.exists() or note.read_text(encoding="utf-8") != self.plan:
            if self._folder.exists():
                shutil.rmtree(self._folder)
            files.write_text(note, self.plan)

    def _failed(self, error: lmdb.Error) -> OSError:
        free = shutil.disk_usage(self._folder).free
        return OSError(
            f"{self._folder}: can't be written to ({error}), {free / 1e6:.0f} MB are "
            "free: make room and call again, what was written is kept"
        )


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Keeps other writers away; the system lets go of what dies."""
    lock_path = path.with_name(f".{path.name}.lock")
    lock = filelock.FileLock(lock_path, timeout=0)
    with ExitStack() as stack:
        _lock(path, lock, stack)
        yield


def _lock(path: Path, lock: filelock.BaseFileLock, stack: ExitStack) -> None:
    try:
        stack.enter_context(files.made_folder(path.parent))
        lock.acquire()
    except filelock.Timeout:
        raise OSError(
            f"{path}: another process writes this LMDB: wait until it is done, or "
            "choose another output folder"
        ) from None
    except OSError as error:
        raise OSError(
            f"{path.parent}: can't be written to ({error.strerror}): choose another "
            "output folder or change its permissions"
        ) from error
    # Last in, first out: nobody can take the lock of a file that is about to vanish.
    stack.callback(lock.release)
    stack.callback(Path(lock.lock_file).unlink, missing_ok=True)


def _open(folder: Path, map_bytes: int) -> lmdb.Environment:
    try:
        # `_exclusive` keeps others away. A crash of the system may undo the last
        # commit but damages nothing.
        return lmdb.open(str(folder), map_bytes, lock=False, metasync=False)
    except lmdb.Error as error:
        raise OSError(
            f"{folder}: this unfinished LMDB does not open ({error}): remove it and "
            "call again"
        ) from error
