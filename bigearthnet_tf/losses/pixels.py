"""Losses of labels of pixels.

A pixel without a label counts for nothing. The cross-entropy is the mean over the
labelled pixels of a whole batch, so that a patch with ten of them does not count as
much as one with all 14,400: its parts are kept apart here, as a sum and a weight for
each patch, and whoever knows the whole batch divides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray

from bigearthnet_tf.losses.class_label import balanced_weights

# Powers start here: the slope of z**gamma at zero is infinite for gamma < 1.
_SMALLEST_BASE = 1e-30


class PixelLoss(NamedTuple):
    """What each patch adds to the loss of a batch, all (batch,) float32.

    Attributes:
        total: weighted sum of its pixels' losses.
        weight: sum of the weights of its labelled pixels.
        dice: soft Dice loss of the patch, 0 for one without labels.
    """

    total: Any
    weight: Any
    dice: Any


# (classes (batch, rows, columns), logits (batch, rows, columns, labels)) -> loss
Loss = Callable[[Any, Any], PixelLoss]


def build_pixel_loss(
    name: str,
    *,
    class_weights: ArrayLike | None = None,
    focal_gamma: float = 2.0,
    with_dice: bool = False,
) -> Loss:
    """Returns a loss by its name.

    With p the softmax of the logits at the pixel's own label: `cross_entropy` is
    -log p, `focal` (Lin et al., arXiv 1708.02002) -(1 - p)**gamma log p. Classes of
    the number of labels or above are no labels. All of it runs in float32.

    Args:
        name: `cross_entropy` or `focal`.
        class_weights: (labels,) by which pixels count; None: all the same.
        focal_gamma: of `focal`.
        with_dice: whether `dice` is worked out; else it is 0.

    Raises:
        ValueError: unknown name.
    """
    if name not in ("cross_entropy", "focal"):
        raise ValueError(f"expected cross_entropy or focal, got {name!r}")

    def loss(classes: Any, logits: Any) -> PixelLoss:
        logits = ops.cast(logits, "float32")
        labels = logits.shape[-1]
        # Classes beyond the labels give rows of zeros.
        truth = ops.one_hot(ops.cast(classes, "int32"), labels, dtype="float32")
        log_p = ops.log_softmax(logits, axis=-1)
        own = ops.sum(truth * log_p, axis=-1)
        if name == "focal":
            # 1 - p from log p, which float32 holds near p = 1 too.
            rest = ops.maximum(-ops.expm1(own), _SMALLEST_BASE)
            own = own * rest**focal_gamma
        each = np.ones(labels) if class_weights is None else np.asarray(class_weights)
        weights = ops.sum(truth * each.astype(np.float32), axis=-1)
        total = ops.sum(-own * weights, axis=(1, 2))
        weight = ops.sum(weights, axis=(1, 2))
        dice = soft_dice(truth, ops.exp(log_p)) if with_dice else 0 * weight
        return PixelLoss(total, weight, dice)

    return loss


def soft_dice(truth: Any, scores: Any) -> Any:
    """Returns one minus the mean Dice coefficient of each patch, (batch,) float32.

    Over the labels that the patch has and its labelled pixels: 2 sum(p t) /
    (sum(p) + sum(t)) (Milletari et al., arXiv 1606.04797, without squares). A label
    that the patch has not has no such share; that scores are wasted on it lowers those
    of the others. 0 for a patch without labels.

    Args:
        truth: (batch, rows, columns, labels) of 0 and 1, rows of zeros without label.
        scores: likewise, from 0 to 1.
    """
    labelled = ops.sum(truth, axis=-1, keepdims=True)
    both = ops.sum(truth * scores, axis=(1, 2))
    pixels = ops.sum(truth, axis=(1, 2))
    either = pixels + ops.sum(labelled * scores, axis=(1, 2))
    present = ops.cast(pixels > 0, "float32")
    coefficient = 2 * both / ops.maximum(either, 1e-6)
    count = ops.sum(present, axis=-1)
    mean = ops.sum(present * coefficient, axis=-1) / ops.maximum(count, 1.0)
    return ops.cast(count > 0, "float32") * (1 - mean)


def pixel_weights(counts: ArrayLike, kind: str) -> NDArray[np.float32] | None:
    """Returns the weights of labels from how many pixels have them.

    Args:
        counts: (labels,) pixels of the training split.
        kind: `none`; `balanced`, see `balanced_weights`; `root`: the square root of it.

    Returns:
        (labels,) float32, 0 for labels that don't occur; None for `none`.

    Raises:
        ValueError: unknown kind, or no pixel at all.
    """
    if kind == "none":
        return None
    if kind not in ("balanced", "root"):
        raise ValueError(f"expected none, balanced or root, got {kind!r}")
    if not np.any(counts):
        raise ValueError("class_weights: no pixel of the training records has a label")
    weights = balanced_weights(counts)
    return weights if kind == "balanced" else np.sqrt(weights)
