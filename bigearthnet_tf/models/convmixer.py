"""ConvMixer: patches, then depthwise and pointwise convolutions of one width.

Architecture: Trockman & Kolter, arXiv 2201.09792, in timm's form, in which reBEN
publishes weights for BigEarthNet. No stochastic depth, as there. Layers are called
`stem_<part>` and `block<i>_<depthwise|pointwise>_<part>`, counted from 1.
"""

from __future__ import annotations

from typing import Any

import keras

from bigearthnet_tf.models import layers, published, zoo

# Of torch's `BatchNorm2d`, which timm takes as it is; momentum as Keras defines it.
MOMENTUM = 0.9
EPSILON = 1e-5


# Ends of the blocks.
MAPS = r"block\d+_pointwise_norm"


def timm_name(layer: str, variable: str) -> str:
    """Returns what timm calls a variable: `blocks.0.0.fn.0.weight`."""
    if layer == "head":
        return f"head.{published.linear_name(variable)}"
    part, _, kind = layer.rpartition("_")
    # timm counts what its `Sequential`s hold: convolution, ReLU, normalisation.
    if kind == "conv":
        index, name = 0, published.linear_name(variable)
    else:
        index, name = 2, published.batch_norm_name(variable)
    if part == "stem":
        return f"stem.{index}.{name}"
    block, mixer = part.split("_")
    prefix = f"blocks.{int(block.removeprefix('block')) - 1}"
    if mixer == "depthwise":
        return f"{prefix}.0.fn.{index}.{name}"
    return f"{prefix}.{index + 1}.{name}"


def convmixer(
    x: Any, depth: int, *, width: int, kernel_size: int, patch_size: int
) -> Any:
    """Maps images to features by a ConvMixer with ReLU.

    Pixels that don't fill a last patch are left out: at 120 pixels a side, a patch of
    7 sees 119.

    Args:
        x: (batch, height, width, bands).
        depth: number of blocks.
        width: channels of all layers.
        kernel_size: of the depthwise convolutions, in pixels of the patch map.
        patch_size: pixels a side of a patch.

    Returns:
        (batch, width).

    Raises:
        ValueError: the image is smaller than a patch.
    """
    if min(x.shape[1:3]) < patch_size:
        raise ValueError(
            f"expected images of at least {patch_size} pixels a side for a ConvMixer, "
            f"got {x.shape[1]} x {x.shape[2]}"
        )
    # Weights and biases start as torch's convolutions do: by the fan-in, as a linear
    # layer's.
    start = layers.torch_linear(patch_size**2 * x.shape[-1])
    stem = keras.layers.Conv2D(width, patch_size, patch_size, name="stem_conv", **start)
    x = _activated(stem(x), "stem")
    for number in range(1, depth + 1):
        part = f"block{number}_depthwise"
        depthwise = keras.layers.DepthwiseConv2D(
            kernel_size,
            padding="same",
            depthwise_initializer=layers.uniform_by_fan_in(kernel_size**2),
            bias_initializer=layers.uniform_by_fan_in(kernel_size**2),
            name=f"{part}_conv",
        )
        mixed = _activated(depthwise(x), part)
        x = keras.layers.Add(name=f"block{number}_add")([mixed, x])
        part = f"block{number}_pointwise"
        start = layers.torch_linear(width)
        pointwise = keras.layers.Conv2D(width, 1, name=f"{part}_conv", **start)
        x = _activated(pointwise(x), part)
    return keras.layers.GlobalAveragePooling2D(name="pool")(x)


def _activated(x: Any, name: str) -> Any:
    """Rectifies, then normalises: layers `<name>_relu` and `<name>_norm`."""
    x = keras.layers.ReLU(name=f"{name}_relu")(x)
    return layers.BatchNormalization(
        momentum=MOMENTUM, epsilon=EPSILON, name=f"{name}_norm"
    )(x)


@zoo.register_model("convmixer_768_32", timm=timm_name, maps=MAPS)
def convmixer_768_32(x: Any) -> Any:
    """ConvMixer-768/32 as in timm: 32 blocks, 768 features."""
    return convmixer(x, 32, width=768, kernel_size=7, patch_size=7)


@zoo.register_model("convmixer_test", timm=timm_name, maps=MAPS)
def convmixer_test(x: Any) -> Any:
    """A size for tests and trial runs: two blocks, 32 features."""
    return convmixer(x, 2, width=32, kernel_size=5, patch_size=7)
