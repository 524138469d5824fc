import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from bigearthnet_tf import files, optimization
from bigearthnet_tf.training import checkpoints
from bigearthnet_tf.training.state import State

FACTS = {"model_name": "small", "bands": ["B02"], "labels": ["a", "b"]}
DATA = "state.data-00000-of-00001"


def make_state(seed=0, units=2, ema=0.0) -> State:
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
    optimizer = optimization.build_optimizer("adam", 0.01, ema_momentum=ema)
    optimizer.build(model.trainable_variables)
    return State(model, optimizer, [keras.Variable(3.0, name="beside")])


def step(state: State, number: int) -> None:
    x = tf.random.stateless_normal((8, 4), (number, 1))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(state.model(x, training=True) ** 2)
    gradients = tape.gradient(loss, [v.value for v in state.model.trainable_variables])
    state.optimizer.apply(gradients, state.model.trainable_variables)


def values(state) -> list[np.ndarray]:
    variables = [*state.model.variables, *state.optimizer.variables, *state.others]
    return [np.asarray(v).copy() for v in variables]


def folder(tmp_path, keep=2, facts=FACTS, every=0) -> checkpoints.CheckpointFolder:
    return checkpoints.CheckpointFolder(tmp_path / "checkpoints", facts, keep, every)


def save(saved, state, iteration, *rest):
    path = saved.save(state, iteration, *rest)
    saved.wait()
    return path


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_restored_state_goes_on_bit_for_bit(tmp_path, ema):
    """Dropout masks, batch statistics, Adam's moments and averages are part of it."""
    undisturbed = make_state(ema=ema)
    for number in range(6):
        step(undisturbed, number)

    first = make_state(ema=ema)
    for number in range(3):
        step(first, number)
    first.others[0].assign(7.0)
    path = save(folder(tmp_path), first, 3)

    second = make_state(seed=99, ema=ema)
    assert folder(tmp_path).restore(second, path)["iteration"] == 3
    assert float(second.others[0]) == 7.0
    second.others[0].assign(3.0)
    for number in range(3, 6):
        step(second, number)
    for a, b in zip(values(undisturbed), values(second), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_saved_is_the_state_when_it_was_asked_for(tmp_path):
    """Steps that are taken while it is written do not get into it."""
    saved, state = folder(tmp_path), make_state()
    before, gate = values(state), threading.Event()
    saved._writer.submit(gate.wait)
    path = saved.save(state, 3)
    step(state, 0)
    assert not path.exists()
    gate.set()
    saved.wait()
    other = make_state(seed=5)
    saved.restore(other, path)
    for a, b in zip(before, values(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_newest_the_best_and_every_nth_are_kept(tmp_path):
    saved, state = folder(tmp_path, keep=2, every=30), make_state()
    best = None
    for iteration in (10, 20, 30, 40, 50, 60, 70, 80):
        if iteration == 20:
            best = checkpoints.Best(20, "macro_average_precision", 0.5)
        save(saved, state, iteration, best)
    assert saved.best() == best
    assert saved.iterations() == [20, 30, 60, 70, 80]
    assert saved.find("best").name == "iteration-20"
    assert saved.find("last").name == "iteration-80"


def test_all_are_kept_on_request(tmp_path):
    saved, state = folder(tmp_path, keep=0), make_state()
    for iteration in range(1, 6):
        save(saved, state, iteration)
    assert saved.iterations() == [1, 2, 3, 4, 5]


def test_best_is_the_last_where_nothing_was_validated(tmp_path):
    saved = folder(tmp_path)
    save(saved, make_state(), 7)
    assert saved.find("best").name == "iteration-7"


def test_none_yet(tmp_path):
    assert folder(tmp_path).restore_newest(make_state()) is None
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
    path = save(folder(tmp_path), make_state(), 1)
    with pytest.raises(ValueError, match=message):
        folder(tmp_path, facts=facts).restore(make_state(), path)
    with pytest.raises(ValueError, match=message):
        folder(tmp_path, facts=facts).restore_newest(make_state())


def test_other_shapes_are_refused(tmp_path):
    path = save(folder(tmp_path), make_state(units=2), 1)
    with pytest.raises(ValueError, match="other shapes"):
        folder(tmp_path).restore(make_state(units=5), path)


def test_another_augmentation_is_told_apart(tmp_path):
    """Its random states are among the variables of the model."""
    path = save(folder(tmp_path), make_state(), 1)
    state = make_state()
    layers = [each for each in state.model.layers if "dropout" not in each.name]
    plain = State(keras.Sequential([keras.Input((4,)), *layers]))
    assert len(plain.shapes()) == len(state.shapes()) - 1
    with pytest.raises(ValueError, match="of another augmentation or dropout"):
        folder(tmp_path).restore(plain, path)


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("without", ["saved", "restored"])
def test_weights_alone_go_with_another_dropout(tmp_path, without, ema):
    """The random states stand between the weights, and shift their numbers."""
    whole, other = make_state(ema=ema), make_state(seed=5)
    step(whole, 0)

    def plain(model):
        layers = [each for each in model.layers if "dropout" not in each.name]
        return keras.Sequential([keras.Input((4,)), *layers])

    source, target = whole, State(other.model, weights_only=True)
    if without == "saved":
        # An average is numbered as its weight is.
        optimizer = optimization.build_optimizer("adam", 0.01, ema_momentum=ema)
        model = plain(whole.model)
        optimizer.build(model.trainable_variables)
        source = State(model, optimizer)
    else:
        target = State(plain(other.model), weights_only=True)
    before = [np.asarray(v).copy() for v in other.model.variables if "seed" in v.path]
    path = save(folder(tmp_path), source, 1)
    folder(tmp_path).restore(target, path)
    with source.averaged():
        for a, b in zip(source.model.weights, target.model.weights, strict=True):
            np.testing.assert_array_equal(a, b)
    after = [np.asarray(v) for v in other.model.variables if "seed" in v.path]
    np.testing.assert_array_equal(before, after)
    wider = State(make_state(units=5).model, weights_only=True)
    with pytest.raises(ValueError, match="its weights have other shapes"):
        folder(tmp_path).restore(wider, path)


def truncate(path):
    path.write_bytes(path.read_bytes()[:20])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    "damage", [os.remove, truncate, flip_a_bit, lambda path: path.write_bytes(b"")]
)
@pytest.mark.parametrize("name", [DATA, "state.index", "description.json"])
def test_a_damaged_newest_checkpoint_falls_back(tmp_path, name, damage, caplog):
    saved, state = folder(tmp_path), make_state()
    save(saved, state, 1)
    before = values(state)
    step(state, 0)
    path = save(saved, state, 2)
    damage(path / name)
    other = make_state(seed=5)
    if name == "description.json" and damage is flip_a_bit:
        pytest.skip("a bit of the text may turn a name into another")
    found, content = folder(tmp_path).restore_newest(other)
    assert (found.name, content["iteration"]) == ("iteration-1", 1)
    for a, b in zip(before, values(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert f"{path}: the checkpoint is damaged" in caplog.text
    with pytest.raises(ValueError, match="damaged or incomplete"):
        folder(tmp_path).restore(other, path)


def test_a_damaged_checkpoint_does_not_count_among_those_that_are_kept(tmp_path):
    saved, state = folder(tmp_path, keep=1), make_state()
    save(saved, state, 50)
    flip_a_bit(save(folder(tmp_path, keep=0), state, 63) / DATA)
    assert folder(tmp_path).restore_newest(state)[0].name == "iteration-50"
    save(saved, state, 60)
    assert saved.iterations() == [60, 63]
    assert folder(tmp_path).restore_newest(state)[0].name == "iteration-60"


def test_killed_while_one_takes_the_place_of_another(tmp_path):
    saved, state = folder(tmp_path, keep=1), make_state()
    path = save(saved, state, 5)
    path.rename(path.with_name(".iteration-5.old"))
    assert folder(tmp_path).restore_newest(state)[0] == path
    save(saved, state, 5)
    assert [p.name for p in saved.folder.iterdir()] == ["iteration-5"]


def test_a_failure_in_the_background_is_told_soon(tmp_path, monkeypatch):
    saved, state = folder(tmp_path), make_state()
    monkeypatch.setattr(files, "write_json", lambda *_: (_ for _ in ()).throw(OSError))
    saved.save(state, 1)
    saved._writer.submit(int).result()
    with pytest.raises(OSError, match="could not be written"):
        saved.check()
    saved.check()


def test_nothing_of_a_damaged_checkpoint_gets_into_the_state(tmp_path):
    path = save(folder(tmp_path), make_state(), 1)
    flip_a_bit(path / DATA)
    other = make_state(seed=5)
    before = values(other)
    with pytest.raises(checkpoints.DamagedCheckpoint):
        folder(tmp_path).restore(other, path)
    for a, b in zip(before, values(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_all_of_them_damaged(tmp_path):
    path = save(folder(tmp_path), make_state(), 1)
    (path / DATA).unlink()
    with pytest.raises(ValueError, match="no checkpoint can be read; remove"):
        folder(tmp_path).restore_newest(make_state())


def test_a_checkpoint_that_could_not_be_written_leaves_the_others(
    tmp_path, monkeypatch
):
    saved, state = folder(tmp_path), make_state()
    save(saved, state, 1)

    def full(**_):
        text = f"{{{{node {'n' * 90}}}}} {'path/' * 40}state; No space left on device"
        raise tf.errors.ResourceExhaustedError(None, None, text)

    monkeypatch.setattr(tf.raw_ops, "SaveV2", full)
    saved.save(state, 2)
    with pytest.raises(OSError, match=r"No space left.*continues from the one before"):
        saved.wait()
    assert [p.name for p in saved.folder.iterdir()] == ["iteration-1"]


@pytest.mark.skipif(not shutil.which("mount") or os.geteuid() != 0, reason="root only")
def test_a_full_disk(tmp_path):
    """A real one, of a few hundred kilobytes."""
    disk = tmp_path / "checkpoints"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        saved, state = folder(tmp_path), make_state()
        save(saved, state, 1)
        (disk / "filling").write_bytes(b"x" * (64 * 1024 - 5 * 4096 - 12_000))
        with pytest.raises(OSError, match=r"could not be written .*make room"):
            for iteration in range(2, 9):
                save(saved, state, iteration)
        assert not list(disk.glob(".*"))
        assert saved.restore_newest(make_state()) is not None
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


WRITER = """
import sys, os, signal
sys.path[:0] = [{tests!r}, {root!r}]
import tensorflow as tf
import test_checkpoints as t
from pathlib import Path
saved, state = t.folder(Path({where!r})), t.make_state()
t.save(saved, state, 1)
if {moment!r} == "half":
    write = tf.raw_ops.SaveV2
    def killed(**arguments):
        write(**arguments)
        os.kill(os.getpid(), signal.SIGKILL)
    tf.raw_ops.SaveV2 = killed
else:
    def killed(*_):
        os.kill(os.getpid(), signal.SIGKILL)
    Path.rename = killed
saved.save(state, 2)
saved.wait()
"""


@pytest.mark.parametrize("moment", ["half", "before the renaming"])
def test_killed_while_it_is_written(tmp_path, moment):
    here = Path(__file__).parent
    places = {"tests": str(here), "root": str(here.parents[1]), "where": str(tmp_path)}
    program = WRITER.format(moment=moment, **places)
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    saved = folder(tmp_path)
    assert list(saved.folder.glob(".*"))
    assert saved.iterations() == [1]
    path, _ = saved.restore_newest(make_state(seed=3))
    assert path.name == "iteration-1"
    save(saved, make_state(), 2)
    assert not list(saved.folder.glob(".*"))


def test_a_checkpoint_says_what_its_weights_mean(tmp_path):
    path = save(folder(tmp_path), make_state(), 4)
    content = json.loads((path / "description.json").read_text())
    assert content["iteration"] == 4
    assert {key: content[key] for key in FACTS} == FACTS
    names = [name for name, _ in tf.train.list_variables(str(path / "state"))]
    assert any(name.endswith("/kernel") for name in names)


def test_weights_alone_can_be_restored(tmp_path):
    state = make_state()
    path = save(folder(tmp_path), state, 4)
    other = make_state(seed=5)
    folder(tmp_path).restore(State(other.model), path)
    for a, b in zip(state.model.weights, other.model.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_alone_are_the_averages_where_there_are_some(tmp_path):
    state = make_state(ema=0.9)
    state.model.layers[0].trainable = False
    optimizer = optimization.build_optimizer("adam", 0.01, ema_momentum=0.9)
    optimizer.build(state.model.trainable_variables)
    state = State(state.model, optimizer)
    for number in range(3):
        step(state, number)
    path = save(folder(tmp_path), state, 4)
    other = make_state(seed=5)
    folder(tmp_path).restore(State(other.model), path)
    with state.averaged():
        expected = [np.asarray(v).copy() for v in state.model.weights]
    raw = [np.asarray(v) for v in state.model.weights]
    assert not np.array_equal(expected[-1], raw[-1])
    np.testing.assert_array_equal(expected[0], raw[0])  # frozen
    for a, b in zip(expected, other.model.weights, strict=True):
        np.testing.assert_array_equal(a, b)
