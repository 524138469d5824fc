"""Layers of the networks that look at the time series of single pixels.

A series is (batch, dates, channels) with a mask (batch, dates) that is 1 where the
date was observed and 0 where it only fills the series up. Layers call it `observed`,
since Keras keeps the name `mask` to itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from bigearthnet_tf.models import layers

# Added to the score of a date that was not observed. Where none was, all are alike and
# the softmax stays finite.
_NEVER = -1e9
# Wavelengths of sinusoidal codes reach up to this many positions (arXiv 1706.03762).
LONGEST_WAVELENGTH = 10_000.0
DAYS_PER_YEAR = 366
# Weeks of day-of-year // 7, from 0 to 52.
WEEKS = 53


@keras.saving.register_keras_serializable(package=layers.PACKAGE)
class StandardizeSeries(keras.layers.Layer):
    """Standardises the bands of a series; unobserved dates become zero.

    The means and deviations are weights that do not learn: they come and go with the
    model, so that one that is loaded elsewhere sees what it was trained on.

    Inputs: bands (batch, dates, bands) of any real dtype, observed (batch, dates).
    Output: (batch, dates, bands) float32.

    Args:
        mean: one number a band, in the unit of the input.
        std: one positive number a band, likewise.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: another number of means than of deviations, a number that is not
            finite, or a deviation that is not positive.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], **kwargs: Any
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.mean, self.std = [float(v) for v in mean], [float(v) for v in std]
        if len(self.mean) != len(self.std):
            raise ValueError(
                "expected a mean and a deviation for each band, got "
                f"{len(self.mean)} means and {len(self.std)} deviations"
            )
        if not np.isfinite(self.mean).all() or not all(
            0 < value < np.inf for value in self.std
        ):
            raise ValueError(
                "expected finite means and positive finite deviations of the bands, "
                f"got means {self.mean} and deviations {self.std}; write the records "
                "again, or give statistics of your own"
            )

    def build(self, bands_shape: Any, observed_shape: Any) -> None:
        """Makes the weights `mean` and `std`, (bands,) float32."""
        for name in ("mean", "std"):
            weight = self.add_weight(
                shape=(len(self.mean),),
                initializer=_Given(getattr(self, name)),
                trainable=False,
                name=name,
            )
            setattr(self, f"_{name}", weight)

    def call(self, bands: Any, observed: Any) -> Any:
        """Returns the standardised series."""
        x = (ops.cast(bands, "float32") - self._mean) / self._std
        return x * ops.expand_dims(ops.cast(observed, "float32"), -1)

    def compute_output_spec(self, bands: Any, observed: Any) -> keras.KerasTensor:
        """Returns shape and dtype of the output."""
        return keras.KerasTensor(bands.shape, "float32")

    def get_config(self) -> dict[str, Any]:
        """Returns what the layer is built from."""
        return {**super().get_config(), "mean": self.mean, "std": self.std}


class _Given(keras.initializers.Initializer):
    """Starts a weight with given numbers, which `Constant` does for scalars alone."""

    def __init__(self, values: Sequence[float]) -> None:
        self.values = list(values)

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return ops.convert_to_tensor(np.asarray(self.values, "float32"), dtype)


@keras.saving.register_keras_serializable(package=layers.PACKAGE)
class WeekEmbedding(keras.layers.Layer):
    """Appends a learnt vector of the week of the year to each date.

    Inputs: series (batch, dates, channels), day of year (batch, dates). Output:
    (batch, dates, channels + dimensions).

    Args:
        dimensions: of the vector.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, dimensions: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dimensions = dimensions

    def build(self, series_shape: Any, doy_shape: Any) -> None:
        """Makes the table (53, dimensions)."""
        # N(0, 1) is how torch's `Embedding` starts.
        self.table = self.add_weight(
            shape=(WEEKS, self.dimensions),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            name="table",
        )

    def call(self, series: Any, doy: Any) -> Any:
        """Returns the longer vectors."""
        week = ops.clip(ops.cast(doy, "int32") // 7, 0, WEEKS - 1)
        vectors = ops.take(ops.convert_to_tensor(self.table), week, axis=0)
        return ops.concatenate([series, ops.cast(vectors, series.dtype)], axis=-1)

    def compute_output_shape(self, series_shape: Any, doy_shape: Any) -> Any:
        """Returns the shape of the output."""
        return (*series_shape[:-1], series_shape[-1] + self.dimensions)

    def get_config(self) -> dict[str, Any]:
        """Returns what the layer is built from."""
        return {**super().get_config(), "dimensions": self.dimensions}


def sinusoids(positions: Any, width: int) -> Any:
    """Returns sinusoidal codes of positions (arXiv 1706.03762, section 3.5).

    Even channels are sines, odd ones cosines, of wavelengths from 2 pi to 10,000 * 2
    pi positions.

    Args:
        positions: (...,) float32.
        width: even number of channels.

    Returns:
        (..., width) float32.
    """
    steps = np.arange(0, width, 2, dtype="float32")
    rates = np.exp(-math.log(LONGEST_WAVELENGTH) * steps / width).astype("float32")
    angles = ops.expand_dims(positions, -1) * rates
    codes = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)
    return ops.reshape(codes, (*ops.shape(positions), width))


@keras.saving.register_keras_serializable(package=layers.PACKAGE)
class DateCode(keras.layers.Layer):
    """Adds to each date of a series a code of when it was.

    Inputs: series (batch, dates, width), day of year (batch, dates), from 1.

    Args:
        kind: `index`: sinusoids of the place in the series, whatever the date, as the
            btfm has it; `day_of_year`: sinusoids of the day; `slots`: one
            learnt vector for each 1 / `slots` of a year.
        slots: of `slots`: how many; 96 are 3.8 days each.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: an unknown kind; when called, an odd width.
    """

    KINDS = ("index", "day_of_year", "slots")

    def __init__(
        self, kind: str = "day_of_year", slots: int = 96, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if kind not in self.KINDS:
            raise ValueError(
                f"expected a date_encoding of {', '.join(self.KINDS)}, got {kind!r}"
            )
        self.kind, self.slots = kind, slots

    def build(self, series_shape: Any, doy_shape: Any) -> None:
        """Makes the learnt vectors (slots, width), if there are any."""
        width = series_shape[-1]
        if width % 2:
            raise ValueError(f"{self.name}: expected an even width, got {width}")
        if self.kind == "slots":
            self.positions = self.add_weight(
                shape=(self.slots, width),
                initializer=keras.initializers.RandomNormal(stddev=1.0),
                name="positions",
            )

    def call(self, series: Any, doy: Any) -> Any:
        """Returns the series with the codes added."""
        doy = ops.cast(doy, "float32")
        if self.kind == "slots":
            # Every day of a leap year has a slot; btfm lost six.
            slot = ops.floor((doy - 1) * self.slots / DAYS_PER_YEAR)
            slot = ops.cast(ops.clip(slot, 0, self.slots - 1), "int32")
            code = ops.take(ops.convert_to_tensor(self.positions), slot, axis=0)
        else:
            places = ops.cumsum(ops.ones_like(doy), axis=1) - 1
            positions = places if self.kind == "index" else doy
            code = sinusoids(positions, series.shape[-1])
        return series + ops.cast(code, series.dtype)

    def compute_output_shape(self, series_shape: Any, doy_shape: Any) -> Any:
        """Returns the shape of the output."""
        return series_shape

    def get_config(self) -> dict[str, Any]:
        """Returns what the layer is built from."""
        return {**super().get_config(), "kind": self.kind, "slots": self.slots}


@keras.saving.register_keras_serializable(package=layers.PACKAGE)
class MaskedAttention(keras.layers.Layer):
    """Scaled dot-product attention among the observed dates; no weights.

    Inputs: queries, keys and values (batch, dates, 3 * width), each of them all heads
    one after another; observed (batch, dates). Output (batch, dates, width). The
    softmax runs in float32. In training the scores take batch * heads * dates^2
    numbers.

    Args:
        heads: number of them.
        drop_rate: of the softmax's results in training, as torch has it.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: when called, channels that don't divide into three times `heads`.
    """

    def __init__(self, heads: int, drop_rate: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads, self.drop_rate = heads, drop_rate
        self.dropout = layers.Dropout(drop_rate, name="dropout")

    def build(self, series_shape: Any, observed_shape: Any) -> None:
        """Checks the number of channels."""
        if series_shape[-1] % (3 * self.heads):
            raise ValueError(
                f"{self.name}: expected channels in multiples of three times "
                f"{self.heads} heads, got {series_shape[-1]}"
            )

    def call(self, series: Any, observed: Any, training: bool = False) -> Any:
        """Returns what every date has gathered from the observed ones."""
        width = series.shape[-1] // 3
        batch, dates = ops.shape(series)[:2]
        split = ops.reshape(series, (batch, dates, 3, self.heads, width // self.heads))
        query, key, value = (split[:, :, part] for part in range(3))
        scores = ops.einsum("bqhd,bkhd->bhqk", query, key)
        scores = ops.cast(scores, "float32") * (width // self.heads) ** -0.5
        shares = ops.softmax(scores + masking(observed)[:, None, None, :], axis=-1)
        shares = self.dropout(ops.cast(shares, value.dtype), training=training)
        gathered = ops.einsum("bhqk,bkhd->bqhd", shares, value)
        return ops.reshape(gathered, (batch, dates, width))

    def compute_output_shape(self, series_shape: Any, observed_shape: Any) -> Any:
        """Returns the shape of the output."""
        return (*series_shape[:-1], series_shape[-1] // 3)

    def get_config(self) -> dict[str, Any]:
        """Returns what the layer is built from."""
        own = {"heads": self.heads, "drop_rate": self.drop_rate}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package=layers.PACKAGE)
class MaskedMean(keras.layers.Layer):
    """The mean over the observed dates, by weights if there are scores.

    Inputs: series (batch, dates, width), observed (batch, dates), perhaps scores
    (batch, dates, 1), whose softmax over the observed dates are the weights. Output
    (batch, width).
    """

    def call(self, series: Any, observed: Any, scores: Any = None) -> Any:
        """Returns the mean; zero where nothing was observed."""
        present = ops.expand_dims(ops.cast(observed, "float32"), -1)
        if scores is None:
            weights = present / ops.maximum(ops.sum(present, 1, keepdims=True), 1.0)
        else:
            scores = ops.cast(scores, "float32") + ops.expand_dims(
                masking(observed), -1
            )
            weights = ops.softmax(scores, axis=1) * present
        return ops.sum(series * ops.cast(weights, series.dtype), axis=1)

    def compute_output_shape(
        self, series_shape: Any, observed_shape: Any, scores_shape: Any = None
    ) -> Any:
        """Returns the shape of the output."""
        return (series_shape[0], series_shape[-1])


def masking(mask: Any) -> Any:
    """Returns what a mask adds to scores: 0 where it is 1, next to minus infinity."""
    return (1.0 - ops.cast(mask, "float32")) * _NEVER
