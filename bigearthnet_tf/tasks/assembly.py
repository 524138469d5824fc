"""Models by name, for named bands and labels.

Here the facts about bands and statistics meet the architectures, which know tensors
alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from bigearthnet_tf import models
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import statistics as band_statistics
from bigearthnet_tf.config import Config
from bigearthnet_tf.models import build, segmenter, two_branch


def model_bands(name: str, bands: str | Sequence[str] | None) -> tuple[str, ...]:
    """Returns the bands a model sees, in its order.

    Args:
        name: architecture, by a name of `list_models()`.
        bands: a band set or list; None for the model's own set, `s2` by default.

    Raises:
        ValueError: unknown model, band set or band.
    """
    if bands is None:
        bands = models.get_model(name).bands or "s2"
    return band_facts.resolve_bands(bands)


def augmentation_options(config: Config) -> dict[str, dict[str, float]]:
    """Returns what a config says about augmentations, by name, for `build_model`."""
    return {
        "crops": {"smallest_share": config.crop_smallest_share},
        "band_drop": {"rate": config.band_drop_rate},
        "noise": {"deviation": config.noise_deviation},
    }


def describe_pair(config: Config) -> dict[str, Any]:
    """Returns what of two encoders a checkpoint must agree on with its model.

    Nothing for a single one, so that checkpoints of those stay as they are.
    """
    if config.encoders == "single":
        return {}
    keys = [
        "encoders",
        "out_channels",
        "projection_dim",
        "projection_hidden_dims",
        "projection_activation",
    ]
    # What is learnt from pairs has no layer in which the projections meet.
    keys += ["learn_temperature"] if config.task == "contrastive" else ["fusion"]
    return {key: getattr(config, key) for key in keys}


def build_configured(
    config: Config,
    name: str,
    num_labels: int,
    bands: Sequence[str],
    statistics: str | Mapping[str, Any],
) -> keras.Model:
    """Builds the model that a config describes.

    Args:
        config: of the run: what is learnt, the encoders, the options of all layers.
        name: architecture.
        num_labels: of a classification.
        bands: in the order that the model sees them.
        statistics: as for `build_model`.

    Returns:
        A classification gives logits (batch, num_labels), a segmentation those of
        every pixel (batch, 120, 120, num_labels), a contrastive model `h_s1`, `h_s2`,
        `p_s1`, `p_s2`, each (batch, dimensions), all float32.

    Raises:
        ValueError: as for `build_model`, or a sensor is missing for two encoders.
    """
    front: dict[str, Any] = {
        "image_size": config.image_size,
        "interpolation": config.interpolation,
        "augmentation": tuple(config.augmentation),
        "augmentation_options": augmentation_options(config),
        "drop_path_rate": config.drop_path_rate,
        "seed": config.seed,
    }
    head: dict[str, Any] = {
        "drop_rate": config.drop_rate,
        "head_dims": config.head_dims,
    }
    if config.task != "segmentation" and config.encoders == "single":
        return build_model(
            name, num_labels, bands, statistics=statistics, **front, **head
        )
    names = model_bands(name, bands)
    facts = band_statistics.band_statistics(statistics)
    front |= {
        "groups": _groups(names),
        "band_order": names,
        "mean": facts.mean,
        "std": facts.std,
    }
    if config.task == "segmentation":
        return segmenter.assemble(
            name,
            num_labels,
            **front,
            form=config.decoder,
            width=config.decoder_width,
            drop_rate=config.drop_rate,
        )
    pair: dict[str, Any] = {
        "encoders": config.encoders,
        "out_channels": config.out_channels,
        "projection_dim": config.projection_dim,
        "projection_hidden_dims": config.projection_hidden_dims,
        "projection_activation": config.projection_activation,
        "pair_augmentation": config.pair_augmentation,
    }
    if config.task == "contrastive":
        learnt = config.temperature if config.learn_temperature else None
        return two_branch.build_two_branch(name, **front, **pair, temperature=learnt)
    return two_branch.build_two_branch_classifier(
        name, num_labels=num_labels, fusion=config.fusion, **front, **pair, **head
    )


def build_model(
    name: str,
    num_labels: int = 19,
    bands: str | Sequence[str] | None = None,
    *,
    statistics: str | Mapping[str, Any] = "v2_120_nearest",
    **options: Any,
) -> keras.Model:
    """Builds a Keras model that takes band groups as stored and gives logits.

    Its inputs are a dictionary of planar band groups (batch, bands, rows, columns)
    of digital numbers, as `load_dataset` yields them; selection, resampling and
    standardisation are its first layers. The output is (batch, num_labels) float32.

    Args:
        name: architecture, by a name of `list_models()`.
        num_labels: 19 or 43, or any other number.
        bands: name of a band set or list of bands, in the order that the model
            sees; None for the model's own set, `s2` by default.
        statistics: means and deviations by name, a JSON file of them, or
            `{"mean": {"B02": ...}, "std": {"B02": ...}}`.
        **options: `image_size`, `interpolation`, `augmentation`,
            `augmentation_options`, `drop_rate`, `drop_path_rate`, `head_dims`, `seed`,
            and those of the architecture.

    Raises:
        ValueError: an unknown name, band or option; the message has the nearest ones.
    """
    names = model_bands(name, bands)
    facts = band_statistics.band_statistics(statistics)
    return build.assemble(
        name, num_labels, _groups(names), names, facts.mean, facts.std, **options
    )


def _groups(bands: Sequence[str]) -> list[build.BandGroup]:
    return [
        build.BandGroup(
            name=group,
            bands=members,
            pixels=band_facts.BANDS[members[0]].pixels,
            dtype=band_facts.BANDS[members[0]].dtype,
        )
        for group, members in band_facts.group_bands(bands).items()
    ]
