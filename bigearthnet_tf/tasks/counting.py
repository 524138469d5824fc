"""Counts of right and wrong labels of a batch, on its device.

They are float64 whole numbers, exact up to 2**53: devices add, scatter and reduce those
everywhere, and the order of additions makes no difference.
"""

from __future__ import annotations

import keras
import tensorflow as tf


def label_count_shapes(num_labels: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of what `count_labels` returns."""
    return {"by_label": (3, num_labels), "by_sample": (num_labels + 1,) * 3}


def count_labels(labels: tf.Tensor, logits: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns the counts that `metrics.counted_report` makes metrics of.

    A label is given where its score is at least 0.5, as in a validation, and true from
    a value of 0.5 on: of mixed patches, where it fills half of the area or more.

    Args:
        labels: (batch, labels) from 0 to 1.
        logits: (batch, labels).

    Returns:
        `by_label` (3, labels): patches of the batch that have a label and are given it,
        that are given it, that have it. `by_sample` (labels + 1,) * 3: patches with so
        many labels right, given and true.
    """
    scores = keras.ops.sigmoid(keras.ops.cast(tf.stop_gradient(logits), "float32"))
    given, true = scores >= 0.5, labels >= 0.5
    kinds = tf.cast(tf.stack([given & true, given, true]), tf.float64)
    sides = labels.shape[-1] + 1
    right, predicted, actual = tf.unstack(
        tf.cast(tf.reduce_sum(kinds, axis=2), tf.int32)
    )
    places = (right * sides + predicted) * sides + actual
    found = tf.math.unsorted_segment_sum(
        tf.ones_like(places, tf.float64), places, sides**3
    )
    return {
        "by_label": tf.reduce_sum(kinds, axis=1),
        "by_sample": tf.reshape(found, (sides, sides, sides)),
    }


def confusions(
    truth: tf.Tensor, logits: tf.Tensor, dtype: tf.DType = tf.int32
) -> tf.Tensor:
    """Returns how often each class of each example was taken for which.

    Args:
        truth: (batch, ...) integers; below 0 and from the number of classes on, none.
        logits: (batch, ..., classes).
        dtype: of the counts; float32 is exact below 2**24 an example.

    Returns:
        (batch, classes, classes), rows the truth.
    """
    classes = logits.shape[-1]
    batch = tf.shape(logits)[0]
    truth = tf.cast(truth, tf.int32)
    given = tf.argmax(logits, axis=-1, output_type=tf.int32)
    example = tf.reshape(tf.range(batch), (-1, *(1,) * (len(truth.shape) - 1)))
    places = (example * classes + truth) * classes + given
    # What has no class has no place: segments below zero are dropped.
    places = tf.where((truth >= 0) & (truth < classes), places, -1)
    places = tf.reshape(places, [-1])
    counts = tf.math.unsorted_segment_sum(
        tf.ones_like(places, dtype), places, batch * classes * classes
    )
    return tf.reshape(counts, (batch, classes, classes))
