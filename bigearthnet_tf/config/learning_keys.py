"""Keys of a config: how it is learnt."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import Field

from bigearthnet_tf.config.data_keys import PathName


class LearningKeys(pydantic.BaseModel):
    """Optimisation, losses, weights to start from."""

    batch_size: int = Field(
        1000, gt=0, description="patches a step over all devices, also in evaluation"
    )
    nb_epoch: int = Field(100, gt=0, description="passes over the training data")
    learning_rate: float = Field(1e-3, gt=0, description="step size, the highest one")
    learning_rate_schedule: Literal[
        "constant",
        "step",
        "polynomial",
        "one_cycle",
        "warmup_cosine",
        "warmup_decay",
    ] = Field(
        "constant",
        description="`warmup_cosine`: that of reBEN, from a tenth of the rate linearly "
        "up, then down to a tenth on half a cosine; `step`: multiplied by `decay_rate` "
        "every `decay_step` iterations; `polynomial`: down to zero by `decay_power`; "
        "`one_cycle`: up from 1/25 in the first 30 %, then down to almost nothing; "
        "`warmup_decay`: linearly up, a plateau, linearly down to zero at the end",
    )
    warmup_iterations: int = Field(
        1000,
        ge=-1,
        description="of `warmup_cosine`, fewer than all iterations, and of "
        "`warmup_decay`; -1: 10,000, 100 or none, by the length of the run",
    )
    decay_iterations: int = Field(
        250_000,
        ge=0,
        description="of `warmup_decay`: iterations of its way down, at most those that "
        "the warm-up leaves",
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
    l2_on: Literal["kernels", "all"] = Field(
        "kernels",
        description="`all`: of all parameters that are trained, biases and "
        "normalisations too, as `weight_decay` of torch's Adam and SGD is",
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
    head_dims: list[Annotated[int, Field(gt=0)]] = Field(
        [],
        description="units of hidden layers between the features and the last layer; "
        "empty: a linear head",
    )
    seed: int = Field(
        42, ge=0, lt=2**31, description="of weights, data order and augmentation"
    )
    fine_tune: bool = Field(False, description="start from the weights of `model_file`")
    model_file: PathName | None = Field(
        None,
        description="checkpoint `iteration-N` of a run of the same model, or prefix of "
        "a checkpoint of the TF project: with `fine_tune` where training starts, "
        "without it what `eval.py` evaluates",
    )
    weights: PathName | None = Field(
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
    bias_learning_rate_factor: float = Field(
        1.0,
        gt=0,
        description="by which the steps of all biases and offsets of normalisations "
        "are multiplied; 0.1 is the older Barlow Twins system's",
    )
