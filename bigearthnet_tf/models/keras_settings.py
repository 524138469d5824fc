"""Keras as the models need it: its settings, and the names of layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import keras
from keras.src.backend.common import global_state

_COUNTERS = "object_name_uids"
_NEEDED = {"image_data_format": "channels_last", "floatx": "float32"}


def check() -> None:
    """Refuses settings with which weights would mean something else.

    Raises:
        ValueError: another order of axes, or another type of weights; says which.
    """
    for name, needed in _NEEDED.items():
        found = getattr(keras.config, name)()
        if found != needed:
            raise ValueError(
                f"Keras: expected {name} {needed!r}, got {found!r}: correct it in "
                "keras.json in ~/.keras or KERAS_HOME, or call keras.config."
                f"set_{name}({needed!r})"
            )


@contextmanager
def counting_afresh() -> Iterator[None]:
    """Has Keras count layers without a name from the first on for a while.

    Keras counts all that the process has made, so that a model built twice would have
    other names, by which its weights are found. There is no public way to tell it.
    """
    kept = global_state.get_global_attribute(_COUNTERS)
    global_state.set_global_attribute(_COUNTERS, defaultdict(int))
    try:
        yield
    finally:
        global_state.set_global_attribute(_COUNTERS, kept)
