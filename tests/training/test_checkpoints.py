import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from bigearthnet_tf.training import checkpoints

FACTS = {"model_name": "small", "bands": ["B02"], "labels": ["a", "b"]}


def make_state(seed=0, units=2) -> checkpoints.State:
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(units),
        ]
    )
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(model.trainable_variables)
    return checkpoints.State(model, optimizer)


def step(state: checkpoints.State, number: int) -> None:
    x = tf.random.stateless_normal((8, 4), (number, 1))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(state.model(x, training=True) ** 2)
    gradients = tape.gradient(loss, [v.value for v in state.model.trainable_variables])
    state.optimizer.apply(gradients, state.model.trainable_variables)


def values(state) -> list[np.ndarray]:
    variables = [*state.model.variables, *state.optimizer.variables]
    return [np.asarray(v) for v in variables]


def folder(tmp_path, keep=2, facts=FACTS) -> checkpoints.CheckpointFolder:
    return checkpoints.CheckpointFolder(tmp_path / "checkpoints", facts, keep)


def test_a_restored_state_goes_on_bit_for_bit(tmp_path):
    """Dropout masks, batch statistics and Adam's moments are all part of it."""
    undisturbed = make_state()
    for number in range(6):
        step(undisturbed, number)

    first = make_state()
    for number in range(3):
        step(first, number)
    path = folder(tmp_path).save(first, 3)

    second = make_state(seed=99)
    assert folder(tmp_path).restore(second, path) == 3
    for number in range(3, 6):
        step(second, number)
    for a, b in zip(values(undisturbed), values(second), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_newest_and_the_best_are_kept(tmp_path):
    saved, state = folder(tmp_path, keep=2), make_state()
    best = None
    for iteration in (10, 20, 30, 40, 50):
        if iteration == 20:
            best = checkpoints.Best(20, "macro_average_precision", 0.5)
        saved.save(state, iteration, best)
    assert saved.best() == best
    assert saved.iterations() == [20, 40, 50]
    assert saved.find("best").name == "iteration-20"
    assert saved.find("last").name == "iteration-50"


def test_all_are_kept_on_request(tmp_path):
    saved, state = folder(tmp_path, keep=0), make_state()
    for iteration in range(1, 6):
        saved.save(state, iteration)
    assert saved.iterations() == [1, 2, 3, 4, 5]


def test_best_is_the_last_where_nothing_was_validated(tmp_path):
    saved = folder(tmp_path)
    saved.save(make_state(), 7)
    assert saved.find("best").name == "iteration-7"


def test_none_yet(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoints yet"):
        folder(tmp_path).find("best")
    with pytest.raises(FileNotFoundError, match=r"elsewhere: no checkpoint"):
        folder(tmp_path).find(str(tmp_path / "elsewhere"))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (FACTS | {"model_name": "other"}, 'model_name is "small", but .* "other"'),
        (FACTS | {"bands": ["B03"]}, "bands is"),
        (FACTS | {"labels": ["b", "a"]}, "labels is"),
    ],
)
def test_checkpoints_of_other_models_are_refused(tmp_path, facts, message):
    path = folder(tmp_path).save(make_state(), 1)
    with pytest.raises(ValueError, match=message):
        folder(tmp_path, facts=facts).restore(make_state(), path)


def test_other_shapes_are_refused(tmp_path):
    path = folder(tmp_path).save(make_state(units=2), 1)
    with pytest.raises(ValueError, match="other shapes"):
        folder(tmp_path).restore(make_state(units=5), path)


@pytest.mark.parametrize("damage", ["remove", "truncate"])
def test_damaged_checkpoints_are_refused(tmp_path, damage):
    path = folder(tmp_path).save(make_state(), 1)
    data = path / "state.data-00000-of-00001"
    if damage == "remove":
        data.unlink()
    else:
        data.write_bytes(data.read_bytes()[:20])
    with pytest.raises(ValueError, match="damaged or incomplete"):
        folder(tmp_path).restore(make_state(), path)


def test_a_checkpoint_that_could_not_be_written_leaves_the_others(
    tmp_path, monkeypatch
):
    saved, state = folder(tmp_path), make_state()
    saved.save(state, 1)

    def full(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.train.Checkpoint, "write", full)
    with pytest.raises(OSError, match="No space left"):
        saved.save(state, 2)
    assert [p.name for p in saved.folder.iterdir()] == ["iteration-1"]


def test_a_checkpoint_says_what_its_weights_mean(tmp_path):
    path = folder(tmp_path).save(make_state(), 4)
    content = json.loads((path / "description.json").read_text())
    assert content["iteration"] == 4
    assert {key: content[key] for key in FACTS} == FACTS


def test_weights_alone_can_be_restored(tmp_path):
    state = make_state()
    path = folder(tmp_path).save(state, 4)
    other = make_state(seed=5)
    folder(tmp_path).restore(checkpoints.State(other.model), path)
    for a, b in zip(state.model.weights, other.model.weights, strict=True):
        np.testing.assert_array_equal(a, b)
