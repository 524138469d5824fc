"""Whether Keras is set as the models need it."""

from __future__ import annotations

import keras

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
