"""Train, evaluate and apply TensorFlow models on the BigEarthNet archives.

The public names below are imported when they are first used, so that importing the
package loads no TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bigearthnet_tf import metrics
    from bigearthnet_tf.data.pipeline import load_dataset
    from bigearthnet_tf.losses import register_class_loss, register_loss
    from bigearthnet_tf.models import list_models, register_model
    from bigearthnet_tf.models.augmentation import register_augmentation
    from bigearthnet_tf.models.pixel_networks import register_encoder
    from bigearthnet_tf.serving.hub import from_pretrained
    from bigearthnet_tf.tasks.assembly import build_model
    from bigearthnet_tf.tasks.base import register_task

__version__ = "0.1.0"

__all__ = [
    "build_model",
    "from_pretrained",
    "list_models",
    "load_dataset",
    "metrics",
    "register_augmentation",
    "register_class_loss",
    "register_encoder",
    "register_loss",
    "register_model",
    "register_task",
]

_ROOMS = {
    "build_model": "bigearthnet_tf.tasks.assembly",
    "from_pretrained": "bigearthnet_tf.serving.hub",
    "list_models": "bigearthnet_tf.models",
    "load_dataset": "bigearthnet_tf.data.pipeline",
    "register_augmentation": "bigearthnet_tf.models.augmentation",
    "register_class_loss": "bigearthnet_tf.losses",
    "register_encoder": "bigearthnet_tf.models.pixel_networks",
    "register_loss": "bigearthnet_tf.losses",
    "register_model": "bigearthnet_tf.models",
    "register_task": "bigearthnet_tf.tasks.base",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(importlib.import_module(_ROOMS[name]), name)
    if name == "metrics":
        return importlib.import_module("bigearthnet_tf.metrics")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
