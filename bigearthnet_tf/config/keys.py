"""The keys of a config: typed fields with their meaning."""

from __future__ import annotations

import pydantic

from bigearthnet_tf import files
from bigearthnet_tf.config import pixel_keys, time_series_keys
from bigearthnet_tf.config.data_keys import DataKeys
from bigearthnet_tf.config.learning_keys import LearningKeys
from bigearthnet_tf.config.pair_keys import PairKeys
from bigearthnet_tf.config.run_keys import RunKeys

_MAY_BE_EMPTY = ("cache", "model_file")
# What 32 bits hold.
_MOST: dict[type, float] = {int: 2**31 - 1, float: 3.4e38}


# Of several bases, the fields of the last come first.
class Config(
    RunKeys,
    time_series_keys.TimeSeriesKeys,
    pixel_keys.PixelKeys,
    PairKeys,
    LearningKeys,
    DataKeys,
):
    """All keys of a config with their meaning; unknown keys are refused."""

    model_config = pydantic.ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    @pydantic.model_validator(mode="after")
    def _values_fit(self) -> Config:
        """Refuses numbers that TensorFlow has no type for, and empty names."""
        for key, value in self:
            for one in value if isinstance(value, list) else [value]:
                is_empty = isinstance(one, str) and not one.strip()
                is_named = not is_empty or key in _MAY_BE_EMPTY
                if not is_named or (isinstance(one, str) and "\0" in one):
                    raise ValueError(
                        f"{key}: expected a name or path, got {files.echo(one)}"
                    )
                most = _MOST.get(type(one))
                if most is not None and one > most:
                    raise ValueError(
                        f"{key}: expected {most:g} at most, got {files.echo(one)}"
                    )
        return self

    @pydantic.model_validator(mode="after")
    def _weights_belong_together(self) -> Config:
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

    @pydantic.model_validator(mode="after")
    def _time_series_belong_together(self) -> Config:
        time_series_keys.check(self)
        return self

    @pydantic.model_validator(mode="after")
    def _pairs_belong_together(self) -> Config:
        if self.task != "contrastive":
            if self.intra_modal_weight or self.learn_temperature:
                raise ValueError(
                    "intra_modal_weight and learn_temperature are of the contrastive "
                    "loss: set task to contrastive, or leave them out"
                )
        elif self.encoders == "single":
            raise ValueError(
                "task contrastive needs two encoders: set encoders to separate or joint"
            )
        else:
            self._check_contrastive()
        if self.encoders != "single" and self.bands is None and self.modality != "MM":
            raise ValueError(
                f"encoders {self.encoders} needs both sensors: set modality to MM"
            )
        return self

    def _check_contrastive(self) -> None:
        if self.gradient_accumulation > 1:
            raise ValueError(
                "gradient_accumulation would hide most of the batch from the "
                "contrastive loss; leave it at 1"
            )
        if self.intra_modal_weight and not self.augmentation:
            raise ValueError(
                "intra_modal_weight compares two augmented views: name some in "
                "augmentation"
            )
        useless = [
            key
            for key in ("mixup_alpha", "cutmix_alpha", "label_smoothing", "head_dims")
            if getattr(self, key)
        ]
        if useless:
            raise ValueError(f"{useless[0]} goes with labels, not with contrastive")

    @pydantic.model_validator(mode="after")
    def _pixels_belong_together(self) -> Config:
        pixel_keys.check(self)
        return self
