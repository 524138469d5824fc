"""Architectures of `keras.applications`, for any number of bands.

Keras has the code, so nothing is downloaded: weights start as Keras initialises them.
Its own rescaling of RGB images is left out, since the bands are standardised before.
Initialisations, BatchNorm constants and padding are Keras's; see
https://keras.io/api/applications for sizes and papers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from bigearthnet_tf.models import layers, zoo
from bigearthnet_tf.models.inline import inline

# Any layer: what Keras calls the ends of its blocks differs from one to the other.
MAPS = r".*"

# Stochastic depth that Keras builds into the EfficientNets for the deepest block.
EFFICIENTNET_DROP_PATH = 0.2


@dataclass(frozen=True)
class Application:
    """One architecture of `keras.applications`.

    Attributes:
        constructor: its name there.
        smallest: pixels a side that it takes at least, as Keras documents it.
        drop_path: whether the published form has stochastic depth.
    """

    constructor: str
    smallest: int = 32
    drop_path: bool = False


APPLICATIONS = {
    "convnext_small": Application("ConvNeXtSmall", drop_path=True),
    "convnext_tiny": Application("ConvNeXtTiny", drop_path=True),
    "densenet121": Application("DenseNet121"),
    "densenet169": Application("DenseNet169"),
    "efficientnet_b0": Application("EfficientNetB0", drop_path=True),
    "efficientnetv2_b0": Application("EfficientNetV2B0", drop_path=True),
    "efficientnetv2_b1": Application("EfficientNetV2B1", drop_path=True),
    "efficientnetv2_b2": Application("EfficientNetV2B2", drop_path=True),
    "efficientnetv2_b3": Application("EfficientNetV2B3", drop_path=True),
    "efficientnetv2_s": Application("EfficientNetV2S", drop_path=True),
    "inception_resnet_v2": Application("InceptionResNetV2", smallest=75),
    "mobilenet_v2": Application("MobileNetV2"),
    "mobilenet_v3_large": Application("MobileNetV3Large"),
    "mobilenet_v3_small": Application("MobileNetV3Small"),
    "nasnet_mobile": Application("NASNetMobile"),
    "resnet50_v2": Application("ResNet50V2"),
    "xception": Application("Xception", smallest=71),
}


def features(
    x: Any, name: str, application: Application, drop_path_rate: float = 0.0
) -> Any:
    """Maps images to pooled features by an architecture of `keras.applications`.

    Args:
        x: (batch, height, width, bands).
        name: what we call it, for the error.
        application: which.
        drop_path_rate: stochastic depth of the deepest block; it grows linearly with
            the depth, from 0. Keras's own default for EfficientNets is 0.2.

    Returns:
        (batch, features).

    Raises:
        ValueError: images that are too small.
    """
    if min(x.shape[1:3]) < application.smallest:
        raise ValueError(
            f"{name} takes images of at least {application.smallest} pixels a side, "
            f"got {x.shape[1]} by {x.shape[2]}: set image_size"
        )
    constructor = getattr(keras.applications, application.constructor)
    options = {"weights": None, "include_top": False, "pooling": "avg"}
    if "include_preprocessing" in inspect.signature(constructor).parameters:
        options["include_preprocessing"] = False
    model = constructor(input_tensor=keras.Input(x.shape[1:]), **options)
    rates = _drop_path_rates(model, drop_path_rate)

    def substitute(layer: keras.layers.Layer) -> Callable[..., Any] | None:
        if layer.name in rates:
            rate = rates[layer.name]
            return layers.DropPath(rate, name=layer.name) if rate else _unchanged
        # What EfficientNet V1 rescales by has no switch.
        rescales = (keras.layers.Rescaling, keras.layers.Normalization)
        return _unchanged if isinstance(layer, rescales) else None

    return inline(model, x, substitute)


def _drop_path_rates(model: keras.Model, deepest: float) -> dict[str, float]:
    """Returns the rate of every layer that stands for stochastic depth in a model."""
    ends = [layer.name for layer in model.layers if layer.name.endswith("_identity")]
    if ends and "convnext" in model.name:
        # ConvNeXt has a place for it at the end of each block.
        return {n: deepest * i / (len(ends) - 1) for i, n in enumerate(ends)}
    return {
        layer.name: layer.rate / EFFICIENTNET_DROP_PATH * deepest
        for layer in model.layers
        if isinstance(layer, keras.layers.Dropout)
    }


def _unchanged(x: Any, **_: Any) -> Any:
    return x


def _register(name: str, application: Application) -> None:
    def build(x: Any) -> Any:
        return features(x, name, application)

    def build_with_drop_path(x: Any, *, drop_path_rate: float = 0.0) -> Any:
        return features(x, name, application, drop_path_rate)

    chosen = build_with_drop_path if application.drop_path else build
    zoo.register_model(name, maps=MAPS)(chosen)


for _name, _application in APPLICATIONS.items():
    _register(f"keras/{_name}", _application)
