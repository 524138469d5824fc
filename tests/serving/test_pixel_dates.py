"""Dates drawn for maps: valid, in order, without repeats, each subset as likely."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bigearthnet_tf.serving import pixel_dates


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(0, 9))
def test_drawn_dates_are_valid_ascending_and_apart(seed, size, number):
    rng = np.random.default_rng(seed)
    mask = rng.random((30, 25)) < 0.5
    mask[:, :12] |= ~mask[:, 13:25]  # twelve valid dates or more
    rows, columns = rng.integers(0, 10_000, (2, 30))
    mask = mask.astype(np.uint8)
    chosen = pixel_dates.draw_dates(mask, rows, columns, size, seed, number)
    assert chosen.shape == (30, size)
    assert np.take_along_axis(mask, chosen, axis=1).all()
    assert (np.diff(chosen, axis=1) > 0).all()
    # A function of the place alone, whatever else is asked for.
    some = rng.permutation(30)[:7]
    again = pixel_dates.draw_dates(
        mask[some], rows[some], columns[some], size, seed, number
    )
    np.testing.assert_array_equal(again, chosen[some])


@pytest.mark.parametrize("vary", ["place", "seed", "number"])
def test_every_date_is_as_likely(vary):
    count, dates, size = 20_000, 12, 4
    mask = np.ones((count, dates), np.uint8)
    mask[:, [2, 7]] = 0
    places = np.arange(count) if vary == "place" else np.full(count, 3)
    if vary == "place":
        chosen = pixel_dates.draw_dates(mask, places // 141, places % 141, size, 5)
    else:
        chosen = np.concatenate(
            [
                pixel_dates.draw_dates(
                    mask[:1], places[:1], places[:1], size, *(n, 0)[::step]
                )
                for n in range(4000)
                for step in [1 if vary == "seed" else -1]
            ]
        )
    counts = np.bincount(chosen.ravel(), minlength=dates)
    assert counts[[2, 7]].tolist() == [0, 0]
    left = np.delete(counts, [2, 7])
    # Without replacement the counts vary less than chi-square has it, never more.
    assert stats.chisquare(left).pvalue > 1e-3
    # Pairs too: the first two dates are drawn together as often as any.
    both = ((chosen == 0).any(axis=1) & (chosen == 1).any(axis=1)).mean()
    expected = size * (size - 1) / (10 * 9)
    assert both == pytest.approx(expected, abs=4 * np.sqrt(expected / len(chosen)))


def test_all_dates_of_a_pixel_may_be_drawn():
    mask = np.ones((3, 5), np.uint8)
    chosen = pixel_dates.draw_dates(mask, np.arange(3), np.arange(3), 5, 1)
    assert (chosen == np.arange(5)).all()


def test_too_few_dates_are_refused():
    mask = np.ones((3, 5), np.uint8)
    mask[1, :2] = 0
    with pytest.raises(ValueError, match=r"expected 4 valid dates or more .* has 3"):
        pixel_dates.draw_dates(mask, np.arange(3), np.arange(3), 4, 1)


def test_a_smaller_sample_is_part_of_a_larger_one():
    rows, columns = np.indices((200, 200))
    chances = pixel_dates.chances(rows, columns, 3)
    assert stats.kstest(chances.ravel(), "uniform").pvalue > 1e-3
    assert not np.array_equal(chances, pixel_dates.chances(rows, columns, 4))


@pytest.mark.parametrize(("draws", "seed"), [(-1, 0), (1, -1)])
def test_a_rule_has_no_negative_numbers(draws, seed):
    with pytest.raises(ValueError, match="draws and seed of 0 or more"):
        pixel_dates.DateRule(draws, seed)
