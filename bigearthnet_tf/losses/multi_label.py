"""Losses of multi-label classification, one number a sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from bigearthnet_tf import registry

# (labels, logits), both (batch, labels) -> losses (batch,) float32
Loss = Callable[[Any, Any], Any]
LOSSES: registry.Registry[Loss] = registry.Registry("loss")


def get_loss(name: str) -> Loss:
    """Returns a loss by its name or an alias.

    Raises:
        ValueError: unknown name; the message offers the nearest ones.
    """
    return LOSSES.get(name)


@LOSSES.register("sigmoid_cross_entropy", "bce")
def sigmoid_cross_entropy(labels: Any, logits: Any) -> Any:
    """Returns the mean over the labels of the cross-entropy of sigmoid(logits).

    Per label y * log(1 + exp(-x)) + (1 - y) * log(1 + exp(x)). Written so, neither
    the value nor the gradient loses digits at large logits, and the gradient at a
    logit of exactly zero is right.

    Args:
        labels: (batch, labels), zero or one, any dtype.
        logits: (batch, labels), any float dtype; computed in float32.

    Returns:
        (batch,) float32.
    """
    labels = ops.cast(labels, "float32")
    logits = ops.cast(logits, "float32")
    losses = labels * ops.softplus(-logits) + (1 - labels) * ops.softplus(logits)
    return ops.mean(losses, axis=-1)
