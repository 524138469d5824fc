"""Labels of pixels, learnt from the reference maps of BigEarthNet v2."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from bigearthnet_tf import losses, models
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.archive import statistics as band_statistics
from bigearthnet_tf.config import Config
from bigearthnet_tf.data import pipeline
from bigearthnet_tf.losses.pixels import PixelLoss
from bigearthnet_tf.metrics import pixels as pixel_metrics
from bigearthnet_tf.models import augmentation, published, pyramid
from bigearthnet_tf.records import map_reader
from bigearthnet_tf.tasks import (
    assembly,
    base,
    counting,
    map_pictures,
    patches,
    pictures,
    pixel_pictures,
    pretrained,
    weight_files,
)


@base.TASKS.register("segmentation")
class Segmentation(patches.PatchTask):
    """Learns which label each pixel of 10 m has.

    The loss of a batch is the mean over its labelled pixels, on however many replicas.
    Since the engine divides the sum of the patches' losses by their number, each patch
    gets the sum of its pixels' losses, times patches, over the labelled pixels of the
    whole batch. How many those are the replicas tell one another; it is no function of
    the weights, so gradients need nothing else. With `gradient_accumulation` each part
    of a batch is divided by its own pixels, and the parts count alike.

    Args:
        config: of the run.

    Raises:
        ValueError: unknown model, band or label type, or an encoder without maps.
    """

    default_monitor = "mean_iou"
    needs_whole_batch = True
    parser = staticmethod(map_reader.parser)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        pyramid.check(models.get_model(self.model_name))
        self.loss_name = f"pixel_{config.pixel_loss}_loss"
        self._model: keras.Model | None = None

    @functools.cached_property
    def pixel_counts(self) -> np.ndarray:
        """Pixels of each label in the training records, (labels,) int64."""
        with base.reading(self, "train"):
            return map_reader.count_pixels(self.source("train"), self.label_type)

    def data_fingerprint(self) -> str:
        """Returns what tells the training records from others, asked for first of all.

        Raises:
            ValueError: not a pixel of the training or validation maps has a label.
        """
        for split in ("train", "val"):
            if self.num_records(split):
                with base.reading(self, split):
                    map_reader.check_labelled(self.source(split), self.label_type)
        return super().data_fingerprint()

    @functools.cached_property
    def _loss(self) -> losses.pixels.Loss:
        config, weights = self.config, None
        if config.class_weights != "none":
            weights = losses.pixel_weights(self.pixel_counts, config.class_weights)
        return losses.build_pixel_loss(
            config.pixel_loss,
            class_weights=weights,
            focal_gamma=config.focal_gamma,
            with_dice=config.dice_weight > 0,
        )

    def build_model(self) -> keras.Model:
        """Builds encoder and decoder with their preprocessing, in the scope."""
        model = assembly.build_configured(
            self.config, self.model_name, len(self.labels), self.bands, self.statistics
        )
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if replicas > 1 and self.config.synchronize_batch_norm:
            models.synchronize_batch_norm(model)
        self._model = model
        # Weights of labels take a pass over the records, which no compiled step makes.
        _ = self._loss
        return model

    def load_weights(self, model: keras.Model, weights: weight_files.Published) -> None:
        """Loads the weights of a segmentation, or those of a classifier's encoder.

        The latter into a classifier first, as strictly as ever; what both have in
        common is then copied, layer by layer.

        Raises:
            ValueError: they are for another architecture or bands; of a segmentation
                for other labels; of a classifier, and `weights_head` is not `new`.
        """
        has_decoder = any(n.startswith(published.DECODER) for n in weights.tensors)
        if has_decoder:
            super().load_weights(model, weights)
            return
        if self.config.weights_head != "new":
            raise ValueError(
                f"{weights.path}: weights of a classifier, which has no decoder; set "
                "weights_head to new, and the decoder starts afresh"
            )
        classifier = assembly.build_model(
            self.model_name,
            len(self.labels),
            self.bands,
            statistics=self.statistics,
            image_size=self.config.image_size,
        )
        pretrained.load_into(
            classifier,
            weights,
            self.labels,
            other_bands=self._other_bands,
            new_head=True,
        )
        pretrained.copy_encoder(classifier, model)

    def labels_of_patches(self, labels: tf.Tensor) -> tf.Tensor:
        """Returns which labels occur in the maps of a batch, (batch, labels) uint8."""
        count = len(self.labels)
        there = tf.one_hot(tf.cast(labels, tf.int32), count, dtype=tf.uint8)
        return tf.reduce_max(there, axis=(1, 2))

    def losses(self, model: keras.Model, batch: tuple, training: bool) -> tf.Tensor:
        """Returns what each patch adds to the loss, (batch,) float32; see above."""
        if training:
            return self.counted_losses(model, batch)[0]
        images, classes = batch[:2]
        return self._shares(self._loss(classes, model(images, training=False)))

    @property
    def count_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of what is counted in training."""
        return {"confusion": (len(self.labels),) * 2}

    def counted_losses(
        self, model: keras.Model, batch: tuple
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns what each patch adds to the training loss, and its confusion."""
        images, classes = batch[:2]
        classes = augmentation.move_alike(model, classes)
        logits = model(images, training=True)
        # A patch has fewer pixels than float32 counts exactly.
        confused = counting.confusions(classes, tf.stop_gradient(logits), tf.float32)
        counts = {"confusion": tf.reduce_sum(tf.cast(confused, tf.float64), axis=0)}
        return self._shares(self._loss(classes, logits)), counts

    def counted_metrics(self, counts: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Returns every metric of the pixels of training."""
        return pixel_metrics.pixel_report(counts["confusion"])

    def _shares(self, found: PixelLoss) -> tf.Tensor:
        """Returns what each patch adds to the loss of the whole batch."""
        patches_here = tf.cast(tf.shape(found.weight)[0], tf.float32)
        whole = tf.stack([tf.reduce_sum(found.weight), patches_here])
        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            whole = context.all_reduce(tf.distribute.ReduceOp.SUM, whole)
        share = whole[1] / tf.maximum(whole[0], 1e-6)
        return found.total * share + self.config.dice_weight * found.dice

    def outputs(self, model: keras.Model, batch: tuple) -> dict[str, tf.Tensor]:
        """Returns a confusion matrix of each patch, and the parts of its loss.

        `confusion` (batch, labels, labels) int32 counts the pixels of a label, the row,
        that were given another, the column: 1.4 kB a patch for 19 labels whatever the
        size of the maps, for 122,342 validation patches of v2 177 MB.
        """
        images, classes, weights = batch
        logits = model(images, training=False)
        loss = self._loss(classes, logits)
        return {
            "confusion": counting.confusions(classes, logits),
            "total": loss.total,
            "mass": loss.weight,
            "dice": loss.dice,
            "weight": weights,
        }

    def metrics(self, outputs: dict[str, np.ndarray]) -> dict[str, float]:
        """Returns the loss and every metric of a split."""
        confused = outputs["confusion"].sum(axis=0, dtype=np.int64)
        parts = {
            key: float(outputs[key].sum(dtype=np.float64)) for key in ("total", "mass")
        }
        loss = parts["total"] / parts["mass"] if parts["mass"] else 0.0
        loss += self.config.dice_weight * float(
            outputs["dice"].mean(dtype=np.float64) if len(outputs["dice"]) else 0.0
        )
        return {self.loss_name: loss, **pixel_metrics.pixel_report(confused)}

    def metric_names(self) -> list[str]:
        """Returns the names of all metrics."""
        count = len(self.labels)
        nothing = dict.fromkeys(("total", "mass", "dice"), np.zeros(1))
        return list(self.metrics({"confusion": np.zeros((1, count, count)), **nothing}))

    def per_class(self, metrics: dict[str, float]) -> dict[str, dict[str, float]]:
        """Returns IoU, precision, recall and F1 of a split, each by label."""
        return {
            name: {n: metrics[f"{name}_class{j}"] for j, n in enumerate(self.labels)}
            for name in pixel_metrics.PER_LABEL
        }

    def samples(self, count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Returns the band groups and maps of the first validation patches."""
        source = self.source("val")
        data = pipeline.batches(
            source,
            min(count, source.num_records),
            self.bands,
            self.label_type,
            parser=self.parser,
        )
        with base.reading(self, "val"):
            return next(data.take(1).as_numpy_iterator())

    def watch(
        self,
        outputs: dict[str, np.ndarray],
        samples: tuple[dict[str, np.ndarray], np.ndarray] | None = None,
    ) -> dict[str, Figure]:
        """Returns pictures of how a split is mapped, by their captions.

        Args:
            outputs: confusion of the split.
            samples: band groups and maps of some patches, which the model maps here.
        """
        confused = outputs["confusion"].sum(axis=0, dtype=np.int64)
        table = label_facts.TABLES[self.label_type]
        names = map_pictures.short_names(table)
        drawn = {"confusion": pixel_pictures.confusion(confused, names)}
        if samples is not None and self._model is not None:
            groups, classes = samples
            drawn["samples"] = map_pictures.sheet(
                pictures.composite(groups, self.bands),
                classes,
                predict(self._model, groups),
                table,
            )
        return drawn

    def histograms(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the pixel accuracies of the patches that have labelled pixels."""
        confused = outputs["confusion"]
        right = np.trace(confused, axis1=1, axis2=2)
        labelled = confused.sum(axis=(1, 2))
        return {"pixel_accuracy_of_patches": (right / labelled.clip(1))[labelled > 0]}

    def embedder(self, model: keras.Model) -> keras.Model:
        """Returns a model from band groups to the mean of the coarsest map, by name."""
        sensors = {name[:2] for name in model.input}
        kind = "fused" if len(sensors) > 1 else next(iter(sensors))
        features = keras.ops.cast(model.get_layer("features").output, "float32")
        return keras.Model(
            model.input, {f"h_{kind}": keras.ops.mean(features, axis=(1, 2))}
        )

    def summary(self) -> list[str]:
        """Returns lines for the user: model, labels, data."""
        records = ", ".join(
            f"{self.num_records(split)} {name}"
            for split, name in (("train", "training"), ("val", "validation"))
        )
        bands = f"{len(self.bands)} bands: {' '.join(self.bands)}"
        return [
            f"model    {self.model_name} with decoder {self.config.decoder} on {bands}",
            f"labels   {len(self.labels)} of each pixel ({self.label_type})",
            f"data     {records} records, standardised by {self.statistics}",
        ]

    def describe(self) -> dict[str, Any]:
        """Returns what fixes the meaning of the weights."""
        return {
            "task": "segmentation",
            "model_name": self.model_name,
            "decoder": self.config.decoder,
            "decoder_width": self.config.decoder_width,
            "bands": list(self.bands),
            "label_type": self.label_type,
            "labels": list(self.labels),
            "statistics": band_statistics.lasting_name(self.statistics, self.bands),
            "interpolation": self.config.interpolation,
            "image_size": self.config.image_size,
        }


def predict(model: keras.Model, groups: dict[str, Any]) -> np.ndarray:
    """Returns the label of each pixel, (batch, rows, columns) uint8.

    Args:
        model: of a segmentation.
        groups: (batch, bands, rows, columns) of each group, as stored.
    """
    logits = np.asarray(model(groups, training=False))
    return logits.argmax(axis=-1).astype(np.uint8)
