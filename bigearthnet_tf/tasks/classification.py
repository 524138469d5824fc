"""Multi-label classification of patches."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from bigearthnet_tf import losses, metrics, models
from bigearthnet_tf.archive import statistics as band_statistics
from bigearthnet_tf.config import Config
from bigearthnet_tf.data import pipeline
from bigearthnet_tf.models import mixing
from bigearthnet_tf.records import reader
from bigearthnet_tf.tasks import assembly, base, counting, patches, pictures


@base.TASKS.register("classification")
class Classification(patches.PatchTask):
    """Learns which labels a patch has.

    Args:
        config: of the run.

    Raises:
        ValueError: unknown model, band, loss or label type.
    """

    default_monitor = "macro_average_precision"
    needs_whole_batch = False

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.loss_name = f"{config.loss}_loss"
        self._mixing: mixing.Mixing | None = None
        # Labels are smoothed for training alone, so that the losses of validations and
        # evaluations are those of the records.
        self._loss = self._build_loss(label_smoothing=0.0)
        self._training_loss = self._build_loss(config.label_smoothing)
        few = np.zeros((2, len(self.labels)), np.float32)
        entry = losses.LOSSES.get(config.loss)
        losses.check_own(config.loss, entry, self._loss, few, few)

    def _build_loss(self, label_smoothing: float) -> losses.Loss:
        config = self.config
        return losses.build_loss(
            config.loss,
            label_smoothing=label_smoothing,
            positive_weights=self._positive_weights,
            focal_gamma=config.focal_gamma,
            focal_alpha=config.focal_alpha,
            asymmetric_gamma_positive=config.asymmetric_gamma_positive,
            asymmetric_gamma_negative=config.asymmetric_gamma_negative,
            asymmetric_clip=config.asymmetric_clip,
        )

    @functools.cached_property
    def _positive_weights(self) -> np.ndarray | None:
        """Weights that a pass over the training records gives, if they are needed."""
        if self.config.loss != "weighted_sigmoid_cross_entropy":
            return None
        source = self.source("train")
        with base.reading(self, "train"):
            counts = reader.count_labels(source, self.label_type)
        return losses.positive_weights(counts, source.num_records)

    def build_model(self) -> keras.Model:
        """Builds the architecture with its preprocessing and head, and the mixing.

        In the scope of the strategy, as the model's variables need it.
        """
        config = self.config
        model = assembly.build_configured(
            config, self.model_name, len(self.labels), self.bands, self.statistics
        )
        if config.mixup_alpha or config.cutmix_alpha:
            self._mixing = mixing.Mixing(
                config.mixup_alpha, config.cutmix_alpha, config.seed
            )
            self.random_state = self._mixing.variables
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if replicas > 1 and config.synchronize_batch_norm:
            models.synchronize_batch_norm(model)
        return model

    def losses(self, model: keras.Model, batch: tuple, training: bool) -> tf.Tensor:
        """Returns the loss of each patch, (batch,) float32."""
        if training:
            return self.counted_losses(model, batch)[0]
        images, labels = batch[:2]
        return self._loss(labels, model(images, training=False))

    @property
    def count_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of what is counted in training."""
        return counting.label_count_shapes(len(self.labels))

    def counted_losses(
        self, model: keras.Model, batch: tuple
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns the training loss of each patch, and right and wrong labels.

        Of mixed patches the mixed labels count, of smoothed labels the true ones.
        """
        images, labels = batch[:2]
        if self._mixing:
            images, labels = self._mixing(images, labels)
        logits = model(images, training=True)
        counts = counting.count_labels(labels, logits)
        return self._training_loss(labels, logits), counts

    def counted_metrics(self, counts: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Returns the metrics of training that need no scores."""
        return metrics.counted_report(counts["by_label"], counts["by_sample"])

    def outputs(self, model: keras.Model, batch: tuple) -> dict[str, tf.Tensor]:
        """Returns labels, scores (after the sigmoid), losses and weights of a batch."""
        images, labels, weights = batch
        logits = model(images, training=False)
        return {
            "labels": labels,
            "scores": keras.ops.sigmoid(keras.ops.cast(logits, "float32")),
            "losses": self._loss(labels, logits),
            "weight": weights,
        }

    def metrics(self, outputs: dict[str, np.ndarray]) -> dict[str, float]:
        """Returns the loss and every metric of a split."""
        report = metrics.multi_label_report(outputs["labels"], outputs["scores"])
        loss = float(outputs["losses"].astype(np.float64).mean())
        return {self.loss_name: loss, **report}

    def per_class(self, metrics: dict[str, float]) -> dict[str, dict[str, float]]:
        """Returns the main measures of single labels, each by the labels' names.

        `accuracy` is the Jaccard index, as in all metrics; `binary_accuracy` is what
        torchmetrics and reBEN call accuracy.
        """
        stems = {
            "average_precision": "average_precision",
            "f1": "macro_f1_score",
            "precision": "macro_precision",
            "recall": "macro_recall",
            "accuracy": "macro_accuracy",
            "binary_accuracy": "macro_binary_accuracy",
        }
        return {
            metric: {n: metrics[f"{stem}_class{j}"] for j, n in enumerate(self.labels)}
            for metric, stem in stems.items()
        }

    def samples(self, count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Returns the band groups of the first validation patches, and their rows."""
        source = self.source("val")
        count = min(count, source.num_records)
        data = pipeline.batches(source, count, self.bands, self.label_type)
        with base.reading(self, "val"):
            groups, _ = next(data.take(1).as_numpy_iterator())
        return groups, np.arange(count)

    def watch(
        self,
        outputs: dict[str, np.ndarray],
        samples: tuple[dict[str, np.ndarray], np.ndarray] | None = None,
    ) -> dict[str, Figure]:
        """Returns pictures of how a split is classified, by their captions.

        Args:
            outputs: labels and scores of the split.
            samples: band groups of some patches, and their rows in the outputs.
        """
        labels, scores = outputs["labels"], outputs["scores"]
        drawn = {"label_counts": pictures.label_counts(labels, scores, self.labels)}
        if samples is not None:
            groups, rows = samples
            images = pictures.composite(groups, self.bands)
            drawn["samples"] = pictures.sample_sheet(
                images, labels[rows], scores[rows], self.labels
            )
        return drawn

    def histograms(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns values of a split whose distribution tells something.

        How many labels the patches have and are given, and the scores of the labels
        that they have and have not.
        """
        true, scores = outputs["labels"] > 0.5, outputs["scores"]
        return {
            "labels_per_patch/true": true.sum(axis=1),
            "labels_per_patch/predicted": (scores >= 0.5).sum(axis=1),
            "scores/of_true_labels": scores[true],
            "scores/of_other_labels": scores[~true],
        }

    def metric_names(self) -> list[str]:
        """Returns the names of all metrics."""
        count = len(self.labels)
        outputs = {"labels": np.eye(2, count), "scores": np.eye(2, count)}
        return list(self.metrics({**outputs, "losses": np.zeros(2)}))

    def embedder(self, model: keras.Model) -> keras.Model:
        """Returns a model from band groups to what is before the head, by name.

        Of one encoder `h_s1`, `h_s2` or, for bands of both sensors, `h_fused`; of two
        `h_s1`, `h_s2` and their projections `p_s1`, `p_s2`.
        """
        if self.config.encoders != "single":
            names = {n: n for s in ("s1", "s2") for n in (f"h_{s}", f"p_{s}")}
        else:
            sensors = {name[:2] for name in model.input}
            kind = "fused" if len(sensors) > 1 else next(iter(sensors))
            names = {f"h_{kind}": "features"}
        found = {
            name: keras.ops.cast(model.get_layer(layer).output, "float32")
            for name, layer in names.items()
        }
        return keras.Model(model.input, found)

    def summary(self) -> list[str]:
        """Returns lines for the user: model, labels, data."""
        records = ", ".join(
            f"{self.num_records(split)} {name}"
            for split, name in (("train", "training"), ("val", "validation"))
        )
        bands = f"{len(self.bands)} bands: {' '.join(self.bands)}"
        return [
            f"model    {self.model_name} on {bands}",
            f"labels   {len(self.labels)} ({self.label_type})",
            f"data     {records} records, standardised by {self.statistics}",
        ]

    def describe(self) -> dict[str, Any]:
        """Returns what fixes the meaning of the weights."""
        return {
            "task": "classification",
            "model_name": self.model_name,
            "bands": list(self.bands),
            "label_type": self.label_type,
            "labels": list(self.labels),
            "statistics": band_statistics.lasting_name(self.statistics, self.bands),
            "interpolation": self.config.interpolation,
            "image_size": self.config.image_size,
            **assembly.describe_pair(self.config),
        }
