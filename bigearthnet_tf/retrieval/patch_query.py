"""Features of a patch that is not among the embedded ones, from its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf import config as configs
from bigearthnet_tf.archive import archives
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.retrieval import embeddings
from bigearthnet_tf.tasks.patches import PatchTask
from bigearthnet_tf.training import session


def embed_folders(
    folders: Mapping[str, Path],
    run: Path,
    config: Mapping[str, Any],
    model_hash: str,
) -> dict[str, NDArray[np.float32]]:
    """Returns the features of one patch, (dimensions,) by layer.

    Of a model with an encoder for each sensor, one sensor is enough: the layers of the
    other one are left out.

    Args:
        folders: of the GeoTIFFs of the patch, by sensor: `s1`, `s2` or both.
        run: folder of the run whose model it is.
        config: of the run, all keys.
        model_hash: of the model, as features and indexes have it.

    Raises:
        FileNotFoundError: the run, the folder or a band is gone.
        ValueError: the run has other weights by now, the model needs both sensors, or
            the patch has pixels that are NaN or infinite.
    """
    opened = session.open_session(configs.from_dict(dict(config)), alone=True)
    task = opened.task
    if not isinstance(task, PatchTask):
        raise ValueError(f"task {opened.config.task} has no patches to embed")
    groups = _read(folders, task.bands)
    embedder = task.embedder(_load(opened, run, model_hash))
    found = {
        name: np.asarray(value)[0]
        for name, value in embedder(groups, training=False).items()
        if name.partition("_")[2] in (*folders, *(("fused",) * (len(folders) == 2)))
    }
    if not all(np.isfinite(value).all() for value in found.values()):
        raise ValueError(
            f"{' and '.join(map(str, folders.values()))}: the features of this patch "
            "are NaN or infinite; expected finite pixels: search with another patch"
        )
    if not found:
        raise ValueError(
            f"the model of {run} has {', '.join(embedder.output)}; give the folders of "
            "the sensors that it takes"
        )
    return found


def _read(folders: Mapping[str, Path], bands: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Returns band groups (1, bands, rows, columns); zeros for a sensor not given."""
    facts = [band_facts.BANDS[name] for name in bands]
    given = {band.sensor: folders.get(band.sensor.lower()) for band in facts}
    places = {sensor: folder for sensor, folder in given.items() if folder is not None}
    pixels = {
        band.name: np.zeros((band.pixels, band.pixels), band.dtype)
        for band in facts
        if band.sensor not in places
    }
    pixels |= archives.read_bands(
        places, [band.name for band in facts if band.sensor in places]
    )
    return {
        group: np.stack([pixels[name] for name in members])[None]
        for group, members in band_facts.group_bands(bands).items()
    }


def _load(opened: session.Session, run: Path, model_hash: str) -> keras.Model:
    """Returns the model with the weights that the features are of."""
    for which in ("best", "last"):
        model, _ = session.load_trained(opened, run, which)
        described = opened.task.describe()
        if embeddings.hash_model(model, described) == model_hash:
            return model
    raise ValueError(
        f"{run}: neither its best nor its last weights are those of the features; "
        "embed again"
    )
