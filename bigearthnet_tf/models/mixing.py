"""Patches and their labels mixed in pairs, before the model sees them.

Mixup (Zhang et al., arXiv 1710.09412) and CutMix (Yun et al., arXiv 1905.04899), on
band groups as they are stored, so that all resolutions and both sensors are mixed
alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from bigearthnet_tf.models import draws, layers


@dataclass(frozen=True)
class Cuts:
    """A square of each sample, which comes from its partner, in whole cells.

    Attributes:
        north: first row of the square, (batch,) int32.
        west: first column, likewise.
        side: of the square, likewise; 0: nothing is cut.
        cells: a side of a patch.
    """

    north: Any
    west: Any
    side: Any
    cells: int

    def share(self) -> Any:
        """Returns the share of the area that is cut, (batch,) float32."""
        return ops.cast(self.side * self.side, "float32") / self.cells**2

    def inside(self, pixels: int) -> Any:
        """Returns which of `pixels` a side are cut, (batch, 1, pixels, pixels)."""
        cell = ops.arange(pixels) // (pixels // self.cells)
        rows, columns = (
            (cell >= start[:, None]) & (cell < (start + self.side)[:, None])
            for start in (self.north, self.west)
        )
        return rows[:, None, :, None] & columns[:, None, None, :]


class Mixing(keras.layers.Layer):
    """Mixes each sample of a batch with the one before it.

    Called with band groups, a dictionary of planar (batch, bands, pixels, pixels), and
    labels (batch, labels) of 0 and 1; returns both, the groups in their own dtypes and
    the labels as float32 from 0 to 1. Only training should call it.

    Mixup takes a share of each image, drawn from Beta(alpha, alpha), and the rest of
    its partner: in float32, rounded back to whole digital numbers where the group has
    such, hence off by half a number at most (and 0.01 by float32). CutMix copies a
    square of the partner, bit for bit. The drawn share is that of its area; its side is
    rounded to whole pixels of the coarsest group, its place uniform. It lies within the
    patch as a whole, where the paper clips it, so its area is what was drawn. Labels
    are mixed by the true share of the area.

    With both, each sample goes through one of them, each with probability one half. A
    batch of one sample stays as it is: it is its own partner.

    Args:
        mixup_alpha: 0 for no mixup.
        cutmix_alpha: 0 for no CutMix.
        seed: of the layer's own stream of random numbers.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: an alpha is negative or not finite, or both are 0; when called,
            images that are not square.
    """

    def __init__(
        self,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        # In float32 whatever the mixed-precision policy: it has no layer before it.
        super().__init__(**{"dtype": "float32", **kwargs})
        alphas = (mixup_alpha, cutmix_alpha)
        if not all(0 <= alpha < math.inf for alpha in alphas) or not any(alphas):
            raise ValueError(
                "expected a mixup_alpha and a cutmix_alpha of at least 0, one of them "
                f"above, got {mixup_alpha} and {cutmix_alpha}"
            )
        self.mixup_alpha, self.cutmix_alpha = map(float, alphas)
        self.seed = seed
        self.seed_generator = layers.ReplicaSeedGenerator(seed)

    def call(
        self, groups: Mapping[str, Any], labels: Any
    ) -> tuple[dict[str, Any], Any]:
        """Returns the mixed groups and labels."""
        shares, cuts = self.draw(ops.shape(labels)[0], _common_cells(groups))
        mixed = {
            name: self._mix_images(images, shares, cuts)
            for name, images in groups.items()
        }
        own = (shares * (1 - cuts.share()))[:, None]
        return mixed, _blend(ops.cast(labels, "float32"), own)

    def draw(self, batch: Any, cells: int) -> tuple[Any, Cuts]:
        """Draws what happens to each sample.

        Args:
            batch: samples.
            cells: a side of a patch, for the squares.

        Returns:
            The share (batch,) float32 that mixup leaves of a sample, 1 where it
            doesn't touch it, and what CutMix takes from its partner.
        """
        generator = self.seed_generator
        shares = ops.ones((batch,), "float32")
        areas = ops.zeros((batch,), "float32")
        if self.mixup_alpha:
            shares = draws.beta(batch, self.mixup_alpha, generator)
        if self.cutmix_alpha:
            areas = draws.beta(batch, self.cutmix_alpha, generator)
        if self.mixup_alpha and self.cutmix_alpha:
            cut = draws.uniform((batch,), generator) < 0.5
            shares = ops.where(cut, 1.0, shares)
            areas = ops.where(cut, areas, 0.0)
        side = ops.round(cells * ops.sqrt(areas))
        corner = ops.floor(draws.uniform((2, batch), generator) * (cells - side + 1))
        corner, side = ops.cast(corner, "int32"), ops.cast(side, "int32")
        return shares, Cuts(corner[0], corner[1], side, cells)

    def _mix_images(self, images: Any, shares: Any, cuts: Cuts) -> Any:
        inside = cuts.inside(images.shape[2])
        own = ops.where(inside, 0.0, shares[:, None, None, None])
        mixed = _blend(ops.cast(images, "float32"), own)
        dtype = keras.backend.standardize_dtype(images.dtype)
        if keras.backend.is_int_dtype(dtype):
            mixed = ops.round(mixed)
        return ops.cast(mixed, dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns what the layer is built from."""
        return {
            **super().get_config(),
            "mixup_alpha": self.mixup_alpha,
            "cutmix_alpha": self.cutmix_alpha,
            "seed": self.seed,
        }


def _blend(own: Any, share: Any) -> Any:
    """Returns a share of each sample plus the rest of the one before it."""
    return share * own + (1 - share) * ops.roll(own, 1, axis=0)


def _common_cells(groups: Mapping[str, Any]) -> int:
    """Returns the largest number of cells that the pixels of all groups fill wholly.

    In BigEarthNet this is the number of pixels of the coarsest group.
    """
    sides = set()
    for name, images in groups.items():
        if len(images.shape) != 4 or images.shape[2] != images.shape[3]:
            raise ValueError(
                f"expected square images (batch, bands, pixels, pixels) in group "
                f"{name!r}, got {tuple(images.shape)}"
            )
        sides.add(images.shape[2])
    return math.gcd(*sides)
