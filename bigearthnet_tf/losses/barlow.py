"""Barlow Twins: two views agree, and dimensions don't repeat each other."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

# Added to the variance: that of the batch normalisation of Zbontar et al.
# (arXiv 2103.03230), so that a constant dimension correlates with nothing.
EPSILON = 1e-5
FORMS = ("population", "sample")


class BarlowTwins(NamedTuple):
    """The loss and its terms, scalars float32.

    Attributes:
        loss: `on_diagonal + off_weight * off_diagonal`.
        on_diagonal: sum over the dimensions of (C_ii - 1)^2.
        off_diagonal: sum over i != j of C_ij^2, not yet weighted.
    """

    loss: Any
    on_diagonal: Any
    off_diagonal: Any


def barlow_twins(
    one: Any, other: Any, off_weight: float, *, form: str = "population"
) -> BarlowTwins:
    """Returns the loss of Barlow Twins (arXiv 2103.03230, equation 1) over a batch.

    Sums, not means: it grows with the number of dimensions.

    Args:
        one: (batch, dimensions), the projections of one view, any float dtype;
            computed in float32.
        other: the same of the other view.
        off_weight: lambda, of the terms off the diagonal.
        form: of the correlation, see `cross_correlation`.

    Raises:
        ValueError: an unknown form.
    """
    correlation = cross_correlation(one, other, form=form)
    diagonal = ops.diagonal(correlation)
    on = ops.sum(ops.square(diagonal - 1.0))
    off = ops.sum(ops.square(correlation)) - ops.sum(ops.square(diagonal))
    return BarlowTwins(on + off_weight * off, on, off)


def cross_correlation(one: Any, other: Any, *, form: str = "population") -> Any:
    """Returns how the dimensions of two views correlate, (dimensions, dimensions).

    Args:
        one: (batch, dimensions), any float dtype; computed in float32.
        other: the same of the other view.
        form: `population`: each dimension is divided by sqrt(variance + 1e-5) over
            the batch, so that two equal views have a diagonal of one; `sample`: that
            of btfm, by the deviation with one degree of freedom less and
            no epsilon, which leaves (N - 1) / N there and gives NaN for a constant.

    Raises:
        ValueError: an unknown form.
    """
    if form not in FORMS:
        raise ValueError(f"expected a form of {', '.join(FORMS)}, got {form!r}")
    one, other = (_standardize(view, form) for view in (one, other))
    count = ops.cast(ops.shape(one)[0], "float32")
    return ops.matmul(ops.transpose(one), other) / count


def _standardize(view: Any, form: str) -> Any:
    view = ops.cast(view, "float32")
    centred = view - ops.mean(view, axis=0)
    variance = ops.mean(ops.square(centred), axis=0)
    if form == "population":
        return centred * ops.rsqrt(variance + EPSILON)
    count = ops.cast(ops.shape(view)[0], "float32")
    return centred * ops.rsqrt(variance * count / (count - 1.0))
