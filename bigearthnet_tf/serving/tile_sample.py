"""A sample of the pixels of tiles: for colours and scales, and how stable a map is.

A pixel is in the sample or not whatever the blocks are, so the same tiles give the same
colours however they are cut. Memory: the embeddings of the sample and a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf import console
from bigearthnet_tf.metrics import neighbours
from bigearthnet_tf.serving import pixel_dates
from bigearthnet_tf.serving.pixel_dates import DateRule
from bigearthnet_tf.serving.pixel_model import Encoded, Encoder
from bigearthnet_tf.serving.tile_source import MapTile

# Pixels, of all tiles together, that are encoded twice.
STABILITY_SIZE = 10_000
# A percentile that tells how bad the worst pixels are.
_LOW = 5


@dataclass(frozen=True)
class Sample:
    """What a sample of a tile's valid pixels tells.

    Attributes:
        embeddings: (pixels, dimensions) as in the map, in the order of the rows.
        stability: of the map if its dates were drawn anew; see `compare`.
    """

    embeddings: NDArray[np.float32]
    stability: dict[str, Any]


def draw(
    tiles: Sequence[tuple[MapTile, Encoder]], size: int, stability_size: int
) -> list[Sample]:
    """Encodes a sample of the valid pixels of tiles.

    Args:
        tiles: with their encoders.
        size: pixels, of all tiles together; about as many are drawn, less what is not
            valid.
        stability_size: of these, pixels that are encoded with two choices of dates.

    Returns:
        The sample of each tile.
    """
    total = sum(tile.height * tile.width for tile, _ in tiles)
    shares = (size / total, min(size, stability_size) / total)
    with console.progress(
        total=total, desc="sampling", unit="px", unit_scale=True
    ) as bar:
        return [_draw(tile, encoder, shares, bar) for tile, encoder in tiles]


def _draw(
    tile: MapTile, encoder: Encoder, shares: tuple[float, float], bar: Any
) -> Sample:
    parts: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
    pairs: list[tuple[NDArray[np.int64], Encoded, Encoded]] = []
    one, other = (encoder.with_rule(rule) for rule in _two_rules(encoder))
    for block in tile.read(lambda window: True):
        valid = encoder.valid(block)
        rows, columns = np.indices(valid.shape) + np.array(
            [block.row, block.column]
        ).reshape(2, 1, 1)
        chances = pixel_dates.chances(rows, columns, encoder.rule.seed)
        places = rows * tile.width + columns
        pixels = np.flatnonzero(valid & (chances < shares[0]))
        parts.append((places.flat[pixels], encoder.encode(block, pixels).embeddings))
        twice = np.flatnonzero(valid & one.valid(block) & (chances < shares[1]))
        pairs.append(
            (
                places.flat[twice],
                one.encode(block, twice),
                other.encode(block, twice),
            )
        )
        bar.update(valid.size)
    embeddings = np.concatenate([part[1] for part in parts])
    order = np.argsort(np.concatenate([part[0] for part in parts]))
    return Sample(embeddings[order], _stability(pairs))


def _two_rules(encoder: Encoder) -> tuple[DateRule, DateRule]:
    """Returns two choices of dates: that of the map and another one.

    Where the map has all dates, two single draws of as many as in training: how much
    an embedding depends on which dates there happen to be.
    """
    one = replace(encoder.rule, draws=max(1, encoder.rule.draws))
    return one, replace(one, first=one.first + one.draws)


def _stability(
    pairs: Sequence[tuple[NDArray[np.int64], Encoded, Encoded]],
) -> dict[str, Any]:
    order = np.argsort(np.concatenate([places for places, _, _ in pairs]))

    def join(found: Sequence[Encoded]) -> Encoded:
        scores = [x.probabilities for x in found if x.probabilities is not None]
        return Encoded(
            np.concatenate([x.embeddings for x in found])[order],
            np.concatenate(scores)[order] if scores else None,
        )

    return compare(
        join([one for _, one, _ in pairs]), join([other for _, _, other in pairs])
    )


def compare(one: Encoded, other: Encoded) -> dict[str, Any]:
    """Returns how alike two encodings of the same pixels are.

    Returns:
        `pixels`; `cosine` and `cosine_p5`, mean and 5th percentile over the pixels;
        `cosine_of_different_pixels`, to compare with; with classes `label_agreement`,
        the share of pixels of the same class. Pixels alone where there are none.
    """
    count = len(one.embeddings)
    result: dict[str, Any] = {"pixels": count}
    if not count:
        return result
    cosines = neighbours.paired_cosines(one.embeddings, other.embeddings)
    far = np.roll(other.embeddings, count // 2, axis=0)
    result |= {
        "cosine": float(cosines.mean()),
        f"cosine_p{_LOW}": float(np.percentile(cosines, _LOW)),
        "cosine_of_different_pixels": float(
            neighbours.paired_cosines(one.embeddings, far).mean()
        ),
    }
    if one.probabilities is not None and other.probabilities is not None:
        same = one.probabilities.argmax(axis=1) == other.probabilities.argmax(axis=1)
        result["label_agreement"] = float(same.mean())
    return result
