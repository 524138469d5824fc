"""Records with pixels that no sensor has measured."""

import zlib
from pathlib import Path

import numpy as np
import tensorflow as tf

from bigearthnet_tf.records import manifest


def spoil(folder: Path, split: str, values: dict[int, float], band="VH") -> list[str]:
    """Puts numbers into the last pixel of a band of some records, by their numbers.

    The manifest knows the new checksums. Returns the names of those patches.
    """
    described = manifest.load(manifest.manifest_path(folder, split))
    names, shards, number = [], [], 0
    for shard in described.shards:
        path = folder / shard.file
        records = [r.numpy() for r in tf.data.TFRecordDataset(str(path))]
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records:
                example = tf.train.Example.FromString(record)
                if number in values:
                    feature = example.features.feature
                    pixels = np.frombuffer(feature[band].bytes_list.value[0], "<f4")
                    pixels = pixels.copy()
                    pixels[-1] = values[number]
                    feature[band].bytes_list.value[0] = pixels.tobytes()
                    name = feature["patch_name_s2"].bytes_list.value[0]
                    names.append(name.decode())
                writer.write(example.SerializeToString())
                number += 1
        content = path.read_bytes()
        shards.append(
            shard.model_copy(
                update={
                    "num_bytes": len(content),
                    "crc32": f"{zlib.crc32(content):08x}",
                }
            )
        )
    manifest.save(described.model_copy(update={"shards": shards}), folder)
    return names
