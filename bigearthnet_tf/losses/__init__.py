"""Losses by name, and what is added to them."""

from bigearthnet_tf.losses.contrastive import nt_xent
from bigearthnet_tf.losses.multi_label import (
    LOSSES,
    Loss,
    Options,
    build_loss,
    positive_weights,
)
from bigearthnet_tf.losses.penalty import l2_penalty

__all__ = [
    "LOSSES",
    "Loss",
    "Options",
    "build_loss",
    "l2_penalty",
    "nt_xent",
    "positive_weights",
]
