"""The TFRecord file format: records framed by their length and two checksums.

A record is its length (8 bytes, little-endian), the masked CRC-32C of the length (4),
the data, and the masked CRC-32C of the data (4), as in TensorFlow's
`core/lib/io/record_writer.h`. TensorFlow's own reader stops at the first fault and
does not say which record it is in.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import google_crc32c

from bigearthnet_tf import files
from bigearthnet_tf.records import storage

LENGTH_BYTES, HEADER_BYTES, FOOTER_BYTES = 8, 12, 4
# `kMaskDelta` of TensorFlow's `core/lib/hash/crc32c.h`.
_MASK_DELTA = 0xA282EAD8


class Frame(NamedTuple):
    """Where a record lies in its file: the first byte of its frame, bytes of data."""

    offset: int
    length: int


class Summary(NamedTuple):
    """What a file holds: records, bytes, and its CRC-32 as eight hex digits."""

    num_records: int
    num_bytes: int
    crc32: str


def walk(path: storage.StrPath) -> Iterator[Frame]:
    """Yields where each record lies, reading nothing but the lengths.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file ends within a record, or is no TFRecord file.
    """
    path = os.fspath(path)
    total, position, count = storage.size(path), 0, 0
    with storage.python_errors(path), storage.open_to_read(path) as file:
        while position < total:
            file.seek(position)
            header = file.read(LENGTH_BYTES)
            if len(header) < LENGTH_BYTES:
                raise _truncated(path, count)
            (length,) = struct.unpack("<Q", header)
            frame = Frame(position, length)
            position += HEADER_BYTES + length + FOOTER_BYTES
            if position > total:
                raise _truncated(path, count)
            yield frame
            count += 1


def read_at(file: Any, frame: Frame, where: str) -> bytes:
    """Returns the data of one record, its checksum compared.

    Args:
        file: the opened file.
        frame: from `walk`.
        where: names file and record in a message.

    Raises:
        ValueError: the data is not what was written.
    """
    file.seek(frame.offset)
    return _check(file.read(HEADER_BYTES + frame.length + FOOTER_BYTES), where)


def read_all(path: storage.StrPath) -> Iterator[bytes]:
    """Yields the data of every record, one in memory at a time, checksums compared.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a record is damaged; says which.
    """
    path = os.fspath(path)
    with storage.python_errors(path), storage.open_to_read(path) as file:
        for number, frame in enumerate(walk(path)):
            yield read_at(file, frame, f"{path}: record {number}")


def verify(path: storage.StrPath) -> Summary:
    """Reads a file from end to end and compares every checksum.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a record is damaged; says which.
    """
    path = os.fspath(path)
    crc = count = end = 0
    with storage.python_errors(path), storage.open_to_read(path) as file:
        for frame in walk(path):
            size = HEADER_BYTES + frame.length + FOOTER_BYTES
            file.seek(frame.offset)
            framed = file.read(size)
            _check(framed, f"{path}: record {count}")
            crc = zlib.crc32(framed, crc)
            count, end = count + 1, frame.offset + size
    return Summary(count, end, f"{crc:08x}")


def _check(framed: bytes, where: str) -> bytes:
    data = framed[HEADER_BYTES:-FOOTER_BYTES]
    (of_length,) = struct.unpack_from("<I", framed, LENGTH_BYTES)
    (of_data,) = struct.unpack_from("<I", framed, len(framed) - FOOTER_BYTES)
    if of_length != _masked_crc(framed[:LENGTH_BYTES]) or of_data != _masked_crc(data):
        raise ValueError(
            f"{where} is damaged: its checksum differs; copy the file again, or "
            "prepare the records again"
        )
    return data


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def _truncated(path: str, count: int) -> ValueError:
    local = storage.local_path(path)
    if not count and local is not None and files.is_packed(local):
        return ValueError(f"{path}: expected records, got a packed file: unpack it")
    return ValueError(
        f"{path}: truncated, or no TFRecord file: record {count} does not end with "
        "the file; prepare it again"
    )
