"""Scalars of TensorBoard event files, whichever program wrote them.

The split of a scalar is the folder that its file lies in (`validation/`, as TensorFlow
programs have it) or a part of its tag (`loss/val`, as balanced-bigearthnet has it).
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorboard.compat.proto import event_pb2, summary_pb2, types_pb2
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.util import tensor_util

from bigearthnet_tf.records import frames

logger = logging.getLogger(__name__)

_PATTERN = "*tfevents*"
# What others call our splits, as a folder or as a part of a tag.
_SPLITS = {
    "training": "training",
    "train": "training",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
# Of our own event files: a folder above the splits, and headings of single labels.
_LOGS, _SINGLE_LABEL = "logs", "single_label_"
_FIRST_EVENT = "brain.Event:"
_NUMBERS = (
    types_pb2.DT_FLOAT,
    types_pb2.DT_DOUBLE,
    types_pb2.DT_HALF,
    types_pb2.DT_INT32,
    types_pb2.DT_INT64,
)


def find_runs(folder: Path) -> dict[Path, list[Path]]:
    """Returns the runs below a folder that left event files, each with its files.

    A run is the folder of the files, without `logs` and the name of a split at its end.

    Args:
        folder: that of a run or one above it.
    """
    runs: dict[Path, list[Path]] = {}
    for path in sorted(path for path in folder.rglob(_PATTERN) if path.is_file()):
        parts = list(path.parent.relative_to(folder).parts)
        if parts and parts[-1] in _SPLITS:
            parts.pop()
        if parts and parts[-1] == _LOGS:
            parts.pop()
        runs.setdefault(folder.joinpath(*parts), []).append(path)
    return runs


def read(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Returns the scalars of event files as points of a history, by split and step.

    Of the same scalar at the same step the last file's counts, as where a run was
    continued. A file that is cut off or damaged is read up to there, with a warning.

    Args:
        paths: of one run, in the order in which they were written.

    Returns:
        Points with `split`, `iteration` (the step) and values, None where not finite.

    Raises:
        ValueError: none of them is an event file.
    """
    points: dict[tuple[str, int], dict[str, Any]] = {}
    seen: dict[tuple[str, str, int], Path] = {}
    replaced = set()
    faults = []
    for path in paths:
        try:
            found = list(_scalars(path))
        except ValueError as error:
            faults.append(error)
            continue
        meanings = _meanings({tag for _, tag, _ in found}, path.parent.name)
        for step, tag, value in found:
            split, measure = meanings[tag]
            facts = {"split": split, "iteration": step}
            points.setdefault((split, step), facts)[measure] = value
            key = split, measure, step
            if seen.setdefault(key, path) != path:
                replaced.add(seen[key])
            seen[key] = path
    if faults and len(faults) == len(paths):
        raise faults[0]
    for fault in faults:
        logger.warning("%s: passed over", fault)
    for path in sorted(replaced):
        logger.warning(
            "%s: a later event file has values for the same steps, which count; move "
            "one of the two away to draw them apart",
            path,
        )
    return [points[key] for key in sorted(points)]


def _scalars(path: Path) -> Iterator[tuple[int, str, float | None]]:
    """Yields step, tag and value of each scalar of a file."""
    if not path.stat().st_size:
        logger.warning("%s: no event in it yet", path)
        return
    for event in _events(path):
        for value in event.summary.value:
            if _is_scalar(value):
                yield event.step, value.tag, _number(value)


def _events(path: Path) -> Iterator[event_pb2.Event]:
    """Yields the whole events of a file; a warning says where it breaks off."""
    number = 0
    try:
        for data in frames.read_all(path):
            event = event_pb2.Event.FromString(data)
            if number == 0 and not event.file_version.startswith(_FIRST_EVENT):
                break
            number += 1
            yield event
    except (ValueError, DecodeError):
        if number:
            logger.warning(
                "%s: cut off or damaged after %d events; drawn up to there",
                *(path, number),
            )
    if not number:
        raise ValueError(
            f"{path}: expected a TensorBoard event file, but its first record is no "
            "whole event: copy the file again, or move it out of the folder"
        )


def _is_scalar(value: summary_pb2.Summary.Value) -> bool:
    """Tells whether a value is one number; looks at a tensor before it is made."""
    if value.HasField("simple_value"):
        return True
    tensor = value.tensor
    return (
        value.metadata.plugin_data.plugin_name == scalar_metadata.PLUGIN_NAME
        and tensor.dtype in _NUMBERS
        and all(dimension.size == 1 for dimension in tensor.tensor_shape.dim)
    )


def _number(value: summary_pb2.Summary.Value) -> float | None:
    if value.HasField("simple_value"):
        number = float(value.simple_value)
    else:
        number = float(tensor_util.make_ndarray(value.tensor).item())
    return number if math.isfinite(number) else None


def _meanings(tags: Iterable[str], folder: str) -> dict[str, tuple[str, str]]:
    """Returns split and name of the scalars of a file, by their tags.

    The heading of a card is left out, unless two tags of a file differ by that alone.
    """
    short = {tag: _meaning(tag, folder, -1) for tag in tags}
    count = Counter(short.values())
    return {
        tag: meaning if count[meaning] == 1 else _meaning(tag, folder, 0)
        for tag, meaning in short.items()
    }


def _meaning(tag: str, folder: str, first: int) -> tuple[str, str]:
    """Returns split and name of a scalar, by its tag and the folder of its file.

    Args:
        tag: of the scalar.
        folder: name of the file's folder.
        first: part of the tag at which the name begins, where no part names a split.
    """
    if tag.startswith(_SINGLE_LABEL):
        return _SPLITS.get(folder, "training"), tag.removeprefix(_SINGLE_LABEL)
    parts = [part for part in tag.split("/") if part]
    named = [part for part in parts if part in _SPLITS]
    rest = [part for part in parts if part not in _SPLITS]
    if named and rest:
        return _SPLITS[named[0]], "_".join(rest)
    return _SPLITS.get(folder, "training"), "_".join(parts[first:]) or tag
