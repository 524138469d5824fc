"""Land cover of pixels: one class of WorldCover each."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from bigearthnet_tf import losses
from bigearthnet_tf.config import Config
from bigearthnet_tf.losses.class_label import ClassLoss
from bigearthnet_tf.metrics import pixels as pixel_metrics
from bigearthnet_tf.records import blocks
from bigearthnet_tf.tasks import base, counting, pixel_pictures, pixels


@base.TASKS.register("land_cover")
class LandCover(pixels.PixelTask):
    """Learns the class of a pixel, on a pre-trained encoder or from scratch.

    `fine_tune_level` 0 keeps the encoder as it is and runs it as in inference: with no
    `head_dims` a linear probe, with some a perceptron. Level 1 learns all of it, with
    `backbone_learning_rate_factor` at a lower rate.

    Args:
        config: of the run.

    Raises:
        ValueError: an unknown encoder or loss, or an option that it does not have.
    """

    name = "land_cover"
    default_monitor = "macro_f1"
    needs_whole_batch = False
    learns_labels = True
    training_views = 1

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.scoring_views = config.evaluation_draws
        self.loss_name = f"{config.loss}_loss"
        # Weights are for training alone, so that other losses are those of the pixels.
        self._loss = losses.build_class_loss(
            config.loss, focal_gamma=config.focal_gamma
        )
        losses.check_own(
            config.loss,
            losses.CLASS_LOSSES.get(config.loss),
            self._loss,
            np.array([0, -1], np.int32),
            np.zeros((2, len(self.classes)), np.float32),
        )

    @functools.cached_property
    def _training_loss(self) -> ClassLoss:
        if self.config.class_weights == "none":
            return self._loss
        counts = self.count_classes("train")
        weights = losses.balanced_weights(counts)
        if self.config.class_weights == "root":
            weights = np.sqrt(weights)
        return losses.build_class_loss(
            self.config.loss, weights=weights, focal_gamma=self.config.focal_gamma
        )

    def count_classes(self, split: str) -> np.ndarray:
        """Returns the labelled valid pixels of each class by a pass over the records.

        Returns:
            (classes,) int64.
        """
        source = self.source(split)
        counts = np.zeros(256, np.int64)
        with base.reading(self, split):
            for block in blocks.iterate_blocks(source):
                if block.labels is not None:
                    valid = block.mask.sum(axis=-1) > source.min_valid
                    counts += np.bincount(block.labels[valid], minlength=256)
        numbers = self._class_of_code
        return np.bincount(
            numbers[numbers >= 0],
            weights=counts[numbers >= 0],
            minlength=len(self.classes),
        ).astype(np.int64)

    def build_model(self) -> keras.Model:
        """Builds the model, in the strategy's scope, and counts classes if need be."""
        _ = self._training_loss
        return super().build_model()

    def losses(
        self, model: keras.Model, batch: pixels.Batch, training: bool
    ) -> tf.Tensor:
        """Returns the loss of each pixel, (batch,) float32."""
        if training:
            return self.counted_losses(model, batch)[0]
        logits = model(pixels.one_view(batch[0], 0), training=False)["logits"]
        return self._loss(self.class_numbers(batch[1]), logits)

    @property
    def count_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of what is counted in training."""
        return {"confusion": (len(self.classes),) * 2}

    def counted_losses(
        self, model: keras.Model, batch: pixels.Batch
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns the training loss of each pixel, and which class it was taken for."""
        logits = model(pixels.one_view(batch[0], 0), training=True)["logits"]
        classes = self.class_numbers(batch[1])
        (confused,) = tf.unstack(
            counting.confusions(
                classes[tf.newaxis], tf.stop_gradient(logits)[tf.newaxis], tf.float64
            ),
            num=1,
        )
        return self._training_loss(classes, logits), {"confusion": confused}

    def counted_metrics(self, counts: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Returns every metric of the pixels of training."""
        return pixel_metrics.pixel_report(counts["confusion"])

    def outputs(self, model: keras.Model, batch: pixels.Batch) -> dict[str, tf.Tensor]:
        """Returns class, scores (mean softmax of the draws), loss and weight."""
        series, codes, weights = batch
        classes = self.class_numbers(codes)
        logits = [
            pixels.encode(model, series, view)["logits"]
            for view in range(self.scoring_views)
        ]
        scores = tf.add_n([tf.nn.softmax(x) for x in logits]) / len(logits)
        return {
            "classes": classes,
            "scores": scores,
            "losses": self._loss(classes, tf.math.log(tf.maximum(scores, 1e-30))),
            "weight": weights,
        }

    def metrics(self, outputs: dict[str, np.ndarray]) -> dict[str, float]:
        """Returns the loss and every metric of a split."""
        report = pixel_metrics.pixel_report(self.confused(outputs))
        loss = float(outputs["losses"].astype(np.float64).mean())
        return {self.loss_name: loss, **report}

    def confused(self, outputs: dict[str, np.ndarray]) -> np.ndarray:
        """Returns how often each class was taken for which, rows the truth."""
        count = len(self.classes)
        classes = np.where(outputs["classes"] < 0, count, outputs["classes"])
        return pixel_metrics.confusion(classes, outputs["scores"].argmax(axis=1), count)

    def metric_names(self) -> list[str]:
        """Returns the names of all metrics."""
        eye = np.eye(2, len(self.classes))
        return list(
            self.metrics({"classes": np.arange(2), "scores": eye, "losses": np.ones(2)})
        )

    def per_class(self, metrics: dict[str, float]) -> dict[str, dict[str, float]]:
        """Returns IoU, precision, recall and F1 of a split, each by class."""
        names = [each.name for each in self.classes]
        return {
            metric: {
                name: metrics[f"{metric}_class{j}"] for j, name in enumerate(names)
            }
            for metric in pixel_metrics.PER_LABEL
        }

    def samples(self, count: int) -> None:
        """Returns nothing: `watch` looks at the whole split."""

    def watch(
        self, outputs: dict[str, np.ndarray], samples: None = None
    ) -> dict[str, Figure]:
        """Returns a picture of which class is taken for which."""
        names = [each.name for each in self.classes]
        return {"confusion": pixel_pictures.confusion(self.confused(outputs), names)}

    def histograms(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the highest score of each pixel, of right and of wrong ones."""
        right = outputs["scores"].argmax(axis=1) == outputs["classes"]
        highest = outputs["scores"].max(axis=1)
        return {"scores/right": highest[right], "scores/wrong": highest[~right]}

    def summary(self) -> list[str]:
        """Returns lines for the user: encoder, classes, data."""
        model, *data = self.summary_of_data()
        classes = ", ".join(each.name for each in self.classes)
        return [model, f"classes  {len(self.classes)}: {classes}", *data]

    def describe(self) -> dict[str, Any]:
        """Returns what fixes the meaning of the weights."""
        return {
            **super().describe(),
            "classes": [each.name for each in self.classes],
            "codes": [list(each.codes) for each in self.classes],
            "head_dims": self.config.head_dims,
        }
