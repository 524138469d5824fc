"""The keys of a config: typed fields with their meaning."""

from __future__ import annotations

from typing import Literal

import pydantic
from pydantic import Field

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
    augmentation: list[
        Literal["flips", "quarter_turns", "crops", "band_drop", "noise"]
    ] = Field([], description="random changes of the training images, on the device")
    crop_smallest_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="of `crops`: smallest share of a patch's area that is cut out and "
        "enlarged to the whole",
    )
    band_drop_rate: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="of `band_drop`: probability that a band is set to its mean",
    )
    noise_deviation: float = Field(
        0.05,
        ge=0,
        description="of `noise`: deviation of the Gaussian noise, in deviations of "
        "each band",
    )
    mixup_alpha: float = Field(
        0.0,
        ge=0,
        description="patches and labels are mixed in pairs, with a share drawn from "
        "Beta(alpha, alpha); 0: not at all",
    )
    cutmix_alpha: float = Field(
        0.0,
        ge=0,
        description="a rectangle of each patch comes from another one, labels by area, "
        "which Beta(alpha, alpha) gives; with `mixup_alpha` one of both, at random; "
        "0: not at all",
    )

    # Optimisation.
    batch_size: int = Field(
        1000, gt=0, description="patches a step over all devices, also in evaluation"
    )
    nb_epoch: int = Field(100, gt=0, description="passes over the training data")
    learning_rate: float = Field(1e-3, gt=0, description="step size, the highest one")
    learning_rate_schedule: Literal[
        "constant", "step", "polynomial", "one_cycle", "warmup_cosine"
    ] = Field(
        "constant",
        description="`warmup_cosine`: that of reBEN, from a tenth of the rate linearly "
        "up, then down to a tenth on half a cosine; `step`: multiplied by `decay_rate` "
        "every `decay_step` iterations; `polynomial`: down to zero by `decay_power`; "
        "`one_cycle`: up from 1/25 in the first 30 %, then down to almost nothing",
    )
    warmup_iterations: int = Field(
        1000,
        ge=-1,
        description="of `warmup_cosine`, fewer than all iterations; -1: 10,000, 100 or "
        "none, by the length of the run",
    )
    decay_rate: float = Field(
        0.1, gt=0, le=1, description="of `step`: factor at each step"
    )
    decay_step: int = Field(
        10_000, gt=0, description="of `step`: iterations between steps"
    )
    decay_power: float = Field(
        1.0, gt=0, description="of `polynomial`: 1 is a straight line"
    )
    optimizer: str = Field("adam", description="`adam`, `adamw`, `sgd` or `lamb`")
    momentum: float = Field(0.9, ge=0, lt=1, description="of `sgd`")
    weight_decay: float = Field(
        0.01,
        ge=0,
        description="decoupled weight decay, used by `adamw` and `lamb` alone",
    )
    weight_decay_on: Literal["all", "kernels"] = Field(
        "all",
        description="`kernels`: biases and normalisations do not decay; `all` is "
        "reBEN's way",
    )
    l2: float = Field(
        0.0,
        ge=0,
        description="half this times the sum of squares of all kernels is added to the "
        "loss, as the TF project meant to",
    )
    clip_norm: float = Field(
        0.0,
        ge=0,
        description="gradients are scaled down to this norm over all of them; 0: not",
    )
    clip_value: float = Field(
        0.0, ge=0, description="each part of a gradient is cut to this size; 0: not"
    )
    ema_momentum: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="validation, evaluation and export use a moving average of the "
        "weights with this momentum (0.999, say); 0: the weights themselves",
    )
    loss: str = Field(
        "sigmoid_cross_entropy",
        description="`sigmoid_cross_entropy` (mean over all labels), "
        "`weighted_sigmoid_cross_entropy` (positives by the inverse of their "
        "frequency), `focal`, `asymmetric`, `softmax_cross_entropy`, "
        "`mean_squared_error`",
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="targets move this share of the way towards one half, in training",
    )
    focal_gamma: float = Field(2.0, ge=0, description="of `focal`: the exponent")
    focal_alpha: float = Field(
        0.25, ge=0, le=1, description="of `focal`: weight of the positives"
    )
    asymmetric_gamma_positive: float = Field(
        0.0, ge=0, description="of `asymmetric`: exponent of the positives"
    )
    asymmetric_gamma_negative: float = Field(
        4.0, ge=0, description="of `asymmetric`: exponent of the negatives"
    )
    asymmetric_clip: float = Field(
        0.05, ge=0, lt=1, description="of `asymmetric`: shift of the negatives"
    )
    drop_rate: float = Field(
        0.0, ge=0, lt=1, description="dropout before the last layer and each hidden one"
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
        description="0: only the head learns (last layer, hidden ones, their dropout), "
        "the rest runs as in inference; 1: all, from the weights; 2: all, from scratch",
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
    monitor: str = Field(
        "macro_average_precision",
        description="validation metric that decides which checkpoint is `best`",
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
        if self.fine_tune_level == 2 and (self.weights or self.fine_tune):
            raise ValueError(
                "fine_tune_level 2 starts from scratch: leave out weights and "
                "fine_tune, or take level 1"
            )
        for key in ("weights_bands", "weights_head"):
            if getattr(self, key) != "same" and not (self.weights or self.fine_tune):
                raise ValueError(f"{key} needs weights: there are none to take")
        return self
