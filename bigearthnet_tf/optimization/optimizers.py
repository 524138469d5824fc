"""Optimisers by name, with the constants of the systems that they reproduce.

Keras's Adam divides by sqrt(v) + epsilon before it corrects the bias of v ("epsilon
hat" of arXiv 1412.6980, section 2), as TensorFlow 1 did; torch corrects first. With
the same epsilon Keras's step is that of torch with epsilon / sqrt(1 - beta_2^t), 32
times larger at t = 1 and equal in the long run. At 1e-8 the first step differs by
more than 3 % only where a gradient is smaller than 1e-5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from bigearthnet_tf import registry

# The defaults of torch's and of TensorFlow 1's Adam, which all three classification
# systems train with.
BETA_1 = 0.9
BETA_2 = 0.999
EPSILON = 1e-8
# The default of tensorflow-addons' LAMB.
LAMB_EPSILON = 1e-6


@dataclass(frozen=True)
class Options:
    """What an optimiser can be told; each takes what it needs.

    Attributes:
        weight_decay: share of a weight, times the rate, that a step takes off; with
            `lamb` before the step is scaled.
        momentum: of `sgd`.
        average: arguments of every Keras optimiser for the average of the weights.
    """

    weight_decay: float
    momentum: float
    average: dict[str, Any]


# (learning rate or schedule, options) -> optimiser
Factory = Callable[[Any, Options], keras.optimizers.Optimizer]
OPTIMIZERS: registry.Registry[Factory] = registry.Registry("optimizer")


def build_optimizer(
    name: str,
    learning_rate: float,
    weight_decay: float = 0.01,
    schedule: keras.optimizers.schedules.LearningRateSchedule | None = None,
    *,
    momentum: float = 0.9,
    ema_momentum: float = 0.0,
) -> keras.optimizers.Optimizer:
    """Returns an optimiser.

    Args:
        name: `"adam"`, `"adamw"`, `"sgd"` or `"lamb"`.
        learning_rate: step size.
        weight_decay: decoupled weight decay, used by `adamw` and `lamb` alone: every
            step of `adamw` first takes the share `learning_rate * weight_decay` off
            every parameter, biases and norms too unless `exclude_from_decay` spares
            them; for that of `lamb` see `Lamb`.
        schedule: of the learning rate, in place of the constant one.
        momentum: of `sgd`, at least 0 and below 1.
        ema_momentum: of a moving average of the weights, see `averages`; 0: none.

    Raises:
        ValueError: unknown name (the nearest ones are offered), a learning rate that
            is not positive, a negative weight decay, or a momentum out of its range.
    """
    if not 0 < learning_rate < math.inf:
        raise ValueError(
            f"expected a learning rate above zero and finite, got {learning_rate}"
        )
    if not 0 <= weight_decay < math.inf:
        raise ValueError(
            f"expected a weight decay of at least zero and finite, got {weight_decay}"
        )
    for key, value in {"momentum": momentum, "ema_momentum": ema_momentum}.items():
        if not 0 <= value < 1:
            raise ValueError(f"expected {key} of at least 0 and below 1, got {value}")
    average = {"use_ema": ema_momentum > 0, "ema_momentum": ema_momentum}
    options = Options(weight_decay, float(momentum), average)
    return OPTIMIZERS.get(name)(schedule or float(learning_rate), options)


def exclude_from_decay(
    optimizer: keras.optimizers.Optimizer, variables: Iterable[keras.Variable]
) -> None:
    """Spares all variables but kernels the decoupled weight decay.

    Kernels are the variables named `...kernel`: the weights of convolutions and dense
    layers. Biases, the scales and offsets of normalisations, and the tokens and
    positions of transformers (which timm spares as well) do not decay.

    Args:
        optimizer: that has not taken a step yet, with or without variables of its own.
        variables: those that it will train.
    """
    spared = [v for v in variables if not v.name.endswith("kernel")]
    optimizer.exclude_from_weight_decay(var_list=spared)


def is_bias(variable: keras.Variable) -> bool:
    """Tells whether a variable is an offset: a bias, or `beta` of a normalisation.

    Torch calls both `bias`, and the older Barlow Twins system went by that name.
    """
    return variable.name.endswith(("bias", "beta"))


def averages(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Returns the moving averages of the weights, in the order of the weights.

    The average begins with the weights after the first step; each further step makes it
    `ema_momentum` times itself plus the rest of the weights. So there is no bias to
    correct, but until that first step it is zero. It is among the variables of the
    optimiser, thus of a checkpoint. Moving statistics of BatchNorm are none of the
    weights and have no average besides their own.

    Args:
        optimizer: built on its variables with an `ema_momentum`.

    Raises:
        ValueError: there is no average.
    """
    if not (optimizer.built and optimizer.use_ema):
        raise ValueError(
            "expected an optimizer that was built on its variables with ema_momentum "
            "above zero, got one without averages"
        )
    return list(optimizer._model_variables_moving_average)


def scale_steps(
    optimizer: keras.optimizers.Optimizer, factors: Sequence[float]
) -> None:
    """Multiplies the learning rate of single variables.

    The weight decay of `adamw` keeps the full rate; that of `lamb`, which is part of
    the step, does not.

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
def adam(learning_rate: Any, options: Options) -> keras.optimizers.Optimizer:
    """Returns Adam (arXiv 1412.6980), which has no weight decay."""
    return keras.optimizers.Adam(
        learning_rate,
        beta_1=BETA_1,
        beta_2=BETA_2,
        epsilon=EPSILON,
        **options.average,
    )


@OPTIMIZERS.register("adamw")
def adamw(learning_rate: Any, options: Options) -> keras.optimizers.Optimizer:
    """Returns AdamW (arXiv 1711.05101)."""
    return keras.optimizers.AdamW(
        learning_rate,
        weight_decay=options.weight_decay,
        beta_1=BETA_1,
        beta_2=BETA_2,
        epsilon=EPSILON,
        **options.average,
    )


@OPTIMIZERS.register("sgd")
def sgd(learning_rate: Any, options: Options) -> keras.optimizers.Optimizer:
    """Returns gradient descent with heavy-ball momentum and no weight decay.

    The velocity holds rate times gradient. Torch's holds gradients and multiplies by
    the rate of the moment, which is the same while the rate is.
    """
    return keras.optimizers.SGD(
        learning_rate, momentum=options.momentum, **options.average
    )


@OPTIMIZERS.register("lamb")
def lamb(learning_rate: Any, options: Options) -> keras.optimizers.Optimizer:
    """Returns `Lamb` with the epsilon of tensorflow-addons."""
    return Lamb(
        learning_rate,
        weight_decay=options.weight_decay,
        beta_1=BETA_1,
        beta_2=BETA_2,
        epsilon=LAMB_EPSILON,
        **options.average,
    )


class Lamb(keras.optimizers.Lamb):
    """LAMB (arXiv 1904.00962, algorithm 2), which scales each step to its variable.

    With corrected moments m and v of the gradients, a variable w takes the step
    `learning_rate * |w| / |u| * u` where `u = m / (sqrt(v) + epsilon) + weight_decay *
    w`, with Euclidean norms over the whole variable; where one of them is zero the
    ratio is 1. tensorflow-addons has the same. Keras takes the decay off beforehand,
    outside the ratio, as AdamW does. The moments, hence checkpoints, are those of
    Keras.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Takes a step of one variable."""
        dtype = variable.dtype
        gradient = ops.cast(gradient, dtype)
        step = ops.cast(self.iterations + 1, dtype)
        index = self._get_variable_index(variable)
        first, second = self._momentums[index], self._velocities[index]
        self.assign_add(first, (gradient - first) * (1 - self.beta_1))
        self.assign_add(second, (ops.square(gradient) - second) * (1 - self.beta_2))

        first = first / (1 - ops.power(ops.cast(self.beta_1, dtype), step))
        second = second / (1 - ops.power(ops.cast(self.beta_2, dtype), step))
        update = first / (ops.sqrt(second) + self.epsilon)
        if self.weight_decay and self._use_weight_decay(variable):
            update = update + variable * ops.cast(self.weight_decay, dtype)

        # `ops.norm` is one of vectors and matrices; kernels have four axes.
        size, length = (ops.sqrt(ops.sum(ops.square(x))) for x in (variable, update))
        both = ops.logical_and(size > 0, length > 0)
        ratio = ops.where(both, size / ops.where(both, length, 1), 1)
        rate = ops.cast(learning_rate, dtype)
        self.assign_sub(variable, ops.cast(ratio, dtype) * rate * update)

    def _apply_weight_decay(self, variables: Any) -> None:
        """Does nothing: the decay is part of the step."""
