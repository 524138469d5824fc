"""Batches for each task; the host reads, orders, decodes and batches, no more."""
