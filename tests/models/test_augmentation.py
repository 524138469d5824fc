"""Augmentations: which moves come out, how often, and one stream a replica."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from bigearthnet_tf.models import augmentation

PATCH = np.arange(3 * 3 * 2, dtype="float32").reshape(3, 3, 2)
FLIPS = [PATCH, PATCH[:, ::-1], PATCH[::-1], PATCH[::-1, ::-1]]
TURNS = [np.rot90(PATCH, quarters) for quarters in range(4)]
MOVES = {"flips": FLIPS, "quarter_turns": TURNS}


def which(moved: np.ndarray, moves: list[np.ndarray]) -> list[int]:
    """Index of the move that each sample went through; fails if it is none."""
    hits = [[np.array_equal(sample, move) for move in moves] for sample in moved]
    assert all(sum(row) == 1 for row in hits)
    return [row.index(True) for row in hits]


@pytest.mark.parametrize("name", augmentation.AUGMENTATIONS.names())
@pytest.mark.parametrize("jit", [False, True])
def test_all_moves_come_equally_often(name, jit):
    layer = augmentation.AUGMENTATIONS.get(name)(seed=1)
    run = tf.function(lambda x: layer(x, training=True), jit_compile=jit)
    counts = np.bincount(which(run(np.stack([PATCH] * 2000)).numpy(), MOVES[name]))
    # 2000 draws of one quarter: deviation 19.
    assert counts.shape == (4,)
    np.testing.assert_allclose(counts, 500, atol=5 * 19.4)


@pytest.mark.parametrize("name", augmentation.AUGMENTATIONS.names())
def test_inference_changes_nothing(name):
    layer = augmentation.AUGMENTATIONS.get(name)(seed=1)
    x = np.stack([PATCH] * 20)
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer(x, training=False), x)


@pytest.mark.parametrize("name", augmentation.AUGMENTATIONS.names())
def test_the_seed_decides_and_the_stream_moves_on(name):
    kind = augmentation.AUGMENTATIONS.get(name)
    first, again, other = (kind(seed=seed) for seed in (1, 1, 2))
    x = np.stack([PATCH] * 40)
    one, two = first(x, training=True), first(x, training=True)
    np.testing.assert_array_equal(one, again(x, training=True))
    np.testing.assert_array_equal(two, again(x, training=True))
    assert not np.array_equal(one, two)
    assert not np.array_equal(one, other(x, training=True))


@pytest.mark.parametrize("name", augmentation.AUGMENTATIONS.names())
def test_tensors_of_a_list_move_alike(name):
    layer = augmentation.AUGMENTATIONS.get(name)(seed=1)
    coarse = np.stack([PATCH] * 40)
    fine = coarse.repeat(2, axis=1).repeat(2, axis=2)
    moved_fine, moved_coarse = layer([fine, coarse], training=True)
    np.testing.assert_array_equal(moved_fine[:, ::2, ::2], moved_coarse)


@pytest.mark.parametrize("name", augmentation.AUGMENTATIONS.names())
def test_reloaded_layers_draw_the_same(name):
    layer = augmentation.AUGMENTATIONS.get(name)(seed=9)
    config = keras.saving.serialize_keras_object(layer)
    reloaded = keras.saving.deserialize_keras_object(config)
    x = np.stack([PATCH] * 40)
    np.testing.assert_array_equal(reloaded(x, training=True), layer(x, training=True))


def test_turning_needs_square_images():
    layer = augmentation.RandomQuarterTurns()
    with pytest.raises(ValueError, match="2 by 3 pixels"):
        layer(np.ones((1, 2, 3, 1)))


TWO_REPLICAS = """
    import numpy as np
    import tensorflow as tf
    from bigearthnet_tf.models import augmentation

    cpu = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    x = np.arange(64 * 16, dtype="float32").reshape(64, 4, 4, 1)
    for name in augmentation.AUGMENTATIONS.names():
        kind = augmentation.AUGMENTATIONS.get(name)
        for nested in (False, True):
            with strategy.scope():
                layer = kind(seed=5)
            single = kind(seed=5)
            move = lambda: layer(x, training=True)
            move = tf.function(move) if nested else move
            step = tf.function(lambda: strategy.run(move))
            for _ in range(2):
                first, second = (part.numpy() for part in step().values)
                assert np.array_equal(first, single(x, training=True)), name
                assert not np.array_equal(first, second), name
            states = [v.numpy() for v in layer.seed_generator.state.value.values]
            assert np.array_equal(*states), name
    print("replicas differ")
"""


def test_replicas_draw_their_own_numbers_and_keep_one_state():
    # Devices are fixed once TensorFlow has started, hence the second process.
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(TWO_REPLICAS)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.strip() == "replicas differ", done.stderr[-2000:]
