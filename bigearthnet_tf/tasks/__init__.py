"""What a run learns: where data and models meet."""

from bigearthnet_tf.tasks import classification, contrastive
from bigearthnet_tf.tasks.base import TASKS, Task

__all__ = ["TASKS", "Task", "classification", "contrastive"]
