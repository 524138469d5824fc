"""What tasks on patches have in common: records, bands, labels, batches of them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence

import keras
import tensorflow as tf

from bigearthnet_tf import models
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.archive import statistics as band_statistics
from bigearthnet_tf.archive.bands import BANDS, resolve_bands
from bigearthnet_tf.config import Config
from bigearthnet_tf.data import cache, pipeline
from bigearthnet_tf.records import manifest, reader
from bigearthnet_tf.tasks import assembly, base, pretrained, weight_files

logger = logging.getLogger(__name__)

MODALITY_BANDS = {"S1": "s1", "S2": "s2", "MM": "all"}

Batch = tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]
"""Band groups, labels (batch, labels) float32, weights (batch,) float32."""


class PatchTask:
    """Reads patches and their labels from records.

    Attributes:
        parser: what makes labels of records.

    Args:
        config: of the run.

    Raises:
        ValueError: unknown model, band or label type.
    """

    parser: pipeline.Parser = staticmethod(reader.parser)

    def __init__(self, config: Config) -> None:
        self.config = config
        entry = models.get_model(config.model_name)
        self.model_name = entry.name
        self.bands = assembly.model_bands(
            config.model_name,
            entry.bands or MODALITY_BANDS[config.modality]
            if config.bands is None
            else config.bands,
        )
        if config.bands is None and entry.bands:
            _check_modality(self.model_name, self.bands, config.modality)
        self.label_type = label_facts.canonical_label_type(config.label_type)
        self.labels = label_facts.label_names(self.label_type)
        # Variables beside the model's that a checkpoint must hold.
        self.random_state: list[keras.Variable] = []

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
        patterns = base.patterns_of(self.config)[split]
        expected = {
            "train": self.config.training_size,
            "val": self.config.val_size,
            "test": self.config.test_size,
        }[split]
        if not patterns:
            return None
        source = reader.open_records(patterns)
        base.warn_of_shared_shards(self.config, split, source.files)
        self.parser(source, self.bands, self.label_type)
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

    def files(self, split: str) -> tuple[str, ...]:
        """Returns the shards of a split."""
        source = self._find(split)
        return source.files if source else ()

    def data_fingerprint(self) -> str:
        """Returns what tells the training records from others."""
        return manifest.fingerprint(self.source("train").files)

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

    def training_data(
        self, start_iteration: int, share: pipeline.Share = pipeline.WHOLE
    ) -> tf.data.Dataset:
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
            share=share,
            parser=self.parser,
        )

    def scoring_data(
        self, split: str, share: pipeline.Share = pipeline.WHOLE
    ) -> tf.data.Dataset:
        """Returns a split once as (groups, labels, weights), the last batch padded."""
        # The test split is read once, which copying would be too.
        where = self.config.cache if split == "val" else ""
        return pipeline.batches(
            cache.keep(self.source(split), where),
            self.config.batch_size,
            self.bands,
            self.label_type,
            pad=True,
            share=share,
            parser=self.parser,
        )

    def labels_of_patches(self, labels: tf.Tensor) -> tf.Tensor:
        """Returns which labels the patches of a batch have, (batch, labels).

        Args:
            labels: as a batch has them.
        """
        return labels

    def load_weights(self, model: keras.Model, weights: weight_files.Published) -> None:
        """Loads weights that the config names into the model of this task.

        Raises:
            ValueError: they are for another architecture, bands or labels.
        """
        pretrained.load_into(
            model,
            weights,
            self.labels,
            other_bands=self._other_bands,
            new_head=self.config.weights_head == "new",
        )

    @property
    def _other_bands(self) -> pretrained.OtherBands:
        chosen = self.config.weights_bands
        return "refuse" if chosen == "same" else chosen


def _check_modality(model: str, bands: Sequence[str], modality: str) -> None:
    """Raises ValueError for a model with bands of its own that are of other sensors."""
    sensors = {BANDS[band].sensor for band in bands}
    if sensors != {BANDS[b].sensor for b in resolve_bands(MODALITY_BANDS[modality])}:
        raise ValueError(
            f"modality {modality}: {model} takes {' '.join(bands)}; leave modality out "
            "of the config, or name bands"
        )
