"""What replicas and processes count in training, against one loop over all of it."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import programs
import pytest

STEPS, BATCH, LABELS = 3, 8, 3

# Runs in one process with two devices, or as one of two workers.
PROGRAM = """
    import os, sys, numpy as np, tensorflow as tf, keras
    from bigearthnet_tf import console
    console.load_tensorflow()
    if "TF_CONFIG" in os.environ:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    else:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2
        )
        strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    from bigearthnet_tf import config as configs, optimization
    from bigearthnet_tf.tasks import counting
    from bigearthnet_tf.training import steps

    steps_taken, batch, labels = map(int, sys.argv[2:5])
    with np.load(sys.argv[1]) as content:
        x, y = content["x"], content["y"]

    class Task:
        random_state = ()
        count_shapes = counting.label_count_shapes(labels)

        def counted_losses(self, model, batch):
            logits = model(batch[0], training=True)
            losses = tf.nn.sigmoid_cross_entropy_with_logits(batch[1], logits)
            counts = counting.count_labels(batch[1], logits)
            return tf.reduce_sum(losses, 1), counts

        def counted_metrics(self, counts):
            return {}

    config = configs.from_dict({"batch_size": batch, "gradient_accumulation": 2})
    with strategy.scope():
        model = keras.Sequential(
            [keras.Input((labels,)), keras.layers.Dense(labels, "linear", False)]
        )
        model.set_weights([np.eye(labels, dtype=np.float32)])
        optimizer = optimization.build_optimizer("sgd", 1e-30)
        optimizer.build(model.trainable_variables)
    taken = steps.Steps(Task(), model, optimizer, strategy, config)
    # Each replica has every second row.
    workers = 2 if "TF_CONFIG" in os.environ else 1
    own = batch // 2
    whole = tf.data.Dataset.from_tensor_slices((x, y))
    def part(context):
        if workers == 1:
            return whole.batch(own)
        return whole.shard(2, context.input_pipeline_id).batch(own)
    data = iter(strategy.distribute_datasets_from_function(part))
    found = taken(data, tf.constant(steps_taken), tf.constant(0.0))["counts"]
    np.savez(sys.argv[5], **{name: each.numpy() for name, each in found.items()})
"""


@pytest.fixture
def batches(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(STEPS * BATCH, LABELS)).astype(np.float32)
    y = (rng.random(x.shape) < 0.4).astype(np.float32)
    np.savez(tmp_path / "in.npz", x=x, y=y)
    return tmp_path / "in.npz"


def check(batches, path) -> None:
    with np.load(batches) as content:
        given, true = content["x"] >= 0, content["y"] > 0
    by_sample = np.zeros((LABELS + 1,) * 3)
    for has, gets in zip(true, given, strict=True):
        by_sample[(has & gets).sum(), gets.sum(), has.sum()] += 1
    with np.load(path) as found:
        assert set(found) == {"by_label", "by_sample"}
        np.testing.assert_array_equal(found["by_sample"], by_sample)
        np.testing.assert_array_equal(
            found["by_label"], [(true & given).sum(0), given.sum(0), true.sum(0)]
        )


def test_two_replicas_count_the_whole_batch_once(batches, tmp_path):
    arguments = (batches, STEPS, BATCH, LABELS, tmp_path / "out.npz")
    programs.run_program(PROGRAM, *arguments)
    check(batches, tmp_path / "out.npz")


@pytest.mark.long
def test_two_workers_count_the_whole_batch_once(batches, tmp_path):
    addresses = [f"localhost:{port}" for port in programs.free_ports(2)]
    started = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        cluster = {"cluster": {"worker": addresses}, "task": task}
        out = tmp_path / f"{index}.npz"
        arguments = map(str, (batches, STEPS, BATCH, LABELS, out))
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(PROGRAM), *arguments],
                env={**os.environ, "TF_CONFIG": json.dumps(cluster)},
                cwd=programs.ROOT,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    said = [process.communicate(timeout=800)[1] for process in started]
    for process, complaint in zip(started, said, strict=True):
        assert process.returncode == 0, complaint[-2000:]
    for index in range(2):
        check(batches, tmp_path / f"{index}.npz")
