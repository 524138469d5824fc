"""The contrastive loss of pairs, NT-Xent (Chen et al., arXiv 2002.05709)."""

from __future__ import annotations

from typing import Any

from keras import ops

from bigearthnet_tf.vectors import SMALLEST_NORM

# Stands for minus infinity, whose gradient would be no number.
_NEVER = -1e30


def nt_xent(
    p: Any,
    q: Any,
    temperature: Any,
    *,
    all_p: Any = None,
    all_q: Any = None,
    offset: Any = 0,
) -> Any:
    """Returns the loss of each pair, (batch,) float32.

    The rows of both views, 2B in all, are compared by their cosines over the
    temperature. Each has one positive, its partner in the other view, and 2B - 2
    negatives, all others but itself: its loss is the cross-entropy of finding the
    partner among those 2B - 1. A pair has the mean of its two rows, so that the mean
    over pairs is the mean over rows. It is computed as a log-sum-exp without the row
    itself, which is finite at any temperature.

    Where several devices have a part of the batch each, the part is compared with all
    of it.

    Args:
        p: (batch, dimensions) of one view, any float dtype; computed in float32.
        q: the same of the other view.
        temperature: scalar above zero.
        all_p: (B, dimensions), the batch of which `p` is a part; None: `p` is all.
        all_q: likewise.
        offset: row of the whole batch at which the part begins.

    Raises:
        ValueError: a temperature that is a number and not above zero.
    """
    if isinstance(temperature, int | float) and not temperature > 0:
        raise ValueError(f"temperature: expected a number above 0, got {temperature}")
    p, q = _unit(p), _unit(q)
    all_p = p if all_p is None else _unit(all_p)
    all_q = q if all_q is None else _unit(all_q)
    temperature = ops.cast(temperature, "float32")
    rows = ops.expand_dims(offset + ops.arange(ops.shape(p)[0]), 1)
    is_partner = rows == ops.expand_dims(ops.arange(ops.shape(all_p)[0]), 0)

    def row_losses(own: Any, same_view: Any, other_view: Any) -> Any:
        same = own @ ops.transpose(same_view) / temperature
        other = own @ ops.transpose(other_view) / temperature
        positive = ops.sum(ops.where(is_partner, other, 0.0), axis=1)
        candidates = ops.concatenate([ops.where(is_partner, _NEVER, same), other], 1)
        return ops.logsumexp(candidates, axis=1) - positive

    return (row_losses(p, all_p, all_q) + row_losses(q, all_q, all_p)) / 2


def _unit(vectors: Any) -> Any:
    vectors = ops.cast(vectors, "float32")
    squares = ops.sum(vectors * vectors, axis=-1, keepdims=True)
    # From the direction of a vector without length nothing is learnt.
    has_length = squares > SMALLEST_NORM**2
    return vectors * ops.where(
        has_length, ops.rsqrt(ops.where(has_length, squares, 1.0)), 0.0
    )
