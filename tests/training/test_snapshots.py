"""Which weights are taken: asked for, named by the config, or the best of the run."""

import json
import logging
from pathlib import Path

import pytest

from bigearthnet_tf import config as configs
from bigearthnet_tf.training import resume, snapshots


def checkpoint(run: Path, iteration: int, best: int) -> str:
    """Writes what a checkpoint says of itself, without any weights."""
    path = run / "checkpoints" / f"iteration-{iteration}"
    path.mkdir(parents=True)
    said = {"iteration": best, "metric": "macro_f1", "value": 0.5}
    content = {"iteration": iteration, "shapes": [], "best": said}
    (path / "description.json").write_text(json.dumps(content))
    return str(path)


@pytest.fixture
def run(tmp_path):
    """A run whose best checkpoint is the second of three."""
    for iteration in (1, 2, 3):
        checkpoint(tmp_path / "run", iteration, min(iteration, 2))
    return tmp_path / "run"


@pytest.fixture
def theirs(tmp_path):
    """A checkpoint of TensorFlow 1, as far as it matters here."""
    (tmp_path / "iteration-1200.index").touch()
    return str(tmp_path / "iteration-1200")


def choose(run, asked=None, **keys):
    return snapshots.choose(configs.from_dict(keys), run, asked)


@pytest.mark.parametrize(
    ("keys", "asked", "expected", "reason"),
    [
        ({}, None, 2, "the best of the run"),
        ({}, "last", 3, "--checkpoint last"),
        (
            {"model_file": 1},
            None,
            1,
            "model_file of the config; --checkpoint best takes",
        ),
        ({"model_file": 1}, "best", 2, "--checkpoint best"),
        ({"model_file": 1}, 3, 3, "--checkpoint PATH"),
        ({"model_file": 1, "fine_tune": True}, None, 2, "best of the run, which began"),
        ({"model_file": 1, "fine_tune": True}, "last", 3, "--checkpoint last"),
    ],
)
def test_of_a_run_with_three_checkpoints(run, caplog, keys, asked, expected, reason):
    def path(number):
        return str(run / "checkpoints" / f"iteration-{number}")

    if "model_file" in keys:
        keys = keys | {"model_file": path(keys["model_file"])}
    caplog.set_level(logging.INFO)
    found = choose(run, path(asked) if isinstance(asked, int) else asked, **keys)
    assert found.path == path(expected)
    assert reason in found.reason + found.hint
    lines = [r.getMessage() for r in caplog.records if r.name == snapshots.__name__]
    assert lines == [f"weights  {found.path} ({found.reason}{found.hint})"]


@pytest.mark.parametrize("fine_tune", [False, True])
def test_of_no_run_at_all(tmp_path, theirs, fine_tune):
    found = choose(tmp_path / "new", model_file=theirs, fine_tune=fine_tune)
    assert (found.path, found.reason) == (theirs, "model_file of the config")
    with pytest.raises(FileNotFoundError, match=r"no checkpoints yet; train.py makes"):
        choose(tmp_path / "new")


def test_published_weights_that_are_asked_for(run, theirs):
    assert choose(run, theirs, model_file="x") == snapshots.Snapshot(
        theirs, "--checkpoint"
    )


def test_a_snapshot_that_is_not_there_is_no_other(run, tmp_path):
    """The base.json of the TF project names weights that need not be there."""
    name = "model_weights/original_labels/ResNet50/ResNet50_BigEarthNet_original_labels"
    message = f"{name}: no checkpoint at model_file; expected a folder iteration-N"
    with pytest.raises(
        FileNotFoundError, match=f"^{message}.*; --checkpoint best takes"
    ):
        choose(run, model_file=name)
    with pytest.raises(FileNotFoundError, match=r"TensorFlow 1 checkpoint$"):
        choose(tmp_path / "new", model_file=name)
    # What has the form of a hub id is never fetched, and a run is no snapshot.
    for other in ("org/name", str(run)):
        with pytest.raises(FileNotFoundError, match="no checkpoint at model_file"):
            choose(run, model_file=other)


def test_a_run_goes_on_with_another_snapshot_to_evaluate(tmp_path):
    """Training reads `model_file` with `fine_tune` alone."""

    def check(now, **keys):
        then = configs.from_dict({"model_file": "a", **keys}).model_dump()
        data = {"training_records": 4, "training_data": "x"}
        config = configs.from_dict({"model_file": now, **keys})
        resume.check({"config": then, **data}, config, data, tmp_path)

    check("b")
    check(None)
    check("a", fine_tune=True)
    with pytest.raises(ValueError, match=r"model_file 'b' .was 'a'"):
        check("b", fine_tune=True)
