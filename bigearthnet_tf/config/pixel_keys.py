"""Keys of a config: labels of pixels."""

from __future__ import annotations

from typing import Any, Literal

import pydantic
from pydantic import Field


class PixelKeys(pydantic.BaseModel):
    """Decoder and loss of `task` segmentation."""

    decoder: Literal["unet", "fpn"] = Field(
        "unet",
        description="of `task` segmentation, from the maps of `model_name` to the "
        "pixels: `unet` puts finer maps beside coarser ones, `fpn` adds them up",
    )
    decoder_width: int = Field(
        16,
        gt=0,
        description="channels of the decoder at 10 m; coarser maps have twice as many "
        "with every halving, up to eight times",
    )
    pixel_loss: Literal["cross_entropy", "focal"] = Field(
        "cross_entropy",
        description="of `task` segmentation, mean over the labelled pixels of the "
        "whole batch; `focal` with `focal_gamma`",
    )
    class_weights: Literal["none", "balanced", "root"] = Field(
        "none",
        description="weights of the pixels in it: `balanced`: by the inverse of their "
        "label's frequency in the training records, `root`: by the square root of "
        "that; also of `task` land_cover",
    )
    dice_weight: float = Field(
        0.0,
        ge=0,
        description="weight of a soft Dice loss over the labels of each patch beside "
        "it; 0: none",
    )


def check(config: Any) -> None:
    """Refuses keys that don't go with labels of pixels, or only with them.

    Args:
        config: all keys.

    Raises:
        ValueError: names the key.
    """
    if config.task not in ("segmentation", "land_cover") and (
        config.class_weights != "none"
    ):
        raise ValueError(
            "class_weights goes with one label a pixel: set task to segmentation or "
            "land_cover, or leave it out"
        )
    if config.task != "segmentation":
        if config.dice_weight:
            raise ValueError("dice_weight needs task segmentation: leave it out")
        return
    if config.encoders != "single":
        raise ValueError(
            f"encoders {config.encoders} has no maps to decode: take single, which "
            "sees the bands of both sensors together"
        )
    if config.loss != type(config).model_fields["loss"].default:
        raise ValueError(
            f"loss {config.loss!r} is of patches: segmentation has pixel_loss"
        )
    for key in ("mixup_alpha", "cutmix_alpha", "label_smoothing", "head_dims"):
        if getattr(config, key):
            raise ValueError(f"{key} goes with labels of patches, not of pixels")
    if config.thresholds != "none" or config.metadata:
        raise ValueError(
            "thresholds and metadata are for the evaluation of labels of patches, not "
            "of pixels: leave them out"
        )
