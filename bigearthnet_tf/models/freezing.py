"""Layers that keep their weights while the others learn."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import keras

from bigearthnet_tf.models.published import HEAD


def freeze(model: keras.Model, patterns: Sequence[str]) -> None:
    """Freezes the layers whose names match; they run as in inference from now on.

    A frozen BatchNorm normalises by its moving statistics and leaves them alone, a
    frozen dropout drops nothing.

    Args:
        model: of `build.assemble`.
        patterns: with wildcards, such as `stem*` or `stage[12]_*`.

    Raises:
        ValueError: a pattern fits no layer, or nothing is left to learn.
    """
    names = [layer.name for layer in model.layers]
    for pattern in patterns:
        matching = [name for name in names if fnmatchcase(name, pattern)]
        if not matching:
            learning = [layer.name for layer in model.layers if layer.weights]
            raise ValueError(
                f"freeze: no layer of {model.name} is {pattern!r}; those with weights "
                f"are {', '.join(learning[:4])} ... {learning[-1]}"
            )
        for name in matching:
            model.get_layer(name).trainable = False
    if not model.trainable_variables:
        raise ValueError(f"freeze: {list(patterns)} leaves nothing to learn")


def freeze_backbone(model: keras.Model) -> None:
    """Freezes everything before the head.

    To the head belong the last layer, the hidden ones of `head_dims`, the dropout of
    `drop_rate` before each of them, and what an architecture calls `head_*`: the
    normalisation of ConvNeXt V2.
    """
    for layer in model.layers:
        if not layer.name.startswith(HEAD):
            layer.trainable = False


def is_head(variable: keras.Variable) -> bool:
    """Tells whether a variable belongs to the head."""
    return str(variable.path).startswith(HEAD)
