"""The folder of unfinished work beside the records, and who may write in it.

A split is made in `<out>/.<split>.partial`: a hash of its plan, and each finished shard
with a note of its checksum. When all are there they move to their final place, and the
manifest is written behind them. Whatever is killed, the next call finds what was
finished, and readers never take a part for the whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Generic, Protocol, TypeVar

import filelock

from bigearthnet_tf import files
from bigearthnet_tf.records import frames, manifest, storage, writer


class ShardPlan(Protocol):
    """What is to be known of a plan to keep its unfinished work."""

    @property
    def split(self) -> str:
        """Name of the split."""

    @property
    def shards(self) -> Sequence[Sequence[Any]]:
        """For each shard its entries."""

    @property
    def num_bytes(self) -> int:
        """About the bytes of all shards."""

    def file(self, index: int) -> str:
        """Returns the file name of a shard."""

    def identity(self) -> str:
        """Returns a hash by which unfinished work knows its own plan and source."""


PlanT = TypeVar("PlanT", bound=ShardPlan)
NoteT = TypeVar("NoteT", bound=writer.Note)


@contextmanager
def exclusive(out_dir: storage.StrPath) -> Iterator[None]:
    """Keeps other conversions away from a folder; the system lets go of what dies.

    Object stores have no such lock: there it is up to the user.

    Raises:
        OSError: another conversion writes there, or the folder can't be written to.
    """
    folder = storage.local_path(out_dir)
    if folder is None:
        yield
        return
    out_dir = folder
    with ExitStack() as stack:
        _lock(out_dir, stack)
        yield


def _lock(out_dir: storage.StrPath, stack: ExitStack) -> None:
    try:
        stack.enter_context(files.made_folder(out_dir))
        lock = filelock.FileLock(storage.join(out_dir, ".lock"), timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise OSError(
            f"{out_dir}: another conversion writes there; wait for its end, or choose "
            "another output folder"
        ) from None
    except OSError as error:
        raise OSError(
            f"{out_dir}: can't be written to ({error.strerror}); choose another output "
            "folder or change its permissions"
        ) from error
    # Last in, first out: nobody can take the lock of a file that is about to vanish.
    stack.callback(lock.release)
    stack.callback(storage.remove, storage.join(out_dir, ".lock"))


class Unfinished(Generic[PlanT, NoteT]):
    """The unfinished work on one plan.

    Args:
        plan: what is being made.
        out_dir: where the records go.
        note_form: what is written down of a finished shard.
    """

    def __init__(
        self, plan: PlanT, out_dir: storage.StrPath, note_form: type[NoteT]
    ) -> None:
        self.plan, self.out_dir = plan, os.fspath(out_dir)
        self.note_form = note_form
        self.folder = storage.join(out_dir, f".{plan.split}.partial")
        self._identity = storage.join(self.folder, "plan")

    def open(self, anew: bool) -> None:
        """Makes the folder; empties it if it is of another plan.

        Args:
            anew: empty it in any case: the source may have changed since.
        """
        if anew or not self.has_begun():
            storage.remove_folder(self.folder)
        storage.remove_temporary(self.folder)
        storage.write_text(self._identity, self.plan.identity())

    def close(self) -> None:
        """Leaves finished shards for the next call, and nothing else."""
        storage.remove_temporary(self.folder)
        if not any(name.endswith(".json") for name in storage.list_folder(self.folder)):
            storage.remove_folder(self.folder)

    def shard(self, index: int) -> str:
        """Returns the path of a shard until the split is whole."""
        return storage.join(self.folder, self.plan.file(index))

    def bytes_written(self) -> int:
        """Returns the bytes of the shards that wait in the folder."""
        return sum(map(storage.size, manifest.shards_of(self.folder, self.plan.split)))

    def finished(self) -> dict[int, NoteT]:
        """Returns the notes of the shards that are whole, by their number.

        Shards that patches were left out of do not count: the patches may have been
        repaired since.
        """
        found = {}
        for index in range(len(self.plan.shards)):
            note = writer.read_note(self.shard(index), self.note_form)
            if note is None or note.left_out:
                continue
            if self._is_whole(index, note):
                found[index] = note
        return found

    def publish(self, whole: manifest.AnyManifest) -> None:
        """Moves the shards into place, the manifest last; may be called again.

        Raises:
            OSError: a shard is gone, or can't be moved.
        """
        # Without its manifest no reader takes a shard for complete.
        storage.remove(manifest.manifest_path(self.out_dir, self.plan.split))
        new = {shard.file for shard in whole.shards}
        for path in manifest.shards_of(self.out_dir, self.plan.split):
            if storage.name_of(path) not in new:
                storage.remove(path)
        for index, shard in enumerate(whole.shards):
            target = storage.join(self.out_dir, shard.file)
            if storage.exists(self.shard(index)):
                storage.move(self.shard(index), target)
            if storage.size(target) != shard.num_bytes:
                raise OSError(
                    f"{target}: expected {shard.num_bytes} bytes after moving it; "
                    "the disk or file system loses data, call again"
                )
        manifest.save(whole, self.out_dir)
        storage.remove_folder(self.folder)

    def has_begun(self) -> bool:
        """Tells whether there is unfinished work of this plan, from this source."""
        return (
            storage.exists(self._identity)
            and storage.read_text(self._identity) == self.plan.identity()
        )

    def _is_whole(self, index: int, note: writer.Note) -> bool:
        """Compares a shard with its note, also where publishing has moved it to."""
        for path in (
            self.shard(index),
            storage.join(self.out_dir, self.plan.file(index)),
        ):
            try:
                facts = frames.verify(path)._asdict()
            except (FileNotFoundError, ValueError):
                continue
            if manifest.Shard(file=storage.name_of(path), **facts) == note.shard:
                return True
        return False
