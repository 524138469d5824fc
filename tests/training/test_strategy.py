import pytest
import tensorflow as tf

from bigearthnet_tf import config as configs
from bigearthnet_tf.training import strategy


def open_with(**keys):
    return strategy.open_strategy(configs.from_dict(keys))


@pytest.fixture
def two_gpus(monkeypatch):
    devices = ["GPU:0", "GPU:1"]
    original = tf.config.list_physical_devices
    monkeypatch.setattr(
        tf.config,
        "list_physical_devices",
        lambda kind: devices if kind == "GPU" else original(kind),
    )
    made = []
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda shown, _: made.append(shown)
    )
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", made.append)
    monkeypatch.setattr(tf.distribute, "OneDeviceStrategy", made.append)
    return made


@pytest.mark.parametrize(
    ("devices", "chosen"),
    [
        ("auto", [["/gpu:0", "/gpu:1"]]),
        ("gpu:1", [["GPU:1"], "/gpu:0"]),
        ("gpu:1,0", [["/gpu:0", "/gpu:1"]]),
        ("cpu", [[], "/cpu:0"]),
    ],
)
def test_devices_are_chosen_as_the_config_says(two_gpus, devices, chosen):
    """GPUs that are not chosen are hidden; the others are numbered anew."""
    open_with(devices=devices)
    assert two_gpus == chosen


def test_without_gpus_auto_is_the_cpu():
    devices = open_with(devices="auto")
    assert devices.num_replicas_in_sync == 1
    assert "CPU" in devices.extended.worker_devices[0]


def test_a_gpu_that_is_not_there():
    with pytest.raises(ValueError, match=r"sees 0 GPU\(s\)"):
        open_with(devices="gpu:0")


def test_the_batch_must_divide(two_gpus):
    with pytest.raises(ValueError, match=r"batch_size 5 .* divide by their number, 2"):
        open_with(devices="auto", batch_size=5)
