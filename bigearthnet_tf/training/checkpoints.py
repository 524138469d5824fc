"""Checkpoints of a run: the whole state at an iteration, written atomically.

A checkpoint is a folder `iteration-N` with a TensorFlow checkpoint (`state.*`) and
`description.json`, which says what the weights mean and which checkpoint was the best
by then. It is written under a hidden name and renamed when complete, so a folder of
that name is always whole.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from bigearthnet_tf import files

logger = logging.getLogger(__name__)

_FOLDER = re.compile(r"iteration-(\d+)$")
_DESCRIPTION = "description.json"
# TensorFlow's checkpoint reader raises its own errors, and bare Python ones.
_READ_ERRORS = (tf.errors.OpError, AssertionError, IndexError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Best:
    """The best checkpoint so far.

    Attributes:
        iteration: at which it was made.
        metric: by which it is the best.
        value: of that metric.
    """

    iteration: int
    metric: str
    value: float


@dataclass(frozen=True)
class State:
    """What a checkpoint holds, besides the iteration.

    Every variable is listed in the order in which the model or optimizer has it;
    the states of Keras's random generators are among the model's variables here,
    which an object-based `tf.train.Checkpoint(model=...)` leaves out.

    Attributes:
        model: whose variables are saved.
        optimizer: likewise; None to restore weights alone.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer | None = None

    def checkpoint(self) -> tf.train.Checkpoint:
        """Returns TensorFlow's view of the state."""
        parts = {"model": list(self.model.variables)}
        if self.optimizer is not None:
            parts["optimizer"] = list(self.optimizer.variables)
        return tf.train.Checkpoint(**parts)

    def shapes(self) -> list[list[int]]:
        """Returns the shapes of the model's variables, in their order."""
        return [list(variable.shape) for variable in self.model.variables]


class CheckpointFolder:
    """The checkpoints of one run.

    Args:
        folder: where they are; made when the first one is saved.
        description: of the task; a checkpoint that differs is refused.
        keep: how many of the newest to keep besides the best; 0 keeps all.
        position: what an iteration's place in the data follows from; a checkpoint
            that differs can't be continued, though its weights can be used.
    """

    def __init__(
        self,
        folder: Path,
        description: dict[str, Any],
        keep: int,
        position: dict[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.description = description
        self.keep = keep
        self.position = position or {}

    def iterations(self) -> list[int]:
        """Returns the iterations at which there is a checkpoint, ascending."""
        return sorted(
            int(match[1])
            for path in self.folder.glob("iteration-*")
            if (match := _FOLDER.match(path.name))
        )

    def path(self, iteration: int) -> Path:
        """Returns the folder of the checkpoint of an iteration."""
        return self.folder / f"iteration-{iteration}"

    def save(self, state: State, iteration: int, best: Best | None = None) -> Path:
        """Writes a checkpoint and removes those that the keep rule drops.

        Args:
            state: what is saved.
            iteration: optimisation steps done.
            best: the best checkpoint so far, this one perhaps.

        Raises:
            OSError: it can't be written; the earlier ones stay.
        """
        path = self.path(iteration)
        temporary = self.folder / f".{path.name}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            state.checkpoint().write(str(temporary / "state"))
            content = {
                "iteration": iteration,
                **self.description,
                "shapes": state.shapes(),
                "position": self.position,
                "best": asdict(best) if best else None,
            }
            files.write_json(temporary / _DESCRIPTION, content)
        except (tf.errors.OpError, OSError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise OSError(
                f"{path}: the checkpoint could not be written ({error}); make room and "
                "call again, the run continues from the one before"
            ) from error
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
        self._drop_old(best)
        return path

    def best(self) -> Best | None:
        """Returns the best checkpoint by the newest one's account, None before it."""
        iterations = self.iterations()
        if not iterations:
            return None
        content = files.read_json(self.path(iterations[-1]) / _DESCRIPTION)
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
            if not (path / _DESCRIPTION).is_file():
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

    def restore(self, state: State, path: Path) -> int:
        """Loads a checkpoint into a state of the same task.

        Args:
            state: what is overwritten; with no optimizer, the weights alone.
            path: folder of the checkpoint.

        Returns:
            The iteration it was made at.

        Raises:
            ValueError: it is damaged, or of another model, bands or labels; the
                message names what differs.
        """
        content = files.read_json(path / _DESCRIPTION)
        _compare(content, self.description, path)
        if state.optimizer is not None:
            self._check_position(content.get("position", {}), path)
        if content["shapes"] != state.shapes():
            raise ValueError(
                f"{path}: its weights have other shapes than the model "
                f"{self.description.get('model_name')!r}; it was made by another "
                "version of that model"
            )
        try:
            status = state.checkpoint().read(str(path / "state"))
            status.assert_existing_objects_matched()
            status.expect_partial()
        except _READ_ERRORS as error:
            reason = str(error).splitlines()[0][:200]
            raise ValueError(
                f"{path}: the checkpoint is damaged or incomplete ({reason}); remove "
                "this folder to go on from the one before"
            ) from error
        return int(content["iteration"])

    def _check_position(self, found: dict[str, Any], path: Path) -> None:
        for key, value in self.position.items():
            if found.get(key) != value:
                raise ValueError(
                    f"{path}: can't be continued with {key} {value}, it was made with "
                    f"{found.get(key)}, which fixes the order of the data; restore "
                    "that, or start anew in another out_dir"
                )

    def _drop_old(self, best: Best | None) -> None:
        if not self.keep:
            return
        for iteration in self.iterations()[: -self.keep]:
            if best is None or iteration != best.iteration:
                shutil.rmtree(self.path(iteration))


def _compare(found: dict[str, Any], expected: dict[str, Any], path: Path) -> None:
    for key, value in expected.items():
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
