"""Which devices a run uses."""

from __future__ import annotations

import keras
import tensorflow as tf

from bigearthnet_tf import console
from bigearthnet_tf.config import Config
from bigearthnet_tf.training import cluster
from bigearthnet_tf.training.cluster import Cluster


def open_strategy(
    config: Config,
    processes: Cluster = Cluster(),  # noqa: B008 - immutable
) -> tf.distribute.Strategy:
    """Returns the distribution strategy for the devices of a config.

    One code path for all: a single device is a strategy of one replica. Call it
    before anything else touches TensorFlow's devices.

    Args:
        config: `devices`, `precision` and `batch_size` are used.
        processes: that train together, each with the devices that the config names;
            all but the chief fall silent.

    Raises:
        OSError: the own port is taken.
        ValueError: a GPU that is not there, or a batch that does not divide.
    """
    keras.config.set_dtype_policy(config.precision)
    check_batch(config, processes)
    kind, indices = _chosen(config.devices)
    if kind == "cpu" and len(indices) > 1:
        _split_cpu(len(indices))
    _show_only(kind, indices)
    if processes.size > 1:
        if kind == "cpu" and len(indices) > 1:
            raise ValueError(
                f"devices {config.devices!r}: processes that train together have one "
                "CPU each; choose 'cpu'"
            )
        strategy = cluster.join(processes, config.cluster_timeout)
        if not processes.is_chief:
            console.be_quiet()
        return strategy
    # Those that are visible are numbered anew.
    names = [f"/{kind}:{number}" for number in range(len(indices))]
    if len(names) == 1:
        return tf.distribute.OneDeviceStrategy(names[0])
    return tf.distribute.MirroredStrategy(names)


def count_devices(config: Config) -> int:
    """Returns how many devices of this process a config names.

    Raises:
        ValueError: a GPU that is not there.
    """
    return len(_chosen(config.devices)[1])


def check_batch(config: Config, processes: Cluster) -> None:
    """Raises ValueError for a batch that does not divide among the devices."""
    devices = count_devices(config)
    if config.batch_size % (devices * processes.size * config.gradient_accumulation):
        raise ValueError(
            f"batch_size {config.batch_size} is over all devices and must divide by "
            f"their number, {devices}"
            f"{_times(processes.size, 'processes')}"
            f"{_times(config.gradient_accumulation, 'gradient_accumulation')}; change "
            "batch_size or devices"
        )


def compiles(
    config: Config, strategy: tf.distribute.Strategy, needs_whole_batch: bool = False
) -> bool:
    """Tells whether the steps are compiled with XLA.

    Args:
        config: of the run.
        strategy: the devices.
        needs_whole_batch: whether the loss of an example depends on all of the batch.

    Raises:
        ValueError: the config asks for it where it can't be done.
    """
    several = strategy.num_replicas_in_sync > 1
    together = several and (config.synchronize_batch_norm or needs_whole_batch)
    if config.xla and several and needs_whole_batch:
        raise ValueError(
            "xla can't compile a loss over the batches of several devices; set xla to "
            "null"
        )
    if config.xla and together:
        raise ValueError(
            "xla can't compile a BatchNorm that is synchronised over several devices; "
            "set synchronize_batch_norm to false, or xla to null"
        )
    if config.xla is not None:
        return config.xla
    return "GPU" in strategy.extended.worker_devices[0] and not together


def _times(count: int, what: str) -> str:
    return f", times {count} ({what})" if count > 1 else ""


def _show_only(kind: str, indices: list[int]) -> None:
    """Hides the other GPUs, all of whose memory TensorFlow would take."""
    gpus = tf.config.list_physical_devices("GPU")
    chosen = [gpus[index] for index in indices] if kind == "gpu" else []
    if chosen != gpus:
        tf.config.set_visible_devices(chosen, "GPU")


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
