"""The weights that a run starts from, when it does not start from scratch."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
import pydantic

from bigearthnet_tf import config as configs
from bigearthnet_tf import files
from bigearthnet_tf.config import Config, data_keys
from bigearthnet_tf.models import published
from bigearthnet_tf.tasks import (
    assembly,
    base,
    own_modules,
    pixels,
    pretrained,
    weight_files,
)
from bigearthnet_tf.tasks.weight_files import Published
from bigearthnet_tf.training import checkpoints, descriptions, pixel_runs
from bigearthnet_tf.training.state import State

logger = logging.getLogger(__name__)

_OF_PIXELS = ("barlow_twins", "land_cover")


class Progress(pydantic.BaseModel):
    """The config that a checkpoint was made with."""

    config: dict[str, Any]


class Meaning(pydantic.BaseModel):
    """What of a checkpoint's description the weights follow from."""

    model_config = pydantic.ConfigDict(
        extra="ignore", frozen=True, strict=True, protected_namespaces=()
    )

    model_name: str
    bands: list[str]
    labels: list[str]
    statistics: str | dict[str, dict[str, float]]
    interpolation: str
    image_size: int
    iteration: int
    progress: Progress

    @property
    def config(self) -> Config:
        """The config that the checkpoint was made with."""
        return configs.from_dict(self.progress.config, where="its config")

    @property
    def title(self) -> str:
        """What pictures and tags call the model."""
        marked = ", trained on generated data" if self.config.generated else ""
        return f"{self.model_name}, iteration {self.iteration}{marked}"


def load(config: Config, task: base.Task, model: keras.Model) -> bool:
    """Loads the weights that a config names; tells whether it names any.

    Args:
        config: its `weights`, or its `model_file` if `fine_tune` is set.
        task: of the config.
        model: of the task, in the scope of the strategy.

    Raises:
        FileNotFoundError: nothing there by that name.
        OSError: the hub can't be reached.
        ValueError: they are damaged, or for another architecture, bands or labels.
    """
    name = config.weights or (config.model_file if config.fine_tune else None)
    if name is None or config.fine_tune_level == 2:
        return False
    if config.weights and isinstance(task, pixels.PixelTask):
        pixel_runs.load_encoder(model, task, config.weights)
        return True
    strict = config.weights is None
    if strict:
        check_model_file(name)
    if not weight_files.is_published(name):
        if strict:
            if config.weights_bands != "same" or config.weights_head != "same":
                raise ValueError(
                    "weights_bands and weights_head do not go with model_file, which "
                    "is taken as it is; name it as weights instead"
                )
            _restore_strictly(task, model, Path(name))
            return True
        weights = read_run(name)
    else:
        weights = weight_files.open_published(name, config.model_name)
    task.load_weights(model, weights)
    logger.info("starting from the weights of %s", weights.path)
    _warn_of_other_input(weights, task.describe())
    return True


def check_model_file(name: str) -> None:
    """Checks that `model_file` names a checkpoint of this project or of TensorFlow 1.

    Raises:
        FileNotFoundError: it does not.
    """
    of_a_run = (Path(name) / descriptions.FILE).is_file()
    if not of_a_run and not Path(f"{name}.index").is_file():
        raise FileNotFoundError(
            f"{name}: no checkpoint at model_file; expected a folder iteration-N of a "
            "run, or the prefix of a TensorFlow 1 checkpoint"
        )


def is_published(which: str) -> bool:
    """Tells whether the checkpoint that a user asks for is published weights."""
    path = Path(which)
    if which in ("best", "last") or (path / "description.json").is_file():
        return False
    return (
        (path / "model.safetensors").is_file()
        or Path(f"{which}.index").is_file()
        or (not path.exists() and weight_files.is_hub_id(which))
    )


def load_published(task: base.Task, model: keras.Model, name: str) -> int:
    """Loads published weights as they are, for an evaluation.

    Args:
        task: of the config.
        model: of the task, in the scope of the strategy.
        name: folder or hub id of reBEN's family or of ours, or the prefix of a
            checkpoint of the TF project.

    Returns:
        The iteration at which they were saved; 0 where that is not known.

    Raises:
        FileNotFoundError: nothing there by that name.
        OSError: the hub can't be reached.
        ValueError: they are damaged, for another architecture, bands or labels, or
            trained on input of other statistics, resampling or size.
    """
    description = task.describe()
    weights = weight_files.open_published(name, description["model_name"])
    pretrained.load_into(model, weights, description["labels"])
    theirs = _other_input(weights, description)
    if theirs:
        raise ValueError(
            f"{weights.path}: trained with {_list(theirs)}, but the config asks for "
            f"{_list({key: description.get(key) for key in theirs})}; evaluate with "
            "what they were trained with"
        )
    return weights.iteration


def _other_input(weights: Published, description: dict[str, Any]) -> dict[str, Any]:
    """Returns where the weights were trained on other numbers than they get now."""
    return {
        key: value
        for key in ("statistics", "interpolation", "image_size")
        if (value := getattr(weights, key)) not in (None, description.get(key))
    }


def _warn_of_other_input(weights: Published, description: dict[str, Any]) -> None:
    theirs = _other_input(weights, description)
    if theirs:
        logger.warning(
            "%s: trained with %s, this run has %s",
            weights.path,
            _list(theirs),
            _list({key: description[key] for key in theirs}),
        )


def _list(facts: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {value if isinstance(value, str | int) else 'of its own'}"
        for key, value in facts.items()
    )


def _restore_strictly(task: base.Task, model: keras.Model, path: Path) -> None:
    """Loads a checkpoint of the same task, down to the statistics."""
    folder = checkpoints.CheckpointFolder(path.parent, task.describe())
    folder.restore(State(model, weights_only=True), folder.find(str(path)))
    logger.info("starting from the weights of %s", path)


def read_run(name: str, which: str = "best") -> Published:
    """Returns the weights of a run of ours, by our own names.

    Args:
        name: the folder of a run, or of one of its checkpoints.
        which: `best` or `last`, for a run.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: it is damaged.
    """
    model, path, meaning = restore_run(name, which)
    return Published(
        path=str(path),
        model_name=meaning.model_name,
        bands=tuple(meaning.bands),
        labels=tuple(meaning.labels),
        tensors={
            name: np.asarray(value)
            for name, value in published.dump(
                model, published.own_name, torch=False
            ).items()
        },
        form="own",
        image_size=meaning.image_size,
        interpolation=meaning.interpolation,
        statistics=meaning.statistics,
        head_dims=tuple(meaning.config.head_dims),
        config=meaning.config,
        iteration=meaning.iteration,
    )


def task_of(name: str, which: str = "best") -> str:
    """Returns the task of a run or checkpoint, such as `classification`.

    Args:
        name: the folder of a run, or of one of its checkpoints.
        which: `best` or `last`, for a run.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: it is damaged.
    """
    path = _checkpoint(name, which)
    return str(descriptions.read(path).get("task"))


def _checkpoint(name: str, which: str) -> Path:
    path = Path(name)
    files.check_unpacked(path, "the folder of a run")
    if (path / "checkpoints").is_dir():
        return checkpoints.CheckpointFolder(path / "checkpoints", {}).find(which)
    if not (path / "description.json").is_file() and not (
        descriptions.FOLDER.match(path.name)
    ):
        found = (
            "published weights, which `weights` of a config, eval.py --checkpoint, "
            "export and from_pretrained take"
            if (path / "model.safetensors").is_file()
            else "neither checkpoints/ nor description.json"
        )
        raise FileNotFoundError(
            f"{path}: no run; expected the folder of a run or of one of its "
            f"checkpoints, got {found}"
        )
    return path


def restore_run(name: str, which: str) -> tuple[keras.Model, Path, Meaning]:
    """Builds the model of a run from what a checkpoint says, and loads that.

    Args:
        name: the folder of a run, or of one of its checkpoints.
        which: `best` or `last`, for a run.

    Returns:
        The model, the folder of the checkpoint, and what the weights mean.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: it is damaged, or of pixel time series.
    """
    path = _checkpoint(name, which)
    task = descriptions.read(path).get("task")
    if task in _OF_PIXELS:
        raise ValueError(
            f"{path}: expected weights for images, got a run of task {task}, whose "
            "model takes time series of pixels"
        )
    meaning = files.read_checked(path / "description.json", Meaning)
    config = meaning.config
    own_modules.load(config, path)
    if config.task not in get_args(data_keys.Tasks):
        raise ValueError(
            f"{path}: a run of your own task {config.task!r}, whose model the task "
            "alone builds; train.py and eval.py open it"
        )
    model = assembly.build_configured(
        config,
        meaning.model_name,
        len(meaning.labels),
        meaning.bands,
        meaning.statistics,
    )
    checkpoints.CheckpointFolder(path.parent, {}).restore(State(model), path)
    return model, path, meaning
