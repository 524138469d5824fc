"""Views of pixel time series: random subsets of their usable dates, in order.

A view of a pixel is `sample_size` of its usable dates, drawn without replacement, each
subset as likely as any other, and sorted: the older system's sampler, for many pixels
at once. Every date gets a random number, unusable ones less than all others; those of
the highest numbers are taken.
"""

from __future__ import annotations

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

    Returns:
        `bands` (pixels, views, sample_size, bands), `doy` (pixels, views,
        sample_size) and `mask` likewise, in the types they came in.
    """
    bands, mask, doy = map(tf.convert_to_tensor, (bands, mask, doy))
    pixels, dates = tf.unstack(tf.shape(mask))
    drawn = 1 if disjoint else views
    taken = views * sample_size if disjoint else sample_size
    noise = tf.random.stateless_uniform((pixels, drawn, dates), seed)
    usable = tf.cast(mask, tf.bool)[:, None]
    # Those that are drawn come by falling noise, so in a random order.
    keys = _pad(tf.where(usable, noise, -1.0), taken, -1.0)
    values, places = tf.math.top_k(keys, k=taken, sorted=disjoint)
    shape = (pixels, views, sample_size)
    places = tf.where(values >= 0, places, dates)
    return _take(bands, mask, doy, tf.sort(tf.reshape(places, shape), axis=-1))


def take_all(
    bands: tf.Tensor, mask: tf.Tensor, doy: tf.Tensor, length: int
) -> dict[str, tf.Tensor]:
    """Returns one view of each pixel with all its usable dates.

    Args:
        bands: as for `draw_views`.
        mask: likewise.
        doy: likewise.
        length: dates of the view; what is behind the usable ones is 0, the mask too.
            Usable dates beyond it are left out.

    Returns:
        As `draw_views`, with one view of `length` dates.
    """
    bands, mask, doy = map(tf.convert_to_tensor, (bands, mask, doy))
    dates = tf.shape(mask)[1]
    places = tf.where(tf.cast(mask, tf.bool), tf.range(dates), dates)
    places = _pad(tf.sort(places, axis=-1), length, dates)[:, :length]
    return _take(bands, mask, doy, places[:, None])


def _pad(values: tf.Tensor, length: int, filling: tf.Tensor | float) -> tf.Tensor:
    """Makes the last axis at least so long."""
    missing = tf.maximum(length - tf.shape(values)[-1], 0)
    before = [[0, 0]] * (values.shape.rank - 1)
    return tf.pad(values, [*before, [0, missing]], constant_values=filling)


def _take(
    bands: tf.Tensor, mask: tf.Tensor, doy: tf.Tensor, places: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Gathers dates (pixels, views, size); one past the last date gives zeros."""
    pixels, dates = tf.unstack(tf.shape(mask))
    there = places < dates
    within = tf.where(there, places, 0)
    # Rows of one long table: a gather with batch dimensions is slower.
    rows = within + (tf.range(pixels) * dates)[:, None, None]
    table = tf.reshape(bands, (pixels * dates, tf.shape(bands)[-1]))
    days = (
        tf.gather(doy, within)
        if doy.shape.rank == 1
        else tf.gather(tf.reshape(doy, [-1]), rows)
    )
    return {
        "bands": tf.gather(table, rows) * tf.cast(there[..., None], bands.dtype),
        "doy": days * tf.cast(there, doy.dtype),
        "mask": tf.cast(there, mask.dtype),
    }
