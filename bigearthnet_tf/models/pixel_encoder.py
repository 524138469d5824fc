"""Encoders of pixel time series with what is learnt on them: projector or head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from bigearthnet_tf.models import build, layers, pixel_layers
from bigearthnet_tf.models.pixel_networks import (
    ENCODERS,
    batch_norm,
    check_options,
    dense,
    takes_fixed_size,
)
from bigearthnet_tf.models.published import HEAD

# Layers of this name are the projector's, which is thrown away after the training.
PROJECTOR = "projector"


def build_pixel_encoder(
    name: str,
    num_bands: int,
    sample_size: int,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    latent_dim: int = 64,
    time_dim: int = 0,
    seed: int = 42,
    **options: Any,
) -> keras.Model:
    """Builds an encoder from digital numbers to one vector a pixel.

    Inputs: `bands` (batch, dates, bands) uint16, `doy` (batch, dates) uint16, days of
    the year from 1, `mask` (batch, dates) uint8, 1 where observed. Output: (batch,
    latent_dim) float32. Transformers take any number of dates, the others
    `sample_size` of them.

    Args:
        name: of `ENCODERS`.
        num_bands: of the series.
        sample_size: dates of a series.
        mean: of each band, in the unit of the input; None: 0, to be loaded.
        std: likewise; None: 1.
        latent_dim: dimensions of the vector.
        time_dim: of a learnt vector of the week that is appended to the bands; 0: none.
        seed: of all weights and dropout.
        **options: of the encoder.

    Raises:
        ValueError: an unknown encoder, an option that it does not have, or an
            impossible number.
    """
    with build.seeded(seed):
        inputs, features = _encode(
            name, num_bands, sample_size, mean, std, latent_dim, time_dim, options
        )
        return keras.Model(inputs, features, name=name)


def build_twins(
    name: str,
    num_bands: int,
    sample_size: int,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    latent_dim: int = 64,
    time_dim: int = 0,
    projector_dims: Sequence[int] = (128, 128),
    seed: int = 42,
    **options: Any,
) -> keras.Model:
    """Builds an encoder with the projector of Barlow Twins.

    Inputs as of `build_pixel_encoder`; outputs `h_s2` (batch, latent_dim) and `p_s2`
    (batch, projector_dims[-1]), float32. The projector is dense with a ReLU between
    its layers, the last one without bias: 24,704 parameters for 64-128-128.

    Args:
        name: as for `build_pixel_encoder`, as is all but what follows.
        num_bands: likewise.
        sample_size: likewise.
        mean: likewise.
        std: likewise.
        latent_dim: likewise.
        time_dim: likewise.
        projector_dims: units of its layers.
        seed: likewise.
        **options: likewise.

    Raises:
        ValueError: as for `build_pixel_encoder`.
    """
    with build.seeded(seed):
        inputs, features = _encode(
            name, num_bands, sample_size, mean, std, latent_dim, time_dim, options
        )
        x = features
        for number, units in enumerate(projector_dims[:-1], start=1):
            x = dense(x, units, f"{PROJECTOR}_hidden{number}", activation="relu")
        projection = keras.layers.Dense(
            projector_dims[-1],
            use_bias=False,
            kernel_initializer=layers.uniform_by_fan_in(x.shape[-1]),
            dtype="float32",
            name=PROJECTOR,
        )(x)
        outputs = {"h_s2": features, "p_s2": projection}
        return keras.Model(inputs, outputs, name=f"twins_{name}")


def build_pixel_classifier(
    name: str,
    num_bands: int,
    sample_size: int,
    num_labels: int,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    latent_dim: int = 64,
    time_dim: int = 0,
    head_dims: Sequence[int] = (),
    drop_rate: float = 0.0,
    seed: int = 42,
    **options: Any,
) -> keras.Model:
    """Builds an encoder with a head that tells classes.

    Inputs as of `build_pixel_encoder`; outputs `h_s2` (batch, latent_dim) and `logits`
    (batch, num_labels), float32.

    Args:
        name: as for `build_pixel_encoder`, as is all but what follows.
        num_bands: likewise.
        sample_size: likewise.
        num_labels: number of classes.
        mean: likewise.
        std: likewise.
        latent_dim: likewise.
        time_dim: likewise.
        head_dims: units of hidden layers, each with BatchNorm, a ReLU and dropout;
            none for a linear head.
        drop_rate: of that dropout, and before a linear head.
        seed: likewise.
        **options: likewise.

    Raises:
        ValueError: as for `build_pixel_encoder`.
    """
    with build.seeded(seed):
        inputs, features = _encode(
            name, num_bands, sample_size, mean, std, latent_dim, time_dim, options
        )
        x = features
        for number, units in enumerate(head_dims, start=1):
            x = dense(x, units, f"{HEAD}_hidden{number}")
            x = batch_norm(x, f"{HEAD}_norm{number}")
            x = keras.layers.ReLU(name=f"{HEAD}_relu{number}")(x)
            if drop_rate:
                x = layers.Dropout(drop_rate, name=f"{HEAD}_dropout{number}")(x)
        if drop_rate and not head_dims:
            x = layers.Dropout(drop_rate, name=f"{HEAD}_dropout")(x)
        logits = keras.layers.Dense(
            num_labels, dtype="float32", name=HEAD, **layers.torch_linear(x.shape[-1])
        )(x)
        outputs = {"h_s2": features, "logits": logits}
        return keras.Model(inputs, outputs, name=f"land_cover_{name}")


def _encode(
    name: str,
    num_bands: int,
    sample_size: int,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    latent_dim: int,
    time_dim: int,
    options: Mapping[str, Any],
) -> tuple[dict[str, Any], Any]:
    """Builds everything up to the features; returns inputs and features."""
    encoder = ENCODERS.get(name)
    check_options(name, options)
    for what, number in (("bands", num_bands), ("dates", sample_size)):
        if number < 1:
            raise ValueError(f"expected at least one of {what}, got {number}")
    dates = sample_size if takes_fixed_size(name) else None
    inputs = {
        "bands": keras.Input((dates, num_bands), dtype="uint16", name="bands"),
        "doy": keras.Input((dates,), dtype="uint16", name="doy"),
        "mask": keras.Input((dates,), dtype="uint8", name="mask"),
    }
    x = pixel_layers.StandardizeSeries(
        [0.0] * num_bands if mean is None else mean,
        [1.0] * num_bands if std is None else std,
        name="preprocessing_standardize",
    )(inputs["bands"], inputs["mask"])
    if mean is not None and len(mean) != num_bands:
        raise ValueError(f"expected statistics of {num_bands} bands, got {len(mean)}")
    if time_dim:
        x = pixel_layers.WeekEmbedding(time_dim, name="week")(x, inputs["doy"])
    x = encoder(x, inputs["doy"], inputs["mask"], latent_dim=latent_dim, **options)
    return inputs, keras.layers.Identity(dtype="float32", name="h_s2")(x)
