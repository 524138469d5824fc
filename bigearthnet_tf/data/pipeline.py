"""Records become batches, in an order that is a pure function of its arguments.

Epoch `e` reads the shards in an order drawn from (seed, e), takes records from
several of them in turn, and shuffles within a buffer, also from (seed, e). Nothing
about the order is kept between records, so a run continues at any iteration by
skipping serialised records, which are never decoded.

Memory: the shuffle buffer holds serialised records of 0.16 MB (Sentinel-2) or
0.28 MB (both sensors): 4096 of them take 0.7 or 1.2 GB. Decoded batches in flight
are bounded by `RAM_BUDGET_BYTES`. A process that reads with that buffer, TensorFlow
included, peaks at 1.7 or 2.2 GB, whatever the number of shards
(`benchmarks/results/input.md`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.records import reader

# (source, bands, label type) -> what maps serialised records to band groups and labels
Parser = Callable[[reader.RecordSource, Sequence[str], str], reader.Parse]

# Shards read in turn: enough to mix them, few enough to read each in long strides.
INTERLEAVED_SHARDS = 8
# Upper bound of what tf.data may hold in its tunable buffers.
RAM_BUDGET_BYTES = 2 << 30
PREFETCHED_BATCHES = 2


@dataclass(frozen=True)
class Share:
    """What one process of a run reads of every batch.

    A batch is cut into `workers * replicas` equal parts, in its order; a process gets
    the parts of its own replicas, one after another. So however many processes and
    replicas share a batch, they see what a single one would.

    Attributes:
        worker: number of the process, from 0.
        workers: how many processes there are.
        replicas: devices of each.
    """

    worker: int = 0
    workers: int = 1
    replicas: int = 1

    @property
    def parts(self) -> int:
        """Parts of a batch."""
        return self.workers * self.replicas

    def check(self, batch_size: int) -> None:
        """Raises ValueError for a process or a batch size that can't be."""
        if not 0 <= self.worker < self.workers or self.replicas < 1:
            raise ValueError(
                "expected a worker (index, count) with 0 <= index < count, got "
                f"({self.worker}, {self.workers})"
            )
        if batch_size % self.parts:
            raise ValueError(
                f"batch_size {batch_size} does not divide into {self.parts} equal parts"
            )


WHOLE = Share()


def load_dataset(
    files: Sequence[str] | str,
    batch_size: int,
    bands: str | Sequence[str] = "s2",
    label_type: str = "BigEarthNet-19",
    *,
    shuffle_buffer_size: int = 0,
    seed: int = 42,
    repeat: bool = False,
    drop_remainder: bool = False,
    pad: bool = False,
    start_iteration: int = 0,
    worker: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Returns batches of records, ours or of the older projects.

    Args:
        files: shards, wildcards allowed.
        batch_size: patches a batch.
        bands: name of a band set or a list of bands.
        label_type: `BigEarthNet-19`, or `original` for the 43 labels.
        shuffle_buffer_size: records to shuffle from; 0 keeps the order of the files.
        seed: of the order.
        repeat: go on with the next epoch for ever; batches straddle the epochs.
        drop_remainder: leave out a last batch that is not full.
        pad: fill the last batch up with a repeated record, and yield a third item,
            the weights (batch,) float32: 1 for a record, 0 for filling.
        start_iteration: begin with this batch of the endless stream.
        worker: (index, count): this worker's share, one of `count` equal parts of
            every batch. Each worker reads all shards and decodes its share.

    Returns:
        A dataset of (groups, labels). `groups` maps `s1_10m`, `s2_10m`, `s2_20m`,
        `s2_60m`, as far as `bands` asks for them, to planar arrays (batch, bands,
        rows, columns) as stored: uint16 digital numbers, float32 decibels. Within
        a group the bands are in channel order. `labels` is (batch, labels) float32.

    Raises:
        FileNotFoundError: no such files.
        ValueError: damaged or foreign files, bands or labels they do not hold, a
            worker that can't be, or batches that do not divide among them.
    """
    index, count = worker
    return batches(
        reader.open_records(files),
        batch_size,
        band_facts.resolve_bands(bands),
        label_type,
        shuffle_buffer_size=shuffle_buffer_size,
        seed=seed,
        repeat=repeat,
        drop_remainder=drop_remainder,
        pad=pad,
        start_iteration=start_iteration,
        share=Share(index, count),
    )


def batches(
    source: reader.RecordSource,
    batch_size: int,
    bands: Sequence[str],
    label_type: str,
    *,
    shuffle_buffer_size: int = 0,
    seed: int = 42,
    repeat: bool = False,
    drop_remainder: bool = False,
    pad: bool = False,
    start_iteration: int = 0,
    share: Share = WHOLE,
    parser: Parser = reader.parser,
) -> tf.data.Dataset:
    """Returns batches of an opened source; arguments as for `load_dataset`.

    Args:
        source: the records.
        batch_size: of the whole batch, over all parts.
        bands: names.
        label_type: as for `load_dataset`.
        shuffle_buffer_size: likewise.
        seed: likewise.
        repeat: likewise.
        drop_remainder: likewise.
        pad: likewise; with several parts one of these two must be set, since an
            uneven batch has no equal parts.
        start_iteration: likewise.
        share: which parts of every batch this process gets, as batches of their own.
        parser: what makes labels of records; `map_reader.parser` gives those of pixels.

    Raises:
        ValueError: as for `load_dataset`.
    """
    parse = parser(source, bands, label_type)
    share.check(batch_size)
    if start_iteration < 0:
        raise ValueError(f"expected an iteration of 0 or more, got {start_iteration}")
    if share.parts > 1 and not (pad or drop_remainder or repeat):
        raise ValueError(
            "several workers need full batches; set pad, drop_remainder or repeat"
        )
    part_size = batch_size // share.parts
    start = start_iteration * batch_size
    dataset = _serialized(source, shuffle_buffer_size, seed, repeat, start)
    dataset = dataset.batch(batch_size, drop_remainder=drop_remainder)

    def own_parts(serialized: tf.Tensor) -> tf.data.Dataset:
        present = tf.size(serialized)
        if pad:
            serialized = _fill(serialized, batch_size)
        first = share.worker * share.replicas
        parts = tf.reshape(serialized, (share.parts, part_size))
        places = tf.reshape(tf.range(batch_size), (share.parts, part_size))
        weights = tf.cast(places < present, tf.float32)
        own = slice(first, first + share.replicas)
        return tf.data.Dataset.from_tensor_slices((parts[own], weights[own]))

    def decode(serialized: tf.Tensor, *weights: tf.Tensor) -> tuple:
        return *parse(serialized), *(weights if pad else ())

    if pad or share.parts > 1:
        dataset = dataset.flat_map(own_parts)
    dataset = dataset.map(
        decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    if repeat:
        endless = tf.data.INFINITE_CARDINALITY
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(endless))
    else:
        left = max(0, source.num_records - start)
        whole = left // batch_size if drop_remainder else -(-left // batch_size)
        dataset = dataset.apply(
            tf.data.experimental.assert_cardinality(whole * share.replicas)
        )
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.ram_budget = RAM_BUDGET_BYTES
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    return dataset.prefetch(PREFETCHED_BATCHES * share.replicas).with_options(options)


def _serialized(
    source: reader.RecordSource, buffer_size: int, seed: int, repeat: bool, start: int
) -> tf.data.Dataset:
    """Returns serialised records from number `start` of the endless stream on."""
    files = tf.constant(source.files)
    buffer_size = min(buffer_size, source.num_records)

    def epoch_of_records(epoch: tf.Tensor) -> tf.data.Dataset:
        if not buffer_size:
            return tf.data.TFRecordDataset(files)
        # Seeds the graph of this function, whose second half of every op's seed
        # would otherwise be the program's global seed.
        tf.compat.v1.set_random_seed(seed)
        seeds = tf.stack([tf.constant(seed, tf.int64), epoch])
        order = tf.random.experimental.stateless_shuffle(files, seeds)
        drawn = tf.random.stateless_uniform(
            (), seeds, minval=0, maxval=tf.int64.max, dtype=tf.int64
        )
        return (
            tf.data.Dataset.from_tensor_slices(order)
            .interleave(
                tf.data.TFRecordDataset,
                cycle_length=min(INTERLEAVED_SHARDS, len(source.files)),
                # One at a time: reading ahead in parallel holds memory that no
                # budget bounds, and was slower from the page cache.
                num_parallel_calls=None,
            )
            .shuffle(buffer_size, seed=drawn)
        )

    if repeat:
        first, within = divmod(start, source.num_records)
    else:
        first, within = 0, start  # beyond the end there is nothing
    epochs = tf.data.Dataset.range(first, tf.int64.max if repeat else first + 1)
    return epochs.flat_map(epoch_of_records).skip(within)


def _fill(serialized: tf.Tensor, batch_size: int) -> tf.Tensor:
    """Fills a batch up with its first record."""
    filling = tf.repeat(serialized[:1], batch_size - tf.size(serialized))
    return tf.ensure_shape(tf.concat([serialized, filling], 0), (batch_size,))
