"""Ways to draw views of pixels that were tried, each beside the one in use."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

PIXELS, DATES, BANDS, SIZE, VIEWS = 4096, 73, 11, 16, 2
ROUNDS, CALLS = 5, 10

Way = tuple[str, Callable[[], object]]


def table() -> str:
    """Returns microseconds of processor time a pixel, of all threads, as Markdown."""
    lines = [
        "| step | in use | us a pixel | tried | us a pixel | times |",
        "|--|--|--:|--|--:|--:|",
    ]
    for step, used, tried in _ways():
        own, other = _measure(used[1], tried[1])
        lines.append(
            f"| {step} | {used[0]} | {own:.2f} | {tried[0]} | {other:.2f} | "
            f"{other / own:.1f} |"
        )
    return "\n".join(lines)


def _ways() -> list[tuple[str, Way, Way]]:
    """Returns steps, each with the way in use and another that gives the like."""
    import tensorflow as tf

    from bigearthnet_tf.data import series_views

    rng = np.random.default_rng(0)
    mask = tf.constant((rng.random((PIXELS, DATES)) < 0.7).astype(np.uint8))
    rows = tf.constant(rng.integers(0, 9999, (PIXELS * DATES, BANDS)).astype(np.uint16))
    counts = tf.repeat(tf.reduce_sum(tf.cast(mask, tf.int32), axis=1), VIEWS)
    noise = tf.random.stateless_uniform((SIZE, PIXELS * VIEWS), (1, 2))
    columns = series_views.draw_subsets(counts, noise)
    drawn = tf.stack(columns, axis=1)
    usable = tf.cast(tf.where(tf.reshape(mask, [-1]) != 0)[:, 0], tf.int32)
    begin = tf.cumsum(counts[::VIEWS], exclusive=True)[:, None, None]
    ranks = begin + tf.reshape(tf.sort(drawn), (PIXELS, VIEWS, SIZE))
    places = tf.gather(usable, ranks)
    shape = (PIXELS, VIEWS, DATES)

    def by_highest() -> tf.Tensor:
        numbers = tf.random.stateless_uniform(shape, (1, 2))
        numbers *= tf.cast(mask, tf.float32)[:, None]
        return tf.math.top_k(numbers, SIZE, sorted=False)[1]

    def by_floyd() -> list[tf.Tensor]:
        numbers = tf.random.stateless_uniform((SIZE, PIXELS * VIEWS), (1, 2))
        return series_views.draw_subsets(counts, numbers)

    return [
        (
            "subset of dates",
            ("Floyd's algorithm", by_floyd),
            ("highest of random numbers", by_highest),
        ),
        (
            "order",
            ("Batcher's network", lambda: series_views.sort_columns(columns)),
            ("`tf.sort`", lambda: tf.sort(drawn)),
        ),
        (
            "a row a pixel",
            ("stacked, transposed", lambda: tf.transpose(tf.stack(columns))),
            ("stacked along the last axis", lambda: tf.stack(columns, axis=1)),
        ),
        (
            "places of dates",
            ("`gather_nd`", lambda: tf.gather_nd(usable, ranks[..., None])),
            ("`gather`", lambda: tf.gather(usable, ranks)),
        ),
        (
            "rows of bands",
            ("`gather_nd`", lambda: tf.gather_nd(rows, places[..., None])),
            ("`gather`", lambda: tf.gather(rows, places)),
        ),
    ]


def _measure(*ways: Callable[[], object]) -> list[float]:
    """Returns the medians of rounds in turn."""
    import tensorflow as tf

    compiled = [tf.function(way) for way in ways]
    found: list[list[float]] = [[] for _ in ways]
    for way in compiled:
        way()
    for _ in range(ROUNDS):
        for times, way in zip(found, compiled, strict=True):
            begun = time.process_time()
            for _ in range(CALLS):
                way()
            times.append((time.process_time() - begun) / CALLS / PIXELS * 1e6)
    return [statistics.median(times) for times in found]
