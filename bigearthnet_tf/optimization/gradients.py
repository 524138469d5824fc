"""What happens to gradients between the backward pass and the optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops


def clip(
    gradients: Sequence[Any], clip_norm: float, clip_value: float
) -> tuple[list[Any], Any]:
    """Cuts gradients back to a norm over all of them, and each part to a size.

    With both, first to the norm, so that both hold in the end. A number that is not
    finite never becomes one that is: a norm that is not finite makes all gradients
    NaN, and parts that are infinite or NaN are left as they are. Without either the
    gradients come back untouched.

    Args:
        gradients: of the whole batch, without the scale of a scaled loss.
        clip_norm: largest Euclidean norm of all gradients together; 0: any.
        clip_value: largest magnitude of a part; 0: any.

    Returns:
        The gradients, and their norm before, a float32 scalar.
    """
    squares = [ops.sum(ops.square(ops.cast(g, "float32"))) for g in gradients]
    norm = ops.sqrt(sum(squares))
    clipped = list(gradients)
    if clip_norm:
        scale = clip_norm / ops.maximum(norm, clip_norm)
        scale = ops.where(ops.isfinite(norm), scale, float("nan"))
        clipped = [g * ops.cast(scale, g.dtype) for g in clipped]
    if clip_value:
        clipped = [
            ops.where(ops.isfinite(g), ops.clip(g, -clip_value, clip_value), g)
            for g in clipped
        ]
    return clipped, norm
