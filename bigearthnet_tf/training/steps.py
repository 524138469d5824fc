"""The compiled steps of training.

A step is: forward and backward pass on every replica, the sum of the gradients over
all of them, clipping, and one update. The forward and backward pass is a pure function
of the variables' values, so that XLA can compile it: what the model changes meanwhile
(BatchNorm statistics, random generators) it returns, and is assigned outside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from bigearthnet_tf import losses, optimization
from bigearthnet_tf.config import Config
from bigearthnet_tf.tasks import base
from bigearthnet_tf.tasks.base import Batch, Task
from bigearthnet_tf.training.loss_scale import LossScale

Tensors = Sequence[tf.Tensor]
Counts = dict[str, tf.Tensor]


class Steps:
    """Takes optimisation steps, several a call.

    Args:
        task: what is learnt.
        model: built in the scope of the strategy, as is the optimizer.
        optimizer: its variables exist already.
        strategy: the devices.
        config: of the run.
        xla: whether to compile the forward and backward pass with XLA.
    """

    def __init__(
        self,
        task: Task,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        strategy: tf.distribute.Strategy,
        config: Config,
        xla: bool = False,
    ) -> None:
        self.task, self.model, self.optimizer = task, model, optimizer
        self.strategy, self.config = strategy, config
        self.loss_scale = None
        if config.precision == "mixed_float16":
            with strategy.scope():
                self.loss_scale = LossScale()
        # TensorFlow has no clock where operations must be deterministic.
        self.is_timed = not config.deterministic
        self._weights = model.trainable_variables
        self._changing = [*model.non_trainable_variables, *task.random_state]
        self._pass = self._forward_backward
        if xla:
            self._pass = tf.function(self._forward_backward, jit_compile=True)
        # The gradients that it gets are summed over the replicas already, since they
        # must be so before they are clipped.
        optimizer._all_reduce_sum_gradients = list

    @property
    def variables(self) -> list[keras.Variable]:
        """What a checkpoint must hold besides model and optimizer."""
        scale = self.loss_scale.variables if self.loss_scale else []
        return [*self.task.random_state, *scale]

    @tf.function
    def __call__(
        self, data: Iterator[Batch], count: tf.Tensor, stop: tf.Tensor
    ) -> dict[str, Any]:
        """Takes steps.

        Args:
            data: batches, a part for each replica.
            count: how many steps.
            stop: scalar float32; above 0 if this process is asked to stop.

        Returns:
            `loss` and `gradient_norm` (count,) float32 of each step, the loss as the
            mean over the whole batch; `input_seconds`, for which this process waited
            for its input; `stop`, how many replicas are asked to stop; `counts`, what
            the task has counted in these steps, float64 by name.
        """
        sum_over_replicas = tf.distribute.ReduceOp.SUM
        found = tf.TensorArray(tf.float32, count)
        norms = tf.TensorArray(tf.float32, count)
        waited = tf.constant(0.0, tf.float64)
        counts = self._zeros()
        for number in tf.range(count):
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            batch, seconds = self._next(data)
            waited += seconds
            loss, norm, counted = self.strategy.run(self._step, args=(batch,))
            loss = self.strategy.reduce(sum_over_replicas, loss, axis=None)
            counted = {
                name: self.strategy.reduce(sum_over_replicas, each, axis=None)
                for name, each in counted.items()
            }
            counts = _added(counts, counted)
            found = found.write(number, loss)
            norms = norms.write(
                number, self.strategy.experimental_local_results(norm)[0]
            )
        stops = self.strategy.run(lambda: tf.identity(stop))
        return {
            "loss": found.stack(),
            "gradient_norm": norms.stack(),
            "input_seconds": waited,
            "stop": self.strategy.reduce(sum_over_replicas, stops, axis=None),
            "counts": counts,
        }

    def _zeros(self) -> Counts:
        """Returns the counts of no step."""
        if not base.counts_labels(self.task):
            return {}
        shapes = self.task.count_shapes
        return {name: tf.zeros(shape, tf.float64) for name, shape in shapes.items()}

    def _next(self, data: Iterator[Batch]) -> tuple[Batch, tf.Tensor]:
        """Returns the next batch, and the seconds that it took to come.

        Nothing but these dependencies keeps TensorFlow from looking at the clock twice
        while it waits.
        """
        if not self.is_timed:
            return next(data), tf.constant(0.0, tf.float64)
        begun = tf.timestamp()
        with tf.control_dependencies([begun]):
            batch = next(data)
        parts = tf.nest.flatten(batch, expand_composites=True)
        with tf.control_dependencies(parts):
            return batch, tf.timestamp() - begun

    def _step(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor, Counts]:
        """Takes one step on a replica's part of a batch.

        The loss of a replica is its examples' sum over the global batch, so that the
        sum of the replicas' gradients is the gradient of the mean over the batch.
        """
        weights = [tf.convert_to_tensor(weight.value) for weight in self._weights]
        changing = [tf.convert_to_tensor(each.value) for each in self._changing]
        scale = self.loss_scale.value() if self.loss_scale else None
        loss, counts = tf.constant(0.0), self._zeros()
        gradients: list[tf.Tensor] = []
        for part in self._parts(batch):
            # One part after the other, or they would all be in memory at once.
            with tf.control_dependencies(gradients):
                part = tf.nest.map_structure(tf.identity, part)
            found, more, changing, counted = self._pass(part, weights, changing, scale)
            loss += found
            counts = _added(counts, counted)
            if gradients:
                more = [a + b for a, b in zip(gradients, more, strict=True)]
            gradients = more
        context = tf.distribute.get_replica_context()
        changing = self._averaged(changing)
        for variable, value in zip(self._changing, changing, strict=True):
            variable.assign(value)
        gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if self.loss_scale:
            gradients = [gradient / scale for gradient in gradients]
        gradients, norm = optimization.clip(
            gradients, self.config.clip_norm, self.config.clip_value
        )
        if self.loss_scale:
            self.loss_scale.apply_if_finite(self._apply, gradients, norm)
        else:
            self._apply(gradients)
        return loss, norm, counts

    def _averaged(self, changing: list[tf.Tensor]) -> list[tf.Tensor]:
        """Takes the mean of statistics that every replica has of its own part.

        A checkpoint holds one value of each; what is validated must be that. Random
        states, whole numbers, are equal anyway.
        """
        apart = not self.config.synchronize_batch_norm
        if self.strategy.num_replicas_in_sync == 1 or not apart:
            return changing
        floats = [value for value in changing if value.dtype.is_floating]
        if not floats:
            return changing
        context = tf.distribute.get_replica_context()
        means = iter(context.all_reduce(tf.distribute.ReduceOp.MEAN, floats))
        return [next(means) if v.dtype.is_floating else v for v in changing]

    def _parts(self, batch: Batch) -> Iterator[Batch]:
        """Cuts a replica's batch into the parts that gradients are accumulated over."""
        count = self.config.gradient_accumulation
        if count == 1:
            yield batch
            return
        replicas = self.strategy.num_replicas_in_sync
        size = self.config.batch_size // replicas // count
        for first in range(0, size * count, size):
            own = slice(first, first + size)
            yield tf.nest.map_structure(lambda tensor, own=own: tensor[own], batch)

    def _forward_backward(
        self, batch: Batch, weights: Tensors, changing: Tensors, scale: Any
    ) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor], Counts]:
        """Returns loss, gradients, new values of what the model changes, and counts."""
        values = zip(
            [*self._weights, *self._changing], [*weights, *changing], strict=True
        )
        share = self.strategy.num_replicas_in_sync * self.config.gradient_accumulation
        with tf.GradientTape() as tape:
            tape.watch(weights)
            with keras.StatelessScope(list(values)) as scope:
                per_example, counts = self._losses(batch)
                loss = tf.reduce_sum(per_example) / self.config.batch_size
                penalties = [*self.model.losses]
                if self.config.l2:
                    l2, on = self.config.l2, self.config.l2_on
                    penalties.append(losses.l2_penalty(self._weights, l2, on))
                if penalties:
                    loss += tf.add_n(penalties) / share
            scaled = loss if scale is None else loss * scale
        gradients = tape.gradient(scaled, weights)
        changed = [scope.get_current_value(v) for v in self._changing]
        return loss, gradients, changed, counts

    def _losses(self, batch: Batch) -> tuple[tf.Tensor, Counts]:
        if base.counts_labels(self.task):
            return self.task.counted_losses(self.model, batch)
        return self.task.losses(self.model, batch, training=True), {}

    def _apply(self, gradients: Tensors) -> None:
        self.optimizer.apply(gradients, self._weights)


def _added(counts: Counts, more: Counts) -> Counts:
    return {name: each + more[name] for name, each in counts.items()}
