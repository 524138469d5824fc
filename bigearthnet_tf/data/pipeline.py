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

from collections.abc import Sequence

import tensorflow as tf

from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.records import reader

# Shards read in turn: enough to mix them, few enough to read each in long strides.
INTERLEAVED_SHARDS = 8
# Upper bound of what tf.data may hold in its tunable buffers.
RAM_BUDGET_BYTES = 2 << 30
PREFETCHED_BATCHES = 2


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
        worker: (index, count): this worker's share, every count-th record. Each
            worker reads all shards and decodes its share.

    Returns:
        A dataset of (groups, labels). `groups` maps `s1_10m`, `s2_10m`, `s2_20m`,
        `s2_60m`, as far as `bands` asks for them, to planar arrays (batch, bands,
        rows, columns) as stored: uint16 digital numbers, float32 decibels. Within
        a group the bands are in channel order. `labels` is (batch, labels) float32.

    Raises:
        FileNotFoundError: no such files.
        ValueError: damaged or foreign files, or bands or labels they do not hold.
    """
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
        worker=worker,
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
    worker: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Returns batches of an opened source; arguments as for `load_dataset`."""
    parse = reader.parser(source, bands, label_type)
    index, count = worker
    if not 0 <= index < count or start_iteration < 0:
        raise ValueError(
            f"expected a worker (index, count) with 0 <= index < count and an "
            f"iteration of 0 or more, got {worker} and {start_iteration}"
        )
    dataset = _serialized(
        source, shuffle_buffer_size, seed, repeat, start_iteration * batch_size * count
    )
    if count > 1:
        dataset = dataset.shard(count, index)
    dataset = dataset.batch(batch_size, drop_remainder=drop_remainder)

    def decode(serialized: tf.Tensor) -> tuple:
        if not pad:
            return parse(serialized)
        filled, weights = _pad(serialized, batch_size)
        return *parse(filled), weights

    dataset = dataset.map(
        decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    if not repeat:
        dataset = dataset.apply(
            tf.data.experimental.assert_cardinality(
                _num_batches(
                    source, batch_size, drop_remainder, start_iteration, worker
                )
            )
        )
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.ram_budget = RAM_BUDGET_BYTES
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    return dataset.prefetch(PREFETCHED_BATCHES).with_options(options)


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


def _pad(serialized: tf.Tensor, batch_size: int) -> tuple[tf.Tensor, tf.Tensor]:
    present = tf.size(serialized)
    filling = tf.repeat(serialized[:1], batch_size - present)
    filled = tf.ensure_shape(tf.concat([serialized, filling], 0), (batch_size,))
    return filled, tf.cast(tf.range(batch_size) < present, tf.float32)


def _num_batches(
    source: reader.RecordSource,
    batch_size: int,
    drop_remainder: bool,
    start_iteration: int,
    worker: tuple[int, int],
) -> int:
    index, count = worker
    left = source.num_records - start_iteration * batch_size * count
    share = max(0, -(-(left - index) // count))
    return share // batch_size if drop_remainder else -(-share // batch_size)
