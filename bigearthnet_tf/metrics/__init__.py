"""Exact multi-label metrics from labels and scores."""

from bigearthnet_tf.metrics.multi_label import multi_label_report

__all__ = ["multi_label_report"]
