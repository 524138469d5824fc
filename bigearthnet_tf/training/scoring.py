"""Outputs of a model over a whole split, gathered from all replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from bigearthnet_tf import console
from bigearthnet_tf.data.pipeline import Share
from bigearthnet_tf.tasks import base
from bigearthnet_tf.tasks.base import Batch, Task
from bigearthnet_tf.training.cluster import Cluster
from bigearthnet_tf.training.interruption import Interruption


class Stopped(Exception):
    """Scoring was given up because a signal came."""


def check_finite(
    outputs: Mapping[str, np.ndarray],
    names: Callable[[], Sequence[str]],
    split: str,
    first: int = 0,
) -> None:
    """Raises ValueError where an output of a patch is NaN or infinite.

    Args:
        outputs: arrays with patches as their first axis, by name.
        names: returns those of all patches of the split; called to name a broken one.
        split: `train`, `val` or `test`.
        first: number in the split of the first patch of the outputs.
    """
    broken = np.zeros(len(next(iter(outputs.values()))), bool)
    for values in outputs.values():
        broken |= ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    if not broken.any():
        return
    row = first + int(broken.argmax())
    others = f" and of {broken.sum() - 1} more" if broken.sum() > 1 else ""
    raise ValueError(
        f"{names()[row]} (record {row} of {split}): the outputs for this patch{others} "
        "are NaN or infinite; expected finite pixels: convert the records again "
        "(--on-error skip leaves such patches out), or take another checkpoint if the "
        "pixels are sound"
    )


class Scorer:
    """Runs a model over splits; the compiled step is kept between calls.

    Args:
        task: gives the batches and says what is gathered.
        model: built in the scope of the strategy.
        strategy: over whose replicas each batch is divided.
        processes: that share the batches.
        outputs: of the model for a batch, with `weight`; None: those of the task.
    """

    def __init__(
        self,
        task: Task,
        model: keras.Model,
        strategy: tf.distribute.Strategy,
        processes: Cluster = Cluster(),  # noqa: B008 - immutable
        outputs: Callable[[keras.Model, Batch], dict[str, tf.Tensor]] | None = None,
    ) -> None:
        self.task = task
        self.strategy = strategy
        replicas = strategy.num_replicas_in_sync // processes.size
        self._share = Share(processes.index, processes.size, replicas)

        def step(batch: Batch) -> dict[str, tf.Tensor]:
            return (outputs or task.outputs)(model, batch)

        @tf.function
        def gathered_step(batch: Batch) -> dict[str, tf.Tensor]:
            outputs = strategy.run(step, args=(batch,))
            return {key: strategy.gather(part, 0) for key, part in outputs.items()}

        self._step, self._is_compiled = gathered_step, False

    def score(
        self,
        split: str,
        batch_size: int,
        max_batches: int | None = None,
        interruption: Interruption | None = None,
    ) -> dict[str, np.ndarray]:
        """Returns the task's outputs for every record of a split, in file order.

        Memory: the outputs alone are kept, for labels and scores of 125,866 patches
        and 43 labels 43 MB.

        Args:
            split: `train`, `val` or `test`.
            batch_size: of the task's batches, over all replicas.
            max_batches: stop after that many; None for the whole split.
            interruption: gives up when a signal comes, but for processes that train
                together, where all would have to at once.

        Returns:
            By name, arrays with the records as their first axis; no padding.

        Raises:
            Stopped: a signal came.
        """
        parts = list(self.stream(split, batch_size, max_batches, interruption))
        return {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}

    def stream(
        self,
        split: str,
        batch_size: int,
        max_batches: int | None = None,
        interruption: Interruption | None = None,
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields what `score` returns batch by batch; arguments as there."""
        total = -(-self.task.num_records(split) // batch_size)
        if max_batches is not None:
            total = min(total, max_batches)
        batches = self.strategy.distribute_datasets_from_function(
            lambda _: self.task.scoring_data(split, self._share).take(
                total * self._share.replicas
            )
        )
        name = f"scoring {split}"
        bar = console.progress(
            total=total,
            desc=name,
            unit="batch",
            leave=False,
            disable=None,
            compiles=not self._is_compiled,
        )
        self._is_compiled = True
        with bar, base.reading(self.task, split):
            for batch in batches:
                outputs = {k: v.numpy() for k, v in self._step(batch).items()}
                present = outputs.pop("weight") > 0
                yield {key: values[present] for key, values in outputs.items()}
                bar.update()
                if interruption and self._share.workers == 1:
                    raise Stopped
