"""`description.json` of a checkpoint: meaning of the weights, position in the run."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pydantic

from bigearthnet_tf import files

FILE = "description.json"
FOLDER = re.compile(r"iteration-(\d+)$")

_Whole = Annotated[int, pydantic.Field(ge=0, le=2**53)]


class DamagedCheckpoint(ValueError):
    """A checkpoint that can't be read, of any run."""


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


class _Best(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    iteration: int = pydantic.Field(ge=0)
    metric: str
    value: float = pydantic.Field(allow_inf_nan=False)


class _Counts(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    shape: list[_Whole]
    at: list[_Whole]
    values: list[_Whole]

    @pydantic.model_validator(mode="after")
    def _fit(self) -> _Counts:
        if len(self.at) != len(self.values) or max(self.at, default=-1) >= math.prod(
            self.shape
        ):
            raise ValueError(f"counts that don't fit into the shape {self.shape}")
        return self


class _Window(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    steps: int = pydantic.Field(default=0, ge=0)
    losses: float = 0.0
    gradient_norms: float = 0.0
    finite_norms: int = pydantic.Field(default=0, ge=0)
    counts: dict[str, _Counts] = {}


class _EarlyStopping(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    metric: str
    best: float | None
    waited: int = pydantic.Field(ge=0)


class _Progress(pydantic.BaseModel):
    """What a run needs to continue; empty in checkpoints of weights alone."""

    model_config = pydantic.ConfigDict(strict=True)

    config: dict[str, Any] = {}
    training_records: int = pydantic.Field(default=0, ge=0)
    early_stopping: _EarlyStopping | None = None
    window: _Window = _Window()
    validation_due: bool = False
    # SHA-256 of the user's own modules, by name.
    modules: dict[str, str] = {}


class _Description(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    iteration: int = pydantic.Field(ge=0)
    shapes: list[list[int]]
    best: _Best | None = None
    progress: _Progress = _Progress()


def read(path: Path) -> dict[str, Any]:
    """Returns what a checkpoint says of itself.

    Args:
        path: folder of the checkpoint.

    Raises:
        DamagedCheckpoint: its description is missing, is not JSON, lacks a key, or has
            an iteration that can't be: another one than the folder's name, or one
            before the best.
    """
    try:
        known = files.read_checked(path / FILE, _Description)
        named = FOLDER.match(path.name)
        if named and int(named[1]) != known.iteration:
            raise ValueError(
                f"it is of iteration {known.iteration}, the folder of {named[1]}"
            )
        if known.best and known.best.iteration > known.iteration:
            raise ValueError(
                f"its best iteration is {known.best.iteration}, after its own, "
                f"{known.iteration}"
            )
        return dict(files.read_json(path / FILE))
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> DamagedCheckpoint:
    """Returns the error of a checkpoint that can't be read."""
    reason = " ".join(str(error).removeprefix(f"{path / FILE}: ").split())[:160]
    return DamagedCheckpoint(
        f"{path}: the checkpoint is damaged or incomplete ({reason}); remove this "
        "folder to go on from the one before"
    )


def check_progress(content: dict[str, Any], path: Path) -> None:
    """Checks that a run can continue from a checkpoint, which is not beyond its end.

    Args:
        content: of `read`.
        path: folder of the checkpoint.

    Raises:
        DamagedCheckpoint: something is missing, or the iteration is too high.
    """
    progress = content.get("progress") or {}
    needed = _Progress.model_fields.keys() - {"modules"}
    missing = [key for key in _Progress.model_fields if key in needed - set(progress)]
    if missing:
        raise damaged(path, ValueError(f"progress.{missing[0]} is missing"))
    config = progress["config"]
    epochs, batch_size = config.get("nb_epoch", 0), config.get("batch_size", 1)
    total = math.ceil(progress["training_records"] * epochs / batch_size)
    if content["iteration"] > total:
        reason = f"iteration {content['iteration']} of a run of {total}"
        raise damaged(path, ValueError(reason))
