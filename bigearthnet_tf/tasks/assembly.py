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
from bigearthnet_tf.models import build


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
    groups = [
        build.BandGroup(
            name=group,
            bands=members,
            pixels=band_facts.BANDS[members[0]].pixels,
            dtype=band_facts.BANDS[members[0]].dtype,
        )
        for group, members in band_facts.group_bands(names).items()
    ]
    return build.assemble(
        name, num_labels, groups, names, facts.mean, facts.std, **options
    )
