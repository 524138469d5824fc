"""InceptionV1 (GoogLeNet) of balanced-bigearthnet.

Szegedy et al., arXiv 1409.4842, with BatchNorm after every convolution and without
local response normalisation and auxiliary heads; see Verlynde et al., IGARSS 2025. The
7x7 pooling at its end needs images of 224 pixels; here it is the mean over the image,
which is the same there and takes any size. Convolutions and head start as torch's do.
Layers are called `stem<i>_<part>` and `mixed<block>_<branch>_<part>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from bigearthnet_tf.models import layers, zoo

# Defaults of torch's `BatchNorm2d`; its momentum of 0.1 is the weight of the batch.
EPSILON = 1e-5
MOMENTUM = 0.9


@dataclass(frozen=True)
class Block:
    """Filters of the four branches of a block, side by side in its output.

    Attributes:
        one: of the 1x1 convolution.
        three: of the 1x1 and the 3x3 convolution after it.
        five: of the 1x1 and the 5x5 convolution after it.
        pooled: of the 1x1 convolution after a max-pooling.
    """

    one: int
    three: tuple[int, int]
    five: tuple[int, int]
    pooled: int


# Stages of blocks by name; the image is halved before each. Table 1 of the paper.
STAGES: tuple[dict[str, Block], ...] = (
    {
        "3a": Block(64, (96, 128), (16, 32), 32),
        "3b": Block(128, (128, 192), (32, 96), 64),
    },
    {
        "4a": Block(192, (96, 208), (16, 48), 64),
        "4b": Block(160, (112, 224), (24, 64), 64),
        "4c": Block(128, (128, 256), (24, 64), 64),
        "4d": Block(112, (144, 288), (32, 64), 64),
        "4e": Block(256, (160, 320), (32, 128), 128),
    },
    {
        "5a": Block(256, (160, 320), (32, 128), 128),
        "5b": Block(384, (192, 384), (48, 128), 128),
    },
)


# Ends of the blocks, and the stem before each halving.
MAPS = r"stem[13]_relu|mixed\d[a-e]"


def inception(
    x: Any,
    stages: Sequence[dict[str, Block]],
    *,
    stem: tuple[int, int, int] = (64, 64, 192),
    dropout: float = 0.4,
) -> Any:
    """Maps images to features by Inception blocks.

    Args:
        x: (batch, height, width, bands), of any size.
        stages: blocks by name.
        stem: filters of the 7x7, 1x1 and 3x3 convolution before them.
        dropout: before the head.

    Returns:
        (batch, filters of the last block).
    """
    x = _activated(x, stem[0], 7, "stem1", stride=2)
    x = _halved(x, "stem1")
    x = _activated(x, stem[1], 1, "stem2")
    x = _activated(x, stem[2], 3, "stem3")
    for stage, blocks in enumerate(stages, start=3):
        x = _halved(x, f"stage{stage}")
        for name, block in blocks.items():
            x = _mixed(x, block, f"mixed{name}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return layers.Dropout(dropout, name="pool_dropout")(x)


def _mixed(x: Any, block: Block, name: str) -> Any:
    """Puts the four branches of a block side by side."""
    branches = [_activated(x, block.one, 1, f"{name}_one")]
    for kernel, part in ((3, "three"), (5, "five")):
        reduced, filters = getattr(block, part)
        branch = _activated(x, reduced, 1, f"{name}_{part}_reduce")
        branches.append(_activated(branch, filters, kernel, f"{name}_{part}"))
    pool = keras.layers.MaxPooling2D(3, 1, padding="same", name=f"{name}_pool")
    branches.append(_activated(pool(x), block.pooled, 1, f"{name}_pooled"))
    return keras.layers.Concatenate(name=name)(branches)


def _activated(x: Any, filters: int, kernel: int, name: str, *, stride: int = 1) -> Any:
    """Convolves, normalises and rectifies."""
    x = layers.convolution(
        x,
        filters,
        kernel,
        f"{name}_conv",
        stride=stride,
        initializer=layers.torch_convolution,
    )
    x = layers.BatchNormalization(
        momentum=MOMENTUM, epsilon=EPSILON, name=f"{name}_norm"
    )(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _halved(x: Any, name: str) -> Any:
    # Zeros can't win a maximum over what comes out of a ReLU.
    x = layers.pad(x, 1, f"{name}_pool_pad")
    return keras.layers.MaxPooling2D(3, 2, name=f"{name}_pool")(x)


@zoo.register_model("inception_v1", "InceptionV1", maps=MAPS)
def inception_v1(x: Any, *, dropout: float = 0.4) -> Any:
    """InceptionV1 of balanced-bigearthnet: 1024 features."""
    return inception(x, STAGES, dropout=dropout)


@zoo.register_model("inception_v1_test", maps=MAPS)
def inception_v1_test(x: Any, *, dropout: float = 0.4) -> Any:
    """A size for tests and trial runs: two stages of one block, 40 features."""
    stages = (
        {"3a": Block(4, (4, 8), (2, 4), 4)},
        {"4a": Block(8, (8, 16), (4, 8), 8)},
    )
    return inception(x, stages, stem=(8, 8, 16), dropout=dropout)
