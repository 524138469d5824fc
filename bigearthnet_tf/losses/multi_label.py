"""Losses of multi-label classification, one number a sample."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray

from bigearthnet_tf import registry

# Powers start here: the slope of z**gamma at zero is infinite for gamma < 1. A loss
# that is multiplied by such a z is below 1e-30 itself.
_SMALLEST_BASE = 1e-30

# (labels, logits), both (batch, labels) -> losses (batch,) float32
Loss = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Options:
    """What a loss can be told; each takes what it needs.

    Attributes:
        positive_weights: (labels,) of `weighted_sigmoid_cross_entropy`.
        focal_gamma: exponent of `focal`.
        focal_alpha: weight of the positives in `focal`; the negatives have the rest.
        asymmetric_gamma_positive: exponent of the positives in `asymmetric`.
        asymmetric_gamma_negative: likewise of the negatives.
        asymmetric_clip: probability by which the negatives are shifted.
    """

    positive_weights: ArrayLike | None
    focal_gamma: float
    focal_alpha: float
    asymmetric_gamma_positive: float
    asymmetric_gamma_negative: float
    asymmetric_clip: float


LOSSES: registry.Registry[Callable[[Options], Loss]] = registry.Registry("loss")


def build_loss(
    name: str,
    *,
    label_smoothing: float = 0.0,
    positive_weights: ArrayLike | None = None,
    focal_gamma: float = 2.0,
    focal_alpha: float = 0.25,
    asymmetric_gamma_positive: float = 0.0,
    asymmetric_gamma_negative: float = 4.0,
    asymmetric_clip: float = 0.05,
) -> Loss:
    """Returns a loss by its name or an alias.

    It takes labels (batch, labels), any dtype, 0 to 1 (mixed patches have labels in
    between), and logits (batch, labels), any float dtype; it computes in float32 and
    returns (batch,) float32.

    Args:
        name: of the loss; those that don't know an option leave it alone.
        label_smoothing: share e, 0 <= e < 1: labels y become (1 - e) y + e / 2.
        positive_weights: (labels,), see `positive_weights`.
        focal_gamma: see `focal`; the defaults are those of arXiv 1708.02002.
        focal_alpha: see `focal`.
        asymmetric_gamma_positive: see `asymmetric`; the defaults are those that arXiv
            2009.14119 chose for MS-COCO.
        asymmetric_gamma_negative: see `asymmetric`.
        asymmetric_clip: see `asymmetric`.

    Raises:
        ValueError: unknown name (the nearest ones are offered), a share of smoothing
            out of its range, or no `positive_weights` where they are needed.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(
            f"expected label_smoothing of at least 0 and below 1, got {label_smoothing}"
        )
    options = Options(
        positive_weights,
        focal_gamma,
        focal_alpha,
        asymmetric_gamma_positive,
        asymmetric_gamma_negative,
        asymmetric_clip,
    )
    loss = LOSSES.get(name)(options)

    def cast_and_smooth(labels: Any, logits: Any) -> Any:
        labels = ops.cast(labels, "float32")
        labels = (1 - label_smoothing) * labels + label_smoothing / 2
        return one_each(name, loss(labels, ops.cast(logits, "float32")))

    return cast_and_smooth


def register_loss(name: str, *aliases: str) -> Callable[[Loss], Loss]:
    """Returns a decorator that registers a loss of several labels under a name.

    It decorates a function of labels (batch, labels), 0 to 1, and logits (batch,
    labels), both float32, that returns one loss a sample, (batch,). It is best written
    with `keras.ops`.

    Raises:
        ValueError: the name is taken.
    """

    def decorate(loss: Loss) -> Loss:
        @functools.wraps(loss)
        def build(options: Options) -> Loss:
            return loss

        LOSSES.add(name, build, aliases)
        return loss

    return decorate


def check_own(name: str, entry: Any, loss: Loss, labels: Any, logits: Any) -> None:
    """Calls a loss of the user once, so that its faults are told in one line.

    Args:
        name: of the loss.
        entry: as it is registered; those of this package are left alone.
        loss: that was built of it.
        labels: of a few examples, or their classes.
        logits: of the same examples.

    Raises:
        ValueError: it fails, or returns something else than one number a sample.
    """
    if getattr(entry, "__wrapped__", entry).__module__.startswith("bigearthnet_tf."):
        return
    try:
        loss(labels, logits)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        if reason.startswith(f"loss {name!r}: "):
            raise
        raise ValueError(
            f"loss {name!r} fails: {type(error).__name__}: {reason}"
        ) from error


def one_each(name: str, losses: Any) -> Any:
    """Returns losses (batch,) float32.

    Args:
        name: of the loss, for the message.
        losses: as the loss returned them.

    Raises:
        ValueError: of another shape.
    """
    shape = getattr(losses, "shape", None)
    if shape is None or len(shape) != 1:
        found = type(losses).__name__ if shape is None else f"shape {tuple(shape)}"
        raise ValueError(
            f"loss {name!r}: expected one number a sample, (batch,), got {found}"
        )
    return ops.cast(losses, "float32")


def positive_weights(counts: ArrayLike, total: int) -> NDArray[np.float32]:
    """Returns how many negatives there are for each positive of a label.

    So weighted, positives and negatives of a label count the same in all. A label that
    no record or every record has, has nothing to balance: its weight is one.

    Args:
        counts: (labels,), the number of records with each label.
        total: the number of all records.

    Returns:
        (labels,) float32, above zero and finite.

    Raises:
        ValueError: a count below zero or above `total`.
    """
    positives = np.asarray(counts, np.float64)
    negatives = total - positives
    if (positives < 0).any() or (negatives < 0).any():
        raise ValueError(
            f"expected counts of 0 to {total} records, got {positives.min():.0f} to "
            f"{positives.max():.0f}"
        )
    mixed = (positives > 0) & (negatives > 0)
    weights = np.divide(negatives, positives, out=np.ones_like(positives), where=mixed)
    return weights.astype(np.float32)


@LOSSES.register("sigmoid_cross_entropy", "bce")
def sigmoid_cross_entropy(options: Options) -> Loss:
    """Returns the mean over the labels of the cross-entropy of sigmoid(logits)."""

    def loss(labels: Any, logits: Any) -> Any:
        return ops.mean(_cross_entropies(labels, logits), axis=-1)

    return loss


@LOSSES.register("weighted_sigmoid_cross_entropy")
def weighted_sigmoid_cross_entropy(options: Options) -> Loss:
    """Returns the same with the positives multiplied by a weight for each label.

    Raises:
        ValueError: the options have no `positive_weights`.
    """
    if options.positive_weights is None:
        raise ValueError(
            "weighted_sigmoid_cross_entropy needs positive_weights, one for each label"
        )
    weights = np.asarray(options.positive_weights, np.float32)

    def loss(labels: Any, logits: Any) -> Any:
        return ops.mean(_cross_entropies(labels, logits, weights), axis=-1)

    return loss


@LOSSES.register("focal")
def focal(options: Options) -> Loss:
    """Returns the focal loss (arXiv 1708.02002), the mean over the labels.

    With the score p = sigmoid(logit) and q = y (1 - p) + (1 - y) p, by which it is
    wrong, a label y has the cross-entropy times q^gamma times y alpha + (1 - y)
    (1 - alpha). tensorflow-addons' `SigmoidFocalCrossEntropy` is the sum over the
    labels.
    """
    gamma, alpha = options.focal_gamma, options.focal_alpha

    def loss(labels: Any, logits: Any) -> Any:
        wrong = labels * ops.sigmoid(-logits) + (1 - labels) * ops.sigmoid(logits)
        shares = labels * alpha + (1 - labels) * (1 - alpha)
        focus = shares * _power(wrong, gamma)
        return ops.mean(focus * _cross_entropies(labels, logits), axis=-1)

    return loss


@LOSSES.register("asymmetric")
def asymmetric(options: Options) -> Loss:
    """Returns the asymmetric loss (arXiv 2009.14119), the mean over the labels.

    With the score p = sigmoid(logit) and s = max(p - clip, 0), a positive has
    -(1 - p)^gamma_positive log(p), a negative -s^gamma_negative log(1 - s): nothing,
    gradient included, up to a score of `clip`. A label y in between has the logarithms
    in the shares y and 1 - y, all times one power, (y (1 - p) + (1 - y) s) to y
    gamma_positive + (1 - y) gamma_negative, as in the authors' code, which is the sum
    over batch and labels.

    The gradient is that of the formula, as in section 2.4 of the paper and the default
    of timm; the option of the authors' code that takes the powers for constants is
    not here. Where that code cuts the score of a positive at 1e-8, below which nothing
    is learnt, here nothing is cut.
    """
    clip = options.asymmetric_clip
    of_positive = options.asymmetric_gamma_positive
    of_negative = options.asymmetric_gamma_negative

    def loss(labels: Any, logits: Any) -> Any:
        shifted = ops.maximum(ops.sigmoid(logits) - clip, 0.0)
        # The logarithm of 1 - shifted, which keeps its digits at high scores.
        right = (
            ops.log(ops.minimum(ops.sigmoid(-logits) + clip, 1.0))
            if clip
            else -ops.softplus(logits)
        )
        losses = labels * ops.softplus(-logits) - (1 - labels) * right
        wrong = labels * ops.sigmoid(-logits) + (1 - labels) * shifted
        gamma = labels * of_positive + (1 - labels) * of_negative
        return ops.mean(_power(wrong, gamma) * losses, axis=-1)

    return loss


@LOSSES.register("softmax_cross_entropy")
def softmax_cross_entropy(options: Options) -> Loss:
    """Returns minus the sum of labels times log(softmax(logits)).

    As balanced-bigearthnet has it: the labels are the targets as they are, and don't
    sum to one where a patch has several.
    """

    def loss(labels: Any, logits: Any) -> Any:
        return -ops.sum(labels * ops.log_softmax(logits, axis=-1), axis=-1)

    return loss


@LOSSES.register("mean_squared_error")
def mean_squared_error(options: Options) -> Loss:
    """Returns the mean over the labels of (logit - label)^2.

    As balanced-bigearthnet has it: of the logits, without a sigmoid.
    """

    def loss(labels: Any, logits: Any) -> Any:
        return ops.mean(ops.square(logits - labels), axis=-1)

    return loss


def _cross_entropies(labels: Any, logits: Any, positive_weights: Any = 1.0) -> Any:
    """Returns y w log(1 + exp(-x)) + (1 - y) log(1 + exp(x)) of each label.

    Written so, neither the value nor the gradient loses digits at large logits, and the
    gradient at a logit of exactly zero is right.
    """
    of_positives = positive_weights * labels * ops.softplus(-logits)
    return of_positives + (1 - labels) * ops.softplus(logits)


def _power(base: Any, exponent: Any) -> Any:
    return ops.power(ops.maximum(base, _SMALLEST_BASE), exponent)
