"""NT-Xent on two replicas and in two processes: that of one device on the whole."""

import json
import os
import socket
import subprocess
import sys
import textwrap

import numpy as np
import programs
import pytest

SIZES, TEMPERATURES, DIMENSIONS = (2, 8, 64), (0.01, 0.1, 1.0), 16

# Both ways run it: in one process with two devices, or as one of two workers.
PROGRAM = """
    import sys, numpy as np, tensorflow as tf
    from bigearthnet_tf import console
    console.load_tensorflow()
    views, out = sys.argv[1:]
    if "TF_CONFIG" in __import__("os").environ:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    else:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2
        )
        strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    assert strategy.num_replicas_in_sync == 2
    from bigearthnet_tf import losses
    from bigearthnet_tf.tasks import gathering

    def step(p, q, temperature):
        with tf.GradientTape() as tape:
            tape.watch((p, q))
            one, other = gathering.gather(p), gathering.gather(q)
            rows = losses.nt_xent(
                one.own, other.own, temperature,
                all_p=one.whole, all_q=other.whole, offset=one.offset,
            )
            loss = tf.reduce_sum(rows)
        return rows, *tape.gradient(loss, (p, q))

    @tf.function
    def together(p, q, temperature):
        return strategy.run(step, args=(p, q, temperature))

    def run(p, q, temperature):
        size = len(p) // 2
        parts = [
            strategy.experimental_distribute_values_from_function(
                lambda c, x=x: tf.constant(
                    x[c.replica_id_in_sync_group * size :][:size]
                )
            )
            for x in (p, q)
        ]
        return together(*parts, tf.constant(temperature))

    found = {}
    with np.load(views) as cases:
        for name in sorted(cases.files):
            p, q = cases[name]
            for temperature in TEMPERATURES:
                each = run(p, q, temperature)
                local = [strategy.experimental_local_results(x) for x in each]
                for kind, parts in zip(("rows", "p", "q"), local, strict=True):
                    found[f"{name}_{temperature}_{kind}"] = np.concatenate(parts)
    np.savez(out, **found)
    print("done")
""".replace("TEMPERATURES", repr(TEMPERATURES))


def brute_force(p, q, temperature):
    """Loss of each pair and gradients of their sum, float64, from the definition."""
    z = np.concatenate([p, q]).astype(np.float64)
    norms = np.linalg.norm(z, axis=1, keepdims=True)
    u, count = z / norms, len(p)
    logits = u @ u.T / temperature
    np.fill_diagonal(logits, -np.inf)
    top = logits.max(axis=1, keepdims=True)
    total = np.exp(logits - top).sum(axis=1, keepdims=True)
    partner = np.roll(np.eye(2 * count), count, axis=1)
    rows = (top + np.log(total))[:, 0] - (partner * (u @ u.T)).sum(1) / temperature
    # Of a row: its softmax less its partner, for both sides of each cosine.
    slope = (np.exp(logits - top) / total - partner) / temperature / 2
    by_unit = (slope + slope.T) @ u
    gradient = (by_unit - (by_unit * u).sum(1, keepdims=True) * u) / norms
    return (rows[:count] + rows[count:]) / 2, gradient[:count], gradient[count:]


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    rng = np.random.default_rng(0)
    cases = {}
    for size in SIZES:
        p = rng.normal(size=(size, DIMENSIONS))
        cases[f"b{size}"] = np.stack([p, p + 0.5 * rng.normal(size=p.shape)])
    path = tmp_path_factory.mktemp("views") / "views.npz"
    np.savez(path, **{name: x.astype(np.float32) for name, x in cases.items()})
    return path


def check(views, *parts):
    """Compares what all parts found, one after the other, with the whole batch."""
    with np.load(views) as cases:
        for name in cases.files:
            for temperature in TEMPERATURES:
                expected = brute_force(*cases[name], temperature)
                for kind, value in zip(("rows", "p", "q"), expected, strict=True):
                    key = f"{name}_{temperature}_{kind}"
                    found = np.concatenate([part[key] for part in parts])
                    # A logit is a cosine, off by 1e-7, over the temperature.
                    off = 1e-6 / temperature * max(1, np.abs(value).max())
                    np.testing.assert_allclose(
                        found, value, rtol=1e-5, atol=off, err_msg=key
                    )


def test_two_replicas_have_the_loss_of_the_whole_batch(views, tmp_path):
    programs.run_program(PROGRAM, views, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as found:
        check(views, found)


def test_two_workers_have_the_loss_of_the_whole_batch(views, tmp_path):
    sockets = [socket.create_server(("", 0)) for _ in range(2)]
    addresses = [f"localhost:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    started = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        cluster = {"cluster": {"worker": addresses}, "task": task}
        started.append(
            subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    textwrap.dedent(PROGRAM),
                    str(views),
                    str(tmp_path / f"{index}.npz"),
                ],
                env={**os.environ, "TF_CONFIG": json.dumps(cluster)},
                cwd=programs.ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    said = [process.communicate(timeout=300)[1] for process in started]
    for process, complaint in zip(started, said, strict=True):
        assert process.returncode == 0, complaint[-2000:]
    with (
        np.load(tmp_path / "0.npz") as first,
        np.load(tmp_path / "1.npz") as second,
    ):
        check(views, first, second)
