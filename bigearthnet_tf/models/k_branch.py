"""K-BranchCNN of the TU Berlin TensorFlow models: a branch for each resolution.

Sumbul et al., arXiv 1902.06148. Every resolution comes in at its native size, so
nothing is resampled; `image_size` and `interpolation` of a config do not matter here.
Published with the bands of Sentinel-2 at 10, 20 and 60 m; other bands may come in,
those of one resolution together.

The regularisation that the project declares (L2, 2e-5) never reached its loss, and is
not here either. Layers are called `branch<pixels>_conv<i>` and `branch<pixels>_fc`,
their normalisation `<layer>_norm`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from bigearthnet_tf.models import layers, zoo

# Convolutions of a branch, (filters, kernel in pixels, max-pool by 2 afterwards), by
# the pixels a side that its images exceed: in BigEarthNet those of 10, 20 and 60 m.
BRANCHES = {
    60: ((32, 5, True), (32, 5, True), (64, 3, False)),
    20: ((32, 3, True), (32, 3, False), (64, 3, False)),
    0: ((32, 2, False), (32, 2, False), (32, 2, False)),
}
# Units of a fully connected layer: at the end of a branch, and where branches fuse.
UNITS = 128

# The convolutions of each branch.
MAPS = r"(branch\d+)_conv\d_relu"

# `tf.layers.batch_normalization` as the project calls it: with its defaults.
MOMENTUM = 0.99
EPSILON = 1e-3

# Side of a patch on the ground; it turns pixels into the metres of published names.
PATCH_METRES = 1200


def tf1_name(layer: str, variable: str) -> str:
    """Returns the TF project's name: `CNN_10m_branch/conv_block_0/conv_layer/bias`."""
    if layer == "head":
        return f"classification/fc_layer/{variable}"
    branch, part, *norm = layer.split("_")
    if branch == "fusion":
        scope = "feature_fusion"
    else:
        scope = f"CNN_{PATCH_METRES // int(branch.removeprefix('branch'))}m_branch"
    kind = part.rstrip("0123456789")
    block = f"{kind}_block_{int(part.removeprefix(kind) or 1) - 1}"
    return f"{scope}/{block}/{'batch_norm' if norm else f'{kind}_layer'}/{variable}"


def fused_branches(x: Mapping[int, Any], *, divisor: int = 1) -> Any:
    """Maps images of several resolutions to the features of the fused branches.

    Args:
        x: pixels a side -> (batch, pixels, pixels, bands); at least one entry.
        divisor: of the published widths.

    Returns:
        (batch, 128 / divisor).
    """
    ends = [_branch(x[pixels], pixels, divisor) for pixels in sorted(x, reverse=True)]
    fused = keras.layers.Concatenate(name="fusion")(ends) if len(ends) > 1 else ends[0]
    fused = _fully_connected(fused, UNITS // divisor, "fusion_fc", dropout=0.25)
    return layers.Dropout(0.5, name="fusion_dropout")(fused)


def _branch(x: Any, pixels: int, divisor: int) -> Any:
    """Maps the images of one resolution to (batch, units)."""
    name = f"branch{pixels}"
    convolutions = next(c for least, c in BRANCHES.items() if pixels > least)
    for number, (filters, kernel, pool) in enumerate(convolutions, start=1):
        part = f"{name}_conv{number}"
        x = keras.layers.Conv2D(filters // divisor, kernel, padding="same", name=part)(
            x
        )
        x = _activated(x, part)
        if pool:
            x = keras.layers.MaxPooling2D(2, name=f"{part}_pool")(x)
        x = layers.Dropout(0.25, name=f"{part}_dropout")(x)
    x = keras.layers.Flatten(name=f"{name}_flatten")(x)
    return _fully_connected(x, UNITS // divisor, f"{name}_fc", dropout=0.5)


def _fully_connected(x: Any, units: int, name: str, *, dropout: float) -> Any:
    x = keras.layers.Dense(units, name=name)(x)
    return layers.Dropout(dropout, name=f"{name}_dropout")(_activated(x, name))


def _activated(x: Any, name: str) -> Any:
    """Normalises and rectifies."""
    norm = f"{name}_norm"
    x = layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, name=norm)(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


@zoo.register_model(
    "k_branch",
    "K-BranchCNN",
    inputs="by_resolution",
    bands="k_branch",
    head=layers.glorot_linear,
    tf1=tf1_name,
    maps=MAPS,
)
def k_branch(x: Mapping[int, Any]) -> Any:
    """K-BranchCNN: 128 features. It has dropout of its own, 0.25 to 0.5."""
    return fused_branches(x)


@zoo.register_model(
    "k_branch_test",
    inputs="by_resolution",
    bands="k_branch",
    head=layers.glorot_linear,
    maps=MAPS,
)
def k_branch_test(x: Mapping[int, Any]) -> Any:
    """A size for tests and trial runs: a sixteenth of the widths, 8 features."""
    return fused_branches(x, divisor=16)
