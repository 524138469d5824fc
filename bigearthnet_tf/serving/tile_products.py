"""What a tile is mapped to: embeddings, classes, probabilities, colours, errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.archive.land_cover import UNLABELLED, LandCover
from bigearthnet_tf.serving import colour_space, quantise
from bigearthnet_tf.serving.colour_space import ColourSpace
from bigearthnet_tf.serving.pixel_model import Encoded, PixelModel
from bigearthnet_tf.serving.quantise import Quantiser
from bigearthnet_tf.serving.raster_form import RasterForm
from bigearthnet_tf.serving.tile_source import MapTile

KINDS = ("embedding", "class", "probability", "false-colour")
DIFFERENCE = "difference"
# Of classes and of labels: no class at all.
NO_CLASS = UNLABELLED
# In a map of differences: the map says what the reference says.
AGREES = 0
# Apart from the greys of bare land and snow, and from paper.
_PALE_BLUE = (196, 214, 240)

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Product:
    """One map of a tile.

    Attributes:
        kind: one of `KINDS`, or `DIFFERENCE`.
        form: of the raster.
        make: from what is known of the valid pixels of a block, and their labels
            (pixels,), to (pixels, bands) of the dtype of the raster.
    """

    kind: str
    form: RasterForm
    make: Callable[[Encoded, Labels], NDArray[np.generic]]

    def paint(
        self, encoded: Encoded, labels: Labels, valid: NDArray[np.bool_]
    ) -> NDArray[np.generic]:
        """Returns a block (bands, height, width) with nodata where nothing is valid.

        Args:
            encoded: of the valid pixels.
            labels: (height, width) of all pixels, `NO_CLASS` where there is none.
            valid: (height, width).
        """
        form = self.form
        result = np.full((*valid.shape, form.count), form.nodata, form.dtype)
        result[valid] = self.make(encoded, labels[valid])
        return np.moveaxis(result, -1, 0)


def embedding(
    tile: MapTile, model: PixelModel, tags: dict[str, str], quantiser: Quantiser | None
) -> Product:
    """Returns the map of embeddings, a band for each dimension.

    Float32 with NaN for no data, or int8 with -128, scale and offset of each band.
    """
    names = [f"embedding {number}" for number in range(model.dimensions)]
    if quantiser is None:
        form = _form(tile, len(names), "float32", np.nan, names, tags)
        return Product("embedding", form, lambda encoded, _: encoded.embeddings)
    tags = tags | {
        "SCALES": json.dumps(quantiser.scale.tolist()),
        "OFFSETS": json.dumps(quantiser.offset.tolist()),
        "VALUE": "stored * scale + offset, of each band",
    }
    form = _form(
        tile,
        len(names),
        "int8",
        quantise.NODATA,
        names,
        tags,
        scales=tuple(quantiser.scale.tolist()),
        offsets=tuple(quantiser.offset.tolist()),
    )
    return Product("embedding", form, lambda encoded, _: _bytes(quantiser, encoded))


def _bytes(quantiser: Quantiser, encoded: Encoded) -> NDArray[np.int8]:
    return quantiser.encode(encoded.embeddings)[0]


def classes(tile: MapTile, model: PixelModel, tags: dict[str, str]) -> Product:
    """Returns the map of the likeliest class, by its number."""
    tags = tags | _legend(model.classes)
    form = _form(
        tile,
        1,
        "uint8",
        NO_CLASS,
        ["class"],
        tags,
        colours={number: c.rgb for number, c in enumerate(model.classes)},
    )
    return Product("class", form, lambda encoded, _: _likeliest(encoded)[:, None])


def probability(tile: MapTile, model: PixelModel, tags: dict[str, str]) -> Product:
    """Returns the map of probabilities: the largest, then that of each class."""
    names = ["maximum probability", *(c.name for c in model.classes)]
    form = _form(tile, len(names), "float32", np.nan, names, tags)

    def make(encoded: Encoded, labels: Labels) -> NDArray[np.float32]:
        found = _probabilities(encoded)
        return np.concatenate([found.max(axis=1, keepdims=True), found], axis=1)

    return Product("probability", form, make)


def false_colour(tile: MapTile, space: ColourSpace, tags: dict[str, str]) -> Product:
    """Returns the map of three principal components as red, green and blue."""
    form = _form(
        tile,
        colour_space.COLOURS,
        "uint8",
        colour_space.NODATA,
        [
            f"principal component {number} ({100 * share:.0f} % of the variance)"
            for number, share in enumerate(space.explained, 1)
        ],
        tags,
        is_rgb=True,
    )
    return Product(
        "false-colour", form, lambda encoded, _: space.paint(encoded.embeddings)
    )


def difference(tile: MapTile, model: PixelModel, tags: dict[str, str]) -> Product:
    """Returns where the map differs from the labels of the tile, and what those say.

    0 where both agree, else 1 and the number of the reference's class; nothing where
    there is no label. With the map of classes it holds the whole confusion matrix.
    """
    legend = {f"CLASS_{AGREES}": "agrees with the reference"}
    legend |= {
        f"CLASS_{number}": f"should be {c.name}"
        for number, c in enumerate(model.classes, 1)
    }
    form = _form(
        tile,
        1,
        "uint8",
        NO_CLASS,
        ["difference from the reference"],
        tags | legend,
        colours={AGREES: _PALE_BLUE}
        | {number: c.rgb for number, c in enumerate(model.classes, 1)},
    )

    def make(encoded: Encoded, labels: Labels) -> NDArray[np.uint8]:
        found = np.where(_likeliest(encoded) == labels, AGREES, labels + 1)
        return np.where(labels == NO_CLASS, NO_CLASS, found).astype(np.uint8)[:, None]

    return Product(DIFFERENCE, form, make)


def _form(
    tile: MapTile,
    count: int,
    dtype: str,
    nodata: float,
    names: Sequence[str],
    tags: dict[str, str],
    **more: Any,
) -> RasterForm:
    crs, transform = tile.grid()
    return RasterForm(
        crs,
        transform,
        tile.width,
        tile.height,
        count,
        dtype,
        nodata,
        tuple(names),
        tags=tags,
        **more,
    )


def _legend(classes: Sequence[LandCover]) -> dict[str, str]:
    """Returns names and codes of the classes as tags."""
    names = {f"CLASS_{number}": c.name for number, c in enumerate(classes)}
    codes = ", ".join(f"{number}: {c.code}" for number, c in enumerate(classes))
    return {**names, "WORLDCOVER_CODES": codes}


def _probabilities(encoded: Encoded) -> NDArray[np.float32]:
    if encoded.probabilities is None:
        raise ValueError("the run has learnt no classes; ask for embeddings")
    return encoded.probabilities


def _likeliest(encoded: Encoded) -> Labels:
    return _probabilities(encoded).argmax(axis=1).astype(np.uint8)
