"""What a run learns: where data and models meet."""

from bigearthnet_tf.tasks import classification
from bigearthnet_tf.tasks.base import TASKS, Task

__all__ = ["TASKS", "Task", "classification"]
