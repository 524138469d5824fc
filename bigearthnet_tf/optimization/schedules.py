"""Schedules of the learning rate by name; iterations count from 0."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from bigearthnet_tf import registry

# reBEN starts from and ends at a tenth of the rate.
LOWEST_SHARE = 10
# reBEN's own warm-up: (shorter than the run, iterations), else none.
AUTOMATIC_WARMUPS = (10_000, 100)

# The defaults of torch's `OneCycleLR`: the share of a run in which the rate rises, from
# the highest rate divided by the first number, and by what the first rate is divided
# for the last.
RISING_SHARE = 0.3
FIRST_DIVISOR = 25.0
LAST_DIVISOR = 1e4


@dataclass(frozen=True)
class Options:
    """What a schedule can be told; each takes what it needs.

    Attributes:
        warmup_iterations: of `warmup_cosine` and `warmup_decay`; -1: by the length of
            the run.
        decay_rate: factor of `step`.
        decay_step: iterations between two of them.
        decay_power: of `polynomial`.
        decay_iterations: of `warmup_decay`.
    """

    warmup_iterations: int
    decay_rate: float
    decay_step: int
    decay_power: float
    decay_iterations: int


# (highest rate, iterations of the run, options) -> schedule
Factory = Callable[[float, int, Options], LearningRateSchedule | None]
SCHEDULES: registry.Registry[Factory] = registry.Registry("learning rate schedule")


def build_schedule(
    name: str,
    learning_rate: float,
    total: int,
    *,
    warmup_iterations: int = 1000,
    decay_rate: float = 0.1,
    decay_step: int = 10_000,
    decay_power: float = 1.0,
    decay_iterations: int = 250_000,
) -> LearningRateSchedule | None:
    """Returns a schedule by its name; None for `constant`.

    Args:
        name: of the schedule; those that don't know an option leave it alone.
        learning_rate: the highest rate.
        total: iterations of the run; beyond them a rate stays what it was, but for
            `step`, which does not know the end.
        warmup_iterations: see `warmup_cosine`.
        decay_rate: see `step`.
        decay_step: see `step`.
        decay_power: see `polynomial`.
        decay_iterations: see `warmup_decay`.

    Raises:
        ValueError: unknown name (the nearest ones are offered), or a run without
            iterations.
    """
    if total < 1:
        raise ValueError(f"expected a run of at least one iteration, got {total}")
    options = Options(
        warmup_iterations, decay_rate, decay_step, decay_power, decay_iterations
    )
    return SCHEDULES.get(name)(learning_rate, total, options)


@SCHEDULES.register("constant")
def constant(learning_rate: float, total: int, options: Options) -> None:
    """Returns nothing: a plain number can be changed later, a schedule can't."""
    return


@SCHEDULES.register("step")
def step(learning_rate: float, total: int, options: Options) -> LearningRateSchedule:
    """Returns the rate times `decay_rate` to the power of iteration // `decay_step`."""
    return keras.optimizers.schedules.ExponentialDecay(
        learning_rate, options.decay_step, options.decay_rate, staircase=True
    )


@SCHEDULES.register("polynomial")
def polynomial(
    learning_rate: float, total: int, options: Options
) -> LearningRateSchedule:
    """Returns the rate times (1 - iteration / total) to the power of `decay_power`.

    It reaches zero with the end of the run, after the last step.
    """
    return keras.optimizers.schedules.PolynomialDecay(
        learning_rate, total, end_learning_rate=0.0, power=options.decay_power
    )


@SCHEDULES.register("one_cycle")
def one_cycle(
    learning_rate: float, total: int, options: Options
) -> LearningRateSchedule:
    """Returns `OneCycle` with the defaults of torch."""
    return OneCycle(learning_rate, total)


@SCHEDULES.register("warmup_cosine")
def warmup_cosine(
    learning_rate: float, total: int, options: Options
) -> LearningRateSchedule:
    """Returns `WarmupCosine`.

    With -1 warm-up iterations reBEN's rule holds: 10,000 of them in runs that are
    longer, else 100 in runs that are longer, else none.
    """
    return WarmupCosine(learning_rate, _warmup(total, options), total)


@SCHEDULES.register("warmup_decay")
def warmup_decay(
    learning_rate: float, total: int, options: Options
) -> LearningRateSchedule:
    """Returns `WarmupDecay`; -1 warm-up iterations as for `warmup_cosine`."""
    warmup = _warmup(total, options)
    return WarmupDecay(learning_rate, warmup, options.decay_iterations, total)


def _warmup(total: int, options: Options) -> int:
    warmup = options.warmup_iterations
    if warmup < 0:
        warmup = next((w for w in AUTOMATIC_WARMUPS if w < total), 0)
    return warmup


class WarmupCosine(LearningRateSchedule):
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
        step = ops.cast(step, "float32")
        lowest = self.base / LOWEST_SHARE
        rise = (self.base - lowest) / max(self.warmup - 1, 1)
        warming = lowest + rise * step
        share = (step - self.warmup) / max(self.total - self.warmup, 1)
        cooling = _half_cosine(self.base, lowest, share)
        return ops.where(step < self.warmup, warming, cooling)

    def get_config(self) -> dict[str, Any]:
        """Returns what the schedule is built from."""
        return {"base": self.base, "warmup": self.warmup, "total": self.total}


class WarmupDecay(LearningRateSchedule):
    """What the older Barlow Twins system meant to do: up, stay, and down to zero.

    With base b, W iterations of warm-up, T in all and D = min(D, T - W) of decay, step
    s (from 0) has the rate b min((s + 1) / W, 1) min(1, max(0, (T - s) / D)): a
    straight line up, a plateau, a straight line that is zero at T. A run that is
    shorter than warm-up and decay together has no plateau, and one that is shorter than
    its warm-up no decay; btfm's rate never left a hundredth of the base in
    either.

    Args:
        base: the highest rate.
        warmup: W, at least 0.
        decay: D, at least 0; 0: the rate stays until T.
        total: T, at least 1.
    """

    def __init__(self, base: float, warmup: int, decay: int, total: int) -> None:
        super().__init__()
        self.base, self.total = base, total
        self.warmup = max(0, min(warmup, total))
        self.decay = max(0, min(decay, total - self.warmup))

    def __call__(self, step: Any) -> Any:
        """Returns the rate of an iteration, counted from 0."""
        step = ops.cast(step, "float32")
        rise = ops.minimum((step + 1) / max(self.warmup, 1), 1.0)
        fall = ops.clip((self.total - step) / max(self.decay, 1), 0.0, 1.0)
        return self.base * rise * fall

    def get_config(self) -> dict[str, Any]:
        """Returns what the schedule is built from."""
        return {
            "base": self.base,
            "warmup": self.warmup,
            "decay": self.decay,
            "total": self.total,
        }


class OneCycle(LearningRateSchedule):
    """The one-cycle policy (arXiv 1708.07120) as torch's `OneCycleLR` has it.

    With the highest rate b and T iterations, half a cosine leads from b / 25 at t = 0
    up to b at t = 0.3 T - 1, another one down to b / 25 / 10,000 at t = T - 1, where
    the rate stays. Momentum is not cycled: it stays what it is, where torch moves it
    against the rate by default.

    Args:
        base: the highest rate.
        total: T, at least 1.
    """

    def __init__(self, base: float, total: int) -> None:
        super().__init__()
        self.base, self.total = base, total

    def __call__(self, step: Any) -> Any:
        """Returns the rate of an iteration, counted from 0."""
        step = ops.cast(step, "float32")
        first = self.base / FIRST_DIVISOR
        top = RISING_SHARE * self.total - 1
        # A run of three iterations has no rise; its top lies before the first one.
        rising = _half_cosine(first, self.base, step / top)
        share = (step - top) / (self.total - 1 - top)
        falling = _half_cosine(self.base, first / LAST_DIVISOR, share)
        return ops.where(step <= top, rising, falling)

    def get_config(self) -> dict[str, Any]:
        """Returns what the schedule is built from."""
        return {"base": self.base, "total": self.total}


def _half_cosine(start: float, end: float, share: Any) -> Any:
    """Returns the rate after a share of the way, which ends where it is 1."""
    share = ops.clip(share, 0.0, 1.0)
    return end + 0.5 * (start - end) * (1 + ops.cos(math.pi * share))
