"""Optimisers by name, with the constants of the systems that they reproduce.

Keras's Adam divides by sqrt(v) + epsilon before it corrects the bias of v ("epsilon
hat" of arXiv 1412.6980, section 2), as TensorFlow 1 did; torch corrects first. With
the same epsilon Keras's step is that of torch with epsilon / sqrt(1 - beta_2^t), 32
times larger at t = 1 and equal in the long run. At 1e-8 the first step differs by
more than 3 % only where a gradient is smaller than 1e-5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras

from bigearthnet_tf import registry

# The defaults of torch's and of TensorFlow 1's Adam, which all three classification
# systems train with.
BETA_1 = 0.9
BETA_2 = 0.999
EPSILON = 1e-8

# reBEN starts from and ends at a tenth of the rate.
LOWEST_SHARE = 10

# (learning rate or schedule, weight decay) -> optimiser
Factory = Callable[[Any, float], keras.optimizers.Optimizer]
OPTIMIZERS: registry.Registry[Factory] = registry.Registry("optimizer")


def build_optimizer(
    name: str,
    learning_rate: float,
    weight_decay: float = 0.01,
    schedule: keras.optimizers.schedules.LearningRateSchedule | None = None,
) -> keras.optimizers.Optimizer:
    """Returns an optimiser.

    Args:
        name: `"adam"` or `"adamw"`.
        learning_rate: step size.
        weight_decay: decoupled weight decay, used by `adamw` alone: every step first
            takes the share `learning_rate * weight_decay` off every parameter, biases
            and norms too.
        schedule: of the learning rate, in place of the constant one.

    Raises:
        ValueError: unknown name (the nearest ones are offered), a learning rate that
            is not positive, or a negative weight decay.
    """
    if not 0 < learning_rate < math.inf:
        raise ValueError(
            f"expected a learning rate above zero and finite, got {learning_rate}"
        )
    if not 0 <= weight_decay < math.inf:
        raise ValueError(
            f"expected a weight decay of at least zero and finite, got {weight_decay}"
        )
    return OPTIMIZERS.get(name)(schedule or learning_rate, weight_decay)


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """The schedule of reBEN: a linear warm-up, then half a cosine.

    With base b, lowest rate l = b / 10, W iterations of warm-up and T in all, step t
    (from 0) has the rate

    * l + t (b - l) / (W - 1) for t < W, and b for t = W;
    * l + (b - l) (1 + cos(pi (t - W) / (T - W))) / 2 for t > W, l from T on.

    ConfigILM's `LinearWarmupCosineAnnealingLR` is the same but for its recursive form,
    which rises again beyond T and never leaves l without a warm-up.

    Args:
        base: the highest rate.
        warmup: W, at least 0; at most T - 1 of it are taken.
        total: T, at least 1.
    """

    def __init__(self, base: float, warmup: int, total: int) -> None:
        super().__init__()
        self.base, self.total = base, total
        self.warmup = max(0, min(warmup, total - 1))

    def __call__(self, step: Any) -> Any:
        """Returns the rate of an iteration, counted from 0."""
        step = keras.ops.cast(step, "float32")
        lowest = self.base / LOWEST_SHARE
        rise = (self.base - lowest) / max(self.warmup - 1, 1)
        share = (step - self.warmup) / max(self.total - self.warmup, 1)
        share = keras.ops.clip(share, 0.0, 1.0)
        fall = 0.5 * (self.base - lowest) * (1 + keras.ops.cos(math.pi * share))
        warming = lowest + rise * step
        return keras.ops.where(step < self.warmup, warming, lowest + fall)

    def get_config(self) -> dict[str, Any]:
        """Returns what the schedule is built from."""
        return {"base": self.base, "warmup": self.warmup, "total": self.total}


def scale_steps(
    optimizer: keras.optimizers.Optimizer, factors: Sequence[float]
) -> None:
    """Multiplies the learning rate of single variables.

    Decoupled weight decay keeps the full rate.

    Args:
        optimizer: built on its variables.
        factors: one for each of them, in their order.
    """
    step = optimizer.update_step

    def scaled(gradient: Any, variable: Any, learning_rate: Any) -> Any:
        # Every Keras optimiser finds the slots of a variable by this index.
        factor = factors[optimizer._get_variable_index(variable)]
        return step(gradient, variable, learning_rate * factor)

    optimizer.update_step = scaled


@OPTIMIZERS.register("adam")
def adam(learning_rate: Any, weight_decay: float) -> keras.optimizers.Optimizer:
    """Returns Adam (arXiv 1412.6980), which has no weight decay."""
    return keras.optimizers.Adam(
        learning_rate, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON
    )


@OPTIMIZERS.register("adamw")
def adamw(learning_rate: Any, weight_decay: float) -> keras.optimizers.Optimizer:
    """Returns AdamW (arXiv 1711.05101)."""
    return keras.optimizers.AdamW(
        learning_rate,
        weight_decay=weight_decay,
        beta_1=BETA_1,
        beta_2=BETA_2,
        epsilon=EPSILON,
    )
