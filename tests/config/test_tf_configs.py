"""Configs of the TF project get its meaning; ours keep theirs."""

import json
import logging
from pathlib import Path

import pytest
from test_config import CONFIGS_OF_TF, ROOT, config_of_tf, write

from bigearthnet_tf import config as configs
from bigearthnet_tf.archive import bands
from bigearthnet_tf.config.projects import tf_project

MEANING = ("interpolation", "statistics", "keep_checkpoints", "bands")
SHIPPED = sorted(
    p for p in (ROOT / "configs").rglob("*.json") if p.name != "schema.json"
)
# Of the TF project's loader, for each modality.
ORDERS = {
    "S2": "B04 B03 B02 B08 B05 B06 B07 B8A B11 B12",
    "MM": "B04 B03 B02 B08 B05 B06 B07 B8A B11 B12 VV VH",
    "S1": "VV VH",
}


@pytest.fixture
def said(caplog):
    """What the translation has logged, as one text."""
    caplog.set_level(logging.INFO)
    name = "bigearthnet_tf.config.projects.translated"
    return lambda: "\n".join(r.getMessage() for r in caplog.records if r.name == name)


@pytest.mark.parametrize(("model", "labels"), CONFIGS_OF_TF)
def test_they_get_the_meaning_of_their_project(tmp_path, said, model, labels):
    content = config_of_tf(model, labels)
    config = configs.load(write(tmp_path, content))
    assert (config.interpolation, config.statistics) == ("tf1_bicubic", "v1")
    assert config.keep_checkpoints == 0
    if model == "K-BranchCNN":
        assert config.bands is None
    else:
        order = bands.resolve_bands(config.bands)
        assert " ".join(order) == ORDERS[content["modality"]]
    assert 'assumed "interpolation": "tf1_bicubic"; "statistics": "v1"' in said()
    assert '"seed": 42, is taken as it stands' in said()


def test_the_sensors_that_are_asked_for_decide_the_order(tmp_path):
    path = write(tmp_path, config_of_tf("ResNet50", "19"))
    for modality, order in ORDERS.items():
        config = configs.load(path, [f"modality={modality}"])
        assert " ".join(bands.resolve_bands(config.bands)) == order
    assert configs.load(path, ["model_name=k_branch_test"]).bands is None


def test_base_json_and_config_as_they_lie_there(tmp_path, said):
    """Version 2019: no modality; a module of one's own in place of the six models."""
    content = config_of_tf("ResNet50", "original")
    own = {"model_name": "my_network", "out_dir": content.pop("out_dir")}
    del content["modality"]
    write(tmp_path, content, "base.json")
    assert configs.load(write(tmp_path, own)).interpolation == "tf1_bicubic"
    assert "as in the TF project" in said()


def test_overrides_win_and_decide_nothing_else(tmp_path, said):
    path = write(tmp_path, config_of_tf("ResNet50", "19"))
    config = configs.load(path, ["interpolation=bilinear", "seed=7"])
    assert (config.interpolation, config.seed) == ("bilinear", 7)
    assert (config.statistics, config.keep_checkpoints) == ("v1", 0)
    assert "tf1_bicubic" not in said()


@pytest.mark.parametrize("key", [{"seed": 42}, {"$schema": "x"}, {"bands": "tf_s2"}])
def test_a_key_of_ours_in_the_file_makes_it_ours(tmp_path, said, key):
    content = config_of_tf("ResNet50", "19") | key
    config = configs.load(write(tmp_path, content))
    assert (config.interpolation, config.keep_checkpoints) == ("nearest", 3)
    assert "bands" in key or f"because {next(iter(key))} is no key" in said()
    assert "tf1_bicubic" not in said()


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"out_dir": "a", "batch_size": 4},
        {"model_name": "resnet50", "out_dir": "a"},
        {"model_name": "ResNet50", "optimizer": "adam"},
    ],
)
def test_small_configs_of_ours_stay_so(tmp_path, said, content):
    config = configs.load(write(tmp_path, content))
    assert config == configs.from_dict(content)
    assert not said()


@pytest.mark.parametrize(
    "path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_shipped_configs_mean_what_they_say(path, said):
    content = {}
    for source in (path.with_name("base.json"), path):
        content |= json.loads(source.read_text()) if source.exists() else {}
    content.pop("$schema")
    assert configs.load(path) == configs.from_dict(content)
    assert not said()


def test_those_of_the_tf_project_that_we_ship_mean_the_same_as_theirs(tmp_path):
    for path in sorted((ROOT / "configs" / "tf_project").glob("*_*.json")):
        shipped = configs.load(path)
        theirs = {
            key: getattr(shipped, key) for key in ("model_name", "modality", "out_dir")
        }
        config = configs.load(write(tmp_path, theirs))
        for key in ("interpolation", "statistics", "bands", "optimizer", "seed"):
            assert getattr(shipped, key) == getattr(config, key), (path.name, key)


def test_a_config_that_a_run_has_kept_is_ours(tmp_path, said):
    config = configs.load(write(tmp_path, config_of_tf("ResNet50", "19")))
    configs.save(config, tmp_path / "saved.json")
    before = said()
    assert configs.load(tmp_path / "saved.json") == config
    assert said() == before


def test_records_and_snapshots_of_ours_by_their_names(tmp_path, monkeypatch, said):
    monkeypatch.chdir(tmp_path)
    records, run = Path("TFRecord_files"), Path("out")
    records.mkdir()
    content = config_of_tf("ResNet50", "19") | {"model_file": "out/models/iteration-8"}
    path = write(tmp_path, content)
    config = configs.load(path)
    assert config.tr_tf_record_files == content["tr_tf_record_files"]
    assert config.val_tf_record_files == content["val_tf_record_files"]
    assert config.model_file == content["model_file"]

    (records / "train-00000-of-00001.tfrecord").touch()
    (records / "test.tfrecord").touch()
    (run / "checkpoints" / "iteration-8").mkdir(parents=True)
    (run / "checkpoints" / "iteration-8" / "description.json").touch()
    config = configs.load(path)
    assert config.tr_tf_record_files == ["TFRecord_files/train-*.tfrecord"]
    assert config.test_tf_record_files == ["TFRecord_files/test.tfrecord"]
    # Theirs were never read.
    assert config.val_tf_record_files == []
    assert config.model_file == "out/checkpoints/iteration-8"
    assert '"val_tf_record_files": []; "model_file": "out/checkpoints' in said()

    # Those of `--set` are found as well.
    settings = ["model_file=out/models/iteration-8", "seed=7"]
    settings.append('tr_tf_record_files=["TFRecord_files/train.tfrecord"]')
    config = configs.load(path, settings)
    assert config.model_file == "out/checkpoints/iteration-8"
    assert config.tr_tf_record_files == ["TFRecord_files/train-*.tfrecord"]
    assert (config.seed, config.interpolation) == (7, "tf1_bicubic")

    # Their own files come before.
    (run / "models").mkdir()
    for file in (records / "train.tfrecord", run / "models" / "iteration-8.index"):
        file.touch()
    config = configs.load(path, ['val_tf_record_files=["x"]'])
    assert config.tr_tf_record_files == content["tr_tf_record_files"]
    assert config.val_tf_record_files == ["x"]
    assert config.model_file == content["model_file"]


@pytest.mark.parametrize(
    "value", ["a\0b", "", "models/x", "/", "~nobody/models/x", 7, None, [7], {}]
)
def test_odd_values_are_left_to_the_check_of_the_keys(tmp_path, value):
    content = config_of_tf("ResNet50", "19")
    for key in ("model_file", "tr_tf_record_files", "val_tf_record_files", "modality"):
        tf_project.translate(content | {key: value}, {})
        tf_project.translate(content | {key: [value]}, {})


def test_keys_of_the_fork_are_said_in_one_list(tmp_path, said):
    content = config_of_tf("ResNet50", "19") | {
        "val_size": 125866, "label_smoothing": 0, "hparams": {"phi": 1.0},
        "decay_rate": 0.1, "decay_step": 24, "backward_passes": 4, "mode": "train",
        "eval_checkpoint": "x", "augment": True,
    }  # fmt: skip
    config = configs.load(write(tmp_path, content))
    assert (config.val_size, config.decay_step) == (125866, 10_000)
    (line,) = said().splitlines()
    assert "not carried over: hparams (" in line
    for key in ("decay_rate", "decay_step", "backward_passes", "mode", "augment"):
        assert f"; {key} (" in line


def test_a_key_of_the_fork_alone_is_a_slip(tmp_path):
    content = {"model_name": "ResNet50", "augment": ["flips"]}
    with pytest.raises(ValueError, match=r"unknown key 'augment'.*augmentation"):
        configs.load(write(tmp_path, content))
