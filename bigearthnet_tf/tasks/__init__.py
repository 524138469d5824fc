"""What a run learns: where data and models meet."""

from bigearthnet_tf.tasks import (
    barlow_twins,
    classification,
    contrastive,
    land_cover,
    segmentation,
)
from bigearthnet_tf.tasks.base import TASKS, Task

__all__ = [
    "TASKS",
    "Task",
    "barlow_twins",
    "classification",
    "contrastive",
    "land_cover",
    "segmentation",
]
