"""Weights of runs, and what a run says when it starts from some."""

import json
import logging
import re

import numpy as np
import pytest

from bigearthnet_tf import config as configs
from bigearthnet_tf.tasks import base
from bigearthnet_tf.training import checkpoints, initial_weights
from bigearthnet_tf.training.state import State

KEYS = {
    "model_name": "resnet_test",
    "label_type": "BigEarthNet-19",
    "modality": "S2",
    "statistics": "v1",
    "image_size": 32,
    "devices": "cpu",
}


def task_of(**keys):
    config = configs.from_dict(KEYS | keys)
    return config, base.open_task(config)


def save_run(folder, **keys):
    """Writes a checkpoint of an untrained model as a run does."""
    config, task = task_of(**keys)
    saved = checkpoints.CheckpointFolder(folder / "checkpoints", task.describe())
    progress = {"config": config.model_dump()}
    path = saved.save(State(task.build_model()), 7, None, progress)
    saved.wait()
    return path


def test_a_run_of_pixels_has_no_weights_for_images(tmp_path):
    path = save_run(tmp_path) / "description.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "task": "land_cover"}))
    with pytest.raises(ValueError, match="for images, got a run of task land_cover"):
        initial_weights.read_run(str(tmp_path))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_name", None, "model_name: should be a valid string, got None"),
        ("bands", "s2", "bands: should be a valid list, got 's2'"),
        ("labels", 19, "labels: should be a valid list, got 19"),
        ("statistics", 1, "statistics.str: should be a valid string, got 1"),
        ("image_size", "big", "image_size: should be a valid integer, got 'big'"),
        ("model_name", ..., "model_name: is missing"),
    ],
)
def test_descriptions_that_do_not_go(tmp_path, key, value, message):
    path = save_run(tmp_path) / "description.json"
    content = json.loads(path.read_text())
    content[key] = value
    if value is ...:
        del content[key]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}: {message}')}"):
        initial_weights.read_run(str(tmp_path))


def test_a_description_that_no_run_could_have_written_is_damaged(tmp_path):
    path = save_run(tmp_path)
    content = json.loads((path / "description.json").read_text())
    (path / "description.json").write_text(json.dumps(content | {"progress": []}))
    message = (
        f"{path}: the checkpoint is damaged or incomplete "
        "(progress: expected an object of keys and values, got []); remove this folder"
    )
    with pytest.raises(checkpoints.DamagedCheckpoint, match=f"^{re.escape(message)}"):
        initial_weights.read_run(str(tmp_path))


def test_hidden_layers_and_input_of_a_run_are_known(tmp_path):
    save_run(tmp_path, head_dims=[6, 5], interpolation="bilinear", drop_rate=0.3)
    found = initial_weights.read_run(str(tmp_path))
    assert found.head_dims == (6, 5)
    assert (found.statistics, found.interpolation) == ("v1", "bilinear")


def load(tmp_path, **keys):
    config, task = task_of(weights=str(tmp_path), **keys)
    model = task.build_model()
    return initial_weights.load(config, task, model), model


def test_other_input_than_that_of_the_weights_is_said(tmp_path, caplog):
    save_run(tmp_path, interpolation="bilinear")
    with caplog.at_level(logging.WARNING):
        assert load(tmp_path, interpolation="bilinear")[0]
        assert not caplog.records
        assert load(tmp_path, statistics="v2_120_nearest", image_size=40)[0]
    (record,) = caplog.records
    assert record.getMessage().endswith(
        "trained with statistics v1, interpolation bilinear, image_size 32, "
        "this run has statistics v2_120_nearest, interpolation nearest, image_size 40"
    )


def test_a_new_head_is_said(tmp_path, caplog):
    save_run(tmp_path)
    with caplog.at_level(logging.INFO):
        _, model = load(tmp_path, weights_head="new", label_type="original")
    assert "the head starts afresh" in caplog.text
    stored = initial_weights.read_run(str(tmp_path)).tensors["stem_conv/kernel"]
    np.testing.assert_array_equal(model.get_layer("stem_conv").kernel, stored)


def test_model_file_is_taken_as_it_is(tmp_path):
    path = save_run(tmp_path)
    config, task = task_of(fine_tune=True, model_file=str(path), weights_head="new")
    with pytest.raises(ValueError, match=r"do not go with model_file.*name it as"):
        initial_weights.load(config, task, task.build_model())
