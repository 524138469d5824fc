"""Loss scaling for float16, whose smallest numbers are larger than many gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

# The constants of "Mixed precision training" (arXiv 1710.03740) as Keras and torch have
# them.
INITIAL = 2.0**15
GROWTH_INTERVAL = 2000


class LossScale:
    """A factor on the loss: doubled after a good while, halved when it overflows.

    `keras.optimizers.LossScaleOptimizer` does the same, but clips before the gradients
    are summed over the replicas. Build it in the scope of the strategy.
    """

    def __init__(self) -> None:
        self._scale = keras.Variable(
            INITIAL, trainable=False, dtype="float32", name="loss_scale"
        )
        self._good_steps = keras.Variable(
            0, trainable=False, dtype="int64", name="good_steps"
        )

    @property
    def variables(self) -> list[keras.Variable]:
        """The factor, and the number of steps since it changed."""
        return [self._scale, self._good_steps]

    def value(self) -> tf.Tensor:
        """Returns the factor, scalar float32."""
        return tf.convert_to_tensor(self._scale.value)

    def apply_if_finite(
        self,
        apply: Callable[[Sequence[tf.Tensor]], None],
        gradients: Sequence[tf.Tensor],
        norm: tf.Tensor,
    ) -> None:
        """Takes an update if its gradients are finite, and adapts the factor.

        Call it on all replicas, with gradients that are summed over them.

        Args:
            apply: takes the update, on a replica.
            gradients: unscaled.
            norm: of all of them, which is finite if they are.
        """

        def on_all(
            strategy: tf.distribute.Strategy,
            gradients: Sequence[tf.Tensor],
            norm: tf.Tensor,
        ) -> None:
            def good() -> tf.Tensor:
                strategy.extended.call_for_each_replica(apply, args=(gradients,))
                steps = self._good_steps.value + 1
                grown = steps >= GROWTH_INTERVAL
                self._scale.assign(self._scale.value * tf.where(grown, 2.0, 1.0))
                self._good_steps.assign(tf.where(grown, tf.zeros_like(steps), steps))
                return tf.constant(True)

            def overflown() -> tf.Tensor:
                self._scale.assign(tf.maximum(self._scale.value / 2, 1.0))
                self._good_steps.assign(0)
                return tf.constant(False)

            own = strategy.experimental_local_results(norm)[0]
            tf.cond(tf.math.is_finite(own), good, overflown)

        context = tf.distribute.get_replica_context()
        context.merge_call(on_all, args=(gradients, norm))
