"""The processes that train together: which they are, and what if one is lost."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import tensorflow as tf

from bigearthnet_tf import files

logger = logging.getLogger(__name__)

# SLURM tells tasks apart, but gives them no ports; TensorFlow counts on from here.
SLURM_PORT = 8888
_SECONDS_BETWEEN_CALLS = 0.3
_SECONDS_OF_SILENCE = 3
# What TensorFlow raises when the others are gone.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


@dataclass(frozen=True)
class Cluster:
    """The processes of a run.

    Attributes:
        addresses: `host:port` of each, in order; empty for a run of one process.
        index: which of them this one is; the first is the chief, which alone writes.
    """

    addresses: tuple[str, ...] = ()
    index: int = 0

    @property
    def size(self) -> int:
        """Number of processes."""
        return max(1, len(self.addresses))

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.index == 0


def find_cluster(kind: str, environment: Mapping[str, str] | None = None) -> Cluster:
    """Returns the processes that a config and the environment speak of.

    Args:
        kind: `auto` (TF_CONFIG, if set), `slurm` or `none`.
        environment: variables; None for those of the process.

    Raises:
        ValueError: TF_CONFIG is malformed, or this is no SLURM step.
    """
    environment = os.environ if environment is None else environment
    if kind == "slurm":
        cluster = _from_slurm(environment)
    elif kind == "auto" and environment.get("TF_CONFIG"):
        cluster = _from_tf_config(environment["TF_CONFIG"])
    else:
        return Cluster()
    return cluster if cluster.size > 1 else Cluster()


def _from_tf_config(text: str) -> Cluster:
    form = (
        '{"cluster": {"worker": ["host:port", ...]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    try:
        content = files.parse_json(text, "TF_CONFIG")
        jobs, task = content["cluster"], content["task"]
        index, kind = int(task["index"]), task["type"]
        # An older form has the chief in a job of its own.
        chiefs, workers = (_list_of_text(jobs.get(j, [])) for j in ("chief", "worker"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"TF_CONFIG: expected {form}, but it does not read so "
            f"({type(error).__name__}: {error})"
        ) from None
    addresses = (*chiefs, *workers)
    if kind not in ("chief", "worker"):
        raise ValueError(
            f"TF_CONFIG: task type {kind!r} takes no part in training; expected "
            "'worker' or 'chief'"
        )
    own = chiefs if kind == "chief" else workers
    if not 0 <= index < len(own):
        raise ValueError(
            f"TF_CONFIG: task index {index}, but the cluster has {len(own)} "
            f"{kind}(s), numbered from 0"
        )
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise ValueError(
                f"TF_CONFIG: expected host:port, the port from 1 to 65535, got "
                f"{address!r}"
            )
    if len(set(addresses)) < len(addresses):
        raise ValueError(f"TF_CONFIG: an address comes twice: {', '.join(addresses)}")
    return Cluster(addresses, index + (len(chiefs) if kind == "worker" else 0))


def _list_of_text(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise TypeError(f"{value!r} is no list of addresses")
    return value


def _from_slurm(environment: Mapping[str, str]) -> Cluster:
    needed = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST")
    missing = [name for name in needed if name not in environment]
    if missing:
        raise ValueError(
            f"cluster 'slurm': {', '.join(missing)} is not set; start the tasks with "
            "srun, or choose cluster 'auto' or 'none'"
        )
    # It pairs tasks with GPUs, of which it must believe that there are enough.
    try:
        tasks = int(environment["SLURM_STEP_NUM_TASKS"])
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=SLURM_PORT,
            gpus_per_node=tasks,
            gpus_per_task=1,
            auto_set_gpu=False,
        )
        addresses = tuple(resolver.cluster_spec().as_dict()["worker"])
        return Cluster(addresses, resolver.get_task_info()[1])
    except (RuntimeError, ValueError) as error:
        shown = ", ".join(f"{name}={environment[name]}" for name in needed)
        raise ValueError(
            f"cluster 'slurm': can't be read from {shown} ({error}); start the tasks "
            "with srun, or choose cluster 'auto' or 'none'"
        ) from error


def join(cluster: Cluster, timeout: int) -> tf.distribute.Strategy:
    """Meets the other processes and returns the strategy over all of them.

    Args:
        cluster: of several processes.
        timeout: seconds to wait for the others.

    Raises:
        OSError: the own port is taken, or the others do not come in time.
    """
    # TensorFlow would wait in C++ for as long as it takes, deaf to signals.
    _meet(cluster, timeout)
    if cluster.is_chief:
        logger.info(
            "TensorFlow listens at port %d of all addresses of its machine, as in each "
            "process: let nobody but the others reach it",
            _port(cluster.addresses[cluster.index]),
        )
    os.environ["TF_CONFIG"] = json.dumps(
        {
            "cluster": {"worker": cluster.addresses},
            "task": {"type": "worker", "index": cluster.index},
        }
    )
    return tf.distribute.MultiWorkerMirroredStrategy()


def _meet(cluster: Cluster, timeout: int) -> None:
    """Listens at the own address until all others have answered at theirs."""
    own = cluster.addresses[cluster.index]
    try:
        listener = _listen(cluster)
    except OSError as error:
        raise OSError(
            f"can't listen at {own}, the address of this process by TF_CONFIG or "
            f"SLURM ({error.strerror}); is it an address of this machine, and is "
            "another process using that port?"
        ) from error
    with listener:
        silent = [address for address in cluster.addresses if address != own]
        begun = time.monotonic()
        told = False
        while silent := [each for each in silent if not _answers(each)]:
            waited = time.monotonic() - begun
            if waited > _SECONDS_OF_SILENCE and not told:
                told = True
                logger.info("waiting for %s (%d s)", ", ".join(silent), timeout)
            if waited > timeout:
                raise OSError(
                    f"after {timeout} s there is no answer from {', '.join(silent)}; "
                    "start train.py there with the same config, check the addresses, "
                    "or raise cluster_timeout"
                )
            time.sleep(_SECONDS_BETWEEN_CALLS)


def _listen(cluster: Cluster) -> socket.socket:
    """Listens at the own address alone, not at all that the machine has.

    A name that its machine takes for the loopback, as Debian's own name is by default,
    would shut out the others: then it is all addresses.
    """
    hosts = [_host(address) for address in cluster.addresses]
    own, port = hosts[cluster.index], _port(cluster.addresses[cluster.index])
    family, *_, place = socket.getaddrinfo(own, port, type=socket.SOCK_STREAM)[0]
    if _is_loopback(str(place[0])) and not _is_loopback(own) and len(set(hosts)) > 1:
        return socket.create_server(("", port), backlog=cluster.size)
    return socket.create_server(place[:2], family=family, backlog=cluster.size)


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host == "::1" or host.startswith("127.")


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _answers(address: str) -> bool:
    try:
        with socket.create_connection((_host(address), _port(address)), timeout=2):
            return True
    except OSError:
        return False


@contextmanager
def working_together(cluster: Cluster) -> Iterator[None]:
    """Says it in one line when another process of the run is lost.

    Raises:
        OSError: it is.
    """
    try:
        yield
    except _LOST as error:
        if cluster.size == 1:
            raise
        raise OSError(
            "another process of the run is gone; start all of them again, they "
            "continue from the last checkpoint"
        ) from error


def check_agreement(
    strategy: tf.distribute.Strategy,
    cluster: Cluster,
    iteration: int,
    fingerprint: int = 0,
) -> None:
    """Checks that all processes are at the same iteration, which is a meeting too.

    Args:
        strategy: over all of them.
        cluster: the processes.
        iteration: where this one is.
        fingerprint: of its config.

    Raises:
        ValueError: they are not, or their configs differ.
    """
    if cluster.size == 1:
        return

    @tf.function
    def gathered() -> tf.Tensor:
        own = strategy.run(lambda: tf.constant([[iteration, fingerprint]], tf.int64))
        return strategy.gather(own, axis=0)

    found = gathered().numpy().T.tolist()
    iterations, fingerprints = (sorted(set(values)) for values in found)
    if len(fingerprints) > 1:
        raise ValueError(
            "the processes of the run have different configs or options; start all of "
            "them with the same command"
        )
    if len(iterations) > 1:
        raise ValueError(
            f"the processes of the run stand at different iterations, {iterations}; "
            "out_dir must be a folder that all machines share"
        )
