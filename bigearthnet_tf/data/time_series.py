"""Blocks of pixel time series become batches of views, in an order that is a function.

Epoch `e` reads the shards in an order drawn from (seed, e), takes blocks from several
of them in turn, draws some valid pixels of each block and the views of each pixel, and
shuffles the pixels of many blocks at once. Every block comes exactly once an epoch, for
every number of workers, since each of them goes through the whole order and keeps its
part of every batch. Which blocks come before a batch is known from the counts in the
manifest alone, so a run continues at any iteration by skipping serialised records.

Memory: with S = `sample_size`, V = `views`, B bands, a pixel takes V * S * (2 B + 3)
bytes, 800 for 2 views of 16 dates of 11 bands. Three times the pixels that are shuffled
at once are held (gathered, shuffled, being cut into batches), and those are between one
and two times max(`shuffle_buffer_size`, 16 * `pixels_per_block`): 105 to 315 MB for
65,536. To that come three times the bytes of a block (height * width * dates *
(2 B + 1): 6.9 MB for 64 x 64 x 73 x 11) for each core that decodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bigearthnet_tf.archive.land_cover import UNLABELLED
from bigearthnet_tf.data import series_views
from bigearthnet_tf.data.pipeline import (
    INTERLEAVED_SHARDS,
    PREFETCHED_BATCHES,
    RAM_BUDGET_BYTES,
    WHOLE,
    Share,
)
from bigearthnet_tf.records import series_schema
from bigearthnet_tf.records.blocks import BlockSource

# Blocks whose pixels are shuffled at once, at least.
MIXED_BLOCKS = 16
DEFAULT_PIXELS_PER_BLOCK = 512
DEFAULT_SHUFFLE_BUFFER = 65_536

# What random numbers are for, so that no two draws use the same.
_PIXELS, _VIEWS, _ORDER = range(3)

Pixels = dict[str, tf.Tensor]


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
    order = _Order(source, per_block, pixels_per_block, shuffle_buffer_size, seed)
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


@dataclass(frozen=True, eq=False)
class _Order:
    """The order of the blocks, and of their pixels.

    Attributes:
        source: the blocks.
        per_block: (blocks,) pixels of each that an epoch has.
        pixels_per_block: of a block at most.
        buffer_size: pixels to shuffle at once; 0 for the order of the files.
        seed: of the order.
    """

    source: BlockSource
    per_block: NDArray[np.int64]
    pixels_per_block: int | None
    buffer_size: int
    seed: int

    @property
    def chunk(self) -> int:
        """Pixels that are shuffled at once: all chunks of an epoch are about alike."""
        total = int(self.per_block.sum())
        most = int(self.per_block.max())
        wanted = max(self.buffer_size, MIXED_BLOCKS * most)
        return -(-total // max(1, total // wanted))

    def pixels(
        self,
        draw: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Pixels],
        start: int,
        repeat: bool,
    ) -> tf.data.Dataset:
        """Returns pixels from number `start` of the endless stream on.

        Args:
            draw: (serialised block, its number, seed of two numbers) -> pixels.
            start: pixels to pass over.
            repeat: go on for ever; one epoch otherwise.
        """
        total = int(self.per_block.sum())
        first, within = divmod(start, total) if repeat else (0, min(start, total))
        # A chunk is shuffled as a whole, so it is drawn as a whole.
        done = within // self.chunk if self.buffer_size else 0
        before = done * self.chunk if self.buffer_size else within
        ends = np.cumsum(self.per_block[self._numbers(first)])
        passed = int(np.searchsorted(ends, before, side="right"))
        begun = before - (int(ends[passed - 1]) if passed else 0)

        def epoch_of_pixels(epoch: tf.Tensor) -> tf.data.Dataset:
            def only_at_first(number: int) -> tf.Tensor:
                return tf.where(epoch == first, tf.constant(number, tf.int64), 0)

            seeds = tf.stack([tf.constant(self.seed, tf.int64), epoch])
            pixels = (
                self._blocks(seeds)
                .skip(only_at_first(passed))
                .filter(lambda _, number: tf.gather(self.per_block, number) > 0)
                .map(
                    lambda serialized, number: draw(serialized, number, seeds),
                    num_parallel_calls=tf.data.AUTOTUNE,
                    deterministic=True,
                )
            )
            pixels = _drop_from_first(pixels, only_at_first(begun))
            if not self.buffer_size:
                return pixels
            chunks = pixels.rebatch(self.chunk).enumerate(only_at_first(done))
            shuffled = chunks.map(lambda number, of: _shuffle(of, seeds, number))
            return _drop_from_first(shuffled, only_at_first(within - before))

        epochs = tf.data.Dataset.range(first, tf.int64.max if repeat else first + 1)
        return epochs.flat_map(epoch_of_pixels)

    def _blocks(self, seeds: tf.Tensor) -> tf.data.Dataset:
        """Returns (serialised block, its number in the order of the files)."""
        files = tf.constant(self.source.files)

        def open_shard(shard: tf.Tensor, numbers: tf.data.Dataset) -> tf.data.Dataset:
            records = tf.data.TFRecordDataset(tf.gather(files, shard))
            return tf.data.Dataset.zip((records, numbers))

        return self._in_turn(seeds, open_shard)

    def _numbers(self, epoch: int) -> NDArray[np.int64]:
        """Returns the numbers of all blocks in the order of an epoch."""
        seeds = tf.constant([self.seed, epoch], tf.int64)
        dataset = self._in_turn(seeds, lambda _, numbers: numbers)
        return np.array(list(dataset.as_numpy_iterator()), np.int64)

    def _in_turn(
        self,
        seeds: tf.Tensor,
        open_shard: Callable[[tf.Tensor, tf.data.Dataset], tf.data.Dataset],
    ) -> tf.data.Dataset:
        """Opens shards in the order of an epoch, and takes from several in turn."""
        counts = [len(counts) for counts in self.source.valid]
        ends = tf.constant(np.cumsum(counts), tf.int64)
        starts = ends - tf.constant(counts, tf.int64)
        shards = tf.range(len(counts))
        cycle = 1
        if self.buffer_size:
            shards = tf.random.experimental.stateless_shuffle(shards, seeds)
            cycle = min(INTERLEAVED_SHARDS, len(counts))

        def of_shard(shard: tf.Tensor) -> tf.data.Dataset:
            numbers = tf.data.Dataset.range(starts[shard], ends[shard])
            return open_shard(shard, numbers)

        return tf.data.Dataset.from_tensor_slices(shards).interleave(
            of_shard, cycle_length=cycle, num_parallel_calls=None
        )


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

    def draw(serialized: tf.Tensor, number: tf.Tensor, seeds: tf.Tensor) -> Pixels:
        block = series_schema.parse_block(serialized)
        # Of this block in this epoch, wherever in the order it comes.
        own = tf.random.experimental.stateless_fold_in(seeds, number)
        usable = tf.reduce_sum(tf.cast(block["mask"], tf.int32), axis=1)
        wanted = usable > source.min_valid
        if labelled:
            wanted &= block["labels"] != UNLABELLED
        chosen = _choose(wanted, tf.gather(per_block, number), _for(own, _PIXELS))
        series = block["bands"], block["mask"], block["doy"]
        if sample_size is None:
            pixels = series_views.take_all(*series, size, chosen)
        else:
            pixels = series_views.draw_views(
                *series,
                _for(own, _VIEWS),
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


def _choose(wanted: tf.Tensor, count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns `count` of the places where `wanted`, drawn at random, ascending."""
    found = tf.reshape(tf.where(wanted), [-1])
    noise = tf.random.stateless_uniform(tf.shape(found), seed)
    _, drawn = tf.math.top_k(noise, k=tf.cast(count, tf.int32), sorted=False)
    return tf.gather(found, tf.sort(drawn))


def _for(seed: tf.Tensor, purpose: int) -> tf.Tensor:
    return tf.random.experimental.stateless_fold_in(seed, purpose)


def _shuffle(pixels: Pixels, seeds: tf.Tensor, number: tf.Tensor) -> Pixels:
    """Shuffles the pixels of a chunk."""
    seed = _for(tf.random.experimental.stateless_fold_in(seeds, number), _ORDER)
    places = tf.range(tf.shape(pixels["doy"])[0])
    order = tf.random.experimental.stateless_shuffle(places, seed)
    return {name: tf.gather(values, order) for name, values in pixels.items()}


def _drop_from_first(dataset: tf.data.Dataset, count: tf.Tensor) -> tf.data.Dataset:
    """Leaves out the first `count` pixels of the first element."""

    def cut(number: tf.Tensor, pixels: Pixels) -> Pixels:
        # Copied, not sliced: rebatching complains of tensors within others.
        left = tf.range(count, tf.shape(pixels["doy"], tf.int64)[0])
        return tf.cond(
            (number == 0) & (count > 0),
            lambda: {name: tf.gather(of, left) for name, of in pixels.items()},
            lambda: pixels,
        )

    return dataset.enumerate().map(cut)


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
