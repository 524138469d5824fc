"""A look at the validation split while a run goes on."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bigearthnet_tf.config import Config
from bigearthnet_tf.tasks.base import Task
from bigearthnet_tf.training import logs, scoring
from bigearthnet_tf.training.cluster import Cluster
from bigearthnet_tf.training.interruption import Interruption
from bigearthnet_tf.training.state import State


class NotFinite(Exception):
    """Something is infinite or not a number.

    Args:
        what: it is.
        iteration: at which it was found.
    """

    def __init__(self, what: str, iteration: int) -> None:
        super().__init__(f"{what} is no longer finite at iteration {iteration}")


def check_losses(losses: np.ndarray, iteration: int) -> None:
    """Raises NotFinite for the first loss that is not, of steps up to an iteration.

    Args:
        losses: (steps,) float32.
        iteration: of the last step.
    """
    if not np.isfinite(losses).all():
        first = int(np.flatnonzero(~np.isfinite(losses))[0])
        raise NotFinite("the loss", iteration - len(losses) + first + 1)


def check_weights(model: keras.Model, iteration: int) -> None:
    """Raises NotFinite for a weight that is not.

    A finite loss can still have given an infinite update.
    """
    for variable in model.trainable_variables:
        if not tf.reduce_all(tf.math.is_finite(variable.value)):
            raise NotFinite(f"weight {variable.path}", iteration)


class Validator:
    """Computes the metrics of the validation split, and shows what they are of.

    Args:
        config: of the run.
        task: what is learnt.
        state: whose model is looked at, with averaged weights where there are some.
        strategy: the devices.
        processes: that train together.
        max_batches: stop after that many; None for the whole split.
    """

    def __init__(
        self,
        config: Config,
        task: Task,
        state: State,
        strategy: tf.distribute.Strategy,
        processes: Cluster,
        max_batches: int | None = None,
    ) -> None:
        self.config, self.task, self.state = config, task, state
        self.max_batches = max_batches
        self._is_chief = processes.is_chief
        self._scorer = scoring.Scorer(task, state.model, strategy, processes)

    def validate(
        self, iteration: int, log: logs.RunLog, interruption: Interruption
    ) -> dict[str, float]:
        """Returns all metrics, and writes them and pictures to the log.

        Raises:
            NotFinite: an output is not.
            scoring.Stopped: a signal came meanwhile.
        """
        with self.state.averaged():
            outputs = self._scorer.score(
                "val", self.config.batch_size, self.max_batches, interruption
            )
        for name, values in outputs.items():
            if not np.isfinite(values).all():
                raise NotFinite(f"one of the validation {name}", iteration)
        metrics = self.task.metrics(outputs)
        if self._is_chief:
            per_class, histograms = self.task.per_class, self.task.histograms
            overall = logs.overall(metrics)
            log.write("validation", iteration, overall, per_class(metrics))
            log.write_histograms("validation", iteration, histograms(outputs))
            if self.config.sample_images:
                with self.state.averaged():
                    figures = self.task.watch(outputs, self._samples)
                log.write_figures("validation", iteration, figures)
        return metrics

    @functools.cached_property
    def _samples(self) -> Any:
        """Examples that are shown every time."""
        count = min(self.config.sample_images, self.task.num_records("val"))
        if self.max_batches is not None:
            count = min(count, self.max_batches * self.config.batch_size)
        return self.task.samples(count)
