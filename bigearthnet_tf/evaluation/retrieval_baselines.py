"""Features that a trained model has to beat in retrieval."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.cross_decomposition import CCA
from sklearn.preprocessing import StandardScaler

from bigearthnet_tf.config import Config
from bigearthnet_tf.evaluation import baselines
from bigearthnet_tf.retrieval import embeddings, stored
from bigearthnet_tf.tasks import base
from bigearthnet_tf.training.session import Session

Features = Mapping[str, NDArray[np.float32]]
# That the baselines are searched with: band statistics can be negative.
METRIC = "cosine"
# Any will do: distances of noise are noise.
_DIMENSIONS = 16


def by_sensor(
    layers: Features, config: Config, metric: str
) -> dict[str, NDArray[np.float32]]:
    """Returns the features that a config searches with: of each sensor, and of both.

    Args:
        layers: by name, such as `p_s1`.
        config: `retrieval_layer` and `fusion`.
        metric: of the distance that they are for.

    Raises:
        ValueError: the layers have none of `retrieval_layer`.
    """
    layer = config.retrieval_layer
    found = [s for s in ("s1", "s2") if f"{layer}_{s}" in layers]
    if len(found) == 2 or f"{layer}_fused" in layers:
        found.append("fused")
    if not found:
        raise ValueError(
            f"retrieval_layer {layer}: the model has no such features; there are "
            f"{', '.join(layers)}"
        )
    return {s: stored.take(layers, s, layer, config.fusion, metric) for s in found}


def noise(count: int, seed: int) -> Features:
    """Returns features drawn at random: hits in random order."""
    rng = np.random.default_rng(seed)
    shape = (count, _DIMENSIONS)
    return {s: rng.normal(size=shape).astype(np.float32) for s in stored.SENSORS}


def untrained(session: Session) -> tuple[Features, Features]:
    """Returns features of the same model as it is before its first step.

    Of the query split and of the archive split.
    """
    config = session.config
    with session.strategy.scope():
        model = session.task.build_model()
    embedder = session.task.embedder(model)
    splits = (config.query_split, config.archive_split)
    found = {
        str(split): by_sensor(
            embeddings.compute(session, embedder, split), config, METRIC
        )
        for split in dict.fromkeys(splits)
    }
    return found[splits[0]], found[splits[1]]


def band_statistics(session: Session) -> tuple[Features, Features]:
    """Returns means and deviations of all bands, brought together across sensors.

    Within a sensor, and of both, standardised; for one sensor in the other projected by
    canonical correlation analysis, fitted on the training split. Of the query split and
    of the archive split.
    """
    config = session.config
    splits = (config.query_split, config.archive_split)
    moments = {
        str(split): _moments(session, split)
        for split in dict.fromkeys(("train", *splits))
    }
    scalers = {s: StandardScaler().fit(moments["train"][s]) for s in ("s1", "s2")}
    train = {s: scalers[s].transform(moments["train"][s]) for s in scalers}
    shared = min(x.shape[1] for x in train.values())
    shared = max(1, min(shared, len(train["s1"]) - 1))
    together = CCA(n_components=shared, max_iter=2000).fit(train["s1"], train["s2"])

    def features(split: str) -> Features:
        scaled = [scalers[s].transform(moments[split][s]) for s in ("s1", "s2")]
        one, other = together.transform(*scaled)
        found = {"s1": one, "s2": other, "fused": np.concatenate(scaled, axis=1)}
        return {sensor: x.astype(np.float32) for sensor, x in found.items()}

    return features(splits[0]), features(splits[1])


def _moments(session: Session, split: str) -> dict[str, NDArray[np.float64]]:
    parts: dict[str, list[NDArray[np.float64]]] = {"s1": [], "s2": []}
    task = session.task
    with base.reading(task, split):
        for groups, _, weights in task.scoring_data(split).as_numpy_iterator():
            for sensor, found in parts.items():
                own = {
                    name: group[weights > 0]
                    for name, group in groups.items()
                    if name.startswith(f"{sensor}_")
                }
                found.append(baselines.band_moments(own))
    return {sensor: np.concatenate(found) for sensor, found in parts.items()}
