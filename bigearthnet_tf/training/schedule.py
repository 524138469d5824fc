"""When a run logs, validates, saves and ends."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bigearthnet_tf.config import Config
from bigearthnet_tf.tasks.base import Task


@dataclass(frozen=True)
class Schedule:
    """The events of a run, counted in iterations.

    Attributes:
        total: iterations of the whole run.
        num_records: of the training split.
        config: of the run.
        has_validation: whether there is a validation split.
    """

    total: int
    num_records: int
    config: Config
    has_validation: bool

    def next_validation(self, iteration: int) -> int:
        """Returns the first validation after an iteration; the last is at the end."""
        config = self.config
        if config.validate_per_iteration:
            every = config.validate_per_iteration
            return min(self.total, (iteration // every + 1) * every)
        epochs_done = iteration * config.batch_size // self.num_records
        end = math.ceil((epochs_done + 1) * self.num_records / config.batch_size)
        return min(self.total, max(end, iteration + 1))

    def validates(self, iteration: int) -> bool:
        """Tells whether the run validates at an iteration."""
        due = iteration > 0 and self.next_validation(iteration - 1) == iteration
        return self.has_validation and due

    def saves(self, iteration: int) -> bool:
        """Tells whether the run saves a checkpoint at an iteration."""
        if iteration == self.total:
            return True
        every = self.config.save_checkpoint_per_iteration
        return self.may_save(iteration) and iteration % every == 0

    def may_save(self, iteration: int) -> bool:
        """Tells whether checkpoints have begun."""
        begun = iteration >= self.config.save_checkpoint_after_iteration
        return begun or iteration == self.total

    def logs(self, iteration: int) -> bool:
        """Tells whether the run writes a point of the training logs."""
        return iteration == self.total or iteration % self.config.log_per_iteration == 0

    def next_event(self, iteration: int) -> int:
        """Returns the next iteration at which anything but a step happens."""
        config = self.config
        every = (config.log_per_iteration, config.save_checkpoint_per_iteration)
        events = [(iteration // n + 1) * n for n in every]
        return min(self.total, self.next_validation(iteration), *events)


def total_iterations(task: Task, config: Config) -> int:
    """Returns the iterations of a whole run.

    Raises:
        ValueError: there are no training records.
    """
    num_records = task.num_records("train")
    if not num_records:
        raise ValueError("tr_tf_record_files is empty; name the training shards there")
    return math.ceil(num_records * config.nb_epoch / config.batch_size)
