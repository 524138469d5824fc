"""The iterations of a run: steps, logs, validation, checkpoints, stop."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from bigearthnet_tf import console
from bigearthnet_tf.config import Config
from bigearthnet_tf.tasks import base
from bigearthnet_tf.tasks.base import Batch, Task
from bigearthnet_tf.training import checkpoints, initial_weights, logs, scoring

logger = logging.getLogger(__name__)

# Metrics of which less is better.
_LOWER_IS_BETTER = re.compile(r"loss$|^coverage$|^one_error$")
# A call of the compiled loop aims at this long: short enough for a lively progress
# bar, long enough that Python costs nothing.
_SECONDS_PER_CALL = 0.5
TEST_RUN_ITERATIONS = 4
TEST_RUN_BATCHES = 3


@dataclass(frozen=True)
class Schedule:
    """When a run logs, validates, saves and ends, counted in iterations.

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

    def next_event(self, iteration: int) -> int:
        """Returns the next iteration at which anything but a step happens."""
        config = self.config
        every = (config.log_per_iteration, config.save_checkpoint_per_iteration)
        events = [(iteration // n + 1) * n for n in every]
        return min(self.total, self.next_validation(iteration), *events)


def total_iterations(task: Task, config: Config) -> int:
    """Returns the iterations of a whole run."""
    return math.ceil(task.num_records("train") * config.nb_epoch / config.batch_size)


class Trainer:
    """Trains a task's model from wherever its run stands.

    Args:
        config: of the run.
        task: what is learnt.
        strategy: the devices.
        out_dir: folder of the run.
        test_run: a handful of steps only.
    """

    def __init__(
        self,
        config: Config,
        task: Task,
        strategy: tf.distribute.Strategy,
        out_dir: Path,
        test_run: bool = False,
    ) -> None:
        self.config, self.task, self.strategy = config, task, strategy
        self.out_dir = out_dir
        self.max_batches = TEST_RUN_BATCHES if test_run else None
        num_records = task.num_records("train")
        if not num_records:
            raise ValueError(
                "tr_tf_record_files is empty; name the training shards there"
            )
        total = total_iterations(task, config)
        self.schedule = Schedule(
            total=min(total, TEST_RUN_ITERATIONS) if test_run else total,
            num_records=num_records,
            config=config,
            has_validation=task.num_records("val") > 0,
        )
        self.checkpoints = checkpoints.CheckpointFolder(
            out_dir / "checkpoints",
            task.describe(),
            config.keep_checkpoints,
            {
                "batch_size": config.batch_size,
                "seed": config.seed,
                "shuffle_buffer_size": config.shuffle_buffer_size,
                "training_records": num_records,
            },
        )

    def start(self, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
        """Puts model and optimizer where the run stands, and says where that is.

        Args:
            model: built in the scope of the strategy, as is the optimizer.
            optimizer: its variables exist already.

        Raises:
            FileNotFoundError: no checkpoint at `model_file`.
            ValueError: a checkpoint is damaged, or of another model or order of data.
        """
        self._state = checkpoints.State(model, optimizer)
        self._optimizer = optimizer
        self._iteration = self._restore(self._state)
        self._best = self.checkpoints.best()
        # The rate is the config's, also where a checkpoint remembers another one.
        if self.config.learning_rate_schedule == "constant":
            optimizer.learning_rate = self.config.learning_rate

    def train(self) -> int:
        """Runs all iterations that are still to do, after `start`.

        Returns:
            The last iteration.

        Raises:
            ValueError: the loss or a weight is no longer finite.
            OSError: a checkpoint can't be written.
        """
        state, iteration = self._state, self._iteration
        if iteration >= self.schedule.total:
            logger.info("all %d iterations are done", iteration)
            return iteration
        self.log = logs.RunLog(self.out_dir, iteration)
        self._scorer = scoring.Scorer(self.task, state.model, self.strategy)
        data = iter(
            self.strategy.experimental_distribute_dataset(
                self.task.training_data(iteration)
            )
        )
        steps = _compiled_steps(
            self.task,
            state.model,
            state.optimizer,
            self.strategy,
            self.config.batch_size,
        )
        with console.progress(
            total=self.schedule.total, initial=iteration, desc="training", unit="it"
        ) as bar:
            for now in self._advance(steps, data, state, iteration, bar):
                if self.schedule.validates(now):
                    self._validate(state, now, bar)
                if self.schedule.saves(now):
                    self._save(state, now)
        self.log.close()
        return self.schedule.total

    def _restore(self, state: checkpoints.State) -> int:
        """Decides where to begin: this run's checkpoint, given weights, scratch."""
        if self.checkpoints.iterations():
            path = self.checkpoints.find("last")
            iteration = self.checkpoints.restore(state, path)
            logger.info("continuing from %s", path)
            return iteration
        if not initial_weights.load(self.config, self.task, state.model):
            logger.info("starting from scratch, seed %d", self.config.seed)
        return 0

    def _advance(
        self,
        steps: tf.types.experimental.PolymorphicFunction,
        data: Iterator[Batch],
        state: checkpoints.State,
        iteration: int,
        bar: console.tqdm,
    ) -> Iterator[int]:
        """Takes steps; yields at each iteration where something is due."""
        losses, since, step_seconds = [], time.perf_counter(), _SECONDS_PER_CALL
        while iteration < self.schedule.total:
            event = self.schedule.next_event(iteration)
            fitting = max(1, int(_SECONDS_PER_CALL / step_seconds))
            count = min(fitting, event - iteration)
            begun = time.perf_counter()
            with base.reading("train"):
                loss = float(steps(data, tf.constant(count)))
            step_seconds = max((time.perf_counter() - begun) / count, 1e-6)
            iteration += count
            self._check_finite(loss, iteration)
            losses += [loss] * count
            bar.update(count)
            speed = self.config.batch_size / step_seconds
            bar.set_postfix({"loss": f"{loss:.4f}", "img/s": f"{speed:.0f}"}, False)
            last = iteration == self.schedule.total
            if last or iteration % self.config.log_per_iteration == 0:
                self._check_weights(state, iteration)
                seconds = time.perf_counter() - since
                images = len(losses) * self.config.batch_size
                scalars = {
                    f"{self.config.loss}_loss": sum(losses) / len(losses),
                    "learning_rate": float(np.asarray(self._optimizer.learning_rate)),
                    "images_per_second": images / seconds,
                }
                self.log.write("training", iteration, scalars)
                losses, since = [], time.perf_counter()
            if iteration == event:
                paused = time.perf_counter()
                yield iteration
                since += time.perf_counter() - paused

    def _validate(
        self, state: checkpoints.State, iteration: int, bar: console.tqdm
    ) -> None:
        outputs = self._scorer.score("val", self.config.batch_size, self.max_batches)
        for name, values in outputs.items():
            if not np.isfinite(values).all():
                self._stop_unfit(f"one of the validation {name}", iteration)
        metrics = self.task.metrics(outputs)
        shown = logs.overall(metrics)
        self.log.write("validation", iteration, shown)
        monitor = self.config.monitor
        if monitor not in metrics:
            known = ", ".join(sorted(shown))
            raise ValueError(
                f"monitor: no validation metric {monitor!r}; choose one of {known}"
            )
        value = metrics[monitor]
        console.say(bar, f"iteration {iteration}: validation {monitor} {value:.4f}")
        if self.schedule.may_save(iteration) and self._is_best(value):
            self._best = checkpoints.Best(iteration, monitor, value)
            self._save(state, iteration)

    def _is_best(self, value: float) -> bool:
        best = self._best
        if best is None or best.metric != self.config.monitor:
            return True
        if _LOWER_IS_BETTER.search(self.config.monitor):
            return value < best.value
        return value > best.value

    def _save(self, state: checkpoints.State, iteration: int) -> None:
        if self.checkpoints.iterations()[-1:] == [iteration]:
            return
        self._check_weights(state, iteration)
        self.checkpoints.save(state, iteration, self._best)

    def _check_weights(self, state: checkpoints.State, iteration: int) -> None:
        # A finite loss can still have given an infinite update.
        for variable in state.model.trainable_variables:
            if not tf.reduce_all(tf.math.is_finite(variable.value)):
                self._stop_unfit(f"weight {variable.path}", iteration)

    def _check_finite(self, loss: float, iteration: int) -> None:
        if not math.isfinite(loss):
            self._stop_unfit("the loss", iteration)

    def _stop_unfit(self, what: str, iteration: int) -> None:
        self.log.close()
        saved = self.checkpoints.iterations()
        good = "none was made before"
        if saved:
            good = f"the last good one is {self.checkpoints.path(saved[-1])}"
        raise ValueError(
            f"{what} is no longer finite at iteration {iteration}; no checkpoint was "
            f"made of it ({good}); lower learning_rate or look for broken patches"
        )


def _compiled_steps(
    task: Task,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    strategy: tf.distribute.Strategy,
    batch_size: int,
) -> tf.types.experimental.PolymorphicFunction:
    """Returns a function that takes `count` steps and gives their mean loss.

    The loss of a replica is its examples' sum over the global batch, so that the sum
    of the replicas' gradients is the gradient of the mean over the whole batch.
    """

    def step(batch: Batch) -> tf.Tensor:
        with tf.GradientTape() as tape:
            per_example = task.losses(model, batch, training=True)
            loss = tf.reduce_sum(per_example) / batch_size
            if model.losses:
                loss += tf.add_n(model.losses) / strategy.num_replicas_in_sync
        weights = [variable.value for variable in model.trainable_variables]
        gradients = tape.gradient(loss, weights)
        optimizer.apply_gradients(
            zip(gradients, model.trainable_variables, strict=True)
        )
        return loss

    @tf.function
    def steps(data: Iterator[Batch], count: tf.Tensor) -> tf.Tensor:
        total = tf.constant(0.0)
        for _ in tf.range(count):
            losses = strategy.run(step, args=(next(data),))
            total += strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)
        return total / tf.cast(count, tf.float32)

    return steps
