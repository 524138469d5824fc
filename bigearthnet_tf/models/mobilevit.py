"""MobileViT: inverted residuals, and transformers between the patches of a map.

The form is timm's (MobileViT v1 on its ByobNet, timm 1.0). Architecture: Mehta and
Rastegari, arXiv 2110.02178. Layers are called `stage<i>_block<j>_<part>`, counted
from 1.

One thing differs from timm in training. timm's stochastic depth also strikes the
blocks that have no shortcut, which leaves nothing at all of a sample; here it drops
branches only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import ops

from bigearthnet_tf.models import layers, published, resnet, vit, zoo

# timm's `BatchNorm2d` defaults; Keras counts the momentum from the other end.
EPSILON = 1e-5
MOMENTUM = 0.9

# Pixels a side of the patches that tokens are gathered from: `patch_size` of all of
# timm's sizes.
PATCH = 2

# The transformer of timm's MobileVitBlock: heads, expansion and epsilon are its
# defaults and torch's; the deviation is that of ByobNet's linear layers.
TRANSFORMER = vit.Form(
    heads=4, expansion=2, activation="silu", epsilon=1e-5, deviation=0.01
)

# What timm calls the convolutions of a block.
TIMM_PARTS = {
    "expand": "conv1_1x1.conv",
    "depthwise": "conv2_kxk.conv",
    "project": "conv3_1x1.conv",
    "local": "conv_kxk.conv",
    "widen": "conv_1x1",
    "narrow": "conv_proj.conv",
    "fuse": "conv_fusion.conv",
}


@dataclass(frozen=True)
class Stage:
    """Inverted residuals at one width, and a transformer behind them if any.

    Attributes:
        width: channels that come out.
        blocks: number of inverted residuals.
        stride: of the first.
        tokens: width of the transformer's tokens; 0: there is no transformer.
        depth: number of its blocks.
    """

    width: int
    blocks: int = 1
    stride: int = 2
    tokens: int = 0
    depth: int = 0


@dataclass(frozen=True)
class Size:
    """One size of the network.

    Attributes:
        stem: channels of the first convolution.
        expansion: channels inside an inverted residual, in those that come in.
        stages: one after another.
        features: that come out.
        transformer: of all stages that have one.
    """

    stem: int
    expansion: int
    stages: tuple[Stage, ...]
    features: int
    transformer: vit.Form = TRANSFORMER


# `model_cfgs` of timm's mobilevit.py; tables 4 and 5 of the paper.
XXS = Size(
    stem=16,
    expansion=2,
    stages=(
        Stage(16, stride=1),
        Stage(24, blocks=3),
        Stage(48, tokens=64, depth=2),
        Stage(64, tokens=80, depth=4),
        Stage(80, tokens=96, depth=3),
    ),
    features=320,
)
XS = Size(
    stem=16,
    expansion=4,
    stages=(
        Stage(32, stride=1),
        Stage(48, blocks=3),
        Stage(64, tokens=96, depth=2),
        Stage(80, tokens=120, depth=4),
        Stage(96, tokens=144, depth=3),
    ),
    features=384,
)
S = Size(
    stem=16,
    expansion=4,
    stages=(
        Stage(32, stride=1),
        Stage(64, blocks=3),
        Stage(96, tokens=144, depth=2),
        Stage(128, tokens=192, depth=4),
        Stage(160, tokens=240, depth=3),
    ),
    features=640,
)
TEST = Size(
    stem=8,
    expansion=2,
    stages=(Stage(8, stride=1), Stage(12), Stage(16, tokens=16, depth=1)),
    features=32,
    transformer=replace(TRANSFORMER, heads=2),
)


# Ends of the blocks; a residual one ends with its addition.
MAPS = r"stem_silu|stage\d+_block\d+_(?:add|project_norm|fuse_silu)|final_silu"


def timm_head(features: int) -> dict[str, Any]:
    """Returns the initialisers of the head; timm treats it as any linear layer."""
    return {
        "kernel_initializer": vit.normal(TRANSFORMER.deviation),
        "bias_initializer": "zeros",
    }


def timm_name(layer: str, variable: str) -> str:
    """Returns what timm calls a variable: `stages.2.1.conv_fusion.bn.weight`."""
    if layer == "head":
        return f"head.fc.{published.linear_name(variable)}"
    if layer.startswith(("stem", "final")):
        part, kind = layer.split("_")
        name = {"stem": "stem.conv", "final": "final_conv.conv"}[part]
        return _timm_conv_name(name, kind, variable)
    stage, block, part, *rest = layer.split("_")
    stage, block = stage.removeprefix("stage"), block.removeprefix("block")
    name = f"stages.{int(stage) - 1}.{int(block) - 1}"
    if part.startswith("transformer"):
        number = int(part.removeprefix("transformer")) - 1
        inner = vit.timm_part_name(rest[0], variable)
        return f"{name}.transformer.{number}.{inner}"
    if part == "norm":
        return f"{name}.{vit.timm_part_name(part, variable)}"
    return _timm_conv_name(f"{name}.{TIMM_PARTS[part]}", rest[0], variable)


def _timm_conv_name(name: str, kind: str, variable: str) -> str:
    if kind == "conv":
        return f"{name}.{published.linear_name(variable)}"
    return f"{name.removesuffix('conv')}bn.{published.batch_norm_name(variable)}"


def mobilevit(x: Any, size: Size, *, drop_path_rate: float = 0.0) -> Any:
    """Maps images to features by a MobileViT.

    Args:
        x: (batch, height, width, bands), of known height and width.
        size: of the network.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0 in
            the first.

    Returns:
        (batch, features of the size).
    """
    x = _normalized(x, size.stem, 3, "stem", stride=2)
    blocks = sum(stage.blocks + (stage.depth > 0) for stage in size.stages)
    steepness = drop_path_rate / max(blocks - 1, 1)
    rates = (steepness * block for block in range(blocks))
    for number, stage in enumerate(size.stages, start=1):
        for block in range(stage.blocks):
            x = _inverted_residual(
                x,
                stage.width,
                f"stage{number}_block{block + 1}",
                stride=stage.stride if block == 0 else 1,
                expansion=size.expansion,
                drop_path_rate=next(rates),
            )
        if stage.depth:
            name = f"stage{number}_block{stage.blocks + 1}"
            x = _mobilevit_block(x, stage, name, size.transformer, next(rates))
    x = _normalized(x, size.features, 1, "final")
    return keras.layers.GlobalAveragePooling2D(name="pool")(x)


def _inverted_residual(
    x: Any,
    width: int,
    name: str,
    *,
    stride: int,
    expansion: int,
    drop_path_rate: float,
) -> Any:
    """Widens, convolves each channel by itself, narrows (arXiv 1801.04381)."""
    incoming = x.shape[-1]
    residual = stride == 1 and incoming == width
    shortcut = x
    x = _normalized(x, expansion * incoming, 1, f"{name}_expand")
    x = _normalized(x, None, 3, f"{name}_depthwise", stride=stride)
    x = _normalized(
        x,
        width,
        1,
        f"{name}_project",
        activate=False,
        gamma="zeros" if residual else "ones",
    )
    if not residual:
        return x
    if drop_path_rate:
        x = layers.DropPath(drop_path_rate, name=f"{name}_drop_path")(x)
    return keras.layers.Add(name=f"{name}_add")([shortcut, x])


def _mobilevit_block(
    x: Any, stage: Stage, name: str, form: vit.Form, drop_path_rate: float
) -> Any:
    """Convolves locally, attends globally, and fuses both with what came in."""
    shortcut = x
    x = _normalized(x, x.shape[-1], 3, f"{name}_local")
    x = layers.convolution(
        x, stage.tokens, 1, f"{name}_widen_conv", initializer=resnet.he_fan_out
    )

    _, height, width, channels = x.shape
    rows, columns = -(-height // PATCH), -(-width // PATCH)
    even = (rows * PATCH, columns * PATCH)
    is_even = even == (height, width)
    if not is_even:
        x = ops.image.resize(x, even, interpolation="bilinear")
    # Pixels at the same place of all patches are a sequence of their own.
    x = ops.reshape(x, (-1, rows, PATCH, columns, PATCH, channels))
    x = ops.transpose(x, (0, 2, 4, 1, 3, 5))
    x = ops.reshape(x, (-1, rows * columns, channels))
    for number in range(1, stage.depth + 1):
        x = vit.transformer_block(
            x, f"{name}_transformer{number}", form, drop_path_rate=drop_path_rate
        )
    x = vit.normalization(x, f"{name}_norm", form)
    x = ops.reshape(x, (-1, PATCH, PATCH, rows, columns, channels))
    x = ops.transpose(x, (0, 3, 1, 4, 2, 5))
    x = ops.reshape(x, (-1, *even, channels))
    if not is_even:
        x = ops.image.resize(x, (height, width), interpolation="bilinear")

    x = _normalized(x, stage.width, 1, f"{name}_narrow")
    x = keras.layers.Concatenate(name=f"{name}_concatenate")([shortcut, x])
    return _normalized(x, stage.width, 3, f"{name}_fuse")


def _normalized(
    x: Any,
    filters: int | None,
    kernel: int,
    name: str,
    *,
    stride: int = 1,
    activate: bool = True,
    gamma: str = "ones",
) -> Any:
    """Convolves, normalises, activates: layers `<name>_conv`, `_norm` and `_silu`.

    Without `filters` every channel is convolved by itself.
    """
    if filters is None:
        x = _depthwise(x, kernel, stride, f"{name}_conv")
    else:
        x = layers.convolution(
            x,
            filters,
            kernel,
            f"{name}_conv",
            stride=stride,
            initializer=resnet.he_fan_out,
        )
    x = layers.BatchNormalization(
        momentum=MOMENTUM,
        epsilon=EPSILON,
        gamma_initializer=gamma,
        name=f"{name}_norm",
    )(x)
    return keras.layers.Activation("silu", name=f"{name}_silu")(x) if activate else x


def _depthwise(x: Any, kernel: int, stride: int, name: str) -> Any:
    """Convolves every channel by itself, padded symmetrically as torch does."""
    if stride > 1:
        x = layers.pad(x, kernel // 2, f"{name}_pad")
    return keras.layers.DepthwiseConv2D(
        kernel,
        stride,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        depthwise_initializer=resnet.he_fan_out(),
        name=name,
    )(x)


@zoo.register_model("mobilevit_s", timm=timm_name, head=timm_head, maps=MAPS)
def mobilevit_s(x: Any, *, drop_path_rate: float = 0.0) -> Any:
    """MobileViT-S as in timm: 640 features."""
    return mobilevit(x, S, drop_path_rate=drop_path_rate)


@zoo.register_model("mobilevit_xs", timm=timm_name, head=timm_head, maps=MAPS)
def mobilevit_xs(x: Any, *, drop_path_rate: float = 0.0) -> Any:
    """MobileViT-XS as in timm: 384 features."""
    return mobilevit(x, XS, drop_path_rate=drop_path_rate)


@zoo.register_model("mobilevit_xxs", timm=timm_name, head=timm_head, maps=MAPS)
def mobilevit_xxs(x: Any, *, drop_path_rate: float = 0.0) -> Any:
    """MobileViT-XXS as in timm: 320 features."""
    return mobilevit(x, XXS, drop_path_rate=drop_path_rate)


@zoo.register_model("mobilevit_test", timm=timm_name, head=timm_head, maps=MAPS)
def mobilevit_test(x: Any, *, drop_path_rate: float = 0.0) -> Any:
    """A size for tests and trial runs: three stages, one transformer, 32 features."""
    return mobilevit(x, TEST, drop_path_rate=drop_path_rate)
