"""Backbones of the package keras-hub, for any number of bands.

They are built from the numbers that their papers give, without download: weights start
as keras-hub initialises them. The package comes with the extra `keras-hub`, imported
when a model is built; a saved model needs `import keras_hub` before it is loaded. Each
backbone is one layer, called `backbone`, since keras-hub nests its layers.

DINOv2 is not among them: keras-hub 0.32 writes the positions that it has learnt to a
file only when their changes happen to sum up to more than nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import keras

from bigearthnet_tf import extras
from bigearthnet_tf.models import layers, zoo

EXTRA = "keras-hub"


@dataclass(frozen=True)
class Backbone:
    """One backbone of keras-hub.

    Attributes:
        constructor: its name in `keras_hub.models`.
        arguments: maps the side of the images in pixels to what it is built from,
            besides the shape of the images.
        multiple: pixels that the side of an image must be a multiple of.
        features: `"mean"` of all places, or those of the `"class_token"`.
        drop_path: name of the constructor's argument for stochastic depth, if any.
        input_name: key of the images, where the backbone takes a dictionary.
    """

    constructor: str
    arguments: Callable[[int], dict[str, Any]]
    multiple: int
    features: Literal["mean", "class_token"]
    drop_path: str | None = None
    input_name: str | None = None


def swin(width: int, depths: tuple[int, ...], heads: tuple[int, ...]) -> Backbone:
    """Returns a Swin Transformer (arXiv 2103.14030).

    Its windows are of 7 by 7 patches, as published, from 224 pixels on. Below that they
    are as large as the last stage, in all stages: keras-hub 0.32 fails where a window
    is larger than the stage.

    Args:
        width: of the first stage.
        depths: blocks of each stage.
        heads: of each stage.
    """
    # Patches of 4 pixels, merged two by two after each stage but the last.
    multiple = 4 * 2 ** (len(depths) - 1)

    def arguments(side: int) -> dict[str, Any]:
        return {
            "embed_dim": width,
            "depths": depths,
            "num_heads": heads,
            "window_size": min(7, side // multiple),
        }

    return Backbone(
        "SwinTransformerBackbone", arguments, multiple, "mean", drop_path="drop_path"
    )


def vit(patch: int, width: int, heads: int, depth: int = 12) -> Backbone:
    """Returns a Vision Transformer (arXiv 2010.11929).

    Args:
        patch: pixels a side.
        width: of the tokens.
        heads: of the attention.
        depth: number of blocks.
    """

    def arguments(side: int) -> dict[str, Any]:
        return {
            "patch_size": patch,
            "num_layers": depth,
            "num_heads": heads,
            "hidden_dim": width,
            "mlp_dim": 4 * width,
        }

    return Backbone("ViTBackbone", arguments, patch, "class_token")


def dinov3(width: int, heads: int, depth: int = 12) -> Backbone:
    """Returns the network of DINOv3 (arXiv 2508.10104), patches of 16 pixels.

    Four register tokens, rotary positions, no bias of the keys. Without stochastic
    depth: in keras-hub 0.32 it fails for batches of unknown size, and adds noise
    instead of dropping. Arguments as of `vit`.
    """

    def arguments(side: int) -> dict[str, Any]:
        return {
            "patch_size": 16,
            "num_layers": depth,
            "hidden_dim": width,
            "num_heads": heads,
            "intermediate_dim": 4 * width,
            "use_key_bias": False,
            "use_mask_token": False,
        }

    return Backbone(
        "DINOV3Backbone", arguments, 16, "class_token", input_name="pixel_values"
    )


@keras.saving.register_keras_serializable(package=layers.PACKAGE)
class Nested(keras.layers.Layer):
    """A network as one layer, which runs as in inference when it is frozen.

    Frozen by itself, it would go on dropping.

    Args:
        network: functional model.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, network: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = network

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Returns the network's outputs."""
        return self.network(inputs, training=bool(training and self.trainable))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the output."""
        return self.network.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Returns what the layer is built from."""
        network = keras.saving.serialize_keras_object(self.network)
        return {**super().get_config(), "network": network}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Nested:
        """Builds the layer from what `get_config` returned."""
        network = keras.saving.deserialize_keras_object(config.pop("network"))
        return cls(network, **config)


BACKBONES = {
    "dinov3_small": dinov3(384, 6),
    "dinov3_base": dinov3(768, 12),
    "swin_tiny": swin(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_small": swin(96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_base": swin(128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "vit_base_patch8": vit(8, 768, 12),
    "vit_base_patch16": vit(16, 768, 12),
}


def features(x: Any, name: str, backbone: Backbone, drop_path_rate: float = 0.0) -> Any:
    """Maps images to features by a backbone of keras-hub.

    Args:
        x: (batch, height, width, bands).
        name: what we call it, for the error.
        backbone: which.
        drop_path_rate: stochastic depth of the deepest block, where it has that.

    Returns:
        (batch, features).

    Raises:
        ValueError: keras-hub is not installed; images that do not divide into patches.
    """
    height, width = x.shape[1:3]
    step = backbone.multiple
    if height != width or height % step or not height:
        nearest = max(step, height // step * step)
        raise ValueError(
            f"{name} takes square images whose side is a multiple of {step} pixels, "
            f"got {height} by {width}: set image_size to {nearest} or {nearest + step}"
        )
    library = extras.load("keras_hub", EXTRA)
    arguments = backbone.arguments(height)
    if backbone.drop_path:
        arguments[backbone.drop_path] = drop_path_rate
    constructor = getattr(library.models, backbone.constructor)
    network = constructor(image_shape=tuple(x.shape[1:]), **arguments)
    x = Nested(network, name="backbone")(
        {backbone.input_name: x} if backbone.input_name else x
    )
    if backbone.features == "class_token":
        return x[:, 0]
    return keras.layers.GlobalAveragePooling1D(name="pool")(x)


def _register(name: str, backbone: Backbone) -> None:
    def build(x: Any) -> Any:
        return features(x, name, backbone)

    def build_with_drop_path(x: Any, *, drop_path_rate: float = 0.0) -> Any:
        return features(x, name, backbone, drop_path_rate)

    zoo.register_model(name)(build_with_drop_path if backbone.drop_path else build)


for _name, _backbone in BACKBONES.items():
    _register(f"keras_hub/{_name}", _backbone)
