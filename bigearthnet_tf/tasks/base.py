"""What the training loop asks of a task; it knows no more about one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeGuard, runtime_checkable

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from bigearthnet_tf.config import Config
from bigearthnet_tf.data.pipeline import WHOLE, Share
from bigearthnet_tf.records import damage, storage
from bigearthnet_tf.registry import Registry

logger = logging.getLogger(__name__)

Batch = Any


class HasShards(Protocol):
    """Whatever reads shards."""

    def files(self, split: str) -> Sequence[str]:
        """Returns the shards of `train`, `val` or `test`; none where there are none."""


class Task(HasShards, Protocol):
    """Data, model, loss and metrics of one kind of learning.

    A batch is whatever the task's datasets yield. Its tensors have the batch as
    their first axis, and each replica gets a part of it.
    """

    random_state: list[keras.Variable]
    """States of random generators beside the model's, once the model is built."""

    default_monitor: str
    """Validation metric that decides which checkpoint is best, unless one is named."""

    loss_name: str
    """What logs call the training loss; a validation metric has the same name."""

    needs_whole_batch: bool
    """Whether the loss of an example depends on the others of the batch."""

    def num_records(self, split: str) -> int:
        """Returns the number of records of `train`, `val` or `test`; 0 for none."""

    def data_fingerprint(self) -> str:
        """Returns what tells the training records from others, wherever they lie."""

    def training_data(
        self, start_iteration: int, share: Share = WHOLE
    ) -> tf.data.Dataset:
        """Returns this share of endless full batches, from an iteration on."""

    def scoring_data(self, split: str, share: Share = WHOLE) -> tf.data.Dataset:
        """Returns every record of a split once, in full batches, the last padded."""

    def build_model(self) -> keras.Model:
        """Builds the model with its preprocessing."""

    def load_weights(self, model: keras.Model, weights: Any) -> None:
        """Loads the weights that a config names, of `weight_files.Published`."""

    def losses(self, model: keras.Model, batch: Batch, training: bool) -> tf.Tensor:
        """Returns the loss of each example, (batch,) float32."""

    def outputs(self, model: keras.Model, batch: Batch) -> dict[str, tf.Tensor]:
        """Returns what `metrics` needs of each example, first axis the batch.

        The key `weight` (batch,) tells records (1) from padding (0).
        """

    def metrics(self, outputs: dict[str, np.ndarray]) -> dict[str, float]:
        """Returns the metrics of a whole split from its outputs, padding removed."""

    def metric_names(self) -> list[str]:
        """Returns the names of all metrics, before there are any outputs."""

    def per_class(self, metrics: dict[str, float]) -> dict[str, dict[str, float]]:
        """Returns those of `metrics` that are of single classes, by both names."""

    def samples(self, count: int) -> Any:
        """Returns some examples of the validation split for `watch` to show."""

    def watch(
        self, outputs: dict[str, np.ndarray], samples: Any = None
    ) -> dict[str, Figure]:
        """Returns pictures of a validation, by their captions."""

    def histograms(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns values of a validation whose distribution tells something."""

    def embedder(self, model: keras.Model) -> keras.Model:
        """Returns a model from band groups to features by name, (batch, dimensions).

        `h_` is for what an encoder gives, `p_` for projections; `s1`, `s2` or `fused`
        tells what they are of.
        """

    def summary(self) -> list[str]:
        """Returns lines for the user: model, labels, data."""

    def describe(self) -> dict[str, Any]:
        """Returns what a checkpoint must agree on with the model it is loaded into.

        Among them the architecture, the order of the bands and of the labels.
        """


@runtime_checkable
class CountsLabels(Protocol):
    """A task that can measure its training, too; optional.

    What it counts comes out of the forward pass of the training step, so it is of the
    model as it was at that step, with dropout and the batch's own statistics, and of
    augmented examples. Counts are whole numbers: summed over parts of a batch, replicas
    and steps in any order they are the same.
    """

    count_shapes: Mapping[str, tuple[int, ...]]
    """The shape of each count, by name."""

    def counted_losses(
        self, model: keras.Model, batch: Batch
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns the training loss of each example, (batch,) float32, and counts.

        The counts are float64 of `count_shapes`: exact up to 2**53, and added on every
        device.
        """

    def counted_metrics(self, counts: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Returns metrics of summed counts, under the names of `Task.metrics`."""


def counts_labels(task: Any) -> TypeGuard[CountsLabels]:
    """Tells whether a task counts labels in the losses that it trains with.

    A class that derives from one that counts and overrides `losses` alone trains with
    its own losses, in which nothing is counted.
    """
    if not isinstance(task, CountsLabels):
        return False
    for of in type(task).__mro__:
        if "counted_losses" in vars(of):
            return True
        if "losses" in vars(of):
            return False
    return True


TASKS: Registry[type] = Registry("task")


def register_task(name: str) -> Callable[[type], type]:
    """Returns a decorator that registers a class of the user as a task.

    It has what `Task` lists, and is made from the config. One that derives from a task
    of this package is evaluated as that is.

    Raises:
        ValueError: something is missing, or the name is taken.
    """

    def decorate(task: type) -> type:
        wanted = [m for m in vars(Task) if not m.startswith("_")]
        wanted += [m for m in vars(HasShards) if not m.startswith("_")]
        missing = sorted(m for m in wanted if not hasattr(task, m))
        if missing:
            raise ValueError(
                f"task {name!r}: lacks {', '.join(missing)} of "
                "bigearthnet_tf.tasks.Task; derive it from a task that has them"
            )
        TASKS.add(name, task)
        return task

    return decorate


def open_task(config: Config) -> Task:
    """Returns the task of a config.

    Raises:
        ValueError: unknown task, or anything in the config that the task refuses.
    """
    return TASKS.get(config.task)(config)


def patterns_of(config: Config) -> dict[str, list[str]]:
    """Returns what a config says of the shards of `train`, `val` and `test`."""
    return {
        "train": list(config.tr_tf_record_files),
        "val": list(config.val_tf_record_files),
        "test": list(config.test_tf_record_files),
    }


def warn_of_shared_shards(config: Config, split: str, files: Sequence[str]) -> None:
    """Warns of shards that an earlier split has too.

    Args:
        config: of the run.
        split: whose shards are opened.
        files: the shards.
    """
    own = set(map(_true_path, files))
    for other, patterns in patterns_of(config).items():
        if other == split:
            return
        found = (path for pattern in patterns for path in storage.glob(pattern))
        shared = sorted(own & set(map(_true_path, found)))
        if shared:
            logger.warning(
                "%s: %d of %d shards are those of %s too, such as %s; scores on them "
                "say nothing of data that the model has not seen",
                *(split, len(shared), len(files), other, shared[0]),
            )


def _true_path(path: str) -> str:
    return path if "://" in path else os.path.realpath(path)


@contextmanager
def reading(task: HasShards, split: str) -> Iterator[None]:
    """Turns TensorFlow's complaint about a record into one line.

    Args:
        task: whose records are read.
        split: `train`, `val` or `test`.

    Raises:
        ValueError: a record is damaged; names shard and record.
    """
    with fitting(), damage.reading(lambda: task.files(split), split):
        yield


@contextmanager
def fitting() -> Iterator[None]:
    """Says in one line that the memory of a device or the machine was not enough.

    Raises:
        OSError: names the keys that lower what is needed.
    """
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        reason = " ".join(str(error).split())[:120]
        raise OSError(
            f"memory is not enough ({reason}): lower batch_size, image_size or the "
            "units of layers, or raise gradient_accumulation"
        ) from error
