"""Embeddings in one byte a band, with a scale and an offset for each band.

As GDAL has it: value = stored * scale + offset. Readers that honour that (GDAL,
rasterio with `scales` and `offsets`, QGIS) see the embedding, the file has a quarter of
the bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NODATA = -128
_LARGEST = 127
# The range of the sample is widened by this share of it, half at each end, for pixels
# that the sample lacks.
_MARGIN = 0.1


@dataclass(frozen=True)
class Quantiser:
    """Scale and offset of each band, (dimensions,) float64."""

    scale: NDArray[np.float64]
    offset: NDArray[np.float64]

    def encode(
        self, embeddings: NDArray[np.floating]
    ) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
        """Returns bytes of (pixels, dimensions), and which of them were cut off.

        Where nothing is cut off, `decode` is within half a scale of the embedding.
        """
        whole = np.rint((embeddings - self.offset) / self.scale)
        cut = np.abs(whole) > _LARGEST
        return np.clip(whole, -_LARGEST, _LARGEST).astype(np.int8), cut

    def decode(self, stored: NDArray[np.int8]) -> NDArray[np.float64]:
        """Returns the embeddings that bytes stand for."""
        return stored * self.scale + self.offset


def fit(embeddings: NDArray[np.floating]) -> Quantiser:
    """Fits scale and offset to a sample (pixels, dimensions).

    Raises:
        ValueError: no pixel, or numbers not finite.
    """
    if not len(embeddings) or not np.isfinite(embeddings).all():
        raise ValueError(
            "int8 needs a sample of valid pixels with finite embeddings; this one has "
            f"{len(embeddings)} pixels"
        )
    low = embeddings.min(axis=0).astype(np.float64)
    high = embeddings.max(axis=0).astype(np.float64)
    scale = (high - low) * (1 + _MARGIN) / (2 * _LARGEST)
    # A band that does not vary is its offset.
    return Quantiser(np.where(scale > 0, scale, 1.0), (low + high) / 2)
