"""Architectures by name, and the layers that turn stored bands into their input."""

# Importing a family registers its architectures, and all layers for Keras's loading.
from bigearthnet_tf.models import (
    borrowed,
    convmixer,
    convnext,
    inception_v1,
    inception_v3,
    k_branch,
    keras_hub_backbones,
    keras_settings,
    mlp_mixer,
    mobilevit,
    resnet,
    scores,
    short_cnn,
    vgg,
    vit,
)
from bigearthnet_tf.models.build import BandGroup, assemble
from bigearthnet_tf.models.layers import synchronize_batch_norm
from bigearthnet_tf.models.zoo import get_model, list_models, register_model

keras_settings.check()

__all__ = [
    "BandGroup",
    "assemble",
    "borrowed",
    "convmixer",
    "convnext",
    "get_model",
    "inception_v1",
    "inception_v3",
    "k_branch",
    "keras_hub_backbones",
    "list_models",
    "mlp_mixer",
    "mobilevit",
    "register_model",
    "resnet",
    "scores",
    "short_cnn",
    "synchronize_batch_norm",
    "vgg",
    "vit",
]
