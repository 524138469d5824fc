"""Optimisers and schedules by name, and what happens to gradients before them."""

from bigearthnet_tf.optimization.gradients import clip
from bigearthnet_tf.optimization.optimizers import (
    OPTIMIZERS,
    averages,
    build_optimizer,
    exclude_from_decay,
    is_bias,
    scale_steps,
)
from bigearthnet_tf.optimization.schedules import (
    SCHEDULES,
    OneCycle,
    WarmupCosine,
    WarmupDecay,
    build_schedule,
)

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "OneCycle",
    "WarmupCosine",
    "WarmupDecay",
    "averages",
    "build_optimizer",
    "build_schedule",
    "clip",
    "exclude_from_decay",
    "is_bias",
    "scale_steps",
]
