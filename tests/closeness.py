"""How near numbers in float32 must come to the exact ones, or to one another.

Every product and sum is rounded to 2^-24 of its value. Roundings are as often up as
down, so n of them end about sqrt(n) roundings away; in which order terms are added up,
and with which instructions, differs from one processor to the next. What cancels out
leaves the rounding of the terms, which may be any multiple of the little that remains:
an error is measured by the largest element of a tensor, never by one near zero.
"""

from collections.abc import Mapping, Sequence

import numpy as np

EPS = float(np.finfo(np.float32).eps)
# Roundings on the way to an element: of a formula for each element on its own; of a
# sum of thousands of products, or a few small ones one after the other; of dozens of
# layers with sums of thousands.
FORMULA, LAYER, NETWORK = 2**6, 2**12, 2**18


def bound(expected, terms: int = LAYER, scale: float | None = None) -> float:
    """The largest difference that rounding explains.

    Args:
        expected: of any shape; NaN and infinite elements have no part in its scale.
        terms: roundings on the way to an element.
        scale: size of the terms, where they cancel out in `expected`; None: of its
            largest element.
    """
    if scale is None:
        values = np.abs(np.asarray(expected, np.float64))
        scale = values[np.isfinite(values)].max(initial=0)
    return EPS * terms**0.5 * float(scale)


def assert_close(
    actual,
    expected,
    terms: int = LAYER,
    scale: float | None = None,
    err_msg: str = "",
) -> None:
    """Compares float32 tensors, NaN and infinities included; see `bound`."""
    actual, expected = (np.asarray(x).astype(np.float64) for x in (actual, expected))
    np.testing.assert_allclose(
        actual,
        expected,
        rtol=0,
        atol=bound(expected, terms, scale),
        err_msg=err_msg,
    )


def assert_all_close(
    actual: Mapping | Sequence, expected: Mapping | Sequence, terms: int = LAYER
) -> None:
    """Compares tensors by their names or places, one scale for all of them.

    For gradients and steps: of a tensor whose true gradient is zero, as that of a bias
    before BatchNorm, there is nothing but the rounding of the others.
    """
    if not isinstance(expected, Mapping):
        actual, expected = dict(enumerate(actual)), dict(enumerate(expected))
    assert actual.keys() == expected.keys()
    scale = max(np.abs(np.asarray(value)).max(initial=0) for value in expected.values())
    for name, value in expected.items():
        assert_close(actual[name], value, terms, scale, err_msg=str(name))


def assert_same_course(
    one: Sequence, other: Sequence, begun: Sequence, share: float = 1e-2
) -> None:
    """Compares weights after several steps of the same training.

    The rounding of a step is in all that follow, and steep losses make more of it. But
    it stays far below the steps, of which a wrong one changes as much as it is.

    Args:
        one: weights.
        other: the same, come by in another way.
        begun: the same before those steps.
        share: of the way from `begun` to `one` that may lie between them.
    """

    def between(some, more):
        pairs = zip(some, more, strict=True)
        return sum(np.sum((np.float64(a) - b) ** 2) for a, b in pairs) ** 0.5

    apart, way = between(one, other), between(one, begun)
    assert apart <= share * way, f"{apart / way:.1e} of the way"
