"""The configuration of a run: typed fields, strict loading, JSON schema.

A config is flat JSON with the keys of the TU Berlin BigEarthNet TensorFlow models
and new ones in the same manner. `base.json` beside the file is read first and the
file overrides it key by key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import Field

from bigearthnet_tf import files, registry

Paths = list[str]


class Config(pydantic.BaseModel):
    """All keys of a config with their meaning; unknown keys are refused."""

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, strict=True, protected_namespaces=()
    )

    # What is learnt, and from which bands.
    task: Literal["classification"] = Field(
        "classification", description="what the run learns"
    )
    model_name: str = Field(
        "ResNet50", description="architecture, by a name of `list_models()`"
    )
    modality: Literal["S1", "S2", "MM"] = Field(
        "S2",
        description="sensors: Sentinel-1, Sentinel-2 or both (MM); picks the band "
        "set `s1`, `s2` or `all` unless `bands` is given",
    )
    bands: str | list[str] | None = Field(
        None,
        description="name of a band set (`s2`, `rgb`, `all_full`, ...) or a list of "
        "bands in the order the model sees them; null: the model's own set, else "
        "that of `modality`",
    )
    label_type: Literal["original", "BigEarthNet-43", "BigEarthNet-19"] = Field(
        "original", description="nomenclature: the 43 original labels or the 19"
    )

    # Data.
    tr_tf_record_files: Paths = Field(
        ["TFRecord_files/train*.tfrecord"],
        description="training shards; paths relative to the working directory, "
        "wildcards allowed",
    )
    val_tf_record_files: Paths = Field(
        ["TFRecord_files/val*.tfrecord"],
        description="validation shards; an empty list switches validation off",
    )
    test_tf_record_files: Paths = Field(
        ["TFRecord_files/test*.tfrecord"], description="test shards, for `eval.py`"
    )
    training_size: int | None = Field(
        None,
        gt=0,
        description="expected number of training records; the real number is taken "
        "from the files, and a difference is reported",
    )
    val_size: int | None = Field(
        None, gt=0, description="likewise for the validation records"
    )
    test_size: int | None = Field(
        None, gt=0, description="likewise for the test records"
    )
    shuffle_buffer_size: int = Field(
        4096,
        ge=0,
        description="records held to shuffle from, 0.16 MB each (0.28 MB with "
        "Sentinel-1); 0: no shuffling at all",
    )
    cache: str = Field(
        "",
        description="`memory`, or a folder on a fast disk: training and validation "
        "shards are copied there first; empty: they are read where they lie",
    )

    # Input, as the first layers of the model do it.
    image_size: int = Field(
        120, gt=0, description="pixels a side that all bands are resampled to"
    )
    interpolation: Literal["nearest", "bilinear", "bicubic", "tf1_bicubic"] = Field(
        "nearest",
        description="kernel of that resampling; `tf1_bicubic` is the one of the TF "
        "project, `nearest` the one of reBEN",
    )
    statistics: str | None = Field(
        None,
        description="means and deviations to standardise with: `v1`, "
        "`v2_120_nearest`, ... or a JSON file of `bigearthnet-tf statistics` "
        "(`own.json`, or `own.json#120_bilinear` where it has several); null: those of "
        "the archive that the training records come from",
    )
    augmentation: list[Literal["flips", "quarter_turns"]] = Field(
        [], description="random changes of the training images, on the device"
    )

    # Optimisation.
    batch_size: int = Field(
        1000, gt=0, description="patches a step over all devices, also in evaluation"
    )
    nb_epoch: int = Field(100, gt=0, description="passes over the training data")
    learning_rate: float = Field(1e-3, gt=0, description="step size, the highest one")
    learning_rate_schedule: Literal["constant", "warmup_cosine"] = Field(
        "constant",
        description="`warmup_cosine`: that of reBEN, from a tenth of the rate linearly "
        "up, then down to a tenth on half a cosine",
    )
    warmup_iterations: int = Field(
        1000, ge=0, description="of `warmup_cosine`; fewer than all iterations"
    )
    optimizer: str = Field("adam", description="`adam` or `adamw`")
    weight_decay: float = Field(
        0.01, ge=0, description="decoupled weight decay, used by `adamw` alone"
    )
    loss: str = Field(
        "sigmoid_cross_entropy",
        description="mean sigmoid cross-entropy over all labels",
    )
    drop_rate: float = Field(
        0.0, ge=0, lt=1, description="dropout before the last layer"
    )
    drop_path_rate: float = Field(
        0.0, ge=0, lt=1, description="stochastic depth of the deepest block"
    )
    head_dims: list[int] = Field(
        [],
        description="units of hidden layers between the features and the last layer; "
        "empty: a linear head",
    )
    seed: int = Field(
        42, ge=0, lt=2**31, description="of weights, data order and augmentation"
    )
    fine_tune: bool = Field(False, description="start from the weights of `model_file`")
    model_file: str | None = Field(
        None,
        description="for `fine_tune`: checkpoint of a run of the same model, or prefix "
        "of a checkpoint of the TF project",
    )
    weights: str | None = Field(
        None,
        description="weights to start from: folder or id of a reBEN model of the hub, "
        "prefix of a checkpoint of the TF project, `.safetensors` file of timm "
        "(ImageNet), or folder of a run; in whatever order their bands and labels are",
    )
    weights_bands: Literal["same", "mean", "zero"] = Field(
        "same",
        description="how the first kernels begin for bands that `weights` do not know: "
        "`mean` of those that they know, `zero`, or not at all (`same`)",
    )
    weights_head: Literal["same", "new"] = Field(
        "same", description="`new`: the last layer starts afresh, for other labels"
    )
    fine_tune_level: Literal[0, 1, 2] = Field(
        1,
        description="0: only the head learns, the rest runs as in inference; 1: all "
        "learns, from the weights; 2: all learns, from scratch",
    )
    freeze: list[str] = Field(
        [], description="layers that do not learn, by name with wildcards: `stem*`"
    )
    backbone_learning_rate_factor: float = Field(
        1.0,
        gt=0,
        description="by which the steps of all layers but the head are multiplied; "
        "decoupled weight decay keeps the full rate",
    )

    # Hardware.
    devices: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cpu:[1-9]\d*|gpu:\d+(,\d+)*)$",
        description="`auto`: all visible GPUs, else the CPU; `gpu:0,2`: these GPUs; "
        "`cpu`; `cpu:2`: that many logical CPUs, to test distribution",
    )
    synchronize_batch_norm: bool = Field(
        True,
        description="BatchNorm over the whole batch rather than each device's part, so "
        "that any number of devices gives the same weights",
    )
    precision: Literal["float32", "mixed_bfloat16"] = Field(
        "float32", description="Keras dtype policy of the layers"
    )

    # The run and what it leaves.
    out_dir: str | None = Field(
        None, description="folder of the run; required by `train.py` and `eval.py`"
    )
    save_checkpoint_after_iteration: int = Field(
        0, ge=0, description="no checkpoint before this iteration"
    )
    save_checkpoint_per_iteration: int = Field(
        1000, gt=0, description="then one whenever the iteration divides by this"
    )
    keep_checkpoints: int = Field(
        3,
        ge=0,
        description="newest checkpoints kept, besides the best one; 0: all of them",
    )
    validate_per_iteration: int = Field(
        0, ge=0, description="iterations between validations; 0: once an epoch"
    )
    log_per_iteration: int = Field(
        20, gt=0, description="iterations between points in the training logs"
    )
    monitor: str = Field(
        "macro_average_precision",
        description="validation metric that decides which checkpoint is `best`",
    )
    baselines: bool = Field(
        False,
        description="evaluation also fits class priors and a logistic regression "
        "on band means and deviations, and prints their results beside the model's",
    )

    @pydantic.model_validator(mode="after")
    def _belong_together(self) -> Config:
        if self.fine_tune and not self.model_file:
            raise ValueError("fine_tune needs model_file: the checkpoint to start from")
        if self.fine_tune and self.weights:
            raise ValueError("fine_tune with model_file, or weights: give one of them")
        if self.fine_tune_level == 0 and not (self.weights or self.fine_tune):
            raise ValueError("fine_tune_level 0 needs weights: the rest does not learn")
        return self


def load(path: Path | str, overrides: Iterable[str] = ()) -> Config:
    """Reads a config over the `base.json` beside it, then applies overrides.

    Args:
        path: the JSON file.
        overrides: `key=value` strings; a value is JSON where it parses as such
            (`64`, `true`, `["a"]`), a plain string otherwise.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, not an object, an unknown key (the nearest known one
            is named), a wrong type, an impossible value, or a bad override.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such config; expected a file such as configs/resnet50.json"
        )
    content: dict[str, Any] = {}
    base = path.with_name("base.json")
    for source in dict.fromkeys([base, path]):
        if source.is_file():
            content |= _read_object(source)
    content |= dict(_parse_override(text) for text in overrides)
    return from_dict(content, where=str(path))


def from_dict(content: dict[str, Any], where: str = "config") -> Config:
    """Checks a dictionary of keys and returns the config.

    Args:
        content: keys and values as they stand in JSON.
        where: what error messages call the source.

    Raises:
        ValueError: as for `load`.
    """
    try:
        return Config.model_validate(content)
    except pydantic.ValidationError as error:
        raise ValueError(f"{where}: {_explain(error)}") from None


def save(config: Config, path: Path | str) -> None:
    """Writes a config with all its keys, so that the run can be repeated."""
    files.write_json(path, config.model_dump())


def json_schema() -> dict[str, Any]:
    """Returns the JSON schema that editors complete configs with."""
    schema = Config.model_json_schema()
    # Editors ask for the schema by this key inside a config file.
    schema["properties"]["$schema"] = {"type": "string"}
    schema["title"] = "bigearthnet_tf config"
    return schema


def markdown_table() -> str:
    """Returns the keys with their defaults and meanings as a Markdown table."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for name, field in Config.model_fields.items():
        default = json.dumps(field.default)
        rows.append(f"| `{name}` | `{default}` | {field.description} |")
    return "\n".join(rows)


def _read_object(path: Path) -> dict[str, Any]:
    content = files.read_json(path)
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: expected a JSON object of keys and values, "
            f"got {type(content).__name__}"
        )
    content.pop("$schema", None)
    return content


def _parse_override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"--set: expected key=value, got {text!r}")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def _explain(error: pydantic.ValidationError) -> str:
    """Turns pydantic's list of faults into one line."""
    faults = []
    for fault in error.errors():
        key = str(fault["loc"][0]) if fault["loc"] else ""
        if fault["type"] == "extra_forbidden":
            near = registry.nearest_names(key, Config.model_fields)
            faults.append(f"unknown key {key!r}: {near}")
        elif key:
            reason = fault["msg"].removeprefix("Input ")
            faults.append(f"{key}: {reason}, got {fault['input']!r}")
        else:
            faults.append(fault["msg"].removeprefix("Value error, "))
    return "; ".join(dict.fromkeys(faults))
