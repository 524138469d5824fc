"""Losses of one class an example: cross-entropy and focal."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray

from bigearthnet_tf import registry
from bigearthnet_tf.losses.multi_label import one_each

# (classes (batch,) int32 with -1 for none, logits (batch, classes)) -> (batch,)
ClassLoss = Callable[[Any, Any], Any]
# (weights (classes,), gamma) -> loss
CLASS_LOSSES: registry.Registry[Callable[[Any, float], ClassLoss]] = registry.Registry(
    "loss of single classes"
)


def build_class_loss(
    name: str, *, weights: ArrayLike | None = None, focal_gamma: float = 2.0
) -> ClassLoss:
    """Returns a loss of (classes, logits) for each example, float32.

    Args:
        name: `softmax_cross_entropy` or `focal`.
        weights: of each class, (classes,); None: all are one.
        focal_gamma: of `focal`.

    Raises:
        ValueError: an unknown name.
    """
    weights = None if weights is None else np.asarray(weights, np.float32)
    return CLASS_LOSSES.get(name)(weights, focal_gamma)


def register_class_loss(name: str, *aliases: str) -> Callable[[ClassLoss], ClassLoss]:
    """Returns a decorator that registers a loss of single classes, as of land cover.

    It decorates a function of classes (batch,) int32, -1 for none, and logits (batch,
    classes) float32, that returns one loss an example, (batch,). Those without a class
    count as zero, and `class_weights` multiply the others, whatever it returns.

    Raises:
        ValueError: the name is taken.
    """

    def decorate(loss: ClassLoss) -> ClassLoss:
        @functools.wraps(loss)
        def weighted(weights: Any, gamma: float) -> ClassLoss:
            def of(classes: Any, logits: Any) -> Any:
                losses = one_each(name, loss(classes, ops.cast(logits, "float32")))
                return ops.where(classes >= 0, losses, 0) * _weight(classes, weights)

            return of

        CLASS_LOSSES.add(name, weighted, aliases)
        return loss

    return decorate


def balanced_weights(counts: ArrayLike) -> NDArray[np.float32]:
    """Returns weights that make all classes count alike, mean 1 over the examples.

    n / (k * n_c), as scikit-learn's `class_weight="balanced"`, k the number of
    classes that occur; 0 for a class that does not.

    Args:
        counts: examples of each class, (classes,).
    """
    counts = np.asarray(counts, np.float64)
    present = counts > 0
    weights = counts.sum() / (max(1, present.sum()) * np.maximum(counts, 1))
    return np.where(present, weights, 0).astype(np.float32)


@CLASS_LOSSES.register("softmax_cross_entropy")
def softmax_cross_entropy(weights: Any, gamma: float) -> ClassLoss:
    """Returns -w_c log softmax(logits)_c; zero without a class."""

    def loss(classes: Any, logits: Any) -> Any:
        return -_log_probability(classes, logits) * _weight(classes, weights)

    return loss


@CLASS_LOSSES.register("focal")
def focal(weights: Any, gamma: float) -> ClassLoss:
    """Returns -w_c (1 - p_c)^gamma log p_c (arXiv 1708.02002), zero without a class.

    btfm's alpha is one weight for all classes, here `weights` has one for
    each.
    """

    def loss(classes: Any, logits: Any) -> Any:
        logs = _log_probability(classes, logits)
        # 1 - p from log p, whose gradient is finite at p = 1 too.
        doubt = ops.maximum(-ops.expm1(logs), 1e-7)
        return -(doubt**gamma) * logs * _weight(classes, weights)

    return loss


def _log_probability(classes: Any, logits: Any) -> Any:
    logs = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    rows = ops.expand_dims(ops.maximum(classes, 0), -1)
    return ops.squeeze(ops.take_along_axis(logs, rows, axis=-1), -1)


def _weight(classes: Any, weights: Any) -> Any:
    has_class = ops.cast(classes >= 0, "float32")
    if weights is None:
        return has_class
    return has_class * ops.take(weights, ops.maximum(classes, 0), axis=0)
