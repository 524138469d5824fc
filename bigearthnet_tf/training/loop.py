"""The iterations of a run: steps, logs, validation, checkpoints, stop."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from bigearthnet_tf import console
from bigearthnet_tf.config import Config
from bigearthnet_tf.data.pipeline import Share
from bigearthnet_tf.tasks import base, own_modules
from bigearthnet_tf.tasks.base import Batch, Task
from bigearthnet_tf.training import (
    checkpoints,
    cluster,
    initial_weights,
    logs,
    resume,
    scoring,
    stopping,
    trial,
    usage,
    validation,
)
from bigearthnet_tf.training.cluster import Cluster
from bigearthnet_tf.training.interruption import Interruption
from bigearthnet_tf.training.schedule import Schedule, total_iterations
from bigearthnet_tf.training.state import State
from bigearthnet_tf.training.steps import Steps
from bigearthnet_tf.training.window import Window

logger = logging.getLogger(__name__)

# A call of the compiled loop aims at this long: short enough for a lively progress
# bar, long enough that Python costs nothing.
_SECONDS_PER_CALL = 0.5
# Processes that train together must take as many iterations a call.
_ITERATIONS_PER_CALL_TOGETHER = 10


class Trainer:
    """Trains a task's model from wherever its run stands.

    Args:
        config: of the run.
        task: what is learnt.
        strategy: the devices.
        out_dir: folder of the run.
        test_run: a handful of steps only.
        processes: those that train together.
        profile: iterations to profile for TensorBoard.
    """

    def __init__(
        self,
        config: Config,
        task: Task,
        strategy: tf.distribute.Strategy,
        out_dir: Path,
        test_run: bool = False,
        processes: Cluster = Cluster(),  # noqa: B008 - immutable
        profile: int = 0,
    ) -> None:
        self.config, self.task, self.strategy = config, task, strategy
        self.out_dir, self.processes = out_dir, processes
        self.max_batches = trial.VALIDATION_BATCHES if test_run else None
        total = total_iterations(task, config)
        self.schedule = Schedule(
            total=min(total, trial.ITERATIONS) if test_run else total,
            num_records=task.num_records("train"),
            config=config,
            has_validation=task.num_records("val") > 0,
        )
        self.monitor = config.monitor or task.default_monitor
        self.stopping = stopping.EarlyStopping(
            config.early_stopping_metric or self.monitor,
            config.early_stopping_patience,
            config.early_stopping_min_delta,
        )
        self._check_metrics()
        self._data_fingerprint = task.data_fingerprint()
        self.checkpoints = checkpoints.CheckpointFolder(
            out_dir / "checkpoints",
            task.describe(),
            config.keep_checkpoints,
            config.keep_checkpoint_per_iteration,
        )
        self.profile = usage.Profile(out_dir / "logs" / "training", profile)
        self.interruption = Interruption()

    def _check_metrics(self) -> None:
        if not self.schedule.has_validation:
            if self.stopping.patience:
                raise ValueError("early_stopping_patience needs val_tf_record_files")
            return
        known = self.task.metric_names()
        for key, name in (
            ("monitor", self.monitor),
            ("early_stopping_metric", self.stopping.metric),
        ):
            if name not in known:
                shown = ", ".join(sorted(logs.overall(dict.fromkeys(known, 0.0))))
                raise ValueError(
                    f"{key}: no validation metric {name!r}; choose one of {shown}"
                )

    def start(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        xla: bool = False,
    ) -> None:
        """Puts model and optimizer where the run stands, and says where that is.

        Args:
            model: built in the scope of the strategy, as is the optimizer.
            optimizer: its variables exist already.
            xla: whether to compile the steps with XLA.

        Raises:
            FileNotFoundError: no checkpoint at `model_file`.
            ValueError: all checkpoints are damaged, or one is of another model or
                config.
        """
        self._steps = Steps(
            self.task, model, optimizer, self.strategy, self.config, xla
        )
        self._state = State(model, optimizer, self._steps.variables)
        self._optimizer = optimizer
        self._window, self._validation_due = Window(), False
        self._best: checkpoints.Best | None = None
        self._saved_at: int | None = None
        self._iteration = self._restore()
        cluster.check_agreement(
            self.strategy, self.processes, self._iteration, self._fingerprint()
        )
        # The rate is the config's, also where a checkpoint remembers another one.
        if self.config.learning_rate_schedule == "constant":
            optimizer.learning_rate = self.config.learning_rate

    def _restore(self) -> int:
        """Decides where to begin: this run's checkpoint, given weights, scratch."""
        found = self.checkpoints.restore_newest(self._state, self._check_config)
        if found is None:
            if not initial_weights.load(self.config, self.task, self._state.model):
                logger.info("starting from scratch, seed %d", self.config.seed)
            return 0
        path, content = found
        progress = content["progress"]
        if content["best"]:
            self._best = checkpoints.Best(**content["best"])
        self.stopping = self.stopping.restored(progress["early_stopping"])
        self._validation_due = progress["validation_due"]
        logger.info("continuing from %s", path)
        return int(content["iteration"])

    def _fingerprint(self) -> int:
        """Returns a number that all processes must have in common."""
        own = ("out_dir", "cache", "devices")
        keys = {k: v for k, v in self.config.model_dump().items() if k not in own}
        modules = own_modules.loaded(self.config)
        content = json.dumps([keys, self.profile.iterations, modules])
        return zlib.crc32(content.encode())

    def _check_config(self, description: dict[str, Any], path: Path) -> None:
        progress = description["progress"]
        resume.check(progress, self.config, self._training_data(), path)
        self._window = Window.from_json(progress["window"], self.task, path)

    def _training_data(self) -> dict[str, Any]:
        """Returns what must not change of the training records."""
        return {
            "training_records": self.schedule.num_records,
            "training_data": self._data_fingerprint,
        }

    def train(self) -> int:
        """Runs all iterations that are still to do, after `start`.

        Returns:
            The last iteration.

        Raises:
            ValueError: the loss or a weight is no longer finite.
            OSError: a checkpoint can't be written, or another process is gone.
            console.Interrupted: a signal came; the state is saved.
        """
        iteration = self._iteration
        if iteration >= self.schedule.total and not self._validation_due:
            logger.info("all %d iterations are done", iteration)
            return iteration
        if self.stopping.is_due:
            logger.info("the run ended early at iteration %d", iteration)
            return iteration
        self.log = logs.RunLog.silent()
        if self.processes.is_chief:
            self.log = logs.RunLog(self.out_dir, iteration, self.config)
        self._validator = validation.Validator(
            self.config,
            self.task,
            self._state,
            self.strategy,
            self.processes,
            self.max_batches,
        )
        with (
            self.interruption.heeded(),
            console.progress(
                total=self.schedule.total,
                initial=iteration,
                desc="training",
                unit="it",
                compiles=True,
            ) as bar,
        ):
            try:
                last = self._run(iteration, bar)
                self.checkpoints.wait()
                # Nobody leaves before the last file is written.
                cluster.check_agreement(self.strategy, self.processes, last)
            except validation.NotFinite as error:
                raise ValueError(
                    f"{error}; no checkpoint was made of it ({self._last_good()}); "
                    "lower learning_rate, or look for patches with NaN pixels: "
                    "bigearthnet-tf inspect RECORDS --verify names them"
                ) from error
            finally:
                self.profile.close()
                self.log.close()
                self.checkpoints.close()
        return last

    def _run(self, iteration: int, bar: console.tqdm) -> int:
        """Trains until the end, an early stop, or an interruption."""
        if self._validation_due:
            self._validate(iteration, bar)
            self._save(iteration)  # It is no longer due.
            if self._ends_early(iteration, bar):
                return iteration
        last = iteration
        for last in self._advance(iteration, bar):
            if self.schedule.validates(last):
                self._validate(last, bar)
            if self.schedule.saves(last) or self.stopping.is_due:
                self._save(last)
            if self._ends_early(last, bar):
                break
        return last

    def _ends_early(self, iteration: int, bar: console.tqdm) -> bool:
        if self.stopping.is_due:
            console.say(
                bar,
                f"iteration {iteration}: no better {self.stopping.metric} in "
                f"{self.stopping.waited} validations; the run ends early",
            )
        return self.stopping.is_due

    def _data(self, iteration: int) -> Iterator[Batch]:
        """Returns the endless batches from an iteration on, on their devices."""
        replicas = self.strategy.num_replicas_in_sync // self.processes.size
        share = Share(self.processes.index, self.processes.size, replicas)
        return iter(
            self.strategy.distribute_datasets_from_function(
                lambda _: self.task.training_data(iteration, share)
            )
        )

    def _advance(self, iteration: int, bar: console.tqdm) -> Iterator[int]:
        """Takes steps; yields at each iteration where something is due."""
        data, batch_size = self._data(iteration), self.config.batch_size
        speed = usage.Speed(_SECONDS_PER_CALL)
        while iteration < self.schedule.total:
            event = self.schedule.next_event(iteration)
            count = min(self._per_call(speed), event - iteration)
            asked = tf.constant(float(bool(self.interruption)))
            with base.reading(self.task, "train"), speed.measured(count):
                found = self._steps(data, tf.constant(count), asked)
                taken = tf.nest.map_structure(lambda value: value.numpy(), found)
            iteration += count
            self.checkpoints.check()
            validation.check_losses(taken["loss"], iteration)
            self._window.add(taken["loss"], taken["gradient_norm"], taken["counts"])
            speed.waited += float(taken["input_seconds"])
            self.profile.after(count)
            bar.update(count)
            shown = {
                "loss": f"{taken['loss'][-1]:.4f}",
                "img/s": f"{batch_size / speed.per_iteration:.0f}",
            }
            bar.set_postfix(shown, False)
            if self.schedule.logs(iteration):
                self._log_training(iteration, speed)
            if iteration == event:
                yield iteration
            if taken["stop"] > 0 or self._is_asked_alone:
                self._leave(iteration)

    @property
    def _is_asked_alone(self) -> bool:
        """Whether to leave now; processes that train together agree first."""
        return bool(self.interruption) and self.processes.size == 1

    def _per_call(self, speed: usage.Speed) -> int:
        """Returns how many iterations a call may take."""
        fixed = self.config.iterations_per_call
        if not fixed and self.processes.size > 1:
            fixed = _ITERATIONS_PER_CALL_TOGETHER
        profiled = self.profile.next_stop()
        return min(fixed or speed.fitting(), profiled or self.schedule.total)

    def _log_training(self, iteration: int, speed: usage.Speed) -> None:
        model = self._state.model
        validation.check_weights(self._state.model, iteration)
        loss, gradient_norm = self._window.means()
        rate = self._optimizer.learning_rate
        norm = tf.linalg.global_norm([v.value for v in model.trainable_variables])
        scalars = {
            self.task.loss_name: loss,
            "learning_rate": float(keras.ops.convert_to_numpy(rate)),
            "gradient_norm": gradient_norm,
            "weight_norm": float(norm),
            "images_per_second": speed.iterations
            * self.config.batch_size
            / speed.seconds,
            **usage.memory(),
            **logs.overall(self._window.label_metrics(self.task)),
        }
        if self._steps.is_timed:
            scalars["input_wait_share"] = min(1.0, speed.waited / speed.seconds)
        self.log.write("training", iteration, scalars)
        self._window = Window()
        speed.restart()

    def _validate(self, iteration: int, bar: console.tqdm) -> None:
        self._validation_due = self._is_asked_alone
        if self._validation_due:
            self._leave(iteration)
        try:
            metrics = self._validator.validate(iteration, self.log, self.interruption)
        except scoring.Stopped:
            self._validation_due = True
            self._leave(iteration)
        monitor = self.monitor
        value = metrics[monitor]
        console.say(bar, f"iteration {iteration}: validation {monitor} {value:.4f}")
        self.stopping = self.stopping.after(metrics[self.stopping.metric])
        if self.schedule.may_save(iteration) and self._is_best(value):
            self._best = checkpoints.Best(iteration, monitor, value)
            self._save(iteration)

    def _is_best(self, value: float) -> bool:
        best = self._best
        if best is None or best.metric != self.monitor:
            return True
        return stopping.is_better(best.metric, value, best.value)

    def _progress(self) -> dict[str, Any]:
        return {
            "config": self.config.model_dump(),
            **self._training_data(),
            "early_stopping": self.stopping.to_json(),
            "window": self._window.to_json(),
            "validation_due": self._validation_due,
            "modules": own_modules.loaded(self.config),
        }

    def _save(self, iteration: int) -> None:
        validation.check_weights(self._state.model, iteration)
        if self.processes.is_chief and self._saved_at != iteration:
            self.checkpoints.save(self._state, iteration, self._best, self._progress())
            self._saved_at = iteration

    def _leave(self, iteration: int) -> None:
        """Saves and ends the run, as a signal asked for."""
        self._save(iteration)
        self.checkpoints.wait()
        cluster.check_agreement(self.strategy, self.processes, iteration)
        received = self.interruption.signal
        name = received.name if received else "a signal to another process"
        raise console.Interrupted(
            received or 15,
            f"{name} at iteration {iteration}: saved "
            f"{self.checkpoints.path(iteration)}; the same command continues there",
        )

    def _last_good(self) -> str:
        self.checkpoints.wait()
        saved = self.checkpoints.iterations()
        if not saved:
            return "none was made before"
        return f"the last good one is {self.checkpoints.path(saved[-1])}"
