"""Which devices a run uses."""

from __future__ import annotations

import keras
import tensorflow as tf

from bigearthnet_tf.config import Config


def open_strategy(config: Config) -> tf.distribute.Strategy:
    """Returns the distribution strategy for the devices of a config.

    One code path for all: a single device is a strategy of one replica. Call it
    before anything else touches TensorFlow's devices.

    Args:
        config: `devices`, `precision` and `batch_size` are used.

    Raises:
        ValueError: a GPU that is not there, or a batch that does not divide.
    """
    keras.config.set_dtype_policy(config.precision)
    kind, indices = _chosen(config.devices)
    if config.batch_size % len(indices):
        raise ValueError(
            f"batch_size {config.batch_size} is over all devices and must divide by "
            f"their number, {len(indices)}; change batch_size or devices"
        )
    if kind == "cpu" and len(indices) > 1:
        _split_cpu(len(indices))
    names = [f"/{kind}:{index}" for index in indices]
    if len(names) == 1:
        return tf.distribute.OneDeviceStrategy(names[0])
    return tf.distribute.MirroredStrategy(names)


def _chosen(devices: str) -> tuple[str, list[int]]:
    """Returns the kind of device and the numbers of those to use."""
    kind, _, chosen = devices.partition(":")
    gpus = tf.config.list_physical_devices("GPU")
    if kind == "gpu":
        indices = sorted({int(index) for index in chosen.split(",")})
        if indices[-1] >= len(gpus):
            raise ValueError(
                f"devices {devices!r}: TensorFlow sees {len(gpus)} GPU(s), numbered "
                "from 0; choose among them, or 'auto'"
            )
        return kind, indices
    if kind == "auto" and gpus:
        return "gpu", list(range(len(gpus)))
    return "cpu", list(range(int(chosen or 1)))


def _split_cpu(count: int) -> None:
    """Makes logical CPUs, so that distribution can be tried without GPUs."""
    logical = [tf.config.LogicalDeviceConfiguration()] * count
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, logical)
    except RuntimeError:
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise ValueError(
                f"devices 'cpu:{count}': TensorFlow has started with fewer logical "
                "CPUs; they can be chosen once a process"
            ) from None
