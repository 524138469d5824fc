"""Exact multi-label metrics from labels and scores."""

from bigearthnet_tf.metrics.conventions import CONVENTIONS, rename
from bigearthnet_tf.metrics.multi_label import (
    confusion_matrices,
    counted_report,
    multi_label_report,
)
from bigearthnet_tf.metrics.thresholds import best_threshold, best_thresholds

__all__ = [
    "CONVENTIONS",
    "best_threshold",
    "best_thresholds",
    "confusion_matrices",
    "counted_report",
    "multi_label_report",
    "rename",
]
