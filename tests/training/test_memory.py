"""What does not fit into memory is refused with numbers, before it is tried."""

import keras
import pytest
import tensorflow as tf

from bigearthnet_tf import config as configs
from bigearthnet_tf.tasks import base
from bigearthnet_tf.training import memory


@pytest.fixture
def model():
    image = keras.Input((8, 8, 3))
    hidden = keras.layers.Conv2D(4, 3, padding="same", use_bias=False)(image)
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(hidden))


def test_bytes_of_an_example(model):
    # Input 8 x 8 x 3, a layer of 8 x 8 x 4, a mean of 4; float32.
    sizes = [8 * 8 * 3 * 4, 8 * 8 * 3 * 4, 8 * 8 * 4 * 4, 4 * 4]
    assert memory.bytes_of_example(model, training=False) == sizes[0] + sizes[2]
    assert (
        memory.bytes_of_example(model, training=True) == sizes[0] + sum(sizes[1:]) // 2
    )


def test_layers_within_models_count(model):
    image = keras.Input((8, 8, 3))
    outer = keras.Model(image, model(image))
    assert memory.bytes_of_example(outer, True) > memory.bytes_of_example(model, True)


def test_batches_are_compared_with_what_is_free(model, monkeypatch):
    one = memory.bytes_of_example(model, training=True)
    weights = 3 * 3 * 3 * 4 * 4
    config = configs.from_dict({"batch_size": 100})
    monkeypatch.setattr(memory, "available", lambda: 100 * one + weights)
    memory.check_step(config, model, training=True)
    monkeypatch.setattr(memory, "available", lambda: 100 * one + weights - 1)
    with pytest.raises(ValueError, match="batch_size 100 with image_size 120 needs"):
        memory.check_step(config, model, training=True)
    memory.check_step(config, model, training=True, parts=2)
    monkeypatch.setattr(memory, "available", lambda: None)
    memory.check_step(config, model, training=True)


def test_the_input_alone_may_be_too_much(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 10**9)
    config = configs.from_dict({"batch_size": 10, "image_size": 1000})
    memory.check_inputs(config, num_bands=10)
    with pytest.raises(
        ValueError, match=r"but 1\.0 GB of memory are free: lower batch"
    ):
        memory.check_inputs(config, num_bands=100)


def test_what_is_free_is_known_here():
    assert 0 < memory.available() < 2**50


@pytest.mark.parametrize(
    "error", [tf.errors.ResourceExhaustedError(None, None, "OOM"), MemoryError("x")]
)
def test_what_the_estimate_missed_is_one_line(error):
    with pytest.raises(OSError, match="memory is not enough"), base.fitting():
        raise error
