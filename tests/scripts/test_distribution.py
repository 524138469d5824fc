"""One device, several replicas, several processes: the same run."""

import json
import os
import signal
import subprocess
import sys
import time

import closeness
import double_precision
import long_tests
import numpy as np
import pytest
import series_records
import tensorflow as tf
from programs import free_ports
from run_files import ROOT, newest, tensors

from bigearthnet_tf import config as configs
from bigearthnet_tf.training import logs, session

SGD = {"optimizer": "sgd", "learning_rate": 0.05, "image_size": 32, "nb_epoch": 10}


def start(config, tf_config=None) -> subprocess.Popen:
    environment = {key: v for key, v in os.environ.items() if key != "TF_CONFIG"}
    if tf_config:
        environment["TF_CONFIG"] = json.dumps(tf_config)
    return subprocess.Popen(
        [sys.executable, ROOT / "train.py", config],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_together(config, count=2) -> list[subprocess.Popen]:
    addresses = [f"localhost:{port}" for port in free_ports(count)]
    return [
        start(
            config,
            {
                "cluster": {"worker": addresses},
                "task": {"type": "worker", "index": index},
            },
        )
        for index in range(count)
    ]


def finish(*processes) -> list[str]:
    """Waits for all of them; returns what they said."""
    said = []
    for process in processes:
        out, err = process.communicate(timeout=800)
        assert process.returncode == 0, out + err
        said.append(out)
    return said


def curve(run, loss="sigmoid_cross_entropy_loss") -> list[tuple]:
    return [(p["split"], p["iteration"], p[loss]) for p in logs.read_history(run)]


CONTRASTIVE = {
    "task": "contrastive",
    "encoders": "joint",
    "modality": "MM",
    "augmentation": ["flips"],
    "intra_modal_weight": 0.5,
    "learning_rate": 0.005,
    "batch_size": 8,
    "nb_epoch": 4,
}

TWINS = {
    "task": "barlow_twins",
    "model_name": "pixel_mlp",
    "encoder_width": 16,
    "latent_dim": 8,
    "projector_dims": [8],
    "sample_size": 6,
    "batch_size": 64,
    "pixels_per_block": 64,
    "shuffle_buffer_size": 256,
    "learning_rate": 0.001,
    "nb_epoch": 5,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "keys"),
    [
        pytest.param("short_cnn", {}, marks=pytest.mark.long, id="short_cnn"),
        pytest.param("resnet_test", {}, id="resnet"),
        pytest.param(
            "resnet_test", CONTRASTIVE, marks=pytest.mark.long, id="contrastive"
        ),
    ],
)
def test_one_device_two_replicas_and_two_processes_give_the_same_weights(
    records, write_config, tmp_path, model, keys
):
    """The global batch is the same, and BatchNorm and loss see all of it."""
    loss, iterations = "sigmoid_cross_entropy_loss", 20
    if keys is CONTRASTIVE:
        loss, iterations = "nt_xent_loss", 4

    def config(name, **others):
        content = {**SGD, "model_name": model, "out_dir": str(tmp_path / name)}
        return write_config(records, **content | keys | others)

    assert_the_same_however_it_is_divided(config, tmp_path, loss, iterations)


@pytest.mark.long
def test_barlow_twins_correlate_over_the_whole_batch(write_config, tmp_path):
    series = series_records.write(tmp_path)

    def config(name, **others):
        content = {**SGD, **TWINS, "out_dir": str(tmp_path / name)}
        del content["image_size"]
        return write_config(series, **content | others)

    assert_the_same_however_it_is_divided(config, tmp_path, "barlow_twins_loss", 20)


def assert_the_same_however_it_is_divided(config, tmp_path, loss, iterations) -> None:
    """Trains on one device, two replicas and two processes, and compares.

    Label metrics of training are there where the loss is that of labels.

    The gradients of the first step, which its velocities are, with those in float64;
    replicas with processes to the last bit; and one device with them all the way.
    """
    often = {"save_checkpoint_per_iteration": 1, "keep_checkpoints": 0}
    (said,) = finish(start(config("one", **often)))
    assert "over 1 replica(s)" in said
    (said,) = finish(start(config("two", devices="cpu:2", **often)))
    assert "over 2 replica(s)" in said
    chief, other = finish(*start_together(config("processes", **often)))
    assert "over 2 replica(s)" in chief
    assert other == ""

    names = ("one", "two", "processes")
    has_labels = loss == "sigmoid_cross_entropy_loss"
    exact, rate = first_gradients(config("exact"))
    for name in names[:2]:
        first = tensors(tmp_path / name, 1)
        optimizer = [first[key] for key in sorted(first) if key.startswith("optimizer")]
        velocities = optimizer[-len(exact) :]
        closeness.assert_all_close([v / -rate for v in velocities], exact)

    assert newest(tmp_path / "one") == iterations
    runs = {name: tensors(tmp_path / name) for name in names}
    for name, value in runs["two"].items():
        np.testing.assert_array_equal(value, runs["processes"][name], err_msg=name)
    one, two, begun = (
        [found[key] for key in sorted(found) if key.startswith("model/")]
        for found in (runs["one"], runs["two"], tensors(tmp_path / "one", 1))
    )
    closeness.assert_same_course(one, two, begun)
    curves = {name: curve(tmp_path / name, loss) for name in runs}
    assert curves["two"] == curves["processes"]
    for alone, together in zip(curves["one"], curves["two"], strict=True):
        assert alone[:2] == together[:2]
        assert alone[2] == pytest.approx(together[2], rel=1e-3)
    counted = {name: label_metrics(tmp_path / name) for name in runs}
    assert counted["two"] == counted["processes"]
    # Whatever the model says of them, the same patches have been counted.
    for name in ("label_cardinality", "num_labels_without_positives"):
        one, two = ([p.get(name) for p in counted[run]] for run in names[:2])
        assert one == two
        assert all(value is not None for value in one) == has_labels


def label_metrics(run) -> list[dict]:
    """The metrics of decisions in the training points of a run."""
    kinds = ("label", "num_labels", "micro", "macro", "sample", "hamming", "subset")
    return [
        {key: value for key, value in point.items() if key.startswith(kinds)}
        for point in logs.read_history(run)
        if point["split"] == "training"
    ]


def first_gradients(path) -> tuple[list[np.ndarray], float]:
    """Gradients of the first step of a run in float64, and its learning rate."""
    opened = session.open_session(configs.load(path, []), alone=True)
    model, _ = session.build(opened)
    with double_precision.everywhere():
        wide = opened.task.build_model()
        wide.set_weights(model.get_weights())
        batch = next(iter(opened.task.training_data(0)))
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(opened.task.losses(wide, batch, training=True))
        found = tape.gradient(loss, [v.value for v in wide.trainable_variables])
    assert {gradient.dtype for gradient in found} == {tf.float64}
    return [gradient.numpy() for gradient in found], opened.config.learning_rate


@pytest.mark.long
def test_batch_norm_of_each_replica_is_continued_exactly(
    records, write_config, tmp_path
):
    """Its statistics are averaged, so that a checkpoint can hold them."""

    def train(name, epochs):
        config = write_config(
            records, devices="cpu:2", image_size=32, synchronize_batch_norm=False,
            log_per_iteration=1, validate_per_iteration=1, nb_epoch=epochs,
            out_dir=str(tmp_path / name),
        )  # fmt: skip
        finish(start(config))

    train("whole", 4)
    train("twice", 2)
    train("twice", 4)
    whole, twice = (tensors(tmp_path / name) for name in ("whole", "twice"))
    for name, value in whole.items():
        np.testing.assert_array_equal(value, twice[name], err_msg=name)
    assert curve(tmp_path / "whole") == curve(tmp_path / "twice")


@pytest.mark.parametrize("replicas", long_tests.beyond(["cpu:4"], ["cpu:3", "cpu:4"]))
def test_metrics_are_the_same_on_any_number_of_replicas(
    call, records, write_config, tmp_path, replicas
):
    """Four test records in a batch of 12: parts are full, partly full and empty."""
    assert call("train", write_config(records, nb_epoch=1)).status == 0
    found = {}
    for devices in ("cpu", replicas):
        config = write_config(records, devices=devices, batch_size=12)
        done = subprocess.run(
            [sys.executable, ROOT / "eval.py", config],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        result = json.loads((tmp_path / "run" / "eval_result.json").read_text())
        found[devices] = result
    assert found[replicas].keys() == found["cpu"].keys()
    for name, value in found[replicas].items():
        # Some are means of float32 numbers; everything else counts and ranks.
        close = any(word in name for word in ("loss", "brier", "calibration"))
        exact = found["cpu"][name]
        bound = closeness.bound(exact) if close else 0
        assert abs(value - exact) <= bound, name


@pytest.mark.long
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_others_and_the_run_goes_on(
    records, write_config, tmp_path, lost
):
    keys = SGD | {
        "nb_epoch": 100,
        "save_checkpoint_per_iteration": 10,
        "validate_per_iteration": 100,
    }
    config = write_config(records, **keys)
    run, processes = tmp_path / "run", start_together(config)
    wait_for(lambda: newest(run) >= 20, processes)
    processes[lost].kill()
    _, complaint = processes[1 - lost].communicate(timeout=120)
    assert processes[1 - lost].returncode == 1
    assert complaint.strip().splitlines()[-1] == (
        "error: another process of the run is gone; start all of them again, they "
        "continue from the last checkpoint"
    )
    processes[lost].communicate()
    chief, _ = finish(*start_together(write_config(records, **keys)))
    assert "continuing from" in chief
    assert newest(run) == 200

    finish(start(write_config(records, **keys, devices="cpu:2", out_dir=f"{run}2")))
    for name, value in tensors(tmp_path / "run2").items():
        np.testing.assert_array_equal(value, tensors(run)[name])


@pytest.mark.long
def test_a_signal_to_one_process_ends_all_of_them_in_good_order(
    records, write_config, tmp_path
):
    config = write_config(
        records, **SGD | {"nb_epoch": 400, "validate_per_iteration": 300}
    )
    run, processes = tmp_path / "run", start_together(config)
    wait_for(lambda: len(logs.read_history(run)) > 3, processes)
    processes[1].send_signal(signal.SIGTERM)
    for process in processes:
        _, complaint = process.communicate(timeout=60)
        assert process.returncode == 143
        assert f": saved {run}/checkpoints/iteration-{newest(run)};" in complaint


def wait_for(condition, processes, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_processes_that_do_not_come(records, write_config):
    config = write_config(records, cluster_timeout=1)
    own, other = free_ports(2)
    addresses = [f"localhost:{own}", f"localhost:{other}"]
    process = start(
        config,
        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 0}},
    )
    _, complaint = process.communicate(timeout=100)
    assert process.returncode == 1
    assert complaint == (
        f"error: after 1 s there is no answer from localhost:{other}; start train.py "
        "there with the same config, check the addresses, or raise cluster_timeout\n"
    )
