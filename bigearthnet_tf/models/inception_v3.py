"""InceptionV3 as torchvision and timm have it, without the auxiliary head.

Szegedy et al., arXiv 1512.00567. balanced-bigearthnet (Verlynde et al., IGARSS 2025)
trains it on RGB, resized to 299 pixels: `"image_size": 299, "interpolation":
"bilinear"` of a config. Any other bands go too, and any size of at least 75 pixels.

The auxiliary head of torchvision is not built: balanced-bigearthnet counts its 3.3
million weights but never trains them. Nor is torchvision's `transform_input`, which
shifts standardised RGB to the scale of its ImageNet weights, x (0.229, 0.224, 0.225) /
0.5 + ((0.485, 0.456, 0.406) - 0.5) / 0.5: whoever brings such weights sets mean and
deviation of the bands instead. A random start is that of torchvision, the head's that
of torch's `Linear`, which balanced-bigearthnet puts there.

Layers have torchvision's names, with `_` for `.`, and `norm` for `bn`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from bigearthnet_tf.models import layers, published, zoo

# torchvision's `BasicConv2d`; torch's momentum of 0.1 is the weight of the batch.
EPSILON = 1e-3
MOMENTUM = 0.9
# torchvision's `trunc_normal_(std=0.1, a=-2, b=2)` cuts at 20 deviations: a normal.
DEVIATION = 0.1

Kernel = int | tuple[int, int]
# Filters, and the kernel (height, width). Several kernels stand side by side.
Step = tuple[int, *tuple[Kernel, ...]]


@dataclass(frozen=True)
class Stem:
    """A convolution before the blocks.

    Attributes:
        filters: channels of its output.
        kernel: side length in pixels.
        stride: in pixels.
        padding: `"valid"` or `"same"`.
        pool: whether a max-pooling of 3 pixels and stride 2 follows.
    """

    filters: int
    kernel: int
    stride: int = 1
    padding: str = "valid"
    pool: bool = False


@dataclass(frozen=True)
class Block:
    """Branches of convolutions, side by side in the output.

    Attributes:
        branches: steps of each branch by torchvision's name.
        pooled: filters of the 1x1 convolution after an average-pooling, the last
            branch; None: the block halves the image, by stride 2 without padding in
            the last step of its branches and by max-pooling in a last one.
    """

    branches: Mapping[str, tuple[Step, ...]]
    pooled: int | None = None


# Ends of the blocks, and of the stem before each halving.
MAPS = r"Conv2d_\d[a-z]_\dx\d_relu|Mixed_\d[a-z]"


def block_a(pooled: int) -> Block:
    """Returns torchvision's `InceptionA`."""
    return Block(
        {
            "branch1x1": ((64, 1),),
            "branch5x5": ((48, 1), (64, 5)),
            "branch3x3dbl": ((64, 1), (96, 3), (96, 3)),
        },
        pooled,
    )


def block_c(width: int) -> Block:
    """Returns torchvision's `InceptionC`, 7x7 convolutions taken apart."""
    across, down = (width, (1, 7)), (width, (7, 1))
    return Block(
        {
            "branch1x1": ((192, 1),),
            "branch7x7": ((width, 1), across, (192, (7, 1))),
            "branch7x7dbl": ((width, 1), down, across, down, (192, (1, 7))),
        },
        192,
    )


BLOCK_B = Block(
    {
        "branch3x3": ((384, 3),),
        "branch3x3dbl": ((64, 1), (96, 3), (96, 3)),
    }
)
BLOCK_D = Block(
    {
        "branch3x3": ((192, 1), (320, 3)),
        "branch7x7x3": ((192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3)),
    }
)
BLOCK_E = Block(
    {
        "branch1x1": ((320, 1),),
        "branch3x3": ((384, 1), (384, (1, 3), (3, 1))),
        "branch3x3dbl": ((448, 1), (384, 3), (384, (1, 3), (3, 1))),
    },
    192,
)

STEM = {
    "Conv2d_1a_3x3": Stem(32, 3, stride=2),
    "Conv2d_2a_3x3": Stem(32, 3),
    "Conv2d_2b_3x3": Stem(64, 3, padding="same", pool=True),
    "Conv2d_3b_1x1": Stem(80, 1),
    "Conv2d_4a_3x3": Stem(192, 3, pool=True),
}
BLOCKS = {
    "Mixed_5b": block_a(32),
    "Mixed_5c": block_a(64),
    "Mixed_5d": block_a(64),
    "Mixed_6a": BLOCK_B,
    "Mixed_6b": block_c(128),
    "Mixed_6c": block_c(160),
    "Mixed_6d": block_c(160),
    "Mixed_6e": block_c(192),
    "Mixed_7a": BLOCK_D,
    "Mixed_7b": BLOCK_E,
    "Mixed_7c": BLOCK_E,
}


def timm_name(layer: str, variable: str) -> str:
    """Returns torchvision's and timm's name: `Mixed_5b.branch5x5_1.conv.weight`."""
    if layer == "head":
        return f"fc.{published.linear_name(variable)}"
    module, _, kind = layer.replace("_branch", ".branch").rpartition("_")
    if kind == "norm":
        return f"{module}.bn.{published.batch_norm_name(variable)}"
    return f"{module}.conv.{published.linear_name(variable)}"


def inception(
    x: Any,
    stem: Mapping[str, Stem],
    blocks: Mapping[str, Block],
    *,
    divisor: int = 1,
    dropout: float = 0.5,
) -> Any:
    """Maps images to features by factorised Inception blocks.

    Args:
        x: (batch, height, width, bands).
        stem: convolutions by name.
        blocks: what follows them, by name.
        divisor: of all widths; all of the published ones are multiples of 16.
        dropout: before the head.

    Returns:
        (batch, filters of the last block).

    Raises:
        ValueError: images too small for the network.
    """
    smallest = _smallest_image(stem, blocks)
    if min(x.shape[1:3]) < smallest:
        raise ValueError(
            f"expected images of at least {smallest} pixels a side, got {x.shape[1]} "
            f"by {x.shape[2]}; image_size sets it"
        )
    for name, part in stem.items():
        x = _activated(
            x, part.filters // divisor, part.kernel, name, part.stride, part.padding
        )
        if part.pool:
            x = keras.layers.MaxPooling2D(3, 2, name=f"{name}_pool")(x)
    for name, block in blocks.items():
        x = _mixed(x, block, name, divisor)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return layers.Dropout(dropout, name="pool_dropout")(x)


def _smallest_image(stem: Mapping[str, Stem], blocks: Mapping[str, Block]) -> int:
    """Returns the least side that leaves one pixel after all valid paddings."""
    pixels = 1
    for block in blocks.values():
        if block.pooled is None:
            pixels = 2 * pixels + 1
    for part in reversed(list(stem.values())):
        if part.pool:
            pixels = 2 * pixels + 1
        if part.padding == "valid":
            pixels = part.stride * (pixels - 1) + part.kernel
    return pixels


def _mixed(x: Any, block: Block, name: str, divisor: int) -> Any:
    """Puts the branches of a block side by side."""
    branches = [
        _branch(x, steps, f"{name}_{branch}", divisor, block.pooled is None)
        for branch, steps in block.branches.items()
    ]
    if block.pooled is None:
        pooled = keras.layers.MaxPooling2D(3, 2, name=f"{name}_pool")(x)
    else:
        # torch counts the padding in an average; Keras's `same` does not.
        pooled = layers.pad(x, 1, f"{name}_pool_pad")
        pooled = keras.layers.AveragePooling2D(3, 1, name=f"{name}_pool")(pooled)
        filters = block.pooled // divisor
        pooled = _activated(pooled, filters, 1, f"{name}_branch_pool")
    return keras.layers.Concatenate(name=name)([*branches, pooled])


def _branch(
    x: Any, steps: Sequence[Step], name: str, divisor: int, halves: bool
) -> Any:
    """Applies the steps of a branch, numbered where there are several."""
    for number, (filters, *kernels) in enumerate(steps, start=1):
        part = f"{name}_{number}" if len(steps) > 1 else name
        strided = halves and number == len(steps)
        stride, padding = (2, "valid") if strided else (1, "same")
        letters = "ab" if len(kernels) > 1 else [""]
        sides = [
            _activated(x, filters // divisor, kernel, part + letter, stride, padding)
            for kernel, letter in zip(kernels, letters, strict=True)
        ]
        x = keras.layers.Concatenate(name=part)(sides) if len(sides) > 1 else sides[0]
    return x


def _activated(
    x: Any,
    filters: int,
    kernel: Kernel,
    name: str,
    stride: int = 1,
    padding: str = "same",
) -> Any:
    """Convolves, normalises and rectifies."""
    x = keras.layers.Conv2D(
        filters,
        kernel,
        stride,
        padding=padding,
        use_bias=False,
        kernel_initializer=keras.initializers.RandomNormal(stddev=DEVIATION),
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(
        momentum=MOMENTUM, epsilon=EPSILON, name=f"{name}_norm"
    )(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


@zoo.register_model(
    "inception_v3", "InceptionV3", bands="rgb", timm=timm_name, maps=MAPS
)
def inception_v3(x: Any, *, dropout: float = 0.5) -> Any:
    """InceptionV3 as in torchvision: 2048 features."""
    return inception(x, STEM, BLOCKS, dropout=dropout)


@zoo.register_model("inception_v3_test", timm=timm_name, maps=MAPS)
def inception_v3_test(x: Any, *, dropout: float = 0.5) -> Any:
    """A size for tests and trial runs: a block of each kind, 128 features."""
    stem = {"Conv2d_1a_3x3": STEM["Conv2d_1a_3x3"]}
    kinds = ("Mixed_5b", "Mixed_6a", "Mixed_6b", "Mixed_7a", "Mixed_7b")
    blocks = {name: BLOCKS[name] for name in kinds}
    return inception(x, stem, blocks, divisor=16, dropout=dropout)
