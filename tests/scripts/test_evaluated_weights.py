"""`eval.py` on the snapshot that a config names, as the TF project has it."""

import json
from dataclasses import replace

import closeness
import keras
import numpy as np
import pytest
import tensorflow as tf
import toy

from bigearthnet_tf import config as configs
from bigearthnet_tf import models
from bigearthnet_tf.models import published, resnet, zoo
from bigearthnet_tf.tasks import base


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    for first, (split, count) in enumerate((("train", 12), ("val", 4), ("test", 4))):
        toy.write_records(folder, split, count, first=20 * first)
    return folder


def stored(run) -> tuple[dict, int, np.ndarray]:
    """What the result says of its weights; the iteration beside the scores; these."""
    said = json.loads((run / "eval_weights.json").read_text())
    with np.load(run / "eval_scores.npz") as found:
        return said, int(found["iteration"]), found["scores"]


def test_log_and_result_say_which_of_three_checkpoints(
    call, records, write_config, tmp_path
):
    keys = {"image_size": 32, "interpolation": "bilinear", "bootstrap_rounds": 0}
    keys |= {"nb_epoch": 1, "save_checkpoint_per_iteration": 1}
    keys |= {"val_tf_record_files": []}
    # Training never reads it, says so, and does not mind that it is not there.
    config = write_config(records, **keys, model_file="gone")
    trained = call("train", config)
    assert trained.status == 0, trained.err
    assert "unread   model_file gone: training starts from it with fine" in trained.out
    assert f"next: python eval.py {config} --checkpoint best\n" in trained.out
    missing = call("eval", config)
    assert missing.status == 1
    assert "gone: no checkpoint at model_file" in missing.complaint
    assert not (tmp_path / "run" / "eval_result.json").exists()

    folder = tmp_path / "run" / "checkpoints"
    paths = [str(folder / f"iteration-{number}") for number in (1, 2, 3)]
    found = []
    for expected, settings, arguments in (
        (3, {}, []),
        (1, {"model_file": paths[0]}, []),
        (2, {"model_file": paths[0]}, ["--checkpoint", paths[1]]),
    ):
        config = write_config(records, **keys, **settings)
        outcome = call("eval", config, *arguments)
        assert outcome.status == 0, outcome.err
        said, iteration, scores = stored(tmp_path / "run")
        assert f"weights  {said['weights']} ({said['chosen_by']}" in outcome.out
        assert said["weights"] == paths[expected - 1]
        assert said["iteration"] == iteration == expected
        found.append(scores.tobytes())
    assert len(set(found)) == 3


def test_a_checkpoint_of_tensorflow_1_in_a_fresh_folder(
    call, records, tmp_path, shared, monkeypatch
):
    """A config with the keys of the TF project, and a genuine checkpoint."""

    def small(x):
        return resnet.resnet(x, (2, 2, 3, 1), form=resnet.SLIM, widths=(4, 6, 8, 10))

    entry = replace(models.get_model("resnet50_slim"), build=small)
    monkeypatch.setitem(zoo.MODELS._entries, "resnet50_slim", entry)
    prefix = str(shared / "reference" / "slim" / "resnet_tiny-1200")
    content = {
        "model_name": "ResNet50",
        "modality": "S2",
        "label_type": "BigEarthNet-19",
        "batch_size": 4,
        "out_dir": str(tmp_path / "out"),
        "model_file": prefix,
        "tr_tf_record_files": [str(records / "train-*.tfrecord")],
        "val_tf_record_files": [str(records / "val-*.tfrecord")],
        "test_tf_record_files": [str(records / "test-*.tfrecord")],
    }
    path = tmp_path / "ResNet50.json"
    path.write_text(json.dumps(content))
    outcome = call("eval", path, "--set", "devices=cpu", "--set", "bootstrap_rounds=0")
    assert outcome.status == 0, outcome.err
    assert f"weights  {prefix} (model_file of the config)" in outcome.out
    said, _, scores = stored(tmp_path / "out")
    assert (said["weights"], said["chosen_by"]) == (prefix, "model_file of the config")

    # The same weights straight into the network, on the input that it gets.
    task = base.open_task(configs.load(path))
    model = task.build_model()
    reader = tf.train.load_checkpoint(prefix)
    names = reader.get_variable_to_shape_map()
    tensors = {name: reader.get_tensor(name) for name in names}
    published.load(model, tensors, resnet.slim_name, torch=False, where="checkpoint")
    groups, _, _ = next(iter(task.scoring_data("test")))
    logits = model(groups, training=False)
    # Labels of those checkpoints are in the order of `labels.ORDERS`, ours in CLC's.
    closeness.assert_close(scores, keras.ops.sigmoid(logits), closeness.NETWORK)
