"""ShortCNN of balanced-bigearthnet: three convolutions and a linear layer.

See Verlynde et al., IGARSS 2025. Biases and head start as torch's do. The features
are flattened height, width, channels; torch flattens channels first, which matters
to imported weights alone.
"""

from __future__ import annotations

from typing import Any

import keras

from bigearthnet_tf.models import layers, zoo

# (filters, kernel in pixels, max-pool by 2 afterwards)
CONVOLUTIONS = ((32, 5, True), (32, 5, True), (64, 3, False))


# The convolutions.
MAPS = r"conv\d"


@zoo.register_model("short_cnn", "ShortCNN", maps=MAPS)
@zoo.register_model("short_cnn_rgb", "ShortCNN_RGB", bands="rgb", maps=MAPS)
@zoo.register_model("short_cnn_all", "ShortCNN_All", bands="s2_full", maps=MAPS)
def short_cnn(x: Any) -> Any:
    """Maps (batch, height, width, bands) to (batch, 64 * height/4 * width/4)."""
    for number, (filters, kernel, pool) in enumerate(CONVOLUTIONS, start=1):
        x = keras.layers.Conv2D(
            filters,
            kernel,
            padding="same",
            activation="relu",
            kernel_initializer=keras.initializers.GlorotUniform(),
            bias_initializer=layers.uniform_by_fan_in(kernel**2 * x.shape[-1]),
            name=f"conv{number}",
        )(x)
        if pool:
            x = keras.layers.MaxPooling2D(2, name=f"pool{number}")(x)
    return keras.layers.Flatten(name="flatten")(x)
