"""Keys of a config: where a run takes place and what it leaves."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from bigearthnet_tf.config.data_keys import PathName, Paths

_DEVICES = re.compile(r"^(auto|cpu|cpu:[1-9]\d?|gpu:\d{1,3}(,\d{1,3})*)$")


def _check_devices(text: str) -> str:
    if not _DEVICES.match(text) or text.endswith("\n"):
        raise ValueError(
            "expected the pattern auto, cpu, cpu:2 (1 to 99 logical CPUs), or gpu:0,2 "
            "(GPUs, numbered from 0)"
        )
    return text


class RunKeys(pydantic.BaseModel):
    """Hardware, checkpoints, logs."""

    # Hardware.
    devices: Annotated[str, pydantic.AfterValidator(_check_devices)] = Field(
        "auto",
        json_schema_extra={"pattern": _DEVICES.pattern},
        description="`auto`: all visible GPUs, else the CPU; `gpu:0,2`: these GPUs; "
        "`cpu`; `cpu:2`: that many logical CPUs, to test distribution",
    )
    cluster: Literal["auto", "none", "slurm"] = Field(
        "auto",
        description="machines that train together: `auto`: those of the environment "
        "variable TF_CONFIG, if it is set; `slurm`: the tasks of the SLURM step; "
        "`none`: this process alone",
    )
    cluster_timeout: int = Field(
        300,
        gt=0,
        description="seconds to wait for the other machines at the start",
    )
    synchronize_batch_norm: bool = Field(
        True,
        description="BatchNorm over the whole batch rather than each device's part, so "
        "that any number of devices gives the same weights",
    )
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "float32",
        description="Keras dtype policy of the layers; the loss is scaled with "
        "`mixed_float16`",
    )
    xla: bool | None = Field(
        None,
        description="compile the forward and backward pass with XLA; null: on GPUs",
    )
    gradient_accumulation: int = Field(
        1,
        gt=0,
        description="parts in which a device takes its share of the batch, to save "
        "memory; BatchNorm sees a part at a time",
    )
    iterations_per_call: int = Field(
        0,
        ge=0,
        description="iterations that TensorFlow takes without going back to Python; "
        "0: about half a second's worth",
    )
    deterministic: bool = Field(
        False,
        description="the same bits every time, on GPUs too; slower",
    )

    # The run and what it leaves.
    out_dir: PathName | None = Field(
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
    keep_checkpoint_per_iteration: int = Field(
        0,
        ge=0,
        description="checkpoints whose iteration divides by this are kept for good; "
        "0: none",
    )
    validate_per_iteration: int = Field(
        0, ge=0, description="iterations between validations; 0: once an epoch"
    )
    log_per_iteration: int = Field(
        20, gt=0, description="iterations between points in the training logs"
    )
    monitor: str | None = Field(
        None,
        description="validation metric that decides which checkpoint is `best`; null: "
        "that of the task: `macro_average_precision`, `mean_iou` of segmentation, "
        "`macro_f1` of land_cover, else the loss",
    )
    early_stopping_patience: int = Field(
        0,
        ge=0,
        description="validations without a better value of the metric after which the "
        "run ends; 0: it never ends early",
    )
    early_stopping_metric: str | None = Field(
        None, description="validation metric for it; null: that of `monitor`"
    )
    early_stopping_min_delta: float = Field(
        0.0, ge=0, description="by how much a value must be better to count"
    )
    sample_images: int = Field(
        8,
        ge=0,
        le=64,
        description="validation patches shown in TensorBoard with labels and scores; "
        "0: no pictures, which take most of a second each time",
    )
    wandb_project: str | None = Field(
        None,
        description="Weights & Biases project that the run reports to as well (extra "
        "`wandb`); null: none",
    )
    track_emissions: bool = Field(
        False,
        description="estimate the energy and carbon dioxide of the training with "
        "codecarbon (extra `emissions`)",
    )
    baselines: bool = Field(
        False,
        description="evaluation also fits class priors and a logistic regression "
        "on band means and deviations, and prints their results beside the model's; of "
        "`task` segmentation the commonest label and one on single pixels",
    )

    generated: bool = Field(
        False,
        description="marks the run as one of generated data, in reports, exports and "
        "model cards; set by itself where a manifest of the records, or the weights "
        "that it begins with, say so",
    )

    # Evaluation of a classification.
    thresholds: PathName = Field(
        "none",
        min_length=1,
        description="thresholds beside 0.5 that results are given for: `tuned`: those "
        "with the best F1 of each label on the validation records; `global`: one for "
        "all labels with the best micro F1 there; or a `thresholds.json`; `none`",
    )
    bootstrap_rounds: int = Field(
        1000,
        ge=0,
        description="resamplings of the test patches for 95 % intervals; 0: none",
    )
    metadata: Paths = Field(
        [],
        description="tables of the metadata of v2 (Parquet, or the CSV files of "
        "reBEN's earlier scripts with that of the countries), by which results are "
        "given for each country too",
    )
