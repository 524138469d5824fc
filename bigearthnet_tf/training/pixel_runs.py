"""Runs on pixel time series, opened from their folder alone, strict by name.

btfm loaded pre-trained weights without comparing names: none fitted, none
was loaded, and whatever was built on them was built on random ones. Here every weight
of the encoder must be in the checkpoint under its name and with its shape, and nothing
else may be.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bigearthnet_tf import config as configs
from bigearthnet_tf import files
from bigearthnet_tf.config import Config
from bigearthnet_tf.models.pixel_encoder import PROJECTOR
from bigearthnet_tf.models.pixel_networks import takes_fixed_size
from bigearthnet_tf.models.published import HEAD
from bigearthnet_tf.tasks import own_modules, pixels
from bigearthnet_tf.training import checkpoints, descriptions
from bigearthnet_tf.training.state import State

logger = logging.getLogger(__name__)

TASKS = ("barlow_twins", "land_cover")
# No weights, and numbered by process.
_STATE = "seed_generator_state"
# What may be another in a run that goes on from an encoder.
_MAY_DIFFER = ("dropout", "sample_size")


@dataclass(frozen=True)
class PixelRun:
    """The model of a run with its weights.

    Attributes:
        model: from `bands`, `doy` and `mask` to `h_s2` and `p_s2` or `logits`.
        path: folder of the checkpoint.
        config: of the run.
        description: what the checkpoint says of itself: `task`, `model_name`,
            `bands`, `encoder`, of land cover `classes` and `codes`, `iteration`.
    """

    model: keras.Model
    path: Path
    config: Config
    description: Mapping[str, Any]


def restore_pixel_run(name: str | Path, which: str = "best") -> PixelRun:
    """Builds the model of a run and loads it, without opening any records.

    Args:
        name: the folder of a run, or of one of its checkpoints.
        which: `best` or `last`, for a run.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: it is damaged, of another task, or its weights don't fit.
    """
    path, description = _read(name, which)
    config = configs.from_dict(description["progress"]["config"], where=str(path))
    own_modules.load(config, path)
    model = pixels.build_from(config, description)
    _check_names({v.path: v for v in model.weights}, _saved(path), path)
    checkpoints.CheckpointFolder(path.parent, {}).restore(State(model), path)
    return PixelRun(model, path, config, description)


def load_encoder(
    model: keras.Model, task: pixels.PixelTask, name: str | Path, which: str = "best"
) -> Path:
    """Loads the encoder of another run into a model; its head stays as it is.

    Args:
        model: of the task.
        task: whose bands and encoder must be those of the run.
        name: as for `restore_pixel_run`.
        which: likewise.

    Returns:
        The folder of the checkpoint.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: it is damaged, of another encoder or other bands, or a weight of
            the encoder is missing, has another shape, or is too many.
    """
    path, description = _read(name, which)
    _compare(task.describe(), description, path)
    ours = {v.path: v for v in model.weights if not v.path.startswith(HEAD)}
    saved = {
        weight: tensor
        for weight, tensor in _saved(path).items()
        if not weight.startswith((HEAD, PROJECTOR))
    }
    _check_names(ours, saved, path)
    try:
        with files.plain_path(path / "state") as prefix:
            reader = tf.train.load_checkpoint(prefix)
            values = {name: reader.get_tensor(saved[name][0]) for name in ours}
    except tf.errors.OpError as error:
        raise ValueError(
            f"{path}: the checkpoint is damaged ({str(error).splitlines()[0][:160]})"
        ) from error
    for name, variable in ours.items():
        variable.assign(values[name])
    logger.info("starting from the encoder of %s", path)
    return path


def _read(name: str | Path, which: str) -> tuple[Path, dict[str, Any]]:
    path = Path(name)
    files.check_unpacked(path, "the folder of a run")
    if (path / "checkpoints").is_dir():
        path = checkpoints.CheckpointFolder(path / "checkpoints", {}).find(which)
    elif not (path / "description.json").is_file():
        raise FileNotFoundError(
            f"{path}: no run; expected the folder of a run of {' or '.join(TASKS)}, or "
            "of one of its checkpoints"
        )
    description = descriptions.read(path)
    if description.get("task") not in TASKS:
        raise ValueError(
            f"{path}: a run of task {description.get('task')!r}; expected one of "
            f"{' or '.join(TASKS)}, whose encoders see time series of pixels"
        )
    return path, description


def _saved(path: Path) -> dict[str, tuple[str, list[int]]]:
    """Returns tensor and shape of each weight of a checkpoint, by the weight's name.

    A weight that has a moving average is that average.
    """
    try:
        with files.plain_path(path / "state") as prefix:
            shapes = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise descriptions.DamagedCheckpoint(
            f"{path}: the checkpoint can't be read ({str(error)[:160]})"
        ) from error
    averages = {n.split("/")[1]: n for n in shapes if n.startswith("average/")}
    saved = {}
    for tensor, shape in shapes.items():
        group, number, weight = tensor.split("/", 2)
        if group == "model" and not weight.endswith(_STATE):
            saved[weight] = (averages.get(number, tensor), list(shape))
    return saved


def _check_names(
    ours: Mapping[str, keras.Variable],
    saved: Mapping[str, tuple[str, list[int]]],
    path: Path,
) -> None:
    """Raises ValueError unless both are the same weights of the same shapes."""
    faults = [f"{name} is missing" for name in ours if name not in saved]
    faults += [f"{name} is unknown to the model" for name in saved if name not in ours]
    faults += [
        f"{name} has shape {saved[name][1]}, the model's has {list(v.shape)}"
        for name, v in ours.items()
        if name in saved and saved[name][1] != list(v.shape)
    ]
    if faults:
        more = f", and {len(faults) - 4} more" if faults[4:] else ""
        raise ValueError(
            f"{path}: not loaded, its weights are not those of the model: "
            f"{'; '.join(faults[:4])}{more}"
        )


def _compare(ours: Mapping[str, Any], theirs: Mapping[str, Any], path: Path) -> None:
    """Raises ValueError where the encoders are not alike."""
    fixed = takes_fixed_size(ours["model_name"])
    pairs = {key: (ours[key], theirs.get(key)) for key in ("model_name", "bands")}
    for key, value in ours["encoder"].items():
        if key not in _MAY_DIFFER or (fixed and key == "sample_size"):
            pairs[key] = (value, theirs.get("encoder", {}).get(key))
    for key, (wanted, found) in pairs.items():
        if wanted != found:
            raise ValueError(
                f"{path}: an encoder of other {key}: {_short(found)}, but the config "
                f"and its records have {_short(wanted)}; choose those that belong "
                "together"
            )


def _short(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else repr(value)


def mean_and_std(model: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """Returns what a model standardises its bands with, each (bands,) float32."""
    mean, std = model.get_layer("preprocessing_standardize").weights
    return np.asarray(mean), np.asarray(std)
