"""The order of an epoch of blocks, and of their pixels, as a function of the seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bigearthnet_tf.data.pipeline import INTERLEAVED_SHARDS
from bigearthnet_tf.records.blocks import BlockSource

# Blocks whose pixels are shuffled at once, at least.
MIXED_BLOCKS = 16

# What random numbers are for, so that no two draws use the same.
FOR_PIXELS, FOR_VIEWS, _FOR_ORDER = range(3)

Pixels = dict[str, tf.Tensor]


def seed_for(seed: tf.Tensor, purpose: int) -> tf.Tensor:
    """Returns a seed of two numbers for one purpose."""
    return tf.random.experimental.stateless_fold_in(seed, purpose)


@dataclass(frozen=True, eq=False)
class Order:
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
            # Blocks are read and drawn while a chunk is cut into batches.
            shuffled = shuffled.prefetch(1)
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


def _shuffle(pixels: Pixels, seeds: tf.Tensor, number: tf.Tensor) -> Pixels:
    """Shuffles the pixels of a chunk."""
    seed = seed_for(seed_for(seeds, number), _FOR_ORDER)
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
