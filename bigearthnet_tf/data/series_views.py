"""Views of pixel time series: random subsets of their usable dates, in order.

A view of a pixel is `sample_size` of its usable dates, drawn without replacement, each
subset as likely as any other, and sorted: btfm's sampler, for many pixels
at once. The subsets are drawn by Floyd's algorithm (Bentley and Floyd 1987,
Communications of the ACM 30(9)), one step a date for all pixels, in place of the
highest of a random number for each date. They are sorted by Batcher's network (1968,
Proceedings of AFIPS 32), one step a comparison for all pixels, in place of `tf.sort`,
which takes row by row. `gather_nd` is in place of `gather`, which is slower for what is
as short as the row of a date (`benchmarks/series_draws.py` measures each pair).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import tensorflow as tf


def draw_views(
    bands: tf.Tensor,
    mask: tf.Tensor,
    doy: tf.Tensor,
    seed: tf.Tensor,
    *,
    sample_size: int,
    views: int = 2,
    disjoint: bool = False,
    chosen: tf.Tensor | None = None,
) -> dict[str, tf.Tensor]:
    """Draws views of pixels.

    A pixel with fewer usable dates than it takes gets all that it has, in front, and
    zeros behind them, where the mask is 0.

    Args:
        bands: (pixels, dates, bands), any type.
        mask: (pixels, dates) uint8, 1 where usable.
        doy: (dates,) or (pixels, dates), days of the year.
        seed: (2,) integers; the same seed draws the same.
        sample_size: dates a view.
        views: views a pixel, drawn independently, so that they may share dates.
        disjoint: draw views that share none.
        chosen: (chosen,) the only pixels to draw views of; None for all.

    Returns:
        `bands` (pixels, views, sample_size, bands), `doy` (pixels, views,
        sample_size) and `mask` likewise, in the types they came in.
    """
    bands, mask, doy = map(tf.convert_to_tensor, (bands, mask, doy))
    before, present = _count(mask, chosen)
    drawn = 1 if disjoint else views
    taken = views * sample_size if disjoint else sample_size
    number = tf.shape(present)[0]
    noise = tf.random.stateless_uniform((taken, number * drawn), seed)
    columns = draw_subsets(tf.repeat(present, drawn), noise)
    if disjoint:
        # The set is random, but not which of it comes first.
        seed = tf.random.experimental.stateless_fold_in(seed, 1)
        order = tf.argsort(tf.random.stateless_uniform((number, taken), seed))
        mixed = tf.gather(tf.stack(columns, axis=1), order, batch_dims=1)
        columns = tf.unstack(tf.reshape(mixed, (-1, sample_size)), axis=1)
    # Stacked, then transposed: to stack along the last axis is slower.
    ranks = tf.transpose(tf.stack(sort_columns(columns)))
    ranks = tf.reshape(ranks, (number, views, sample_size))
    return _take(bands, mask, doy, ranks, before, present)


def draw_subsets(counts: tf.Tensor, noise: tf.Tensor) -> list[tf.Tensor]:
    """Draws a subset of 0 .. count - 1 for each count, all equally likely.

    Args:
        counts: (n,) int32, the sizes of the sets to draw from.
        noise: (size, n) uniform random numbers from 0 on, below 1.

    Returns:
        `size` columns (n,) int32, in no order; where a set has fewer than `size`
        elements, all of them, and the count itself in the other columns.
    """
    size = noise.shape[0]
    drawn: list[tf.Tensor] = []
    for step in range(size):
        last = counts - (size - step)
        guess = tf.cast(noise[step] * tf.cast(last + 1, tf.float32), tf.int32)
        # One by one: to reduce over a stack of them is three times slower.
        known = [guess == other for other in drawn]
        if known:
            guess = tf.where(functools.reduce(tf.logical_or, known), last, guess)
        drawn.append(tf.where(last < 0, counts, guess))
    return drawn


def sort_columns(columns: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Sorts the rows of a table that is given column by column.

    Args:
        columns: tensors alike, of any shape and of a type that has an order.

    Returns:
        As many columns, ascending from one to the next in each place.
    """
    found = list(columns)
    for low, high in _comparisons(len(found)):
        found[low], found[high] = (
            tf.minimum(found[low], found[high]),
            tf.maximum(found[low], found[high]),
        )
    return found


def _comparisons(size: int) -> Iterator[tuple[int, int]]:
    """Yields the pairs of places that Batcher's odd-even merge sort puts in order."""
    run = 1
    while run < size:
        step = run
        while step:
            for begin in range(step % run, size - step, 2 * step):
                for low in range(begin, min(begin + step, size - step)):
                    if low // (2 * run) == (low + step) // (2 * run):
                        yield low, low + step
            step //= 2
        run *= 2


def take_all(
    bands: tf.Tensor,
    mask: tf.Tensor,
    doy: tf.Tensor,
    length: int,
    chosen: tf.Tensor | None = None,
) -> dict[str, tf.Tensor]:
    """Returns one view of each pixel with all its usable dates.

    Args:
        bands: as for `draw_views`.
        mask: likewise.
        doy: likewise.
        length: dates of the view; what is behind the usable ones is 0, the mask too.
            Usable dates beyond it are left out.
        chosen: as for `draw_views`.

    Returns:
        As `draw_views`, with one view of `length` dates.
    """
    bands, mask, doy = map(tf.convert_to_tensor, (bands, mask, doy))
    before, present = _count(mask, chosen)
    ranks = tf.tile(tf.range(length)[None, None], (tf.shape(present)[0], 1, 1))
    return _take(bands, mask, doy, ranks, before, present)


def _count(mask: tf.Tensor, chosen: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns how many usable dates come before those of a pixel, and how many it has.

    Args:
        mask: (pixels, dates) uint8.
        chosen: (chosen,) the pixels asked for; None for all.

    Returns:
        Two of (chosen,) int32.
    """
    present = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
    before = tf.cumsum(present, exclusive=True)
    if chosen is None:
        return before, present
    return tf.gather(before, chosen), tf.gather(present, chosen)


def _take(
    bands: tf.Tensor,
    mask: tf.Tensor,
    doy: tf.Tensor,
    ranks: tf.Tensor,
    before: tf.Tensor,
    present: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Gathers usable dates by their rank; those that a pixel lacks are zeros.

    Args:
        bands: (pixels, dates, bands).
        mask: (pixels, dates).
        doy: (dates,) or (pixels, dates).
        ranks: (chosen, views, size) int32, from 0 on.
        before: (chosen,) as of `_count`.
        present: likewise.
    """
    there = ranks < present[:, None, None]
    usable = tf.cast(tf.where(tf.reshape(mask, [-1]))[:, 0], tf.int32)
    # What a pixel lacks is read from the first row, which is then set to 0.
    place = before[:, None, None] + ranks
    place = tf.where(there, place, 0)
    rows = tf.gather_nd(tf.pad(usable, [[0, 1]]), place[..., None])[..., None]
    # Rows of one long table: a gather with batch dimensions is slower.
    numbers = tf.gather_nd(tf.reshape(bands, (-1, tf.shape(bands)[-1])), rows)
    if doy.shape.rank == 1:
        days = tf.gather_nd(doy, rows % tf.shape(mask)[1])
    else:
        days = tf.gather_nd(tf.reshape(doy, [-1]), rows)
    numbers, days = tf.cond(
        tf.reduce_all(there),
        lambda: (numbers, days),
        lambda: (
            numbers * tf.cast(there[..., None], numbers.dtype),
            days * tf.cast(there, days.dtype),
        ),
    )
    return {"bands": numbers, "doy": days, "mask": tf.cast(there, mask.dtype)}
