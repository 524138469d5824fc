"""The config of a test run: a few small steps, safe on a laptop."""

from __future__ import annotations

from bigearthnet_tf.config import Config

ITERATIONS = 4
VALIDATION_BATCHES = 3
_MAX_BATCH = 16


def shrink(config: Config, devices: int, num_records: int | None = None) -> Config:
    """Returns a config whose steps fit into little memory and begin soon.

    The batch has 16 records at most, or as many as there are, yet one for each device.
    The shuffle buffer holds no more than the test run reads, nothing is copied into a
    cache, and gradients are accumulated over as many parts as the batch still gives.

    Args:
        config: of the whole run.
        devices: that share a batch.
        num_records: of the training split; None if unknown.
    """
    size = min(config.batch_size, _MAX_BATCH)
    if num_records is not None:
        size = min(size, num_records)
    if config.batch_size > 1:
        # Losses that compare records with one another need two of them.
        size = max(size, 2)
    accumulation = min(config.gradient_accumulation, max(1, size // devices))
    parts = devices * accumulation
    batch_size = max(1, size // parts) * parts
    return config.model_copy(
        update={
            "batch_size": batch_size,
            "gradient_accumulation": accumulation,
            "shuffle_buffer_size": min(
                config.shuffle_buffer_size, ITERATIONS * batch_size
            ),
            "cache": "",
        }
    )
