"""Whole models of any architecture, for as many bands and pixels as a test asks for."""

import keras
import numpy as np

from bigearthnet_tf import models


def build(
    name: str, bands: int = 6, labels: int = 3, pixels: int = 32, **options
) -> keras.Model:
    """A model of images of `pixels` a side, which standardises nothing."""
    names = tuple(f"b{number}" for number in range(bands))
    zeros, ones = dict.fromkeys(names, 0.0), dict.fromkeys(names, 1.0)
    groups = groups_of(name, names, pixels)
    return models.assemble(
        name, labels, groups, names, zeros, ones, image_size=pixels, **options
    )


def groups_of(name: str, names: tuple[str, ...], pixels: int):
    """All bands at one resolution, or at three, of 12 then 4, 6 and 2 as of S2."""
    if models.get_model(name).inputs == "stacked":
        return [models.BandGroup("all", names, pixels, "float32")]
    ends = 0, len(names) // 3, len(names) * 5 // 6, len(names)
    groups = [
        models.BandGroup(f"every_{step}", names[begin:end], pixels // step, "float32")
        for step, begin, end in zip((1, 2, 6), ends, ends[1:], strict=False)
    ]
    return [group for group in groups if group.bands]


def batch_for(model: keras.Model, count: int = 4) -> dict[str, np.ndarray]:
    """Noise in the form of a model's inputs."""
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=(count, *tensor.shape[1:])).astype("float32")
        for name, tensor in model.input.items()
    }
