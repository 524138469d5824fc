"""Self-supervised learning from pairs: both sensors' views of a patch agree."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from bigearthnet_tf import losses, models
from bigearthnet_tf.archive import statistics as band_statistics
from bigearthnet_tf.config import Config
from bigearthnet_tf.metrics import neighbours, retrieval
from bigearthnet_tf.models import two_branch
from bigearthnet_tf.tasks import assembly, base, gathering, pair_pictures, patches

# Queries of a validation, evenly spread over the split; all of it is searched.
QUERIES_AT_MOST = 2048
# Hits that a validation is measured at.
VALIDATION_K = 10
DIRECTIONS = (("s1", "s2"), ("s2", "s1"))


@base.TASKS.register("contrastive")
class Contrastive(patches.PatchTask):
    """Learns features by which a patch of one sensor finds itself in the other.

    Args:
        config: of the run.

    Raises:
        ValueError: unknown model, band or label type, or keys that go with
            classification alone.
    """

    default_monitor = "nt_xent_loss"
    loss_name = "nt_xent_loss"
    # Every patch of the batch is a negative for every other one.
    needs_whole_batch = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if config.batch_size < 2:
            raise ValueError(
                "batch_size 1: the contrastive loss needs other patches to compare with"
            )

    def build_model(self) -> keras.Model:
        """Builds both encoders with their projections, in the strategy's scope."""
        model = assembly.build_configured(
            self.config, self.model_name, len(self.labels), self.bands, self.statistics
        )
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if replicas > 1 and self.config.synchronize_batch_norm:
            models.synchronize_batch_norm(model)
        return model

    def losses(self, model: keras.Model, batch: tuple, training: bool) -> tf.Tensor:
        """Returns the loss of each patch against the whole batch, (batch,) float32.

        NT-Xent between the sensors, and with `intra_modal_weight` w also w times that
        between two augmented views of each sensor.
        """
        images = batch[0]
        found = model(images, training=training)
        temperature = self._temperature(model)
        views = {name: gathering.gather(found[name]) for name in ("p_s1", "p_s2")}
        loss = self._compare(views["p_s1"], views["p_s2"], temperature)
        if training and self.config.intra_modal_weight:
            others = model(images, training=True)
            for name, view in views.items():
                other = gathering.gather(others[name])
                loss += self.config.intra_modal_weight * self._compare(
                    view, other, temperature
                )
        return loss

    def _compare(
        self, one: gathering.Gathered, other: gathering.Gathered, temperature: Any
    ) -> tf.Tensor:
        return losses.nt_xent(
            one.own,
            other.own,
            temperature,
            all_p=one.whole,
            all_q=other.whole,
            offset=one.offset,
        )

    def _temperature(self, model: keras.Model) -> Any:
        if self.config.learn_temperature:
            return two_branch.temperature_of(model)
        return self.config.temperature

    def outputs(self, model: keras.Model, batch: tuple) -> dict[str, tf.Tensor]:
        """Returns projections, labels, temperature and weights of a batch."""
        images, labels, weights = batch
        found = model(images, training=False)
        temperature = tf.cast(self._temperature(model), tf.float32)
        return {
            "p_s1": found["p_s1"],
            "p_s2": found["p_s2"],
            "labels": labels,
            "temperature": tf.fill(tf.shape(weights), temperature),
            "weight": weights,
        }

    def metrics(self, outputs: dict[str, np.ndarray]) -> dict[str, float]:
        """Returns the loss of a split, and how well its sensors find each other.

        The loss is the mean over batches of `batch_size` consecutive patches, a last
        one that is not full included, so it is the same on any number of replicas.
        Searched is the whole split, by at most 2,048 of its patches.
        """
        result = {self.loss_name: self._mean_loss(outputs)}
        count = len(outputs["labels"])
        rows = np.linspace(0, count - 1, min(count, QUERIES_AT_MOST)).astype(int)
        labels = outputs["labels"] > 0.5
        for query, archive in DIRECTIONS:
            ids = neighbours.nearest(
                outputs[f"p_{query}"][rows], outputs[f"p_{archive}"], VALIDATION_K
            )
            found = retrieval.retrieval_report(
                labels[rows], labels, ids, [VALIDATION_K]
            )
            # So few hits are enough for it in toy splits alone.
            found.pop("r_precision", None)
            partners = retrieval.partners(ids, rows, [1, VALIDATION_K])
            found |= {name: float(v.mean()) for name, v in partners.items()}
            result |= {f"{query}_{archive}_{name}": v for name, v in found.items()}
        return result

    def _mean_loss(self, outputs: dict[str, np.ndarray]) -> float:
        size, total = self.config.batch_size, 0.0
        count = len(outputs["labels"])
        for first in range(0, count, size):
            one, other = (
                outputs[f"p_{sensor}"][first : first + size] for sensor in ("s1", "s2")
            )
            temperature = float(outputs["temperature"][first])
            rows = losses.nt_xent(one, other, temperature)
            total += float(np.asarray(rows, np.float64).sum())
        return total / count

    def metric_names(self) -> list[str]:
        """Returns the names of all metrics."""
        eye = np.eye(2, len(self.labels))
        outputs = {name: np.eye(2, 4, dtype=np.float32) for name in ("p_s1", "p_s2")}
        return list(self.metrics({**outputs, "labels": eye, "temperature": np.ones(2)}))

    def per_class(self, metrics: dict[str, float]) -> dict[str, dict[str, float]]:
        """Returns nothing: labels are not learnt."""
        return {}

    def samples(self, count: int) -> np.ndarray:
        """Returns the rows of the patches that `watch` compares."""
        return np.arange(min(count, self.num_records("val")))

    def watch(
        self, outputs: dict[str, np.ndarray], samples: np.ndarray | None = None
    ) -> dict[str, Figure]:
        """Returns a picture of how alike the sensors' views of some patches are."""
        rows = np.arange(min(8, len(outputs["labels"]))) if samples is None else samples
        similarities = neighbours.cosines(outputs["p_s1"][rows], outputs["p_s2"][rows])
        return {"similarities": pair_pictures.similarities(similarities)}

    def histograms(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the cosines of partners, and of patches with their neighbours."""
        one, other = outputs["p_s1"], outputs["p_s2"]
        return {
            "cosines/of_partners": neighbours.paired_cosines(one, other),
            "cosines/of_others": neighbours.paired_cosines(one, np.roll(other, 1, 0)),
        }

    def summary(self) -> list[str]:
        """Returns lines for the user: model, pairs, data."""
        config = self.config
        records = ", ".join(
            f"{self.num_records(split)} {name}"
            for split, name in (("train", "training"), ("val", "validation"))
        )
        bands = f"{len(self.bands)} bands: {' '.join(self.bands)}"
        learnt = "learnt from" if config.learn_temperature else "fixed at"
        learns = f"projections of {config.projection_dim} dimensions"
        return [
            f"model    {self.model_name}, {config.encoders} encoders of {bands}",
            f"learns   {learns}, temperature {learnt} {config.temperature:g}",
            f"data     {records} records, standardised by {self.statistics}",
        ]

    def describe(self) -> dict[str, Any]:
        """Returns what fixes the meaning of the weights."""
        return {
            "task": "contrastive",
            "model_name": self.model_name,
            "bands": list(self.bands),
            "label_type": self.label_type,
            "labels": list(self.labels),
            "statistics": band_statistics.lasting_name(self.statistics, self.bands),
            "interpolation": self.config.interpolation,
            "image_size": self.config.image_size,
            **assembly.describe_pair(self.config),
        }

    def embedder(self, model: keras.Model) -> keras.Model:
        """Returns a model from band groups to `h_s1`, `h_s2`, `p_s1` and `p_s2`."""
        return model
