"""Residual networks in the two forms that BigEarthNet weights are published for.

- timm's ResNet (v1.5), of reBEN: the stride sits in the first unit of a stage.
- TF-Slim's ResNet v1, of the TU Berlin TensorFlow models: in the last one.

Both put it in the 3x3 convolution of a bottleneck. Architecture: He et al., arXiv
1512.03385. Layers are called `stage<i>_unit<j>_<part>`, counted from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from bigearthnet_tf.models import layers, published, zoo

# Both forms: timm's `BatchNorm2d` default, and `batch_norm_epsilon` of slim's
# resnet_arg_scope.
EPSILON = 1e-5

# Ends of the units, and what enters the first one.
MAPS = r"stem_relu|stage\d+_unit\d+_relu"

# A truncated normal of Keras is made to have the deviation asked for; slim's factor
# 1.3 widens the normal before truncation instead. This is the deviation of a standard
# normal that is cut off at two.
TRUNCATED_DEVIATION = 0.87962566103423978


@dataclass(frozen=True)
class Form:
    """What tells one published form of the network from the other.

    Attributes:
        strides: one a stage.
        strided_unit: index of the unit of a stage that has the stride.
        projects_strides: whether a stride alone makes the shortcut a convolution;
            otherwise a shortcut of equal width is subsampled.
        pool_padding: pixels of padding around the first max-pooling; None: Keras's
            (and slim's) `same`, which pads even sizes at the end only.
        momentum: of the moving statistics, as Keras defines it.
        zero_last_gamma: whether every residual branch starts at zero.
        initializer: makes the initialiser of a convolution.
    """

    strides: tuple[int, ...]
    strided_unit: int
    projects_strides: bool
    pool_padding: int | None
    momentum: float
    zero_last_gamma: bool
    initializer: Callable[[], keras.initializers.Initializer]


def he_fan_out() -> keras.initializers.Initializer:
    """Returns N(0, 2 / fan_out), timm's `kaiming_normal_(mode="fan_out")`."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def he_slim() -> keras.initializers.Initializer:
    """Returns slim's He initialiser: N(0, 1.3 * 2 / fan_in), cut at two deviations."""
    scale = 1.3 * 2.0 * TRUNCATED_DEVIATION**2
    return keras.initializers.VarianceScaling(scale, "fan_in", "truncated_normal")


def slim_head(features: int) -> dict[str, Any]:
    """Returns the initialisers of slim's logits layer, a 1x1 convolution there."""
    return {"kernel_initializer": he_slim(), "bias_initializer": "zeros"}


def timm_name(layer: str, variable: str) -> str:
    """Returns what timm calls a variable: `layer1.0.conv1.weight`."""
    if layer == "head":
        return f"fc.{published.linear_name(variable)}"
    *unit, part, kind = layer.split("_")
    name = {"conv": "conv", "norm": "bn"}[kind]
    rename = published.linear_name if kind == "conv" else published.batch_norm_name
    if not unit:  # the stem
        return f"{name}1.{rename(variable)}"
    stage, number = unit[0].removeprefix("stage"), int(unit[1].removeprefix("unit")) - 1
    if part == "shortcut":
        name = f"downsample.{['conv', 'norm'].index(kind)}"
    else:
        name += part.removeprefix("part")
    return f"layer{stage}.{number}.{name}.{rename(variable)}"


def slim_name(layer: str, variable: str) -> str:
    """Returns what TF-Slim calls a variable, below the network's own scope."""
    kind = {"kernel": "weights", "bias": "biases"}.get(variable, variable)
    if layer == "head":
        return f"logits/{kind}"
    *unit, part, _ = layer.split("_")
    if variable != "kernel":
        kind = f"BatchNorm/{kind}"
    if not unit:
        return f"conv1/{kind}"
    block, number = unit[0].removeprefix("stage"), unit[1].removeprefix("unit")
    part = part.replace("part", "conv")
    return f"block{block}/unit_{number}/bottleneck_v1/{part}/{kind}"


TIMM = Form(
    strides=(1, 2, 2, 2),
    strided_unit=0,
    projects_strides=True,
    pool_padding=1,
    momentum=0.9,
    zero_last_gamma=True,
    initializer=he_fan_out,
)
SLIM = Form(
    strides=(2, 2, 2, 1),
    strided_unit=-1,
    projects_strides=False,
    pool_padding=None,
    momentum=0.997,
    zero_last_gamma=False,
    initializer=he_slim,
)

# (kernel in pixels, filters in units of the stage's width) of each convolution; the
# stride belongs to the first one of 3x3.
BASIC = ((3, 1), (3, 1))
BOTTLENECK = ((1, 1), (3, 1), (1, 4))


def resnet(
    x: Any,
    units: Sequence[int],
    *,
    form: Form = TIMM,
    block: Sequence[tuple[int, int]] = BOTTLENECK,
    widths: Sequence[int] = (64, 128, 256, 512),
    stem_width: int = 64,
    drop_path_rate: float = 0.0,
) -> Any:
    """Maps images to features by a residual network.

    Args:
        x: (batch, height, width, bands).
        units: number of residual units in each stage.
        form: `TIMM` or `SLIM`.
        block: `BASIC` or `BOTTLENECK`.
        widths: base width of each stage.
        stem_width: channels of the first convolution.
        drop_path_rate: stochastic depth of the last unit; it grows linearly from 0 in
            the first.

    Returns:
        (batch, last width times expansion of the block).
    """
    x = _normalized(x, stem_width, 7, "stem", form, stride=2)
    x = keras.layers.ReLU(name="stem_relu")(x)
    if form.pool_padding:
        # Zeros can't win a maximum over what comes out of a ReLU.
        x = layers.pad(x, form.pool_padding, "stem_pool_pad")
    padding = "valid" if form.pool_padding else "same"
    x = keras.layers.MaxPooling2D(3, 2, padding=padding, name="stem_pool")(x)

    deepest = max(sum(units) - 1, 1)
    depth = 0
    for stage, (count, width) in enumerate(zip(units, widths, strict=True)):
        strided = form.strided_unit % count
        for unit in range(count):
            x = _unit(
                x,
                width,
                f"stage{stage + 1}_unit{unit + 1}",
                form=form,
                block=block,
                stride=form.strides[stage] if unit == strided else 1,
                drop_path_rate=drop_path_rate * depth / deepest,
            )
            depth += 1
    return keras.layers.GlobalAveragePooling2D(name="pool")(x)


def _unit(
    x: Any,
    width: int,
    name: str,
    *,
    form: Form,
    block: Sequence[tuple[int, int]],
    stride: int,
    drop_path_rate: float,
) -> Any:
    """Adds a residual branch to its shortcut."""
    filters = width * block[-1][1]
    if x.shape[-1] != filters or (stride > 1 and form.projects_strides):
        part = f"{name}_shortcut"
        shortcut = _normalized(x, filters, 1, part, form, stride=stride)
    elif stride > 1:
        shortcut = layers.subsample(x, stride, f"{name}_shortcut_subsample")
    else:
        shortcut = x

    strided = [kernel for kernel, _ in block].index(3)
    for index, (kernel, multiple) in enumerate(block):
        part = f"{name}_part{index + 1}"
        last = index == len(block) - 1
        x = _normalized(
            x,
            width * multiple,
            kernel,
            part,
            form,
            stride=stride if index == strided else 1,
            gamma="zeros" if last and form.zero_last_gamma else "ones",
        )
        if not last:
            x = keras.layers.ReLU(name=f"{part}_relu")(x)
    if drop_path_rate:
        x = layers.DropPath(drop_path_rate, name=f"{name}_drop_path")(x)
    x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _normalized(
    x: Any,
    filters: int,
    kernel: int,
    name: str,
    form: Form,
    *,
    stride: int,
    gamma: str = "ones",
) -> Any:
    """Convolves and normalises: layers `<name>_conv` and `<name>_norm`."""
    x = layers.convolution(
        x,
        filters,
        kernel,
        f"{name}_conv",
        stride=stride,
        initializer=form.initializer,
    )
    return layers.BatchNormalization(
        momentum=form.momentum,
        epsilon=EPSILON,
        gamma_initializer=gamma,
        name=f"{name}_norm",
    )(x)


@zoo.register_model("resnet18", timm=timm_name, maps=MAPS)
def resnet18(x: Any, *, drop_path_rate: float = 0.0) -> Any:
    """ResNet-18 as in timm: 512 features."""
    return resnet(x, (2, 2, 2, 2), block=BASIC, drop_path_rate=drop_path_rate)


@zoo.register_model("resnet50", timm=timm_name, maps=MAPS)
def resnet50(x: Any, *, drop_path_rate: float = 0.0) -> Any:
    """ResNet-50 as in timm: 2048 features."""
    return resnet(x, (3, 4, 6, 3), drop_path_rate=drop_path_rate)


@zoo.register_model("resnet101", timm=timm_name, maps=MAPS)
def resnet101(x: Any, *, drop_path_rate: float = 0.0) -> Any:
    """ResNet-101 as in timm: 2048 features."""
    return resnet(x, (3, 4, 23, 3), drop_path_rate=drop_path_rate)


@zoo.register_model("resnet152", timm=timm_name, maps=MAPS)
def resnet152(x: Any, *, drop_path_rate: float = 0.0) -> Any:
    """ResNet-152 as in timm: 2048 features."""
    return resnet(x, (3, 8, 36, 3), drop_path_rate=drop_path_rate)


@zoo.register_model("resnet18_slim", head=slim_head, maps=MAPS)
def resnet18_slim(x: Any, *, drop_path_rate: float = 0.0) -> Any:
    """ResNet-18 in the form of TF-Slim, which has no such size itself: 512 features."""
    return resnet(
        x, (2, 2, 2, 2), form=SLIM, block=BASIC, drop_path_rate=drop_path_rate
    )


@zoo.register_model(
    "resnet50_slim", "ResNet50", head=slim_head, tf1=slim_name, maps=MAPS
)
def resnet50_slim(x: Any, *, drop_path_rate: float = 0.0) -> Any:
    """ResNet-50 v1 as in TF-Slim: 2048 features."""
    return resnet(x, (3, 4, 6, 3), form=SLIM, drop_path_rate=drop_path_rate)


@zoo.register_model(
    "resnet101_slim", "ResNet101", head=slim_head, tf1=slim_name, maps=MAPS
)
def resnet101_slim(x: Any, *, drop_path_rate: float = 0.0) -> Any:
    """ResNet-101 v1 as in TF-Slim: 2048 features."""
    return resnet(x, (3, 4, 23, 3), form=SLIM, drop_path_rate=drop_path_rate)


@zoo.register_model(
    "resnet152_slim", "ResNet152", head=slim_head, tf1=slim_name, maps=MAPS
)
def resnet152_slim(x: Any, *, drop_path_rate: float = 0.0) -> Any:
    """ResNet-152 v1 as in TF-Slim: 2048 features."""
    return resnet(x, (3, 8, 36, 3), form=SLIM, drop_path_rate=drop_path_rate)


@zoo.register_model("resnet_small", maps=MAPS)
def resnet_small(x: Any, *, drop_path_rate: float = 0.0) -> Any:
    """A size for a laptop, in timm's form: three stages of one unit, 128 features.

    Its 0.1 G multiply-adds a patch are a tenth of ResNet-50's; the quickstart uses it.
    """
    return resnet(
        x,
        (1, 1, 1),
        block=BASIC,
        widths=(32, 64, 128),
        stem_width=32,
        drop_path_rate=drop_path_rate,
    )


@zoo.register_model("resnet_test", timm=timm_name, maps=MAPS)
def resnet_test(x: Any, *, drop_path_rate: float = 0.0) -> Any:
    """A size for tests and trial runs, in timm's form: two stages, 64 features."""
    return resnet(
        x, (1, 2), widths=(8, 16), stem_width=8, drop_path_rate=drop_path_rate
    )
