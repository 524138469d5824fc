"""Checkpoints of a run: the whole state at an iteration, written in the background.

A checkpoint is a folder `iteration-N` with a TensorFlow checkpoint (`state.*`, which
`tf.train.list_variables` reads) and `description.json`, which says what the weights
mean, with which config they were made, and how far the run was. It is written under a
hidden name, flushed to the disk, and renamed when complete: a folder of that name is
whole, unless the disk damages it later, which the checksums of its tensors show.

Memory: while it is written, a checkpoint takes a copy of the model and the optimizer on
the host, for Adam three times the weights.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from bigearthnet_tf import files
from bigearthnet_tf.tasks import own_modules
from bigearthnet_tf.training import descriptions
from bigearthnet_tf.training.descriptions import Best as Best
from bigearthnet_tf.training.descriptions import DamagedCheckpoint as DamagedCheckpoint
from bigearthnet_tf.training.state import State

logger = logging.getLogger(__name__)

# (description, folder): raises ValueError for one that can't be continued.
Check = Callable[[dict[str, Any], Path], None]

# TensorFlow's checkpoint reader raises its own errors, and bare Python ones.
# Shape of the state of Keras's random generators.
_RANDOM_STATE = [2]
_READ_ERRORS = (tf.errors.OpError, IndexError, RuntimeError, TypeError, ValueError)


class CheckpointFolder:
    """The checkpoints of one run.

    Args:
        folder: where they are; made when the first one is saved.
        description: of the task; a checkpoint that differs is refused.
        keep: how many of the newest to keep besides the best; 0 keeps all.
        keep_every: those whose iteration divides by this are kept too; 0 for none.
    """

    def __init__(
        self,
        folder: Path,
        description: dict[str, Any],
        keep: int = 0,
        keep_every: int = 0,
    ) -> None:
        self.folder = folder
        self.description = description
        self.keep, self.keep_every = keep, keep_every
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def iterations(self) -> list[int]:
        """Returns the iterations at which there is a checkpoint, ascending."""
        return sorted(
            int(match[1])
            for path in self.folder.glob("iteration-*")
            if (match := descriptions.FOLDER.match(path.name))
        )

    def path(self, iteration: int) -> Path:
        """Returns the folder of the checkpoint of an iteration."""
        return self.folder / f"iteration-{iteration}"

    def save(
        self,
        state: State,
        iteration: int,
        best: Best | None = None,
        progress: Mapping[str, Any] | None = None,
    ) -> Path:
        """Copies the state and writes it in the background.

        Waits for the checkpoint before, if that is still being written. Afterwards
        those that the keep rule drops are removed.

        Args:
            state: what is saved.
            iteration: optimisation steps done.
            best: the best checkpoint so far, this one perhaps.
            progress: what else the run needs to continue, as JSON has it.

        Returns:
            Where it will be.

        Raises:
            OSError: the one before can't be written; the earlier ones stay.
        """
        self.wait()
        content = {
            "iteration": iteration,
            **self.description,
            "shapes": state.shapes(),
            "best": asdict(best) if best else None,
            "progress": dict(progress or {}),
        }
        job = self._writer.submit(self._write, iteration, state.copy(), content, best)
        self._pending = job
        return self.path(iteration)

    def check(self) -> None:
        """Raises what went wrong in the background, without waiting.

        Raises:
            OSError: a checkpoint can't be written.
        """
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Waits until everything is on the disk.

        Raises:
            OSError: it can't be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Waits for what is being written, also where something else has failed."""
        self._writer.shutdown()

    def _write(
        self,
        iteration: int,
        tensors: Mapping[str, np.ndarray],
        content: dict[str, Any],
        best: Best | None,
    ) -> None:
        path = self.path(iteration)
        temporary = _temporary(path)
        try:
            # What a killed process left, of any iteration.
            for left in self.folder.glob(".iteration-*.tmp"):
                shutil.rmtree(left, ignore_errors=True)
            temporary.mkdir(parents=True)
            with tf.device("/cpu:0"):
                tf.raw_ops.SaveV2(
                    prefix=str(temporary / "state"),
                    tensor_names=list(tensors),
                    shape_and_slices=[""] * len(tensors),
                    tensors=[tf.constant(value) for value in tensors.values()],
                )
            files.write_json(temporary / descriptions.FILE, content)
            _flush(temporary)
            aside = _aside(path)
            if path.exists():
                path.rename(aside)
            temporary.rename(path)
            _flush(self.folder)
            shutil.rmtree(aside, ignore_errors=True)
            self._drop_old(iteration, best)
        except (tf.errors.OpError, OSError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            # TensorFlow's reason comes last, behind paths of any length.
            reason = " ".join(str(error).rpartition("; ")[2].split())[:200]
            onward = (
                "continues from the one before" if self.iterations() else "begins anew"
            )
            raise OSError(
                f"{path}: the checkpoint could not be written ({reason}); make room "
                f"and call again, the run {onward}"
            ) from error

    def best(self) -> Best | None:
        """Returns the best checkpoint by the newest one's account, None before it."""
        for iteration in reversed(self.iterations()):
            try:
                return self._best_by(self.path(iteration))
            except DamagedCheckpoint as error:
                logger.warning("%s", error)
        return None

    def _best_by(self, path: Path) -> Best | None:
        content = descriptions.read(path)
        return Best(**content["best"]) if content.get("best") else None

    def find(self, which: str) -> Path:
        """Returns the folder of the checkpoint that a user asks for.

        Args:
            which: `best`, `last`, or a path. `best` is the last one in a run that
                never validated.

        Raises:
            FileNotFoundError: there is none.
        """
        if which not in ("best", "last"):
            path = Path(which)
            if not (path / descriptions.FILE).is_file():
                raise FileNotFoundError(
                    f"{path}: no checkpoint; expected a folder iteration-N of a run, "
                    "or 'best' or 'last'"
                )
            return path
        iterations = self.iterations()
        if not iterations:
            raise FileNotFoundError(
                f"{self.folder}: no checkpoints yet; train.py makes them"
            )
        best = self.best()
        if which == "best" and best and best.iteration in iterations:
            return self.path(best.iteration)
        return self.path(iterations[-1])

    def restore(
        self, state: State, path: Path, check: Check | None = None
    ) -> dict[str, Any]:
        """Loads a checkpoint into a state of the same task.

        Args:
            state: what is overwritten; with no optimizer, the weights alone, which
                are the averaged ones where the run has averages.
            path: folder of the checkpoint.
            check: looks at its description before anything is loaded.

        Returns:
            Its description: `iteration`, `best`, `progress`, ...

        Raises:
            DamagedCheckpoint: it can't be read.
            ValueError: it is of another model, bands or labels; the message names
                what differs.
        """
        content = descriptions.read(path)
        modules = (content.get("progress") or {}).get("modules") or {}
        own_modules.warn_of_changes(modules, path)
        _compare(content, self.description, path)
        if check is not None:
            descriptions.check_progress(content, path)
            check(content, path)
        try:
            with files.plain_path(path / "state") as prefix:
                saved = tf.train.load_checkpoint(prefix)
                names = saved.get_variable_to_shape_map()
                fits = state.fits(content["shapes"], names)
                matches = state.matches(names) if fits else {}
                tensors = {name: saved.get_tensor(name) for name in matches}
        except _READ_ERRORS as error:
            raise descriptions.damaged(path, error) from error
        if not fits:
            raise ValueError(f"{path}: {self._other_shapes(content, state)}")
        for name, variable in matches.items():
            variable.assign(tensors[name])
        return content

    def _other_shapes(self, content: Mapping[str, Any], state: State) -> str:
        """Returns why a checkpoint has other shapes than the model."""
        theirs, ours = (
            [shape for shape in shapes if shape != _RANDOM_STATE]
            for shapes in (content["shapes"], state.shapes())
        )
        if theirs == ours:
            return (
                "has random states of another augmentation or dropout than the config "
                "asks for; set augmentation and drop_rate as the run had them, or name "
                "it as weights to start from it"
            )
        return (
            "its weights have other shapes than the model "
            f"{self.description.get('model_name')!r}; it was made by another version "
            "of that model"
        )

    def restore_newest(
        self, state: State, check: Check | None = None
    ) -> tuple[Path, dict[str, Any]] | None:
        """Loads the newest checkpoint that is not damaged.

        A damaged one is named in the log and left where it is.

        Args:
            state: as for `restore`.
            check: likewise.

        Returns:
            Its folder and description; None where there is no checkpoint at all.

        Raises:
            DamagedCheckpoint: all of them are.
            ValueError: as for `restore`.
        """
        self._put_back()
        damaged = None
        for iteration in reversed(self.iterations()):
            path = self.path(iteration)
            try:
                return path, self.restore(state, path, check)
            except DamagedCheckpoint as error:
                logger.warning("%s", error)
                damaged = error
        if damaged is not None:
            raise DamagedCheckpoint(
                f"{self.folder}: no checkpoint can be read; remove the folder to start "
                f"anew (the oldest: {damaged})"
            )
        return None

    def _put_back(self) -> None:
        """Undoes the replacing of a checkpoint in which a process was killed."""
        for aside in self.folder.glob(".iteration-*.old"):
            path = self.folder / aside.name.removeprefix(".").removesuffix(".old")
            if not path.exists():
                # Another process of the run may have been faster.
                with suppress(OSError):
                    aside.rename(path)

    def _drop_old(self, newest: int, best: Best | None) -> None:
        if not self.keep:
            return
        # Those beyond the newest are damaged, or the run would not be here.
        done = [iteration for iteration in self.iterations() if iteration <= newest]
        for iteration in done[: -self.keep]:
            lasting = self.keep_every and iteration % self.keep_every == 0
            if not lasting and (best is None or iteration != best.iteration):
                gone = self.path(iteration).rename(_temporary(self.path(iteration)))
                shutil.rmtree(gone)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _temporary(path: Path) -> Path:
    """Returns what a checkpoint is called while it is not whole."""
    return path.with_name(f".{path.name}.tmp")


def _flush(folder: Path) -> None:
    """Hands the files of a folder to the disk, so that a power cut finds them whole."""
    for path in [*filter(Path.is_file, folder.iterdir()), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _compare(found: dict[str, Any], expected: dict[str, Any], path: Path) -> None:
    for key, value in expected.items():
        if key not in found:
            raise descriptions.damaged(path, ValueError(f"{key} is missing"))
        if found.get(key) != value:
            got, wanted = (_short(content) for content in (found.get(key), value))
            raise ValueError(
                f"{path}: the checkpoint is of another model: {key} is {got}, "
                f"but the config asks for {wanted}; choose the config or the out_dir "
                "that belongs to it"
            )


def _short(content: Any) -> str:
    text = json.dumps(content)
    return text if len(text) <= 80 else f"{text[:77]}..."
