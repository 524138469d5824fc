"""What one record of pixel time series holds.

A record is a `tf.train.Example`. That of a block has

    bands    bytes     uint16, little-endian, (height, width, dates, bands)
    mask     bytes     uint8, (height, width, dates): 1 usable, 0 not
    doy      bytes     uint16, little-endian, (dates,)
    year     bytes     uint16, little-endian, (dates,), 0 where unknown
    labels   bytes     uint8, (height, width), 255 unlabelled; absent without labels
    shape    int64[4]  height, width, dates, bands
    origin   int64[2]  row and column of the upper-left pixel in the tile
    tile     bytes     name of the tile
    n_valid  int64     pixels with more usable dates than the manifest's `min_valid`

so that the series of a pixel lies in one piece. That of a point is the same of a single
pixel, with its usable dates alone, and has

    id, x, y   bytes   its name; map coordinates as given (float64, little-endian)
    n_obs      int64   usable dates
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bigearthnet_tf.archive.land_cover import UNLABELLED
from bigearthnet_tf.archive.tile import Block

# Features and framing of a record beside bands, mask and labels, about, in bytes.
_OVERHEAD = 256

_BLOCK = {
    "bands": tf.io.FixedLenFeature((), tf.string),
    "mask": tf.io.FixedLenFeature((), tf.string),
    "doy": tf.io.FixedLenFeature((), tf.string),
    "year": tf.io.FixedLenFeature((), tf.string),
    "labels": tf.io.FixedLenFeature((), tf.string, ""),
    "shape": tf.io.FixedLenFeature((4,), tf.int64),
    "origin": tf.io.FixedLenFeature((2,), tf.int64),
    "tile": tf.io.FixedLenFeature((), tf.string),
}


def block_bytes(num_pixels: int, num_dates: int, num_bands: int) -> int:
    """Returns about the bytes of a record of a block."""
    series = num_dates * (2 * num_bands + 1) + 1
    return num_pixels * series + 4 * num_dates + _OVERHEAD


def encode_block(
    block: Block,
    num_valid: int,
    point: tuple[str, float, float, int] | None = None,
) -> bytes:
    """Returns a block as a serialised record.

    Args:
        block: the block.
        num_valid: its pixels with enough usable dates.
        point: name, x, y and label of the point that it is of; None for blocks.
    """
    features = {
        "bands": _bytes(block.bands.astype("<u2").tobytes()),
        "mask": _bytes(block.mask.tobytes()),
        "doy": _bytes(block.doys.astype("<u2").tobytes()),
        "year": _bytes(block.years.astype("<u2").tobytes()),
        "shape": _ints(block.bands.shape),
        "origin": _ints((block.row, block.column)),
        "tile": _bytes(block.tile.encode()),
        "n_valid": _ints((num_valid,)),
    }
    if block.labels is not None:
        features["labels"] = _bytes(block.labels.tobytes())
    if point is not None:
        features["id"] = _bytes(point[0].encode())
        for name, value in zip("xy", point[1:3], strict=True):
            features[name] = _bytes(np.array(value, "<f8").tobytes())
        features["n_obs"] = _ints((len(block.doys),))
    return _example(features)


def parse_block(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns what a serialised block holds, its pixels in one row.

    Args:
        serialized: a string, ().

    Returns:
        `bands` (pixels, dates, bands) uint16, `mask` (pixels, dates) uint8, `doy` and
        `year` (dates,) uint16, `labels` (pixels,) uint8 and 255 where there are none,
        `row` and `column` (pixels,) int32 in the tile, `tile` () string, `shape` (4,)
        int64.
    """
    found = tf.io.parse_single_example(serialized, _BLOCK)
    height, width, dates, bands = tf.unstack(found["shape"])
    pixels = height * width
    labels = tf.io.decode_raw(found["labels"], tf.uint8)
    unlabelled = tf.fill([pixels], tf.constant(UNLABELLED, tf.uint8))
    labels = tf.cond(tf.size(labels) > 0, lambda: labels, lambda: unlabelled)
    place = tf.range(pixels)
    return {
        "bands": tf.reshape(_uint16(found["bands"]), (pixels, dates, bands)),
        "mask": tf.reshape(tf.io.decode_raw(found["mask"], tf.uint8), (pixels, dates)),
        "doy": _uint16(found["doy"]),
        "year": _uint16(found["year"]),
        "labels": tf.reshape(labels, [pixels]),
        "row": tf.cast(found["origin"][0] + place // width, tf.int32),
        "column": tf.cast(found["origin"][1] + place % width, tf.int32),
        "tile": found["tile"],
        "shape": found["shape"],
    }


def decode_block(serialized: bytes, where: str) -> Block:
    """Returns a block from its record, without TensorFlow's runtime.

    Args:
        serialized: the record.
        where: names it in a message.

    Raises:
        ValueError: not the record of a block, or of other lengths than it says.
    """
    found = _parse(serialized, where)
    try:
        height, width, dates, bands = found["shape"].int64_list.value
        row, column = found["origin"].int64_list.value
        parts = {
            name: np.frombuffer(found[name].bytes_list.value[0], dtype)
            for name, dtype in (
                ("bands", "<u2"),
                ("mask", "u1"),
                ("doy", "<u2"),
                ("year", "<u2"),
            )
        }
        labels = None
        if "labels" in found:
            raw = np.frombuffer(found["labels"].bytes_list.value[0], np.uint8)
            labels = raw.reshape(height, width)
        return Block(
            found["tile"].bytes_list.value[0].decode(),
            row,
            column,
            _native(parts["bands"].reshape(height, width, dates, bands)),
            parts["mask"].reshape(height, width, dates),
            _native(parts["doy"].reshape(dates)),
            _native(parts["year"].reshape(dates)),
            labels,
        )
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(
            f"{where}: not the record of a block of pixel time series ({error}); write "
            "the records again with bigearthnet-tf tiles"
        ) from None


def _parse(serialized: bytes, where: str) -> dict[str, tf.train.Feature]:
    try:
        example = tf.train.Example.FromString(serialized)
    except Exception as error:  # protobuf's errors have no public base class
        raise ValueError(f"{where}: not a record of features ({error})") from None
    return dict(example.features.feature)


def _uint16(raw: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_raw(raw, tf.uint16, little_endian=True)


def _native(array: NDArray[np.uint16]) -> NDArray[np.uint16]:
    return array.astype(np.uint16, copy=False)


def _example(features: dict[str, tf.train.Feature]) -> bytes:
    whole = tf.train.Features(feature=features)
    return bytes(tf.train.Example(features=whole).SerializeToString())


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _ints(values: tuple[int, ...]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
