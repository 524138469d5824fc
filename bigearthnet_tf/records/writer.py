"""Writing one shard."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf

from bigearthnet_tf import files
from bigearthnet_tf.archive.patch import Patch
from bigearthnet_tf.records import manifest, schema


def write_shard(
    path: Path,
    patches: Iterable[Patch],
    record_format: str = "bytes",
    on_record: Callable[[], Any] = lambda: None,
) -> manifest.Shard:
    """Writes patches into one TFRecord file, under a temporary name until done.

    One patch is in memory at a time.

    Args:
        path: the shard.
        patches: read lazily, in the order of the records.
        record_format: `bytes` or `int64`, see `records.schema`.
        on_record: called after each record.

    Returns:
        The line of the manifest for this shard.

    Raises:
        OSError: the file can't be written; nothing is left of it.
    """
    count = 0
    try:
        with files.write_atomically(path) as temporary:
            with tf.io.TFRecordWriter(str(temporary)) as writer:
                for patch in patches:
                    writer.write(schema.encode(patch, record_format))
                    count += 1
                    on_record()
            shard = manifest.describe_shard(temporary, count)
    except tf.errors.OpError as error:
        raise OSError(
            f"{path}: could not be written ({error.message}); make room or choose "
            "another output folder, then call again"
        ) from error
    return shard.model_copy(update={"file": path.name})
