"""Networks that turn the time series of a pixel into features.

They are those of btfm (MLP, CNN, transformer) and of its later branch
(masked transformer), with the epsilons and momenta of torch. What is mended: the batch
normalisation after the MLP's first layer takes part; a network says which options it
does not know rather than swallow them; dates that were not observed are neither
attended to nor averaged.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras

from bigearthnet_tf import registry
from bigearthnet_tf.models import layers, pixel_layers

# Maps a standardised series (batch, dates, channels), day of year (batch, dates) and
# mask (batch, dates) to features; keyword-only options.
Encoder = Callable[..., Any]
ENCODERS: registry.Registry[Encoder] = registry.Registry("pixel encoder")

# What torch normalises with: 1e-5, and of the moving statistics 0.9 stay each time.
EPSILON = 1e-5
MOMENTUM = 0.9


def register_encoder(name: str, *aliases: str) -> Callable[[Encoder], Encoder]:
    """Returns a decorator that registers an encoder of pixel time series under a name.

    It decorates a function of a standardised series (batch, dates, channels), days of
    the year (batch, dates) and mask (batch, dates) that returns (batch, latent_dim);
    `latent_dim` and its options are keyword-only.

    Raises:
        ValueError: the name is taken.
    """
    return ENCODERS.register(name, *aliases)


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Checks options against the signature of an encoder.

    Raises:
        ValueError: an unknown encoder, or an option that it does not have.
    """
    known = options_of(name)
    for option in options:
        if option not in known:
            near = registry.nearest_names(option, known) if known else "it has none"
            raise ValueError(
                f"unknown option {option!r} of pixel encoder {name!r}: {near}"
            )


def options_of(name: str) -> dict[str, Any]:
    """Returns the options that an encoder takes, with their defaults."""
    parameters = inspect.signature(ENCODERS.get(name)).parameters.values()
    keywords = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    return {key: value for key, value in keywords.items() if key != "latent_dim"}


def takes_fixed_size(name: str) -> bool:
    """Tells whether an encoder takes series of one length alone."""
    return "date_encoding" not in options_of(name)


@ENCODERS.register("pixel_mlp")
def pixel_mlp(
    x: Any, doy: Any, mask: Any, *, latent_dim: int, width: int = 128, depth: int = 2
) -> Any:
    """Returns features of a perceptron on all numbers of the series in a row.

    Args:
        x: (batch, dates, channels).
        doy: not used.
        mask: not used; unobserved dates are zero.
        latent_dim: of the features.
        width: units of the hidden layers.
        depth: hidden layers after the first.
    """
    x = keras.layers.Flatten(name="flatten")(x)
    for number in range(depth + 1):
        x = dense(x, width, f"layer{number}")
        x = batch_norm(x, f"layer{number}_norm")
        x = keras.layers.ReLU(name=f"layer{number}_relu")(x)
    return dense(x, latent_dim, "output")


@ENCODERS.register("pixel_cnn")
def pixel_cnn(x: Any, doy: Any, mask: Any, *, latent_dim: int) -> Any:
    """Returns features of two convolutions over the image of dates by bands.

    Args:
        x: (batch, dates, channels).
        doy: not used.
        mask: not used; unobserved dates are zero.
        latent_dim: of the features.
    """
    _, dates, channels = x.shape
    x = keras.layers.Reshape((dates, channels, 1), name="image")(x)
    for number, filters in enumerate((32, 64)):
        fan_in = 9 * x.shape[-1]
        x = keras.layers.Conv2D(
            filters,
            3,
            padding="same",
            activation="relu",
            kernel_initializer=layers.torch_convolution(),
            bias_initializer=layers.uniform_by_fan_in(fan_in),
            name=f"convolution{number}",
        )(x)
        x = layers.BatchNormalization(
            momentum=MOMENTUM, epsilon=EPSILON, name=f"convolution{number}_norm"
        )(x)
    return dense(keras.layers.Flatten(name="flatten")(x), latent_dim, "output")


@ENCODERS.register("pixel_transformer")
def pixel_transformer(
    x: Any,
    doy: Any,
    mask: Any,
    *,
    latent_dim: int,
    width: int = 64,
    depth: int = 3,
    heads: int = 8,
    hidden: int = 256,
    dropout: float = 0.1,
    date_encoding: str = "index",
    pooling: str = "mean",
) -> Any:
    """Returns features of btfm's transformer.

    Args:
        x: (batch, dates, channels).
        doy: (batch, dates).
        mask: (batch, dates).
        latent_dim: of the features.
        width: channels within.
        depth: layers of attention and perceptron.
        heads: of each attention.
        hidden: units of each perceptron, and of that which scores dates.
        dropout: rate of all dropouts.
        date_encoding: a kind of `pixel_layers.DateCode`; btfm's is
            `index`.
        pooling: `mean` over the dates, or `attention`.

    Raises:
        ValueError: an unknown date encoding or pooling.
    """
    x = dense(x, width, "embedding")
    x = pixel_layers.DateCode(date_encoding, name="date")(x, doy)
    for number in range(1, depth + 1):
        x = _block(x, mask, f"block{number}", heads, hidden, dropout)
    return dense(_pool(x, mask, pooling, hidden), latent_dim, "output")


@ENCODERS.register("pixel_masked_transformer")
def pixel_masked_transformer(
    x: Any,
    doy: Any,
    mask: Any,
    *,
    latent_dim: int,
    width: int = 128,
    depth: int = 6,
    heads: int = 8,
    hidden: int = 256,
    dropout: float = 0.2,
    date_encoding: str = "slots",
    pooling: str = "attention",
) -> Any:
    """Returns features of the later branch's transformer.

    There a series has 96 slots of 3.75 days, empty ones masked; here its dates carry
    the learnt position of their slot, which is the same without the empty ones.

    Args:
        x: as for `pixel_transformer`, as are all others.
        doy: likewise.
        mask: likewise.
        latent_dim: likewise.
        width: likewise.
        depth: likewise.
        heads: likewise.
        hidden: likewise.
        dropout: likewise.
        date_encoding: likewise.
        pooling: likewise.

    Raises:
        ValueError: as for `pixel_transformer`.
    """
    x = dense(x, width, "embedding")
    x = pixel_layers.DateCode(date_encoding, name="date")(x, doy)
    for number in range(1, depth + 1):
        x = _block(x, mask, f"block{number}", heads, hidden, dropout)
    x = layer_norm(_pool(x, mask, pooling, hidden), "norm")
    return dense(layers.Dropout(dropout, name="dropout")(x), latent_dim, "output")


def _block(
    x: Any, mask: Any, name: str, heads: int, hidden: int, dropout: float
) -> Any:
    """Adds attention, then a perceptron, each normalised after it is added."""
    width = x.shape[-1]
    branch = keras.layers.Dense(3 * width, name=f"{name}_qkv")(x)
    attention = pixel_layers.MaskedAttention(heads, dropout, name=f"{name}_attention")
    branch = dense(attention(branch, mask), width, f"{name}_proj")
    branch = layers.Dropout(dropout, name=f"{name}_dropout1")(branch)
    x = layer_norm(x + branch, f"{name}_norm1")
    branch = dense(x, hidden, f"{name}_fc1", activation="relu")
    branch = layers.Dropout(dropout, name=f"{name}_dropout2")(branch)
    branch = dense(branch, width, f"{name}_fc2")
    branch = layers.Dropout(dropout, name=f"{name}_dropout3")(branch)
    return layer_norm(x + branch, f"{name}_norm2")


def _pool(x: Any, mask: Any, pooling: str, hidden: int) -> Any:
    if pooling == "mean":
        return pixel_layers.MaskedMean(name="pool")(x, mask)
    if pooling != "attention":
        raise ValueError(f"expected a pooling of mean, attention, got {pooling!r}")
    scores = dense(x, hidden, "pool_hidden", activation="relu")
    return pixel_layers.MaskedMean(name="pool")(x, mask, dense(scores, 1, "pool_score"))


def dense(x: Any, units: int, name: str, activation: str | None = None) -> Any:
    """Maps linearly, beginning as torch does."""
    start = layers.torch_linear(x.shape[-1])
    return keras.layers.Dense(units, activation=activation, name=name, **start)(x)


def batch_norm(x: Any, name: str) -> Any:
    """Normalises over the batch."""
    return keras.layers.BatchNormalization(
        momentum=MOMENTUM, epsilon=EPSILON, name=name
    )(x)


def layer_norm(x: Any, name: str) -> Any:
    """Normalises every vector."""
    return keras.layers.LayerNormalization(epsilon=EPSILON, name=name)(x)
