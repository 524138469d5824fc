import json
import socket

import pytest

from bigearthnet_tf.training import cluster
from bigearthnet_tf.training.cluster import Cluster


def tf_config(jobs, kind="worker", index=0) -> dict[str, str]:
    content = {"cluster": jobs, "task": {"type": kind, "index": index}}
    return {"TF_CONFIG": json.dumps(content)}


WORKERS = {"worker": ["a:1", "b:2", "c:3"]}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Cluster()),
        (tf_config(WORKERS, index=2), Cluster(("a:1", "b:2", "c:3"), 2)),
        (tf_config({"worker": ["a:1"]}), Cluster()),
        (
            tf_config({"chief": ["z:9"], **WORKERS}, "worker", 1),
            Cluster(("z:9", "a:1", "b:2", "c:3"), 2),
        ),
        (
            tf_config({"chief": ["z:9"], **WORKERS}, "chief"),
            Cluster(("z:9", "a:1", "b:2", "c:3"), 0),
        ),
    ],
)
def test_tf_config(environment, expected):
    found = cluster.find_cluster("auto", environment)
    assert found == expected
    assert found.is_chief == (expected.index == 0)
    assert cluster.find_cluster("none", environment) == Cluster()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TF_CONFIG": "{"}, r"expected \{.*expected JSON"),
        ({"TF_CONFIG": "[1]"}, "does not read so"),
        ({"TF_CONFIG": '{"cluster": {"worker": 5}, "task": {}}'}, "KeyError: 'index'"),
        (tf_config({"worker": 5}), "does not read so"),
        (tf_config(WORKERS, "ps"), "'ps' takes no part"),
        (tf_config(WORKERS, index=3), r"index 3, but the cluster has 3 worker\(s\)"),
        (tf_config(WORKERS, index=-1), "index -1"),
        (tf_config(WORKERS, "chief"), r"has 0 chief\(s\)"),
        (
            tf_config({"worker": ["a:1", "b"]}),
            "expected host:port, the port from 1 to 65535, got 'b'",
        ),
        (tf_config({"worker": ["a:1", "b:x"]}), "65535, got 'b:x'"),
        (tf_config({"worker": ["a:1", "b:65536"]}), "port from 1 to 65535"),
        (tf_config({"worker": ["a:1", "b:0"]}), "port from 1 to 65535"),
        (tf_config({"worker": "a:1"}), "'a:1' is no list of addresses"),
        (tf_config({"worker": ["a:1", "a:1"]}), "comes twice"),
    ],
)
def test_malformed_tf_config(environment, message):
    with pytest.raises(ValueError, match=f"TF_CONFIG: .*{message}"):
        cluster.find_cluster("auto", environment)


def test_slurm(monkeypatch):
    environment = {
        "SLURM_PROCID": "2",
        "SLURM_STEP_NUM_TASKS": "3",
        "SLURM_STEP_NODELIST": "n[1-2]",
        "SLURM_STEP_TASKS_PER_NODE": "2,1",
    }
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    port = cluster.SLURM_PORT
    assert cluster.find_cluster("slurm") == Cluster(
        (f"n1:{port}", f"n1:{port + 1}", f"n2:{port}"), 2
    )


def test_no_slurm():
    with pytest.raises(ValueError, match=r"SLURM_PROCID, .* is not set; start .* srun"):
        cluster.find_cluster("slurm", {})


@pytest.mark.parametrize(
    ("key", "value"),
    [("SLURM_STEP_NUM_TASKS", "many"), ("SLURM_STEP_NODELIST", "n[1-")],
)
def test_a_slurm_step_that_can_not_be_read(monkeypatch, key, value):
    environment = {
        "SLURM_PROCID": "0",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NODELIST": "n[1-2]",
        "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
        key: value,
    }
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(ValueError, match="can't be read from SLURM_PROCID=0") as caught:
        cluster.find_cluster("slurm")
    assert f"{key}={value}" in str(caught.value)


def test_the_own_port_is_taken():
    with socket.create_server(("", 0)) as server:
        own = f"localhost:{server.getsockname()[1]}"
        with pytest.raises(OSError, match=f"can't listen at {own}.*another process"):
            cluster.join(Cluster((own, "localhost:1"), 0), timeout=1)


def test_a_lost_process_is_told_only_where_there_are_several():
    import tensorflow as tf

    error = tf.errors.UnavailableError(None, None, "Connection reset by peer")
    with (
        pytest.raises(OSError, match="another process of the run is gone"),
        cluster.working_together(Cluster(("a:1", "b:2"), 0)),
    ):
        raise error
    with pytest.raises(tf.errors.UnavailableError), cluster.working_together(Cluster()):
        raise error


@pytest.mark.parametrize(
    ("own", "others", "bound"),
    [
        ("127.0.0.1", "127.0.0.2", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.1", "127.0.0.2"),
        ("localhost", "localhost", "127.0.0.1"),
        ("[::1]", "[::1]", "::1"),
    ],
)
def test_only_the_own_address_is_listened_at(own, others, bound):
    if bound == "::1" and not socket.has_ipv6:
        pytest.skip("no IPv6")
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with socket.create_server((bound, 0), family=family) as free:
        port = free.getsockname()[1]
    of = Cluster((f"{own}:{port}", f"{others}:1"), 0)
    with cluster._listen(of) as listener:
        assert listener.getsockname()[0] in (bound, "::1")


def test_an_address_of_another_machine_can_not_be_listened_at():
    # Of a range for documentation (RFC 5737).
    with pytest.raises(OSError, match=r"can't listen at 192\.0\.2\.1:7777"):
        cluster.join(Cluster(("192.0.2.1:7777", "192.0.2.2:7777"), 0), timeout=1)
