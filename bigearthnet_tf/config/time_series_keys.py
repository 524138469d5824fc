"""Keys of a config: time series of pixels, what is learnt from them, and probes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

TASKS = ("barlow_twins", "land_cover")
# Of patches alone.
_PATCH_KEYS = ("augmentation", "mixup_alpha", "cutmix_alpha", "statistics", "cache")
_CLASS_LOSSES = ("softmax_cross_entropy", "focal")


class TimeSeriesKeys(pydantic.BaseModel):
    """Views of a pixel, its encoder, Barlow Twins, land cover, probes."""

    sample_size: int = Field(
        16, gt=0, description="dates that a view of a pixel has, drawn from its valid"
    )
    disjoint_views: bool = Field(
        False,
        description="whether both views of a pixel have no date in common, for which "
        "it needs twice as many",
    )
    pixels_per_block: int = Field(
        1024, gt=0, description="pixels drawn from each block and epoch, at most"
    )
    latent_dim: int = Field(64, gt=0, description="dimensions of a pixel's embedding")
    time_dim: int = Field(
        0,
        ge=0,
        description="dimensions of a learnt vector of the week of the year, appended "
        "to the bands of each date; 0: none",
    )
    encoder_width: int | None = Field(
        None, gt=0, description="units or channels within; null: the encoder's own"
    )
    encoder_depth: int | None = Field(
        None, gt=0, description="layers within; null: the encoder's own"
    )
    encoder_drop_rate: float | None = Field(
        None, ge=0, lt=1, description="dropout within; null: the encoder's own"
    )
    date_encoding: Literal["index", "day_of_year", "slots"] | None = Field(
        None,
        description="of transformers, what is added to a date: a code of its place in "
        "the series (`index`), of its day, or a learnt vector of its 96th of the year "
        "(`slots`); null: the encoder's own",
    )
    date_pooling: Literal["mean", "attention"] | None = Field(
        None, description="of transformers, how dates become one; null: its own"
    )
    projector_dims: list[Annotated[int, Field(gt=0)]] = Field(
        [128, 128],
        min_length=1,
        description="units of the layers between embedding and Barlow Twins loss",
    )
    off_diagonal_weight: float = Field(
        5e-3,
        ge=0,
        description="lambda of the Barlow Twins loss; runs of btfm have 0.0005, the "
        "paper 0.0051",
    )
    correlation_form: Literal["population", "sample"] = Field(
        "population",
        description="how projections are standardised for the Barlow Twins loss: over "
        "the batch with an epsilon, or as btfm does, with one degree of freedom less "
        "and without",
    )
    merge_mangroves: bool = Field(
        False,
        description="whether mangroves (95) count as wetland (90), as in btfm, "
        "or are a class apart",
    )
    # Evaluation of embeddings.
    evaluation_draws: int = Field(
        1,
        gt=0,
        description="seeded views of a pixel whose embeddings, or scores, are averaged "
        "in validation and evaluation",
    )
    probe_pixels: int = Field(
        20_000,
        gt=0,
        description="labelled pixels of a split that probes and baselines take at most",
    )
    probe_labels: list[Annotated[int, Field(gt=0)]] = Field(
        [10, 100, 1000],
        min_length=1,
        description="labels a class of the label-efficiency curve",
    )
    probe_repeats: int = Field(
        5, gt=0, description="draws of those labels, whose mean and spread are shown"
    )
    spatial_folds: int = Field(
        0,
        ge=0,
        description="folds of a cross-validation of linear probes on the test split, "
        "divided by spatial blocks; 0: none",
    )
    spatial_block_size: int = Field(
        64, gt=0, description="pixels a side of the blocks of that"
    )


def check(config: Any) -> None:
    """Raises ValueError where keys don't go with the task.

    Args:
        config: with all keys.
    """
    if config.task not in TASKS:
        for key, field in TimeSeriesKeys.model_fields.items():
            if getattr(config, key) != field.default:
                raise ValueError(
                    f"{key} is of pixel time series: set task to {' or '.join(TASKS)}, "
                    "or leave it out"
                )
        return
    for key in _PATCH_KEYS:
        if getattr(config, key):
            raise ValueError(f"{key} goes with patches, not with {config.task}")
    if config.spatial_folds == 1:
        raise ValueError("spatial_folds: expected 0 or at least 2, got 1")
    {"barlow_twins": _check_twins, "land_cover": _check_land_cover}[config.task](config)


def _check_twins(config: Any) -> None:
    if config.batch_size < 2:
        raise ValueError(
            "batch_size 1: Barlow Twins needs a batch to correlate dimensions over"
        )
    if config.gradient_accumulation > 1:
        raise ValueError(
            "gradient_accumulation would hide most of the batch from the Barlow Twins "
            "loss; leave it at 1"
        )
    for key in ("head_dims", "label_smoothing", "weights"):
        if getattr(config, key):
            raise ValueError(f"{key} goes with labels, not with barlow_twins")


def _check_land_cover(config: Any) -> None:
    if config.loss not in _CLASS_LOSSES and not config.modules:
        raise ValueError(
            f"loss {config.loss!r} is of several labels a patch; task land_cover has "
            f"one class a pixel: choose {' or '.join(_CLASS_LOSSES)}"
        )
    if config.label_smoothing:
        raise ValueError("label_smoothing goes with patches, not with land_cover")
