"""Losses by name, and what is added to them."""

from bigearthnet_tf.losses.barlow import barlow_twins, cross_correlation
from bigearthnet_tf.losses.class_label import (
    CLASS_LOSSES,
    balanced_weights,
    build_class_loss,
    register_class_loss,
)
from bigearthnet_tf.losses.contrastive import nt_xent
from bigearthnet_tf.losses.multi_label import (
    LOSSES,
    Loss,
    Options,
    build_loss,
    check_own,
    positive_weights,
    register_loss,
)
from bigearthnet_tf.losses.penalty import l2_penalty
from bigearthnet_tf.losses.pixels import build_pixel_loss, pixel_weights

__all__ = [
    "CLASS_LOSSES",
    "LOSSES",
    "Loss",
    "Options",
    "balanced_weights",
    "barlow_twins",
    "build_class_loss",
    "build_loss",
    "build_pixel_loss",
    "check_own",
    "cross_correlation",
    "l2_penalty",
    "nt_xent",
    "pixel_weights",
    "positive_weights",
    "register_class_loss",
    "register_loss",
]
