"""Losses by name."""

from bigearthnet_tf.losses.multi_label import LOSSES, get_loss

__all__ = ["LOSSES", "get_loss"]
