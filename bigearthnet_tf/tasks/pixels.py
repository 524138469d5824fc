"""What tasks on pixel time series have in common: blocks, views, encoders."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bigearthnet_tf import models
from bigearthnet_tf.archive import land_cover
from bigearthnet_tf.archive.tile_statistics import MEAN, STD
from bigearthnet_tf.config import Config
from bigearthnet_tf.data import pipeline, time_series
from bigearthnet_tf.models import pixel_encoder, pixel_networks
from bigearthnet_tf.records import blocks, manifest
from bigearthnet_tf.tasks import base

logger = logging.getLogger(__name__)

# Series by name with a view axis, (batch, views, dates, ...); codes of labels (batch,)
# int32; in scoring weights (batch,) float32.
Batch = tuple[dict[str, tf.Tensor], ...]
_SERIES = ("bands", "doy", "mask")
_OPTIONS = {
    "width": "encoder_width",
    "depth": "encoder_depth",
    "dropout": "encoder_drop_rate",
    "date_encoding": "date_encoding",
    "pooling": "date_pooling",
}


def encoder_options(config: Config) -> dict[str, Any]:
    """Returns what a config says about its encoder, as the builders call it."""
    options = {name: getattr(config, key) for name, key in _OPTIONS.items()}
    return {name: value for name, value in options.items() if value is not None}


def describe_encoder(config: Config) -> dict[str, Any]:
    """Returns all that the shapes and the meaning of an encoder's weights follow from.

    But the bands, which the records say.
    """
    return {
        "sample_size": config.sample_size,
        "latent_dim": config.latent_dim,
        "time_dim": config.time_dim,
        **pixel_networks.options_of(config.model_name),
        **encoder_options(config),
    }


def build_from(
    config: Config,
    description: Mapping[str, Any],
    mean: Any = None,
    std: Any = None,
) -> keras.Model:
    """Builds the model of a run without opening any data.

    Args:
        config: of the run.
        description: of its task, or of a checkpoint: `task`, `model_name`, `bands`, of
            land cover also `classes`.
        mean: of each band; None where the weights will bring it.
        std: likewise.

    Returns:
        A model of `bands`, `doy` and `mask` (see `pixel_encoder.build_pixel_encoder`),
        to `h_s2`, the embedding, and `p_s2`, the projection, or `logits`.
    """
    shared: dict[str, Any] = {
        "mean": mean,
        "std": std,
        "latent_dim": config.latent_dim,
        "time_dim": config.time_dim,
        "seed": config.seed,
        **encoder_options(config),
    }
    name, num_bands = description["model_name"], len(description["bands"])
    if description["task"] == "barlow_twins":
        dims = config.projector_dims
        return pixel_encoder.build_twins(
            name, num_bands, config.sample_size, projector_dims=dims, **shared
        )
    return pixel_encoder.build_pixel_classifier(
        name,
        num_bands,
        config.sample_size,
        len(description["classes"]),
        head_dims=config.head_dims,
        drop_rate=config.drop_rate,
        **shared,
    )


def standardised_by(config: Config, description: Mapping[str, Any]) -> str:
    """Returns in words whose means and deviations a model standardises its bands by.

    Args:
        config: of the run.
        description: of its task, or of a checkpoint.
    """
    weights = config.weights or (config.model_file if config.fine_tune else None)
    if weights and config.fine_tune_level != 2:
        return f"the means and deviations that came with the encoder of {weights}"
    if description.get("statistics") == "files":
        return f"{MEAN} and {STD} of the training tiles"
    return "the means and deviations measured on the training records"


def encode(model: keras.Model, series: Mapping[str, Any], view: int) -> dict[str, Any]:
    """Returns what a model gives for one view, in inference."""
    return model(one_view(series, view), training=False)


def one_view(series: Mapping[str, Any], view: int) -> dict[str, Any]:
    """Returns one of the views as the input of a model."""
    return {name: series[name][:, view] for name in _SERIES}


class PixelTask:
    """Reads the time series of pixels from block records.

    Args:
        config: of the run.

    Raises:
        ValueError: an unknown encoder, or an option that it does not have.
    """

    name: str
    # Whether pixels with a label alone are learnt from.
    learns_labels: bool
    # Views of a pixel in a batch.
    training_views: int
    scoring_views: int

    def __init__(self, config: Config) -> None:
        self.config = config
        self.model_name = pixel_networks.ENCODERS.resolve(config.model_name)
        pixel_networks.check_options(self.model_name, encoder_options(config))
        # Variables beside the model's that a checkpoint must hold.
        self.random_state: list[keras.Variable] = []

    def source(self, split: str) -> blocks.BlockSource:
        """Returns the opened records of `train`, `val` or `test`.

        Raises:
            FileNotFoundError: no such files.
            ValueError: the config names none, or they can't be read, or are of other
                bands than those of another split.
        """
        source = self.find(split)
        if source is None:
            key = {"train": "tr", "val": "val", "test": "test"}[split]
            raise ValueError(
                f"{key}_tf_record_files is empty; name the {split} shards there"
            )
        return source

    @functools.lru_cache(maxsize=3)  # noqa: B019 - one task lives as long as the run
    def find(self, split: str) -> blocks.BlockSource | None:
        """Returns the opened records of a split; None where the config names none."""
        patterns = base.patterns_of(self.config)[split]
        if not patterns:
            return None
        source = blocks.open_blocks(patterns)
        base.warn_of_shared_shards(self.config, split, source.files)
        wanted = self.config.bands
        if wanted is not None and list(source.bands) != list(wanted):
            raise ValueError(
                f"{split}: the records hold the bands {' '.join(source.bands)}, but "
                f"bands asks for {wanted}; leave bands out, or write records of those"
            )
        statistics = np.stack([source.mean, source.std])
        if not np.isfinite(statistics).all() or not (statistics[1] > 0).all():
            raise ValueError(
                f"{source.manifests[0]}: means and deviations of the bands must be "
                f"finite and deviations positive, got {source.mean} and {source.std}; "
                "write the records again from usable observations"
            )
        return source

    def files(self, split: str) -> tuple[str, ...]:
        """Returns the shards of a split."""
        source = self.find(split)
        return source.files if source else ()

    @functools.cached_property
    def _opened(self) -> dict[str, blocks.BlockSource]:
        """Sources of the splits whose records are there, at least one."""
        found: dict[str, blocks.BlockSource] = {}
        for split in ("train", "val", "test"):
            try:
                source = self.find(split)
            except FileNotFoundError:
                # Evaluation needs but the test split, and training none of that.
                continue
            if source is not None:
                found[split] = source
        if not found:
            raise FileNotFoundError(
                "none of the records of tr_, val_ and test_tf_record_files is there; "
                "bigearthnet-tf tiles writes records of time series"
            )
        for one, other in itertools.combinations(found, 2):
            if shared := blocks.shared_ground(found[one], found[other]):
                logger.warning(
                    "%s and %s: the records are in different folders and share the "
                    "ground of %s: unless one call of bigearthnet-tf tiles wrote both, "
                    "the same pixels may be in both splits; write them in one",
                    one,
                    other,
                    ", ".join(shared),
                )
        return found

    @functools.cached_property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands, in the order that the model sees them."""
        first, *others = self._opened.items()
        for split, source in others:
            if source.bands != first[1].bands:
                raise ValueError(
                    f"{split}: the records hold the bands {' '.join(source.bands)}, "
                    f"those of another split {' '.join(first[1].bands)}; write all "
                    "alike"
                )
        return first[1].bands

    def num_records(self, split: str) -> int:
        """Returns the pixels of an epoch or of a scored split; 0 for no split."""
        source = self.find(split)
        if source is None:
            return 0
        return time_series.count_pixels(
            source,
            labelled=self._is_labelled(split),
            pixels_per_block=self._pixels_per_block(split),
        )

    def data_fingerprint(self) -> str:
        """Returns what tells the training records from others."""
        return manifest.fingerprint(self.source("train").files)

    def _is_labelled(self, split: str) -> bool:
        """Tells whether pixels with a label alone take part."""
        if split == "train":
            return self.learns_labels
        return self.learns_labels or self.source(split).num_labelled > 0

    def _pixels_per_block(self, split: str) -> int | None:
        """Returns how many pixels of a block take part; None for all of the test."""
        return None if split == "test" else self.config.pixels_per_block

    def training_data(
        self, start_iteration: int, share: pipeline.Share = pipeline.WHOLE
    ) -> tf.data.Dataset:
        """Returns endless shuffled batches: (views,) or (views, codes of labels)."""
        config = self.config
        data = time_series.pixel_batches(
            self.source("train"),
            config.batch_size,
            sample_size=config.sample_size,
            views=self.training_views,
            disjoint=config.disjoint_views and self.training_views > 1,
            labelled=self.learns_labels,
            pixels_per_block=config.pixels_per_block,
            shuffle_buffer_size=config.shuffle_buffer_size,
            seed=config.seed,
            repeat=True,
            drop_remainder=True,
            start_iteration=start_iteration,
            share=share,
        )
        return data if self.learns_labels else data.map(lambda views: (views,))

    def scoring_data(
        self, split: str, share: pipeline.Share = pipeline.WHOLE
    ) -> tf.data.Dataset:
        """Returns pixels of a split once as (views, codes, weights), padded.

        In file order, with their places. Those with a label where there are some;
        without any, all codes are 255.
        """
        labelled = self._is_labelled(split)
        data = time_series.pixel_batches(
            self.source(split),
            self.config.batch_size,
            sample_size=self.config.sample_size,
            views=self.scoring_views,
            labelled=labelled,
            places=True,
            pixels_per_block=self._pixels_per_block(split),
            shuffle_buffer_size=0,
            seed=self.config.seed,
            pad=True,
            share=share,
        )
        return data if labelled else data.map(_without_labels)

    @property
    def classes(self) -> tuple[land_cover.LandCover, ...]:
        """What labels may be, in the order of outputs."""
        return land_cover.land_cover_classes(self.config.merge_mangroves)

    @functools.cached_property
    def _class_of_code(self) -> np.ndarray:
        return land_cover.class_of_code(self.config.merge_mangroves)

    def class_numbers(self, codes: Any) -> tf.Tensor:
        """Returns the classes of codes, (batch,) int32; -1 for none."""
        return tf.gather(self._class_of_code, tf.cast(codes, tf.int32))

    def build_model(self) -> keras.Model:
        """Builds the model, in the strategy's scope."""
        source = self.find("train") if self.config.tr_tf_record_files else None
        mean, std = (source.mean, source.std) if source else (None, None)
        model = build_from(self.config, self.describe(), mean, std)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if replicas > 1 and self.config.synchronize_batch_norm:
            models.synchronize_batch_norm(model)
        return model

    def load_weights(self, model: keras.Model, weights: Any) -> None:
        """Refuses weights of other systems, which have none of pixel encoders.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"{weights.path}: weights of images; {self.name} starts from a run of "
            "barlow_twins or land_cover"
        )

    def embedder(self, model: keras.Model) -> keras.Model:
        """Returns a model from a series to its embedding, `h_s2`."""
        return keras.Model(model.input, {"h_s2": model.get_layer("h_s2").output})

    def summary_of_data(self) -> list[str]:
        """Returns lines for the user: encoder, data, what standardises."""
        config = self.config
        series = (
            f"{config.sample_size} dates of {len(self.bands)} bands: "
            f"{' '.join(self.bands)}"
        )
        pixels = ", ".join(
            f"{self.num_records(split):,} {name}"
            for split, name in (("train", "training"), ("val", "validation"))
        )
        return [
            f"model    {self.model_name}, {config.latent_dim} dimensions from {series}",
            f"data     {pixels} pixels an epoch",
            f"bands    standardised by {standardised_by(config, self.describe())}",
        ]

    def describe(self) -> dict[str, Any]:
        """Returns what fixes the meaning of the weights.

        Means and deviations are among the weights; `statistics` is there where they
        are those of files beside the tiles.
        """
        train = self._opened.get("train")
        from_files = train is not None and train.statistics == "files"
        return {
            "task": self.name,
            "model_name": self.model_name,
            "bands": list(self.bands),
            "encoder": describe_encoder(self.config),
            **({"statistics": "files"} if from_files else {}),
        }


def _without_labels(series: Any, weights: tf.Tensor) -> Batch:
    codes = tf.fill(tf.shape(weights), tf.constant(land_cover.UNLABELLED, tf.int32))
    return series, codes, weights
