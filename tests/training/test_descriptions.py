"""Damaged descriptions of checkpoints, and paths that TensorFlow takes for patterns."""

import json

import numpy as np
import pytest
from test_checkpoints import folder, make_state, save, values

from bigearthnet_tf.training import checkpoints, descriptions

PROGRESS = {
    "config": {"nb_epoch": 10, "batch_size": 4},
    "training_records": 8,
    "early_stopping": None,
    "window": {"steps": 0, "losses": 0.0, "gradient_norms": 0.0, "finite_norms": 0},
    "validation_due": False,
}


def counting(shape, at, values):
    counts = {"by_label": {"shape": shape, "at": at, "values": values}}
    return {**PROGRESS, "window": {**PROGRESS["window"], "counts": counts}}


def edit(**keys):
    return lambda text: json.dumps({**json.loads(text), **keys})


def without(*names):
    def change(text):
        content = json.loads(text)
        holder = content
        for name in names[:-1]:
            holder = holder[name]
        del holder[names[-1]]
        return json.dumps(content)

    return change


DAMAGES = {
    "empty": lambda text: "",
    "cut short": lambda text: text[: len(text) // 2],
    "no json": lambda text: text.replace("{", "(", 1),
    "a list": lambda text: f"[{text}]",
    "null": lambda text: "null",
    "zeros": lambda text: "\0" * len(text),
    "no text": lambda text: "\udcff",
    "negative": edit(iteration=-2),
    "text": edit(iteration="2"),
    "a fraction": edit(iteration=2.5),
    "true": edit(iteration=True),
    "no number": edit(iteration=None),
    "of another folder": edit(iteration=1),
    "far beyond": edit(iteration=10**12),
    "without iteration": without("iteration"),
    "without shapes": without("shapes"),
    "shapes of text": edit(shapes=["x"]),
    "without labels": without("labels"),
    "without progress": without("progress"),
    "without config": without("progress", "config"),
    "without records": without("progress", "training_records"),
    "without window": without("progress", "window"),
    "counts beyond their shape": edit(progress=counting([3, 4], [12], [1])),
    "more places than counts": edit(progress=counting([3, 4], [1, 2], [1])),
    "counts below zero": edit(progress=counting([3, 4], [1], [-1])),
    "counts of text": edit(progress=counting("3", [1], [1])),
    "best of later": edit(best={"iteration": 9, "metric": "loss", "value": 1.0}),
    "best without value": edit(best={"iteration": 1, "metric": "loss"}),
    "best of text": edit(best="1"),
    "waited of text": edit(
        progress={**PROGRESS, "early_stopping": {"metric": "loss", "waited": "x"}}
    ),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Two checkpoints of one run, and their values."""
    where, state = tmp_path_factory.mktemp("run"), make_state()
    saved = folder(where, keep=0)
    save(saved, state, 1, None, PROGRESS)
    state.others[0].assign(5.0)
    save(saved, state, 2, None, PROGRESS)
    return saved, make_state(seed=3)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_description_falls_back_to_the_checkpoint_before(
    written, caplog, damage
):
    saved, state = written
    path = saved.path(2) / descriptions.FILE
    whole = path.read_text()
    try:
        path.write_text(damage(whole), errors="surrogateescape")
        found, content = saved.restore_newest(state, lambda *_: None)
    finally:
        path.write_text(whole)
    assert (found, content["iteration"]) == (saved.path(1), 1)
    assert float(state.others[0]) == 3.0
    assert f"{saved.path(2)}: the checkpoint is damaged" in caplog.text


def test_whole_ones_are_taken(written):
    saved, state = written
    found, content = saved.restore_newest(state, lambda *_: None)
    assert (found, content["iteration"]) == (saved.path(2), 2)


def test_a_copy_under_another_iteration_is_passed_over(tmp_path):
    saved, state = folder(tmp_path, keep=0), make_state()
    save(saved, state, 1, None, PROGRESS)
    saved.path(1).rename(saved.path(3))
    save(saved, state, 2, None, PROGRESS)
    found, _ = saved.restore_newest(state, lambda *_: None)
    assert found == saved.path(2)


def test_beyond_the_end_of_the_run_in_name_and_description(tmp_path):
    saved, state = folder(tmp_path, keep=0), make_state()
    save(saved, state, 20, None, PROGRESS)
    save(saved, state, 21, None, PROGRESS)
    assert saved.restore_newest(state, lambda *_: None)[0] == saved.path(20)
    (saved.path(20) / descriptions.FILE).unlink()
    with pytest.raises(checkpoints.DamagedCheckpoint, match="no checkpoint can be"):
        saved.restore_newest(state, lambda *_: None)


@pytest.mark.parametrize(
    "name",
    [
        "runs [1]",
        "a]b",
        "back\\slash",
        "st*r",
        "wh?t",
        "~",
        "[!a]",
        "new\nline",
        "-é{}",
    ],
)
def test_a_run_in_any_folder_is_read_again(tmp_path, name):
    # A neighbour that the name would match as a pattern.
    neighbour = folder(tmp_path / "runs 1")
    save(neighbour, make_state(seed=8), 1)
    state, other = make_state(), make_state(seed=3)
    saved = folder(tmp_path / name)
    path = save(saved, state, 1)
    found, _ = folder(tmp_path / name).restore_newest(other)
    assert found == path
    for a, b in zip(values(state), values(other), strict=True):
        np.testing.assert_array_equal(a, b)
