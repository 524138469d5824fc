"""False colour: three principal components of embeddings, shared between tiles.

Fitted on a sample of valid pixels, kept as a file without pickles, and bound to the
encoder whose embeddings it was fitted on.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from bigearthnet_tf import arrays, files

COLOURS = 3
# Pixels that colours are fitted on, of all tiles together.
SAMPLE_SIZE = 100_000
# Kinds of dtype and dimensions of each array in the file.
_FORMS = {
    **dict.fromkeys(("mean", "low", "high", "explained"), ("f", 1)),
    "components": ("f", 2),
    "count": ("iu", 0),
    "encoder": ("U", 0),
}
# Percentiles that become the darkest and the brightest value.
STRETCH = (2, 98)
# In the picture 0 means no data; a colour has 1 to 255.
NODATA = 0


@dataclass(frozen=True)
class ColourSpace:
    """A projection of embeddings onto red, green and blue.

    Attributes:
        mean: (dimensions,) of the sample.
        components: (3, dimensions), orthonormal; the entry of largest size of each is
            positive, so that the same sample has the same colours anywhere.
        low: (3,) projections that become 1.
        high: (3,) projections that become 255.
        explained: (3,) shares of the variance.
        count: pixels of the sample.
        encoder: hash of the encoder.
    """

    mean: NDArray[np.float64]
    components: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    explained: NDArray[np.float64]
    count: int
    encoder: str

    def paint(self, embeddings: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Returns the colours (pixels, 3) of embeddings (pixels, dimensions)."""
        span = self.high - self.low
        projected = (embeddings - self.mean) @ self.components.T
        # A component that does not vary is a flat grey.
        flat = span <= 0
        shares = (projected - self.low) / np.where(flat, 1, span)
        shares = np.where(flat, 0.5, np.clip(shares, 0, 1))
        return np.rint(1 + 254 * shares).astype(np.uint8)


def fit(embeddings: NDArray[np.floating], encoder: str) -> ColourSpace:
    """Fits a colour space.

    Args:
        embeddings: (pixels, dimensions) of valid pixels.
        encoder: hash of what they come from.

    Raises:
        ValueError: fewer than three pixels or dimensions, or numbers not finite.
    """
    count, dimensions = embeddings.shape
    if count < COLOURS or dimensions < COLOURS:
        raise ValueError(
            f"false colour needs {COLOURS} valid pixels and {COLOURS} dimensions or "
            f"more, the sample has {count} and {dimensions}"
        )
    if not np.isfinite(embeddings).all():
        raise ValueError("embeddings are not finite; take another checkpoint")
    # Exact, in the size of the dimensions: no random start, unlike the other solvers.
    pca = PCA(COLOURS, svd_solver="covariance_eigh")
    with np.errstate(invalid="ignore"):  # 0/0 where no pixel differs from another
        pca.fit(embeddings.astype(np.float64))
    largest = np.abs(pca.components_).argmax(axis=1)
    signs = np.sign(pca.components_[np.arange(COLOURS), largest])
    components = pca.components_ * signs[:, None]
    projected = (embeddings - pca.mean_) @ components.T
    low, high = np.percentile(projected, STRETCH, axis=0)
    explained = np.nan_to_num(pca.explained_variance_ratio_)
    return ColourSpace(pca.mean_, components, low, high, explained, count, encoder)


def save(space: ColourSpace, path: Path | str) -> None:
    """Writes a colour space as npz, atomically."""
    content: dict[str, Any] = {
        field.name: np.asarray(getattr(space, field.name)) for field in fields(space)
    }
    with files.write_atomically(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **content)


def load(path: Path | str, encoder: str | None = None) -> ColourSpace:
    """Reads a colour space.

    Args:
        path: that `save` wrote.
        encoder: hash that it must be of; None for any.

    Raises:
        FileNotFoundError: no such file.
        ValueError: something else or damaged, or of another encoder.
    """
    wanted = {field.name for field in fields(ColourSpace)}
    found = arrays.read_npz(
        path, "the colours of an earlier map (pca.npz)", "leave --pca out to fit some"
    )
    if missing := sorted(wanted - set(found)):
        raise ValueError(f"{path}: is no colour space, it lacks {', '.join(missing)}")
    for name, (kinds, dimensions) in _FORMS.items():
        arrays.take(found, name, kinds, dimensions, path)
    space = ColourSpace(
        **{name: found[name] for name in ("mean", "components", "low", "high")},
        explained=found["explained"],
        count=int(found["count"]),
        encoder=str(found["encoder"]),
    )
    _check(space, path, encoder)
    return space


def _check(space: ColourSpace, path: Path | str, encoder: str | None) -> None:
    shapes = [space.low.shape, space.high.shape, space.explained.shape]
    if space.components.shape != (COLOURS, *space.mean.shape) or set(shapes) != {
        (COLOURS,)
    }:
        raise ValueError(f"{path}: is no colour space: its arrays do not fit together")
    if not all(np.isfinite(x).all() for x in _numbers(space)):
        raise ValueError(f"{path}: has numbers that are not finite; fit it again")
    if encoder not in (None, space.encoder):
        raise ValueError(
            f"{path}: fitted on another encoder ({space.encoder[:12]}) than this run's "
            f"({encoder[:12] if encoder else ''}); leave --pca out to fit a new one"
        )


def _numbers(space: ColourSpace) -> tuple[NDArray[np.float64], ...]:
    return space.mean, space.components, space.low, space.high, space.explained
