"""An encoder of pixel time series, applied to pixels of a block."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.archive.land_cover import UNLABELLED, LandCover
from bigearthnet_tf.serving import pixel_dates
from bigearthnet_tf.serving.pixel_dates import DateRule

if TYPE_CHECKING:
    from bigearthnet_tf.archive.tile import Block

# Draws where an encoder can't see all dates at once: the successor of btfm
# was designed for 10 and shipped with 1.
DRAWS = 4

# Pixels times dates squared, the size of what attention holds for each head: as many
# pixels go through the encoder at once: 98 pixels of 73 dates; and no more than a block
# of records has, as what lacks is filled up.
_ATTENTION = 2**19
_FEWEST, _MOST = 32, 1024
# Few sizes: nothing is traced anew for every number of pixels, and little is filled up.
_STEP = 128

Inputs = Mapping[str, NDArray[np.integer]]
"""`bands` (pixels, dates, bands) uint16, `doy` and `mask` (pixels, dates)."""


@dataclass(frozen=True)
class Encoded:
    """What is known of some pixels.

    Attributes:
        embeddings: (pixels, dimensions) float32, mean over the draws.
        probabilities: (pixels, classes) float32, likewise; None without classes.
    """

    embeddings: NDArray[np.float32]
    probabilities: NDArray[np.float32] | None


@dataclass(frozen=True)
class PixelModel:
    """A trained encoder, and what must be known to give it pixels.

    Attributes:
        forward: from inputs to embeddings (pixels, dimensions), and probabilities
            (pixels, classes) or None.
        bands: in the order that it takes them.
        dimensions: of an embedding.
        sample_size: dates that it was trained with.
        min_valid: a pixel needs more valid dates than this.
        takes_all_dates: whether any number of dates will do, with a mask, each known
            by its day.
        classes: of the probabilities; empty without.
        key: hash of its weights and their meaning.
        title: of pictures: what run it is.
        generated: whether it was trained on generated data.
        standardised_by: in words, whose means and deviations its bands get.
    """

    forward: Callable[[Inputs], tuple[NDArray[np.float32], NDArray[np.float32] | None]]
    bands: tuple[str, ...]
    dimensions: int
    sample_size: int
    min_valid: int
    takes_all_dates: bool
    classes: tuple[LandCover, ...]
    key: str
    title: str = ""
    generated: bool = False
    standardised_by: str = ""

    def rule(self, draws: int | None, seed: int) -> DateRule:
        """Returns the rule that was asked for, or all dates where that can be.

        Args:
            draws: None for all valid dates, or `DRAWS` where they must be drawn.
            seed: of the draws.

        Raises:
            ValueError: 0 draws for an encoder that takes no mask.
        """
        if draws == 0 and not self.takes_all_dates:
            raise ValueError(
                f"this encoder takes {self.sample_size} dates, not all of a pixel; "
                "give --draws 1 or more"
            )
        default = 0 if self.takes_all_dates else DRAWS
        return DateRule(default if draws is None else draws, seed)

    def needing(self, min_valid: int | None) -> PixelModel:
        """Returns the same with another rule of valid pixels; None keeps its own.

        Raises:
            ValueError: a negative number.
        """
        if min_valid is None:
            return self
        if min_valid < 0:
            raise ValueError(f"--min-valid: expected 0 or more, got {min_valid}")
        return replace(self, min_valid=min_valid)

    def class_numbers(self, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Returns the number of the class of each label code, 255 for none."""
        table = np.full(256, UNLABELLED, np.uint8)
        for number, each in enumerate(self.classes):
            table[list(each.codes)] = number
        return table[codes]


@dataclass(frozen=True)
class Encoder:
    """Encodes pixels of one tile.

    Attributes:
        model: what encodes.
        rule: which dates it sees.
        doys: (dates,) days of the year of the tile.
        order: (bands,) where the encoder's bands are among the tile's.
    """

    model: PixelModel
    rule: DateRule
    doys: NDArray[np.uint16]
    order: NDArray[np.int64]

    def with_rule(self, rule: DateRule) -> Encoder:
        """Returns the same encoder with another choice of dates."""
        return replace(self, rule=rule)

    @property
    def needed(self) -> int:
        """Valid dates that a pixel needs: as in training, and enough to draw."""
        drawn = self.model.sample_size if self.rule.draws else 1
        return max(self.model.min_valid + 1, drawn)

    def valid(self, block: Block) -> NDArray[np.bool_]:
        """Returns which pixels (height, width) of a block have dates enough."""
        return pixel_dates.is_valid(block.mask, self.needed)

    def encode(self, block: Block, pixels: NDArray[np.integer]) -> Encoded:
        """Encodes pixels of a block that have dates enough.

        Memory, beside the result: a few hundred to a few thousand pixels at a time.

        Args:
            block: of the tile.
            pixels: (pixels,) numbers within the block, row by row.

        Raises:
            ValueError: the encoder gives numbers that are not finite.
        """
        model = self.model
        dates = model.sample_size if self.rule.draws else len(self.doys)
        size = int(np.clip(_ATTENTION // max(1, dates) ** 2, _FEWEST, _MOST))
        embeddings = np.zeros((len(pixels), model.dimensions), np.float32)
        probabilities = np.zeros((len(pixels), len(model.classes)), np.float32)
        for start in range(0, len(pixels), size):
            part = pixels[start : start + size]
            stop = start + len(part)
            padded = np.resize(part, min(size, -(-len(part) // _STEP) * _STEP))
            for number in range(max(1, self.rule.draws)):
                inputs = self._inputs(block, padded, self.rule.first + number)
                found, scores = model.forward(inputs)
                embeddings[start:stop] += found[: len(part)]
                if scores is not None:
                    probabilities[start:stop] += scores[: len(part)]
        if not np.isfinite(embeddings).all():
            raise ValueError(
                f"{block.tile}: embeddings of rows {block.row} to "
                f"{block.row + len(block.mask)} are not finite; look for NaN in the "
                "statistics of the run, or take another checkpoint"
            )
        count = np.float32(max(1, self.rule.draws))
        return Encoded(
            embeddings / count, probabilities / count if model.classes else None
        )

    def _inputs(self, block: Block, pixels: NDArray[np.integer], number: int) -> Inputs:
        width = block.mask.shape[1]
        rows, columns = block.row + pixels // width, block.column + pixels % width
        series = block.bands.reshape(-1, *block.bands.shape[2:])[pixels]
        if len(self.order) != series.shape[-1] or (np.diff(self.order) != 1).any():
            series = series[..., self.order]
        mask = block.mask.reshape(-1, len(self.doys))[pixels]
        doys = np.broadcast_to(self.doys.astype(np.uint16), mask.shape)
        if self.rule.draws:
            chosen = pixel_dates.draw_dates(
                mask, rows, columns, self.model.sample_size, self.rule.seed, number
            )
        else:
            # Valid dates first, by time: as training has them.
            chosen = np.argsort(mask == 0, axis=1, kind="stable")
        return {
            "bands": np.take_along_axis(series, chosen[..., None], axis=1),
            "doy": np.take_along_axis(doys, chosen, axis=1),
            "mask": np.take_along_axis(mask, chosen, axis=1),
        }


def open_encoder(
    model: PixelModel,
    rule: DateRule,
    doys: NDArray[np.uint16],
    bands: Sequence[str],
    tile: str,
) -> Encoder:
    """Returns the encoder for the pixels of a tile.

    Args:
        model: what encodes.
        rule: which dates it sees.
        doys: (dates,) of the tile.
        bands: of the tile, in its order.
        tile: its name, for messages.

    Raises:
        ValueError: the tile lacks bands, or has fewer dates than are drawn.
    """
    if missing := [name for name in model.bands if name not in bands]:
        raise ValueError(
            f"{tile}: the encoder needs the bands {' '.join(model.bands)}, the tile "
            f"lacks {' '.join(missing)} (it has {' '.join(bands)})"
        )
    if rule.draws and len(doys) < model.sample_size:
        raise ValueError(
            f"{tile}: the encoder sees {model.sample_size} dates of a pixel, the tile "
            f"has {len(doys)}; leave the tile out, or map it by an encoder that sees "
            "all dates"
        )
    order = np.array([list(bands).index(name) for name in model.bands])
    return Encoder(model, rule, doys, order)
