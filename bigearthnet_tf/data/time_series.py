"""Blocks of pixel time series become batches of views, in an order that is a function.

Epoch `e` reads the shards in an order drawn from (seed, e), takes blocks from several
of them in turn, draws some valid pixels of each block and the views of each pixel, and
shuffles the pixels of many blocks at once. Every block comes exactly once an epoch, for
every number of workers, since each of them goes through the whole order and keeps its
part of every batch. Which blocks come before a batch is known from the counts in the
manifest alone, so a run continues at any iteration by skipping serialised records.

Memory: with S = `sample_size`, V = `views`, B bands, a pixel takes V * S * (2 B + 3)
bytes, 800 for 2 views of 16 dates of 11 bands. Four times the pixels that are shuffled
at once are held (gathered, shuffled, waiting, being cut into batches), and those are
between one and two times max(`shuffle_buffer_size`, 16 * `pixels_per_block`): 210 to
420 MB for 65,536. To that come three times the bytes of a block (height * width * dates
* (2 B + 1): 1.7 MB for 32 x 32 x 73 x 11) for each core that decodes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bigearthnet_tf.archive.land_cover import UNLABELLED
from bigearthnet_tf.data import series_views
from bigearthnet_tf.data.pipeline import (
    PREFETCHED_BATCHES,
    RAM_BUDGET_BYTES,
    WHOLE,
    Share,
)
from bigearthnet_tf.data.series_order import (
    FOR_PIXELS,
    FOR_VIEWS,
    Order,
    Pixels,
    seed_for,
)
from bigearthnet_tf.records import series_schema
from bigearthnet_tf.records.blocks import BlockSource

DEFAULT_PIXELS_PER_BLOCK = 1024
DEFAULT_SHUFFLE_BUFFER = 65_536


def count_pixels(
    source: BlockSource,
    *,
    labelled: bool = False,
    pixels_per_block: int | None = None,
) -> int:
    """Returns the number of pixels that an epoch has.

    Args:
        source: the blocks.
        labelled: count pixels with a label alone.
        pixels_per_block: of a block at most; None for all.
    """
    return int(_pixels_of_blocks(source, labelled, pixels_per_block).sum())


def pixel_batches(
    source: BlockSource,
    batch_size: int,
    *,
    sample_size: int | None = 16,
    views: int = 2,
    disjoint: bool = False,
    labelled: bool = False,
    places: bool = False,
    pixels_per_block: int | None = DEFAULT_PIXELS_PER_BLOCK,
    shuffle_buffer_size: int = DEFAULT_SHUFFLE_BUFFER,
    seed: int = 42,
    repeat: bool = False,
    drop_remainder: bool = False,
    pad: bool = False,
    start_iteration: int = 0,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """Returns batches of views of valid pixels.

    Args:
        source: the blocks.
        batch_size: pixels of the whole batch, over all parts.
        sample_size: dates a view; None for all usable ones, as one view.
        views: views a pixel.
        disjoint: let no two views of a pixel share a date.
        labelled: take pixels with a label alone, and yield the labels.
        places: yield where the pixels lie, too.
        pixels_per_block: of a block at most, drawn anew in every epoch; None for all.
        shuffle_buffer_size: pixels to shuffle at once, see above; 0 keeps the order of
            the files, and of the pixels in a block.
        seed: of the order, the pixels and the views.
        repeat: go on with the next epoch for ever; batches straddle the epochs.
        drop_remainder: leave out a last batch that is not full.
        pad: fill the last batch up with a repeated pixel, and yield weights.
        start_iteration: begin with this batch of the endless stream.
        share: which parts of every batch this process gets, as batches of their own.

    Returns:
        A dataset of a dict, or a tuple of it and what was asked for. The dict has
        `bands` (batch, views, sample_size, bands) uint16 digital numbers, `doy` (batch,
        views, sample_size) uint16 days of the year, ascending but for a change of
        year, and `mask` likewise, uint8, 1 where there is a date (always, unless all
        dates are asked for; then `sample_size` is that of the longest series). With
        `places` also `tile` (place in `source.tiles`), `row` and `column`, (batch,)
        int32. Then come `labels` (batch,) int32, class codes as stored, if `labelled`,
        and weights (batch,) float32, 1 for a pixel, 0 for filling, if `pad`.

    Raises:
        ValueError: no such pixels, views that valid pixels have too few dates for, a
            worker that can't be, or batches that do not divide among them.
    """
    share.check(batch_size)
    _check(source, sample_size, views, disjoint, start_iteration)
    if share.parts > 1 and not (pad or drop_remainder or repeat):
        raise ValueError(
            "several workers need full batches; set pad, drop_remainder or repeat"
        )
    per_block = _pixels_of_blocks(source, labelled, pixels_per_block)
    num_pixels = int(per_block.sum())
    if not num_pixels:
        raise ValueError(
            f"{source.files[0]}: no {'labelled ' if labelled else ''}pixel with more "
            f"than {source.min_valid} usable dates; give records that have some"
        )
    order = Order(source, per_block, pixels_per_block, shuffle_buffer_size, seed)
    draw = _drawer(source, sample_size, views, disjoint, labelled, places, per_block)
    start = start_iteration * batch_size
    dataset = order.pixels(draw, start, repeat)
    dataset = dataset.rebatch(batch_size, drop_remainder=drop_remainder or repeat)
    dataset = _share_out(dataset, batch_size, share, pad)

    def as_tuple(pixels: Pixels, *weights: tf.Tensor) -> Pixels | tuple:
        labels = (pixels.pop("labels"),) if labelled else ()
        whole = (pixels, *labels, *weights)
        return whole if len(whole) > 1 else pixels

    if labelled or pad:
        dataset = dataset.map(as_tuple)
    if repeat:
        size = tf.data.INFINITE_CARDINALITY
    else:
        left = max(0, num_pixels - start)
        whole = left // batch_size if drop_remainder else -(-left // batch_size)
        size = whole * share.replicas
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.ram_budget = RAM_BUDGET_BYTES
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    return (
        dataset.apply(tf.data.experimental.assert_cardinality(size))
        .prefetch(PREFETCHED_BATCHES * share.replicas)
        .with_options(options)
    )


def _check(
    source: BlockSource,
    sample_size: int | None,
    views: int,
    disjoint: bool,
    start_iteration: int,
) -> None:
    """Refuses views that some valid pixel can't give."""
    if start_iteration < 0:
        raise ValueError(f"expected an iteration of 0 or more, got {start_iteration}")
    if views < 1 or (sample_size is not None and sample_size < 1):
        raise ValueError(
            f"expected 1 view of 1 date or more, got {views} of {sample_size}"
        )
    if sample_size is None:
        return
    needed = sample_size * (views if disjoint else 1)
    if needed > source.min_valid + 1:
        raise ValueError(
            f"sample_size {sample_size}{' disjoint' if disjoint else ''} needs "
            f"{needed} usable dates a pixel, but {source.manifests[0]} counts pixels "
            f"as valid from {source.min_valid + 1} on: lower sample_size, or write the "
            f"records again with --min-valid {needed - 1}"
        )


def _pixels_of_blocks(
    source: BlockSource, labelled: bool, pixels_per_block: int | None
) -> NDArray[np.int64]:
    """Returns how many pixels of each block an epoch has, in the order of the files."""
    counts = source.labelled if labelled else source.valid
    found = np.array([count for shard in counts for count in shard], np.int64)
    return found if pixels_per_block is None else np.minimum(found, pixels_per_block)


def _drawer(
    source: BlockSource,
    sample_size: int | None,
    views: int,
    disjoint: bool,
    labelled: bool,
    places: bool,
    per_block: NDArray[np.int64],
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Pixels]:
    """Returns the function that draws the pixels of a block and their views."""
    names = list(source.tiles)
    size = source.num_dates if sample_size is None else sample_size
    shape = (1 if sample_size is None else views, size)
    some = bool((per_block < _pixels_of_blocks(source, labelled, None)).any())

    def draw(serialized: tf.Tensor, number: tf.Tensor, seeds: tf.Tensor) -> Pixels:
        block = series_schema.parse_block(serialized)
        # Of this block in this epoch, wherever in the order it comes.
        own = seed_for(seeds, number)
        usable = tf.reduce_sum(tf.cast(block["mask"], tf.int32), axis=1)
        wanted = usable > source.min_valid
        if labelled:
            wanted &= block["labels"] != UNLABELLED
        chosen = tf.where(wanted)[:, 0]
        if some:
            count = tf.gather(per_block, number)
            chosen = _choose(chosen, count, seed_for(own, FOR_PIXELS))
        series = block["bands"], block["mask"], block["doy"]
        if sample_size is None:
            pixels = series_views.take_all(*series, size, chosen)
        else:
            pixels = series_views.draw_views(
                *series,
                seed_for(own, FOR_VIEWS),
                sample_size=sample_size,
                views=views,
                disjoint=disjoint,
                chosen=chosen,
            )
        pixels["bands"].set_shape((None, *shape, len(source.bands)))
        pixels["doy"].set_shape((None, *shape))
        pixels["mask"].set_shape((None, *shape))
        if places:
            tile = tf.argmax(tf.equal(names, block["tile"]), output_type=tf.int32)
            pixels["tile"] = tf.fill(tf.shape(chosen), tile)
            pixels["row"] = tf.gather(block["row"], chosen)
            pixels["column"] = tf.gather(block["column"], chosen)
        if labelled:
            pixels["labels"] = tf.cast(tf.gather(block["labels"], chosen), tf.int32)
        return pixels

    return draw


def _choose(found: tf.Tensor, count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns `count` of the places found, drawn at random, in their order."""
    noise = tf.random.stateless_uniform(tf.shape(found), seed)
    _, drawn = tf.math.top_k(noise, k=tf.cast(count, tf.int32), sorted=False)
    return tf.gather(found, tf.sort(drawn))


def _share_out(
    dataset: tf.data.Dataset, batch_size: int, share: Share, pad: bool
) -> tf.data.Dataset:
    """Returns the batches of this process's own parts, with weights if padded."""
    part_size = batch_size // share.parts
    first = share.worker * share.replicas
    own = slice(first, first + share.replicas)

    def own_parts(pixels: Pixels) -> tf.data.Dataset:
        present = tf.shape(pixels["doy"])[0]
        weights = tf.cast(tf.range(batch_size) < present, tf.float32)
        if pad:
            pixels = {name: _fill(of, batch_size) for name, of in pixels.items()}
        parts = {
            name: tf.reshape(of, (share.parts, part_size, *of.shape[1:]))[own]
            for name, of in pixels.items()
        }
        whole = tf.reshape(weights, (share.parts, part_size))[own]
        return tf.data.Dataset.from_tensor_slices((parts, whole) if pad else parts)

    return dataset.flat_map(own_parts) if pad or share.parts > 1 else dataset


def _fill(values: tf.Tensor, batch_size: int) -> tf.Tensor:
    """Fills a batch up with its first pixel."""
    places = tf.range(batch_size)
    places = tf.where(places < tf.shape(values)[0], places, 0)
    return tf.ensure_shape(tf.gather(values, places), (batch_size, *values.shape[1:]))
