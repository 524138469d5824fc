"""Statistics of pixels in one pass, in float64 and bounded memory, mergeable.

A histogram of all 65,536 values describes uint16 pixels completely: their mean,
deviation and percentiles follow from integers, exactly, in whatever order the pixels
came. Other pixels (decibels, interpolated digital numbers) are summed up by their
moments, which are merged after Chan, Golub and LeVeque (1983, "Algorithms for computing
the sample variance", doi 10.1080/00031305.1983.10483115), and by a histogram whose bins
are narrow enough to read percentiles from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.archive.bands import Band


@dataclass(frozen=True)
class Bins:
    """Bins of equal width, in ascending order.

    Attributes:
        first: centre of the first bin.
        width: of each bin.
        count: number of bins.
        exact: whether every pixel is the centre of a bin, so that the histogram says
            all there is to say.
    """

    first: float
    width: float
    count: int
    exact: bool = False

    @property
    def error(self) -> float:
        """The most by which a percentile may be off."""
        return 0.0 if self.exact else self.width / 2

    def centres(self, places: NDArray[np.intp]) -> NDArray[np.float64]:
        """Returns the centres of the bins at some places."""
        return self.first + self.width * places.astype(np.float64)


WHOLE_NUMBERS = Bins(0.0, 1.0, 2**16, exact=True)
# Cubic kernels overshoot: by 0.45 of the range of uint16 at most, on both sides (the
# sum of the weights' magnitudes is 1.375 an axis for a = -0.75, less for others).
INTERPOLATED = Bins(-(2.0**15), 1.0, 2**17)
# From the archive's -75 to 35 dB, with room on both sides.
DECIBELS = Bins(-128.0, 1 / 256, 2**16 + 1)


def bins_for(band: Band, interpolated: bool) -> Bins:
    """Returns the bins that the values of a band are counted in."""
    if band.dtype == "float32":
        return DECIBELS
    return INTERPOLATED if interpolated else WHOLE_NUMBERS


@dataclass(frozen=True)
class Moments:
    """Number, mean and spread of values.

    Attributes:
        count: number of values.
        mean: of them.
        squares: sum of the squared deviations from the mean.
        minimum: infinity where there are no values.
        maximum: minus infinity where there are no values.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Moments:
        """Returns the moments of finite values."""
        if not values.size:
            return cls()
        mean = values.mean()
        return cls(
            values.size,
            float(mean),
            float(np.square(values - mean).sum()),
            float(values.min()),
            float(values.max()),
        )

    @classmethod
    def of_counts(cls, counts: NDArray[np.int64]) -> Moments:
        """Returns the moments of counts[v] values v each, correctly rounded."""
        present = np.flatnonzero(counts)
        if not present.size:
            return cls()
        # Python's integers: the squares of all pixels of the archive exceed 64 bits.
        values, times = present.tolist(), counts[present].tolist()
        count, pairs = sum(times), list(zip(values, times, strict=True))
        total = sum(value * n for value, n in pairs)
        squares = sum(value * value * n for value, n in pairs)
        return cls(
            count,
            total / count,
            (count * squares - total * total) / count,
            float(values[0]),
            float(values[-1]),
        )

    def merge(self, other: Moments) -> Moments:
        """Returns the moments of both sets of values together."""
        if not (self.count and other.count):
            return self if self.count else other
        count = self.count + other.count
        delta = other.mean - self.mean
        return Moments(
            count,
            self.mean + delta * other.count / count,
            self.squares
            + other.squares
            + delta * delta * (self.count * other.count / count),
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )


@dataclass(frozen=True)
class Summary:
    """What is to know of the pixels of a band.

    Attributes:
        pixels: number of finite pixels; all else is about them.
        mean: of them.
        std: population standard deviation (divided by `pixels`, not one less).
        minimum: least value.
        maximum: greatest value.
        percentiles: percentage to value, as `numpy.percentile` interpolates it.
        percentile_error: the most by which a percentile may be off, unless it falls
            among the `outside` ones.
        zeros: pixels that are 0; what was never measured is often filled with it.
        nonfinite: pixels left out because they are NaN or infinite.
        outside: pixels beyond the bins of the histogram.
    """

    pixels: int
    mean: float
    std: float
    minimum: float
    maximum: float
    percentiles: dict[float, float]
    percentile_error: float
    zeros: int
    nonfinite: int
    outside: int


class Accumulator:
    """Takes in the pixels of one band, bit by bit.

    Memory: 8 bytes a bin, and some copies of what is added at once.

    Args:
        bins: what the values are counted in.
    """

    def __init__(self, bins: Bins) -> None:
        self.bins = bins
        self.counts: NDArray[np.int64] = np.zeros(bins.count, np.int64)
        self.zeros = self.nonfinite = self.outside = 0
        self._moments = Moments()

    @property
    def moments(self) -> Moments:
        """The moments of all finite values so far."""
        return Moments.of_counts(self.counts) if self.bins.exact else self._moments

    def add(self, values: NDArray[Any]) -> None:
        """Takes in an array of any shape; uint16 where the bins are exact."""
        self.zeros += values.size - int(np.count_nonzero(values))
        if self.bins.exact:
            self._count(values.ravel())
            return
        finite = values[np.isfinite(values)].astype(np.float64)
        self.nonfinite += values.size - finite.size
        self._moments = self._moments.merge(Moments.of(finite))
        places = np.rint((finite - self.bins.first) / self.bins.width)
        last = self.bins.count - 1
        self.outside += int(np.count_nonzero((places < 0) | (places > last)))
        self._count(np.clip(places, 0, last).astype(np.intp))

    def _count(self, places: NDArray[Any]) -> None:
        self.counts += np.bincount(places, minlength=self.bins.count)

    def merge(self, other: Accumulator) -> None:
        """Takes in all that another one has.

        Raises:
            ValueError: it counts in other bins.
        """
        if other.bins != self.bins:
            raise ValueError(f"expected bins {self.bins} to merge, got {other.bins}")
        self.counts += other.counts
        self.zeros += other.zeros
        self.nonfinite += other.nonfinite
        self.outside += other.outside
        self._moments = self._moments.merge(other._moments)

    def repeated(self, times: int) -> Accumulator:
        """Returns one that has had each value that many times."""
        result = Accumulator(self.bins)
        result.counts = self.counts * times
        result.zeros, result.nonfinite = self.zeros * times, self.nonfinite * times
        result.outside = self.outside * times
        one = self._moments
        result._moments = replace(
            one, count=one.count * times, squares=one.squares * times
        )
        return result

    def percentiles(self, percentages: Sequence[float]) -> dict[float, float]:
        """Returns percentiles, linear between neighbours as NumPy's default.

        Each of the two neighbours is the centre of its bin, no less than the minimum
        and no more than the maximum: exact where the bins are, else within
        `bins.error`.

        Raises:
            ValueError: no finite value yet.
        """
        moments = self._some()
        ranks = (moments.count - 1) * (np.asarray(percentages, np.float64) / 100)
        lower = np.floor(ranks).astype(np.int64)
        upper = np.minimum(lower + 1, moments.count - 1)
        below, above = self._values_at(lower, moments), self._values_at(upper, moments)
        found = below + (above - below) * (ranks - lower)
        return dict(zip(percentages, found.tolist(), strict=True))

    def _values_at(
        self, ranks: NDArray[np.int64], moments: Moments
    ) -> NDArray[np.float64]:
        """Returns the values at some places of the sorted row, from 0."""
        places = np.searchsorted(self.counts.cumsum(), ranks, side="right")
        return np.clip(self.bins.centres(places), moments.minimum, moments.maximum)

    def summary(self, percentages: Sequence[float] = ()) -> Summary:
        """Returns the statistics of all values so far.

        Raises:
            ValueError: no finite value yet.
        """
        moments = self._some()
        return Summary(
            pixels=moments.count,
            mean=moments.mean,
            std=math.sqrt(moments.squares / moments.count),
            minimum=moments.minimum,
            maximum=moments.maximum,
            percentiles=self.percentiles(percentages),
            percentile_error=self.bins.error,
            zeros=self.zeros,
            nonfinite=self.nonfinite,
            outside=self.outside,
        )

    def _some(self) -> Moments:
        moments = self.moments
        if not moments.count:
            raise ValueError("expected at least one finite pixel, got none")
        return moments
