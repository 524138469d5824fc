"""VGG-16 and VGG-19 in the fully convolutional form of TF-Slim.

Simonyan and Zisserman, arXiv 1409.1556, as the TU Berlin TensorFlow models have them:
convolutions in place of the fully connected layers, and their mean over the image, so
that any size of at least 32 pixels goes; no BatchNorm. The regularisation that the
project declares (L2, 5e-4) never reached its loss, and is not here either. Layers have
slim's names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from bigearthnet_tf.models import layers, zoo

# Filters of each group of 3x3 convolutions, and of the two layers after them.
WIDTHS = (64, 128, 256, 512, 512)
HIDDEN = 4096


# The convolutions of the groups; those after them look at the image as a whole.
MAPS = r"conv\d_\d"


def slim_name(layer: str, variable: str) -> str:
    """Returns what TF-Slim calls a variable, below the network's own scope."""
    kind = {"kernel": "weights", "bias": "biases"}[variable]
    if layer == "head":
        return f"fc8/{kind}"
    group, *number = layer.split("_")
    return f"{group}/{layer}/{kind}" if number else f"{layer}/{kind}"


def vgg(
    x: Any,
    depths: Sequence[int],
    *,
    widths: Sequence[int] = WIDTHS,
    hidden: int = HIDDEN,
    dropout: float = 0.5,
) -> Any:
    """Maps images to features by a VGG network.

    Args:
        x: (batch, height, width, bands).
        depths: number of convolutions in each group; a group halves the image.
        widths: filters of each group.
        hidden: filters of the two layers before the head.
        dropout: after each of these two.

    Returns:
        (batch, hidden).

    Raises:
        ValueError: an image of which halving leaves nothing.
    """
    smallest = 2 ** len(depths)
    if min(x.shape[1:3]) < smallest:
        raise ValueError(
            f"expected images of at least {smallest} pixels a side for "
            f"{len(depths)} halvings, got {x.shape[1]} by {x.shape[2]}"
        )
    for group, (depth, width) in enumerate(zip(depths, widths, strict=True), start=1):
        for number in range(1, depth + 1):
            x = _convolved(x, width, 3, f"conv{group}_{number}")
        x = keras.layers.MaxPooling2D(2, name=f"pool{group}")(x)
    x = _convolved(x, hidden, 7, "fc6")
    x = layers.Dropout(dropout, name="fc6_dropout")(x)
    x = _convolved(x, hidden, 1, "fc7")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return layers.Dropout(dropout, name="fc7_dropout")(x)


def _convolved(x: Any, filters: int, kernel: int, name: str) -> Any:
    return keras.layers.Conv2D(
        filters, kernel, padding="same", activation="relu", name=name
    )(x)


@zoo.register_model(
    "vgg16", "VGG16", head=layers.glorot_linear, tf1=slim_name, maps=MAPS
)
def vgg16(x: Any, *, dropout: float = 0.5) -> Any:
    """VGG-16 as in TF-Slim: 4096 features."""
    return vgg(x, (2, 2, 3, 3, 3), dropout=dropout)


@zoo.register_model(
    "vgg19", "VGG19", head=layers.glorot_linear, tf1=slim_name, maps=MAPS
)
def vgg19(x: Any, *, dropout: float = 0.5) -> Any:
    """VGG-19 as in TF-Slim: 4096 features."""
    return vgg(x, (2, 2, 4, 4, 4), dropout=dropout)


@zoo.register_model("vgg_test", head=layers.glorot_linear, maps=MAPS)
def vgg_test(x: Any, *, dropout: float = 0.5) -> Any:
    """A size for tests and trial runs: three groups, 32 features."""
    return vgg(x, (1, 1, 2), widths=(8, 8, 16), hidden=32, dropout=dropout)
