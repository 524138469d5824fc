"""Configs of the older multi-modal retrieval system, which are YAML."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from bigearthnet_tf import files, registry

logger = logging.getLogger(__name__)

# Keys that system read, with what it called its defaults.
_DEFAULTS: dict[str, Any] = {
    "batch_size": 256,
    "epochs": 30,
    "projection_dim": 128,
    "out_channels": 32,
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "weight_decay": 0.0,
    "scheduler": False,
    "temperature": 0.1,
    "n_features": 2048,
    "start_epoch": 0,
    "state_dict": "",
    "name": "test",
    "logging_params": {},
}
_REQUIRED = ("type", "loss_func", "fusion")
# Keys that it asked for and never read.
_WITHOUT_EFFECT = (
    "pretrain",
    "num_cpu",
    "scheduler_gamma",
    "epoch_num",
    "reload",
    "summaries",
    "suffix",
)
_DATA = ("train_csv", "val_csv", "test_csv", "bigEarthPthLMDB_S2", "bigEarthPthLMDB_S1")
_CHOICES = {
    "type": ("separate", "joint"),
    "loss_func": ("classification", "contrastive"),
    "fusion": ("concat", "avg", "max", "sum"),
    "optimizer": ("adam", "sgd"),
}


def read(path: Path) -> dict[str, Any]:
    """Returns the keys of our configs that a YAML file stands for.

    A file with our own keys is taken as it is. What the older system fixed in its code
    comes along: ResNet-50, the ten bands of 10 and 20 m and both polarisations, bicubic
    resampling, statistics of v1, and a ReLU after the projection.

    Args:
        path: of the file.

    Raises:
        ValueError: not YAML, a key comes twice, is unknown, missing or impossible.
    """
    content = _parse(path)
    if not set(content) & {*_REQUIRED, *_DATA}:
        return content
    try:
        return _translate(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _parse(path: Path) -> dict[str, Any]:
    content = files.read_yaml(path)
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: expected keys and values, got {type(content).__name__}"
        )
    return {
        key if isinstance(key, str) else files.echo(key): value
        for key, value in content.items()
    }


def _translate(found: dict[str, Any]) -> dict[str, Any]:
    known = {*_DEFAULTS, *_REQUIRED, *_WITHOUT_EFFECT, *_DATA}
    for key in found:
        if key not in known:
            near = registry.nearest_names(str(key), sorted(known))
            raise ValueError(
                f"unknown key {files.echo(key)} of the older system: {near}"
            )
    for key in _REQUIRED:
        if not found.get(key):
            raise ValueError(
                f"{key} is missing; expected one of {', '.join(_CHOICES[key])}"
            )
    keys = _read_values(_DEFAULTS | found)
    for key, choices in _CHOICES.items():
        if keys[key] not in choices:
            raise ValueError(
                f"{key}: expected one of {', '.join(choices)}, got "
                f"{files.echo(keys[key])}"
            )
    _check(keys)
    _tell(found)
    contrastive = keys["loss_func"] == "contrastive"
    names = keys["logging_params"]
    config = {
        "task": keys["loss_func"],
        "encoders": keys["type"],
        "fusion": keys["fusion"],
        "projection_dim": keys["projection_dim"],
        "out_channels": keys["out_channels"],
        "projection_activation": "relu",
        "batch_size": keys["batch_size"],
        "nb_epoch": keys["epochs"],
        "learning_rate": keys["learning_rate"],
        "learning_rate_schedule": "one_cycle" if keys["scheduler"] else "constant",
        "optimizer": keys["optimizer"],
        "momentum": 0.0,
        "model_name": "resnet50",
        "modality": "MM",
        "bands": "all",
        "label_type": "BigEarthNet-19",
        "interpolation": "bicubic",
        "statistics": "v1",
        "out_dir": "/".join(
            (
                _text("save_dir", names.get("save_dir", "logs")).rstrip("/"),
                keys["name"].strip("/"),
                _text("name", names.get("name", "run")).strip("/"),
            )
        ),
    }
    return config | ({"temperature": keys["temperature"]} if contrastive else {})


def _read_values(keys: dict[str, Any]) -> dict[str, Any]:
    """Returns the keys with numbers, truths and names as what they are meant to be.

    YAML 1.1 takes `1e-4` for a text, for want of a point, as it does `"False"`.
    """
    read = dict(keys)
    for key in ("learning_rate", "weight_decay", "temperature"):
        read[key] = _number(key, keys[key])
    read["scheduler"] = _truth("scheduler", keys["scheduler"])
    read["name"] = _text("name", keys["name"])
    if not isinstance(keys["logging_params"] or {}, dict):
        raise ValueError(
            "logging_params: expected save_dir and name below it, got "
            f"{files.echo(keys['logging_params'])}"
        )
    read["logging_params"] = keys["logging_params"] or {}
    return read


def _number(key: str, value: Any) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{key}: expected a number, got {files.echo(value)}")
    return number


def _truth(key: str, value: Any) -> bool:
    found = {"true": True, "yes": True, "1": True, "false": False, "no": False}
    found |= {"0": False, "": False, "none": False}
    if str(value).lower() not in found:
        raise ValueError(f"{key}: expected True or False, got {files.echo(value)}")
    return found[str(value).lower()]


def _text(key: str, value: Any) -> str:
    if isinstance(value, str) and value.strip("/"):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{key}: expected a name, got {files.echo(value)}")


def _check(keys: dict[str, Any]) -> None:
    """Raises ValueError for values that can't be carried over."""
    if keys["loss_func"] == "contrastive" and keys["temperature"] <= 0:
        raise ValueError(
            "temperature: expected a number above 0 (0.1, say), got "
            f"{files.echo(keys['temperature'])}"
        )
    if keys["n_features"] != 2048:
        raise ValueError(
            f"n_features: a ResNet-50 has 2048, got {files.echo(keys['n_features'])}"
        )
    if keys["start_epoch"]:
        raise ValueError("start_epoch: leave it at 0; a run continues where it was")
    if keys["state_dict"]:
        raise ValueError(
            "state_dict: checkpoints of the older system are not read; leave it empty"
        )
    if keys["weight_decay"]:
        raise ValueError(
            f"weight_decay: {files.echo(keys['weight_decay'])} was added to the "
            "gradients there, which no optimizer here does; leave it at 0, and choose "
            "`--set optimizer=adamw --set weight_decay=...` or `--set l2=...`"
        )


def _tell(found: dict[str, Any]) -> None:
    """Says what of a file is not used."""
    useless = [key for key in _WITHOUT_EFFECT if key in found]
    if useless:
        logger.warning("without effect, as before: %s", ", ".join(useless))
    data = [key for key in _DATA if key in found]
    if data:
        logger.warning(
            "%s are not read: prepare records with prep_splits.py and name them by "
            "--set tr_tf_record_files=... (val_, test_)",
            ", ".join(data),
        )
