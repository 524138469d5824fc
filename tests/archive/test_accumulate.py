"""Accumulated statistics against NumPy, in any order and any partition."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bigearthnet_tf import resampling
from bigearthnet_tf.archive import accumulate, bands
from bigearthnet_tf.archive.accumulate import Accumulator, Bins, Moments

PERCENTAGES = (0, 0.1, 2, 33.3, 50, 98, 100)


def accumulated(parts, bins):
    result = Accumulator(bins)
    for part in parts:
        result.add(part)
    return result


def merged(accumulators, bins):
    result = Accumulator(bins)
    for accumulator in accumulators:
        result.merge(accumulator)
    return result


def partition(values, cuts, order):
    """Parts of an array between cuts, in another order; some may be empty."""
    places = sorted(min(cut, len(values)) for cut in cuts)
    parts = np.split(values, places)
    return [parts[i % len(parts)] for i in np.argsort(order[: len(parts)])]


divisions = st.integers(0, 6).flatmap(
    lambda cuts: st.tuples(
        st.lists(st.integers(0, 60), min_size=cuts, max_size=cuts),
        st.permutations(range(cuts + 1)),
    )
)


@given(
    arrays.arrays(np.uint16, st.integers(1, 60), elements=st.integers(0, 2**16 - 1)),
    divisions,
)
def test_whole_numbers_are_exact_however_they_come(values, division):
    parts = partition(values, *division)
    bins = accumulate.WHOLE_NUMBERS
    each = merged([accumulated([part], bins) for part in parts], bins)
    found = each.summary(PERCENTAGES)
    assert found == accumulated([values], bins).summary(PERCENTAGES)

    exact = [Fraction(int(value)) for value in values]
    mean = sum(exact) / len(exact)
    variance = sum((value - mean) ** 2 for value in exact) / len(exact)
    assert found.pixels == len(values)
    assert found.mean == float(mean)
    np.testing.assert_allclose(found.std, math.sqrt(variance), rtol=1e-15)
    assert (found.minimum, found.maximum) == (values.min(), values.max())
    assert found.zeros == (values == 0).sum()
    assert found.percentile_error == 0
    expected = np.percentile(values.astype(np.float64), PERCENTAGES)
    np.testing.assert_allclose(
        list(found.percentiles.values()), expected, rtol=1e-15, atol=1e-11
    )


@given(
    arrays.arrays(
        np.float32, st.integers(1, 60), elements=st.floats(-100, 100, width=32)
    ),
    divisions,
)
def test_decibels_are_those_of_the_whole_however_they_come(values, division):
    parts = partition(values, *division)
    bins = accumulate.DECIBELS
    found = merged([accumulated([part], bins) for part in parts], bins)
    whole = accumulated([values], bins)
    np.testing.assert_array_equal(found.counts, whole.counts)
    summary, wide = found.summary(PERCENTAGES), values.astype(np.float64)
    np.testing.assert_allclose(summary.mean, wide.mean(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(summary.std, wide.std(), rtol=1e-9, atol=1e-12)
    assert (summary.minimum, summary.maximum) == (wide.min(), wide.max())
    expected = np.percentile(wide, PERCENTAGES)
    off = np.abs(list(summary.percentiles.values()) - expected)
    assert summary.percentile_error == 1 / 512
    assert off.max() <= summary.percentile_error + 1e-12
    assert summary.outside == 0


def test_small_spread_around_a_large_mean_is_not_cancelled():
    rng = np.random.default_rng(0)
    values = 1e8 + rng.normal(size=20_000)
    parts = [Moments.of(part) for part in np.array_split(values, 777)]
    found = Moments()
    for part in parts:
        found = found.merge(part)
    assert found.count == values.size
    np.testing.assert_allclose(found.mean, values.mean(), rtol=1e-14)
    np.testing.assert_allclose(found.squares / values.size, values.var(), rtol=1e-7)


def test_whole_numbers_are_exact_for_pixels_of_the_whole_archive():
    """The squares of 590,326 saturated patches exceed 64 bits."""
    counts = np.zeros(2**16, np.int64)
    counts[65535], counts[65534] = 590_326 * 14_400, 1
    found = Moments.of_counts(counts)
    n = found.count
    assert found.mean == float(65535 - Fraction(1, n))
    # One deviates by nearly 1, all others by 1/n.
    np.testing.assert_allclose(found.squares, float(1 - Fraction(1, n)), rtol=1e-15)


@pytest.mark.parametrize("bins", [accumulate.WHOLE_NUMBERS, accumulate.DECIBELS])
def test_repeating_is_adding_again(bins):
    values = np.arange(90, dtype=np.uint16).reshape(9, 10)
    if not bins.exact:
        values = values.astype(np.float32) * 2 - 10
        values[0, :2] = np.nan, 0
    once = accumulated([values], bins)
    often = accumulated([np.repeat(values, 36, axis=0)], bins)
    repeated = once.repeated(36).summary(PERCENTAGES)
    expected = often.summary(PERCENTAGES)
    np.testing.assert_allclose(
        [repeated.mean, repeated.std], [expected.mean, expected.std], rtol=1e-13
    )
    assert repeated.percentiles == expected.percentiles
    for count in ("pixels", "zeros", "nonfinite", "outside"):
        assert getattr(repeated, count) == getattr(expected, count)


def test_what_is_odd_is_counted():
    values = np.array([[np.nan, np.inf, -np.inf], [0, -20, -9999]], np.float32)
    found = accumulated([values], accumulate.DECIBELS).summary((0, 100))
    assert (found.pixels, found.nonfinite, found.zeros, found.outside) == (3, 3, 1, 1)
    assert found.minimum == -9999
    np.testing.assert_allclose(found.mean, -10019 / 3, rtol=1e-15)
    assert found.percentiles[100] == 0


def test_nothing_and_foreign_bins_are_refused():
    empty = Accumulator(accumulate.DECIBELS)
    empty.add(np.full((2, 2), np.nan, np.float32))
    with pytest.raises(ValueError, match="finite pixel"):
        empty.summary()
    with pytest.raises(ValueError, match="expected bins"):
        empty.merge(Accumulator(Bins(0, 1, 4)))


@pytest.mark.parametrize("kernel", resampling.KERNELS.names())
def test_bins_hold_whatever_a_kernel_makes_of_uint16(kernel):
    reach = 1.0
    for pixels in (20, 60, 120):
        for size in (1, 32, 50, 60, 64, 100, 119, 121, 128, 224, 256, 384, 512):
            weights = resampling.KERNELS.get(kernel)(pixels, size)
            reach = max(reach, np.abs(weights).sum(axis=1).max() ** 2)
    highest, bins = 2**16 - 1, accumulate.INTERPOLATED
    # Weights that sum to one: positive ones to (reach + 1) / 2, negative to the rest.
    assert bins.first <= -highest * (reach - 1) / 2
    assert highest * (reach + 1) / 2 <= bins.first + bins.width * (bins.count - 1)


@pytest.mark.parametrize(
    ("band", "interpolated", "bins"),
    [
        ("B01", False, accumulate.WHOLE_NUMBERS),
        ("B01", True, accumulate.INTERPOLATED),
        ("VV", False, accumulate.DECIBELS),
        ("VV", True, accumulate.DECIBELS),
    ],
)
def test_bins_of_a_band(band, interpolated, bins):
    assert accumulate.bins_for(bands.BANDS[band], interpolated) == bins
