"""Multi-label classification of patches."""

from __future__ import annotations

import functools
import logging
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bigearthnet_tf import losses, metrics, models
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.archive import statistics as band_statistics
from bigearthnet_tf.config import Config
from bigearthnet_tf.data import cache, pipeline
from bigearthnet_tf.records import reader
from bigearthnet_tf.tasks import assembly, base

logger = logging.getLogger(__name__)

MODALITY_BANDS = {"S1": "s1", "S2": "s2", "MM": "all"}

Batch = tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]


@base.TASKS.register("classification")
class Classification:
    """Learns which labels a patch has.

    Args:
        config: of the run.

    Raises:
        ValueError: unknown model, band, loss or label type.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.model_name = models.get_model(config.model_name).name
        own_bands = models.get_model(config.model_name).bands
        self.bands = assembly.model_bands(
            config.model_name,
            own_bands or MODALITY_BANDS[config.modality]
            if config.bands is None
            else config.bands,
        )
        self.label_type = label_facts.canonical_label_type(config.label_type)
        self.labels = label_facts.label_names(self.label_type)
        self._loss = losses.get_loss(config.loss)

    def source(self, split: str) -> reader.RecordSource:
        """Returns the opened records of `train`, `val` or `test`.

        Raises:
            FileNotFoundError: no such files.
            ValueError: the config names none, or they can't be read, or lack what the
                config asks for.
        """
        source = self._find(split)
        if source is None:
            key = {"train": "tr", "val": "val", "test": "test"}[split]
            raise ValueError(
                f"{key}_tf_record_files is empty; name the {split} shards there"
            )
        return source

    @functools.lru_cache(maxsize=3)  # noqa: B019 - one task lives as long as the run
    def _find(self, split: str) -> reader.RecordSource | None:
        patterns, expected = {
            "train": (self.config.tr_tf_record_files, self.config.training_size),
            "val": (self.config.val_tf_record_files, self.config.val_size),
            "test": (self.config.test_tf_record_files, self.config.test_size),
        }[split]
        if not patterns:
            return None
        source = reader.open_records(patterns)
        reader.parser(source, self.bands, self.label_type)
        if expected not in (None, source.num_records):
            logger.warning(
                "%s: the config expects %d records, the files hold %d; going on with "
                "the files",
                split,
                expected,
                source.num_records,
            )
        return source

    def num_records(self, split: str) -> int:
        """Returns the number of records of a split; 0 for none."""
        source = self._find(split)
        return source.num_records if source else 0

    @functools.cached_property
    def statistics(self) -> str:
        """Name of the statistics to standardise with."""
        if self.config.statistics:
            return self.config.statistics
        source = self._find("train") or self._find("test")
        return band_statistics.default_statistics(
            source.archive_version if source else "v2",
            self.config.interpolation,
            self.config.image_size,
        )

    def training_data(self, start_iteration: int) -> tf.data.Dataset:
        """Returns endless shuffled batches of (groups, labels, weights of one)."""
        config = self.config
        return pipeline.batches(
            cache.keep(self.source("train"), config.cache),
            config.batch_size,
            self.bands,
            self.label_type,
            shuffle_buffer_size=config.shuffle_buffer_size,
            seed=config.seed,
            repeat=True,
            drop_remainder=True,
            start_iteration=start_iteration,
        )

    def scoring_data(self, split: str) -> tf.data.Dataset:
        """Returns a split once as (groups, labels, weights), the last batch padded."""
        # The test split is read once, which copying would be too.
        where = self.config.cache if split == "val" else ""
        return pipeline.batches(
            cache.keep(self.source(split), where),
            self.config.batch_size,
            self.bands,
            self.label_type,
            pad=True,
        )

    def build_model(self) -> keras.Model:
        """Builds the architecture with its preprocessing and head."""
        config = self.config
        model = assembly.build_model(
            self.model_name,
            len(self.labels),
            self.bands,
            statistics=self.statistics,
            image_size=config.image_size,
            interpolation=config.interpolation,
            augmentation=tuple(config.augmentation),
            drop_rate=config.drop_rate,
            drop_path_rate=config.drop_path_rate,
            head_dims=config.head_dims,
            seed=config.seed,
        )
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if replicas > 1 and config.synchronize_batch_norm:
            models.synchronize_batch_norm(model)
        return model

    def losses(self, model: keras.Model, batch: tuple, training: bool) -> tf.Tensor:
        """Returns the loss of each patch, (batch,) float32."""
        images, labels = batch[:2]
        return self._loss(labels, model(images, training=training))

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
        return {f"{self.config.loss}_loss": loss, **report}

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
            "statistics": self.statistics,
            "interpolation": self.config.interpolation,
            "image_size": self.config.image_size,
        }
