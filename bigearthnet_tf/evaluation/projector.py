"""Features for the projector of TensorBoard, with a picture of each patch."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray
from PIL import Image
from tensorboard.plugins import projector

from bigearthnet_tf import files
from bigearthnet_tf.archive import composites
from bigearthnet_tf.archive.patch import Patch
from bigearthnet_tf.records import inspection
from bigearthnet_tf.retrieval.stored import Embeddings

# What a browser still turns smoothly, and a side of the pictures: 40 x 40 of 1,600 fit
# well into the 8,192 pixels that the projector takes.
MOST_POINTS = 1600
_SIDE = 48


def write(run: Path, features: Embeddings, layer: str) -> None:
    """Writes points, their names and labels, and their pictures.

    The views of both sensors are points of one space, so that partners are seen to meet
    or not. Of a large split evenly spaced patches are taken.

    Args:
        run: folder of TensorBoard that has scalars, which the projector looks for.
        features: of a split, whose records are still where they were.
        layer: `h` or `p`.
    """
    sensors = [s for s in ("s1", "s2", "fused") if f"{layer}_{s}" in features.layers]
    count = len(features.names)
    most = min(count, MOST_POINTS // len(sensors))
    rows = np.linspace(0, count - 1, most).astype(int)
    points = np.concatenate([features.layers[f"{layer}_{s}"][rows] for s in sensors])
    splits = inspection.look(features.facts.files)
    patches = [inspection.read_record(splits, int(row))[1] for row in rows]
    pictures = [_picture(patch, sensor) for sensor in sensors for patch in patches]
    assets = run / "projector"
    shutil.rmtree(assets, ignore_errors=True)
    assets.mkdir(parents=True)
    np.savetxt(assets / "points.tsv", points, fmt="%.6g", delimiter="\t")
    files.write_text(assets / "patches.tsv", _metadata(features, rows, sensors))
    _sprite(pictures).save(assets / "pictures.png")
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add(
        tensor_name=f"{features.facts.split} {layer}",
        tensor_shape=points.shape,
        tensor_path="projector/points.tsv",
        metadata_path="projector/patches.tsv",
    )
    embedding.sprite.image_path = "projector/pictures.png"
    embedding.sprite.single_image_dim.extend([_SIDE, _SIDE])
    # By this file TensorBoard finds the others.
    files.write_text(
        run / "projector_config.pbtxt", text_format.MessageToString(config)
    )


def _metadata(
    features: Embeddings, rows: NDArray[np.int64], sensors: Sequence[str]
) -> str:
    lines = ["first label\tlabels\tsensor\tpatch"]
    for sensor in sensors:
        for row in rows:
            labels = features.items.labels_of(int(row)) or ("no label",)
            own = features.names_s1 if sensor == "s1" else features.names
            together = ", ".join(labels)
            lines.append(f"{labels[0]}\t{together}\t{sensor}\t{own[row]}")
    return "\n".join(lines) + "\n"


def _picture(patch: Patch, sensor: str) -> NDArray[np.uint8]:
    radar = sensor == "s1" or not set(composites.TRUE_COLOUR) <= set(patch.bands)
    draw = composites.radar_composite if radar else composites.true_colour
    return draw(patch.bands)


def _sprite(pictures: Sequence[NDArray[np.uint8]]) -> Image.Image:
    """Returns all pictures on one, row by row, as the projector wants them."""
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    sprite = Image.new("RGB", (columns * _SIDE, rows * _SIDE))
    for number, pixels in enumerate(pictures):
        row, column = divmod(number, columns)
        small = Image.fromarray(pixels).resize((_SIDE, _SIDE))
        sprite.paste(small, (column * _SIDE, row * _SIDE))
    return sprite
