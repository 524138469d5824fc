"""Whether a batch fits into memory, before TensorFlow tries.

Where it does not, the system ends the process without a word. What is estimated here is
less than what a step takes: whatever is refused would not have run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bigearthnet_tf.config import Config
from bigearthnet_tf.config.time_series_keys import TASKS

_SYSTEM = Path("/proc/meminfo")
# Of a container: what it may have, and what it has (cgroup 2).
_LIMIT = Path("/sys/fs/cgroup/memory.max")
_USED = Path("/sys/fs/cgroup/memory.current")
_FILES = Path("/sys/fs/cgroup/memory.stat")
# Of the outputs of all layers, what is kept until the gradients are there: those of
# normalisations, activations and sums often share memory with others.
_KEPT = 0.5
_FLOAT = 4


def available() -> int | None:
    """Returns the bytes that this process can still get; None where nobody tells."""
    found = []
    if _SYSTEM.exists():
        lines = dict(line.split(":", 1) for line in _SYSTEM.read_text().splitlines())
        if "MemAvailable" in lines:
            found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    if _LIMIT.exists() and (limit := _LIMIT.read_text().strip()).isdecimal():
        used = int(_USED.read_text())
        stat = dict(line.split() for line in _FILES.read_text().splitlines())
        # What files have in memory is given back where it is needed.
        found.append(int(limit) - used + int(stat.get("inactive_file", 0)))
    return max(min(found), 0) if found else None


def bytes_of_example(model: keras.Model, training: bool) -> int:
    """Returns the bytes that a model takes for an example of a batch, at least.

    Args:
        model: made of layers whose outputs have shapes.
        training: whether the outputs of all layers are kept for the gradients.
    """
    sizes = [_size(tensor) for layer in _layers(model) for tensor in _outputs(layer)]
    own = sum(_size(tensor) for tensor in keras.tree.flatten(model.inputs))
    if training:
        return own + int(_KEPT * sum(sizes))
    return own + max(sizes, default=0)


def _layers(model: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from _layers(layer)


def _outputs(layer: keras.layers.Layer) -> list[Any]:
    try:
        return list(keras.tree.flatten(layer.output))
    except (AttributeError, ValueError):  # called more than once, or not yet
        return []


def _size(tensor: Any) -> int:
    shape = [side for side in tensor.shape[1:] if side is not None]
    return math.prod(shape) * np.dtype(_plain(tensor.dtype)).itemsize


def _plain(dtype: str) -> str:
    return "float16" if dtype == "bfloat16" else dtype


def check_inputs(config: Config, num_bands: int, parts: int = 1) -> None:
    """Refuses batches of which the resampled input alone is too much.

    Before the model is built, since that takes memory too.

    Args:
        config: `batch_size` and `image_size` are used.
        num_bands: of an example.
        parts: in which a batch is computed.

    Raises:
        ValueError: names the keys, and the numbers.
    """
    if config.task in TASKS or tf.config.get_visible_devices("GPU"):
        return
    one = config.image_size**2 * num_bands * _FLOAT
    _compare(config, one * -(-config.batch_size // parts))


def check_step(
    config: Config, model: keras.Model, training: bool, parts: int = 1
) -> None:
    """Refuses batches that do not fit into memory, on processors.

    On GPUs, TensorFlow says itself what did not fit: see `base.fitting`.

    Args:
        config: `batch_size` and `image_size` are used.
        model: that sees them.
        training: whether gradients are computed.
        parts: in which a batch is computed.

    Raises:
        ValueError: names the keys, and the numbers.
    """
    if tf.config.get_visible_devices("GPU"):
        return
    one = bytes_of_example(model, training)
    gradients = sum(math.prod(v.shape) for v in model.trainable_variables) * _FLOAT
    examples = -(-config.batch_size // parts)
    _compare(config, one * examples + (gradients if training else 0))


def check_batch(examples: int, one: int, option: str) -> None:
    """Refuses a batch of scoring that does not fit into memory.

    Args:
        examples: of the batch.
        one: bytes of an example, of `bytes_of_example`.
        option: that says how many they are.

    Raises:
        ValueError: names the option, and the numbers.
    """
    check_room(examples * one, f"{option}: {examples} at once need")


def check_room(needed: int, what: str) -> None:
    """Refuses what does not fit into memory.

    Args:
        needed: bytes, at least.
        what: names the option that they follow from, and ends in "need".

    Raises:
        ValueError: that many are not free.
    """
    free = available()
    if free is not None and needed > free:
        raise ValueError(
            f"{what} {needed / 1e9:.1f} GB or more, but {free / 1e9:.1f} GB of memory "
            "are free: lower it"
        )


def _compare(config: Config, needed: int) -> None:
    free = available()
    if free is None or needed <= free:
        return
    patches = config.task not in TASKS
    size = f" with image_size {config.image_size}" if patches else ""
    raise ValueError(
        f"batch_size {config.batch_size}{size} needs {needed / 1e9:.1f} GB or more, "
        f"but {free / 1e9:.1f} GB of memory are free: lower batch_size"
        f"{', or image_size,' if patches else ''} or raise gradient_accumulation"
    )
