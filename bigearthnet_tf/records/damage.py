"""Which record it is that TensorFlow could not read.

TensorFlow stops at the first fault of its input and names neither shard nor record; so
the shards are read again, which takes a second or two for every gigabyte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import tensorflow as tf

from bigearthnet_tf.records import frames, map_reader, schema, verification

# Words of TensorFlow's complaints about the contents of a record.
_OF_CONTENT = (
    "IteratorGetNext",
    "Feature:",
    "Key:",
    "DecodeRaw",
    "reshape",
    "parse",
    map_reader.WRONG_CODES,
    schema.WRONG_VALUES,
    schema.WRONG_LABELS,
)


@contextmanager
def reading(find_files: Callable[[], Sequence[str]], split: str = "") -> Iterator[None]:
    """Turns TensorFlow's complaint about a record into one line that names it.

    Args:
        find_files: gives the shards that are read.
        split: of them, for messages; empty where it is not known.

    Raises:
        ValueError: a record is damaged, or has other contents than the first one.
    """
    try:
        yield
    except tf.errors.DataLossError as error:
        files = find_files()
        for path in files:
            frames.verify(path)
        raise ValueError(
            f"{_called(files, split)}: a record was damaged when it was read, but is "
            "whole now: look at the disk, or at the folder that `cache` names"
        ) from error
    except tf.errors.InvalidArgumentError as error:
        said, files = str(error), find_files()
        fault = None
        if map_reader.WRONG_SIZE in said:
            fault = (
                f"{_called(files, split)}: {map_reader.WRONG_SIZE}; prepare them again "
                "with prep_splits.py --maps, from maps that lie on the patches"
            )
        elif any(word in said for word in _OF_CONTENT):
            fault = _first_fault(files)
        if fault is None:
            raise
        raise ValueError(fault) from error


def _called(files: Sequence[str], split: str) -> str:
    return f"{split} records" if split else f"{files[0]} and the shards beside it"


def _first_fault(files: Sequence[str]) -> str | None:
    """Returns the first fault in the contents of shards, None if there is none."""
    contents = (verification.read_whole(None, path, lambda: None) for path in files)
    return next((found.fault for found in contents if found.fault), None)
