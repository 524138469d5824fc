"""MLP-Mixer: MLPs that mix the patches of an image, and the channels of a patch.

Architecture: Tolstikhin et al., arXiv 2105.01601, in timm's form, in which reBEN
publishes weights for BigEarthNet. The MLPs across patches have weights for each of
them, so that trained weights go with one image size. Layers are called `stem`,
`block<i>_<tokens|channels>_<part>`, counted from 1, and `norm`.
"""

from __future__ import annotations

from typing import Any

import keras

from bigearthnet_tf.models import layers, published, zoo

# All of it as timm's `MlpMixer` has it.
EPSILON = 1e-6  # of the normalisations
# Hidden units of the MLPs across patches and across channels, in units of the width.
TOKENS_RATIO = 0.5
CHANNELS_RATIO = 4
# Deviation of the biases of the MLPs at the start.
BIAS_DEVIATION = 1e-6


# Tokens as they leave the last block.
MAPS = r"norm"


def timm_name(layer: str, variable: str) -> str:
    """Returns what timm calls a variable: `blocks.0.mlp_tokens.fc1.weight`."""
    if layer == "stem":
        return f"stem.proj.{published.linear_name(variable)}"
    if layer == "head":
        return f"head.{published.linear_name(variable)}"
    if layer == "norm":
        return f"norm.{published.batch_norm_name(variable)}"
    block, mixer, part = layer.split("_")
    prefix = f"blocks.{int(block.removeprefix('block')) - 1}"
    if part == "norm":
        number = ["tokens", "channels"].index(mixer) + 1
        return f"{prefix}.norm{number}.{published.batch_norm_name(variable)}"
    return f"{prefix}.mlp_{mixer}.{part}.{published.linear_name(variable)}"


def zero_head(_features: int) -> dict[str, Any]:
    """Returns the initialisers of timm's last layer: all logits start at zero."""
    return {"kernel_initializer": "zeros", "bias_initializer": "zeros"}


def mlp_mixer(
    x: Any, depth: int, *, width: int, patch_size: int, drop_path_rate: float = 0.0
) -> Any:
    """Maps images to features by an MLP-Mixer.

    Pixels that don't fill a last patch are left out: at 120 pixels a side, patches of
    16 see 112.

    Args:
        x: (batch, height, width, bands).
        depth: number of blocks.
        width: channels of a patch.
        patch_size: pixels a side of a patch.
        drop_path_rate: stochastic depth, the same of every block.

    Returns:
        (batch, width).

    Raises:
        ValueError: the image is smaller than a patch.
    """
    if min(x.shape[1:3]) < patch_size:
        raise ValueError(
            f"expected images of at least {patch_size} pixels a side for an MLP-Mixer, "
            f"got {x.shape[1]} x {x.shape[2]}"
        )
    x = keras.layers.Conv2D(
        width,
        patch_size,
        patch_size,
        kernel_initializer=keras.initializers.LecunNormal(),
        name="stem",
    )(x)
    patches = x.shape[1] * x.shape[2]
    x = keras.layers.Reshape((patches, width), name="tokens")(x)
    for number in range(1, depth + 1):
        for mixer, ratio in (("tokens", TOKENS_RATIO), ("channels", CHANNELS_RATIO)):
            x = _mixed(
                x,
                int(ratio * width),
                f"block{number}_{mixer}",
                across_patches=mixer == "tokens",
                drop_path_rate=drop_path_rate,
            )
    x = _normalized(x, "norm")
    return keras.layers.GlobalAveragePooling1D(name="pool")(x)


def _mixed(
    x: Any, hidden: int, name: str, *, across_patches: bool, drop_path_rate: float
) -> Any:
    """Adds an MLP over the patches or over the channels to its input."""
    shortcut = x
    x = _normalized(x, f"{name}_norm")
    if across_patches:
        x = keras.layers.Permute((2, 1), name=f"{name}_turn")(x)
    x = _mlp(x, hidden, name)
    if across_patches:
        x = keras.layers.Permute((2, 1), name=f"{name}_turn_back")(x)
    if drop_path_rate:
        x = layers.DropPath(drop_path_rate, name=f"{name}_drop_path")(x)
    return keras.layers.Add(name=f"{name}_add")([shortcut, x])


def _mlp(x: Any, hidden: int, name: str) -> Any:
    """Two linear layers over the last axis: `<name>_fc1` with GELU, `<name>_fc2`."""
    width = x.shape[-1]
    for part, units, activation in (("fc1", hidden, "gelu"), ("fc2", width, None)):
        x = keras.layers.Dense(
            units,
            activation,
            kernel_initializer=keras.initializers.GlorotUniform(),
            bias_initializer=keras.initializers.RandomNormal(stddev=BIAS_DEVIATION),
            name=f"{name}_{part}",
        )(x)
    return x


def _normalized(x: Any, name: str) -> Any:
    return keras.layers.LayerNormalization(epsilon=EPSILON, name=name)(x)


@zoo.register_model("mixer_b16_224", timm=timm_name, head=zero_head, maps=MAPS)
def mixer_b16_224(x: Any, *, drop_path_rate: float = 0.0) -> Any:
    """Mixer-B/16 as in timm: 12 blocks, 768 features.

    Its name is timm's; any image size goes, 49 patches at 120 pixels.
    """
    return mlp_mixer(x, 12, width=768, patch_size=16, drop_path_rate=drop_path_rate)


@zoo.register_model("mixer_test", timm=timm_name, head=zero_head, maps=MAPS)
def mixer_test(x: Any, *, drop_path_rate: float = 0.0) -> Any:
    """A size for tests and trial runs: two blocks, 32 features."""
    return mlp_mixer(x, 2, width=32, patch_size=8, drop_path_rate=drop_path_rate)
