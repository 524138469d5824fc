"""ConvNeXt V2: stages of depthwise convolutions and MLPs on halved maps.

Architecture: Woo et al., arXiv 2301.00808, with global response normalisation in place
of the layer scale of the first version (Liu et al., arXiv 2201.03545); in timm's form,
in which reBEN publishes weights for BigEarthNet. Layers are called `stem_<part>`,
`stage<i>_downsample_<part>` and `stage<i>_block<j>_<part>`, counted from 1, and
`head_norm`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from bigearthnet_tf.models import layers, published, zoo

# All of it as timm's `ConvNeXt` has it.
PATCH = 4  # pixels a side of the stem's patches
KERNEL = 7  # of the depthwise convolutions
EXPANSION = 4  # of the MLPs
EPSILON = 1e-6  # of both kinds of normalisation

# Ends of the blocks.
MAPS = r"stage\d+_block\d+_add"

# Under which a sum of squares counts as nothing: far below what EPSILON hides, and far
# above the smallest number of float32.
SMALLEST_ENERGY = 1e-30

# Blocks of each stage, channels of the first one (they double from stage to stage),
# and whether timm has convolutions of 1x1 in place of linear layers: the same numbers
# by another shape. As timm 1.0.31 has them.
SIZES = {
    "convnextv2_atto": ((2, 2, 6, 2), 40, True),
    "convnextv2_femto": ((2, 2, 6, 2), 48, True),
    "convnextv2_pico": ((2, 2, 6, 2), 64, True),
    "convnextv2_nano": ((2, 2, 8, 2), 80, True),
    "convnextv2_tiny": ((3, 3, 9, 3), 96, False),
    "convnextv2_base": ((3, 3, 27, 3), 128, False),
}


@keras.saving.register_keras_serializable(package=layers.PACKAGE)
class GlobalResponseNormalization(keras.layers.Layer):
    """Scales every channel by its share in the energy of the map.

    With g the norm of a channel over height and width, and n = g / mean of g over the
    channels: x -> x + gamma * n * x + beta. Both weights, (channels,), start at zero,
    which makes the layer an identity.

    The norm is taken in float32: squares overflow in float16, and bfloat16 is coarse.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Adds the weights for (batch, height, width, channels)."""
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(shape=shape, initializer="zeros", name="gamma")
        self.beta = self.add_weight(shape=shape, initializer="zeros", name="beta")

    def call(self, inputs: Any) -> Any:
        """Returns the scaled inputs, in their dtype."""
        energy = ops.sum(
            ops.square(ops.cast(inputs, "float32")), axis=(1, 2), keepdims=True
        )
        # The slope of a root at zero is infinite, and a channel can die.
        norm = ops.sqrt(ops.maximum(energy, SMALLEST_ENERGY))
        share = norm / (ops.mean(norm, axis=-1, keepdims=True) + EPSILON)
        share = ops.cast(share, inputs.dtype)
        return inputs * (1 + self.gamma * share) + self.beta

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns the shape of the output."""
        return input_shape


def timm_name(layer: str, variable: str) -> str:
    """Returns what timm calls a variable: `stages.0.blocks.0.mlp.fc1.weight`."""
    part, _, kind = layer.rpartition("_")
    if kind in ("norm", "grn"):
        name = published.batch_norm_name(variable)
    else:
        name = published.linear_name(variable)
    if layer == "head":
        return f"head.fc.{name}"
    if part == "head":
        return f"head.norm.{name}"
    if part == "stem":
        return f"stem.{['conv', 'norm'].index(kind)}.{name}"
    stage, block = part.split("_")
    prefix = f"stages.{int(stage.removeprefix('stage')) - 1}"
    if block == "downsample":
        return f"{prefix}.downsample.{['norm', 'conv'].index(kind)}.{name}"
    place = {"conv": "conv_dw", "norm": "norm"}.get(kind, f"mlp.{kind}")
    return f"{prefix}.blocks.{int(block.removeprefix('block')) - 1}.{place}.{name}"


def narrow_normal(_features: int = 0) -> dict[str, Any]:
    """Returns the initialisers of all convolutions and linear layers.

    timm's `trunc_normal_(std=0.02)` cuts at -2 and 2, a hundred deviations: a normal.
    """
    return {
        "kernel_initializer": keras.initializers.RandomNormal(stddev=0.02),
        "bias_initializer": "zeros",
    }


def convnext(
    x: Any,
    blocks: Sequence[int],
    widths: Sequence[int],
    *,
    conv_mlp: bool = False,
    drop_path_rate: float = 0.0,
) -> Any:
    """Maps images to features by a ConvNeXt V2.

    Pixels that don't fill a last patch are left out at the stem and at every halving:
    120 pixels a side become 30, 15, 7 and 3.

    Args:
        x: (batch, height, width, bands).
        blocks: number of blocks in each stage.
        widths: channels of each stage.
        conv_mlp: whether the linear layers are convolutions of 1x1.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0 in
            the first.

    Returns:
        (batch, last width), normalised.

    Raises:
        ValueError: an image of which nothing would be left.
    """
    smallest = PATCH * 2 ** (len(blocks) - 1)
    if min(x.shape[1:3]) < smallest:
        raise ValueError(
            f"expected images of at least {smallest} pixels a side for a ConvNeXt of "
            f"{len(blocks)} stages, got {x.shape[1]} x {x.shape[2]}"
        )
    rates = iter(np.linspace(0, drop_path_rate, sum(blocks)))
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True), start=1):
        if stage == 1:
            x = _patches(x, width, PATCH, "stem")
            x = _normalized(x, "stem")
        else:
            x = _normalized(x, f"stage{stage}_downsample")
            x = _patches(x, width, 2, f"stage{stage}_downsample")
        for block in range(1, count + 1):
            name = f"stage{stage}_block{block}"
            x = _block(x, name, conv_mlp=conv_mlp, drop_path_rate=float(next(rates)))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return _normalized(x, "head")


def _block(x: Any, name: str, *, conv_mlp: bool, drop_path_rate: float) -> Any:
    """Adds a depthwise convolution and an MLP over the channels to their input."""
    shortcut, width = x, x.shape[-1]
    start = narrow_normal()
    x = keras.layers.DepthwiseConv2D(
        KERNEL,
        padding="same",
        depthwise_initializer=start["kernel_initializer"],
        bias_initializer=start["bias_initializer"],
        name=f"{name}_conv",
    )(x)
    x = _normalized(x, name)
    x = _linear(x, EXPANSION * width, f"{name}_fc1", conv_mlp=conv_mlp)
    x = keras.layers.Activation("gelu", name=f"{name}_gelu")(x)
    x = GlobalResponseNormalization(name=f"{name}_grn")(x)
    x = _linear(x, width, f"{name}_fc2", conv_mlp=conv_mlp)
    if drop_path_rate:
        x = layers.DropPath(drop_path_rate, name=f"{name}_drop_path")(x)
    return keras.layers.Add(name=f"{name}_add")([shortcut, x])


def _patches(x: Any, filters: int, pixels: int, name: str) -> Any:
    """Convolves patches that don't overlap: layer `<name>_conv`."""
    conv = keras.layers.Conv2D(
        filters, pixels, pixels, name=f"{name}_conv", **narrow_normal()
    )
    return conv(x)


def _normalized(x: Any, name: str) -> Any:
    """Normalises over the channels of each pixel: layer `<name>_norm`."""
    return keras.layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_norm")(x)


def _linear(x: Any, features: int, name: str, *, conv_mlp: bool) -> Any:
    if conv_mlp:
        return keras.layers.Conv2D(features, 1, name=name, **narrow_normal())(x)
    return keras.layers.Dense(features, name=name, **narrow_normal())(x)


def _register(name: str, blocks: Sequence[int], width: int, conv_mlp: bool) -> None:
    widths = [width * 2**stage for stage in range(len(blocks))]

    @zoo.register_model(name, timm=timm_name, head=narrow_normal, maps=MAPS)
    def build(x: Any, *, drop_path_rate: float = 0.0) -> Any:
        """ConvNeXt V2 as in timm: eight times the first width of features."""
        return convnext(
            x, blocks, widths, conv_mlp=conv_mlp, drop_path_rate=drop_path_rate
        )


for _name, _size in SIZES.items():
    _register(_name, *_size)


@zoo.register_model("convnext_test", timm=timm_name, head=narrow_normal, maps=MAPS)
def convnext_test(x: Any, *, drop_path_rate: float = 0.0) -> Any:
    """A size for tests and trial runs: two stages, 16 features."""
    return convnext(x, (1, 2), (8, 16), drop_path_rate=drop_path_rate)
