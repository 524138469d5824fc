"""A batch as a whole, of which each replica has a part."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Gathered:
    """A tensor of the whole batch and the part of this replica.

    Attributes:
        own: (part, ...) of this replica.
        whole: (batch, ...) of all replicas, in the order of the batch.
        offset: scalar int32, where in it the own part begins.
    """

    own: tf.Tensor
    whole: tf.Tensor
    offset: tf.Tensor


def gather(own: tf.Tensor) -> Gathered:
    """Returns what all replicas have; gradients flow back to all of them.

    Call it inside a replica of `strategy.run`; all parts must be of one size. It is a
    sum of parts that are zero elsewhere, whose gradient every strategy knows.

    Args:
        own: (part, ...) float, of this replica.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return Gathered(own, own, tf.constant(0))
    replicas = context.num_replicas_in_sync
    number = tf.cast(context.replica_id_in_sync_group, tf.int32)
    here = tf.one_hot(number, replicas, dtype=own.dtype)
    here = tf.reshape(here, (replicas, *(1,) * len(own.shape)))
    placed = here * own[None]
    summed = context.all_reduce(tf.distribute.ReduceOp.SUM, placed)
    whole = tf.reshape(summed, tf.concat([[-1], tf.shape(own)[1:]], 0))
    whole = tf.ensure_shape(whole, (None, *own.shape[1:]))
    return Gathered(own, whole, number * tf.shape(own)[0])
