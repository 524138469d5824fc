"""Reference maps of records as labels of pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bigearthnet_tf import console
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.records import reader, schema

SIDE = 120  # pixels of a map, of 10 m
# What TensorFlow's complaint about a map of another size has in it.
WRONG_SIZE = f"a reference map is not of {SIDE} x {SIDE} pixels"
WRONG_CODES = "a reference map has codes that CLC's level 3 does not have"


def parser(
    source: reader.RecordSource, bands: Sequence[str], label_type: str
) -> reader.Parse:
    """Returns the function that turns serialised records into bands and maps.

    As `reader.parser`, but with labels (batch, 120, 120) uint8: the index of each
    pixel's label in CLC order, or `labels.UNLABELLED`.

    Args:
        source: what the records are like.
        bands: the bands to decode.
        label_type: the nomenclature of the labels.

    Raises:
        ValueError: the records lack a band or the maps.
    """
    source.form.check_bands(tuple(bands), source.files[0])
    check(source)
    groups = band_facts.group_bands(bands)
    to_classes = _converter(label_type)
    spec = _spec(source)

    def parse(serialized: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        images, parsed = reader.decode(source, serialized, groups, spec)
        return images, to_classes(parsed)

    return parse


def check(source: reader.RecordSource) -> None:
    """Refuses records without maps.

    Raises:
        ValueError: says how to prepare them.
    """
    if not source.form.has_map:
        raise ValueError(
            f"{source.files[0]}: no reference maps in these records, which labels of "
            "pixels come from; prepare them again with prep_splits.py --maps "
            "Reference_Maps (BigEarthNet v2 alone has them)"
        )


def count_pixels(source: reader.RecordSource, label_type: str) -> NDArray[np.int64]:
    """Returns how many pixels have each label.

    Reads all records and decodes nothing of them but their maps.

    Args:
        source: the records.
        label_type: the nomenclature of the labels.

    Returns:
        (labels,) int64, in CLC order; pixels without a label are not counted.

    Raises:
        ValueError: the records lack the maps.
        tf.errors.DataLossError: a record is damaged.
        tf.errors.InvalidArgumentError: a map has another size, or codes of its own.
    """
    check(source)
    spec, to_classes = _spec(source), _converter(label_type)
    count = len(label_facts.label_names(label_type))

    def histogram(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        classes = to_classes(tf.io.parse_example(serialized, spec))
        flat = tf.cast(tf.reshape(classes, [-1]), tf.int32)
        found = tf.math.bincount(flat, minlength=256, maxlength=256)
        return found[:count], tf.size(serialized)

    dataset = tf.data.TFRecordDataset(list(source.files))
    dataset = dataset.batch(reader.COUNTED_AT_ONCE).map(histogram).prefetch(1)
    counts = np.zeros(count, np.int64)
    with console.progress(
        total=source.num_records, desc="counting pixels", unit="record", leave=False
    ) as bar:
        for found, records in dataset.as_numpy_iterator():
            counts += found
            bar.update(int(records))
    return counts


def check_labelled(source: reader.RecordSource, label_type: str) -> None:
    """Refuses records without a single labelled pixel, which nothing is learnt from.

    Reads as far as the first one.

    Args:
        source: the records.
        label_type: the nomenclature of the labels.

    Raises:
        ValueError: the records lack the maps, or no pixel has a label.
        tf.errors.DataLossError: a record is damaged.
        tf.errors.InvalidArgumentError: a map has another size, or codes of its own.
    """
    check(source)
    spec, to_classes = _spec(source), _converter(label_type)
    dataset = tf.data.TFRecordDataset(list(source.files)).batch(reader.COUNTED_AT_ONCE)
    maps = dataset.map(lambda rows: to_classes(tf.io.parse_example(rows, spec)))
    if not any((of != label_facts.UNLABELLED).any() for of in maps.as_numpy_iterator()):
        raise ValueError(
            f"{source.files[0]}: no pixel of the reference maps of "
            f"{source.num_records} records has a label of {label_type}, so there is "
            "nothing to learn; give other records"
        )


def _spec(source: reader.RecordSource) -> dict[str, tf.io.FixedLenFeature]:
    if source.form.encoding == "bytes":
        return {schema.REFERENCE_MAP: tf.io.FixedLenFeature((), tf.string)}
    return {schema.REFERENCE_MAP: tf.io.FixedLenFeature((SIDE, SIDE), tf.int64)}


def _converter(label_type: str) -> Callable[[Mapping[str, tf.Tensor]], tf.Tensor]:
    """Returns what turns parsed records into classes (batch, 120, 120) uint8."""
    table = label_facts.class_table(label_type)
    known = label_facts.known_codes()

    def convert(parsed: Mapping[str, tf.Tensor]) -> tf.Tensor:
        codes = parsed[schema.REFERENCE_MAP]
        if codes.dtype == tf.string:
            size = SIDE**2 * tf.uint16.size
            # Four maps of half the side would be taken for one.
            lengths = tf.strings.length(codes)
            with tf.control_dependencies(
                [tf.debugging.assert_equal(lengths, size, message=WRONG_SIZE)]
            ):
                codes = tf.io.decode_raw(codes, tf.uint16, little_endian=True)
            codes = tf.reshape(codes, (-1, SIDE, SIDE))
        codes = tf.cast(codes, tf.int32)
        within = tf.clip_by_value(codes, 0, len(table) - 1)
        usual = tf.reduce_all(tf.gather(known, within) & (within == codes))
        with tf.control_dependencies([tf.debugging.Assert(usual, [WRONG_CODES])]):
            return tf.gather(table, within)

    return convert
