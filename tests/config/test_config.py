import itertools
import json
import math
import os
from pathlib import Path

import pytest

from bigearthnet_tf import config as configs

ROOT = Path(__file__).parents[2]


def write(folder: Path, content, name="run.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_base_beside_the_file_is_the_base_wherever_one_stands(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path, {"batch_size": 7, "nb_epoch": 3}, "base.json")
    path = write(tmp_path, {"nb_epoch": 5})
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = configs.load(path)
    assert (config.batch_size, config.nb_epoch) == (7, 5)


def test_overrides_come_last_and_are_json_where_they_parse(tmp_path):
    path = write(tmp_path, {"batch_size": 7})
    config = configs.load(
        path,
        ["batch_size=9", "out_dir=runs/a", 'bands=["B02", "VV"]', "fine_tune=false"],
    )
    assert config.batch_size == 9
    assert config.out_dir == "runs/a"
    assert config.bands == ["B02", "VV"]
    assert config.fine_tune is False


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"batchsize": 3}, r"unknown key 'batchsize': did you mean 'batch_size'"),
        ({"batch_size": "3"}, r"batch_size: should be a valid integer, got '3'"),
        ({"batch_size": 0}, r"batch_size: should be greater than 0, got 0"),
        ({"batch_size": 1.5}, r"batch_size: should be a valid integer"),
        ({"drop_rate": 1.0}, r"drop_rate: should be less than 1"),
        ({"modality": "S3"}, r"modality: should be 'S1', 'S2' or 'MM', got 'S3'"),
        ({"devices": "tpu"}, r"devices: .*pattern"),
        ({"fine_tune": True}, r"fine_tune needs model_file"),
        ({"tr_tf_record_files": "a.tfrecord"}, r"tr_tf_record_files: .*list"),
        ([1, 2], r"expected a JSON object .* got list"),
        ('{"a": ', r"expected JSON, but line 1 column"),
    ],
)
def test_faults_are_named_in_one_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        configs.load(write(tmp_path, content))
    assert "\n" not in str(caught.value)
    assert "run.json" in str(caught.value)


def test_missing_file_and_bad_override(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.json: no such config"):
        configs.load(tmp_path / "no.json")
    with pytest.raises(ValueError, match="expected key=value, got 'batch_size'"):
        configs.load(write(tmp_path, {}), ["batch_size"])


def test_saved_config_loads_again(tmp_path):
    config = configs.from_dict({"batch_size": 12, "bands": "rgb", "out_dir": "x"})
    configs.save(config, tmp_path / "saved.json")
    assert configs.load(tmp_path / "saved.json") == config


MODELS_OF_TF = {
    "K-BranchCNN": (1000, 300, 3000),
    "VGG16": (1000, 300, 3000),
    "VGG19": (1000, 300, 3000),
    "ResNet50": (500, 600, 6000),
    "ResNet101": (500, 600, 6000),
    "ResNet152": (256, 300, 3000),
}
FOLDERS_OF_TF = {
    "original": ("S2", "original", "original_labels"),
    "19": ("S2", "BigEarthNet-19", "BigEarthNet-19_labels"),
    "MM": ("MM", "BigEarthNet-19", "BigEarthNetMM-19_labels"),
}
CONFIGS_OF_TF = [
    (model, labels)
    for model, labels in itertools.product(MODELS_OF_TF, FOLDERS_OF_TF)
    if (model, labels) != ("K-BranchCNN", "MM")
]


def config_of_tf(model: str, labels: str) -> dict:
    """A config of the TU Berlin TensorFlow models, with all the keys of theirs."""
    batch_size, every, after = MODELS_OF_TF[model]
    modality, label_type, folder = FOLDERS_OF_TF[labels]
    slow = model.startswith("VGG") and labels == "original"
    base = {
        "model_name": "ResNet50",
        "modality": "S2",
        "label_type": "original",
        "batch_size": 1000,
        "nb_epoch": 100,
        "learning_rate": 1e-3,
        "save_checkpoint_after_iteration": 0,
        "save_checkpoint_per_iteration": 1,
        "tr_tf_record_files": ["TFRecord_files/train.tfrecord"],
        "val_tf_record_files": ["TFRecord_files/val.tfrecord"],
        "test_tf_record_files": ["TFRecord_files/test.tfrecord"],
        "fine_tune": False,
        "model_file": f"model_weights/{folder}/{model}/{model}_BigEarthNet_{folder}",
        "shuffle_buffer_size": 130000,
        "training_size": 269695,
        "test_size": 125866,
    }
    return base | {
        "model_name": model,
        "modality": modality,
        "label_type": label_type,
        "batch_size": batch_size,
        "learning_rate": 1e-4 if slow else 1e-3,
        "save_checkpoint_per_iteration": every,
        "save_checkpoint_after_iteration": after,
        "out_dir": f"model_weights/{folder}/{model}",
    }


def test_the_tf_project_has_17_configs():
    assert len(CONFIGS_OF_TF) == 17


@pytest.mark.parametrize(("model", "labels"), CONFIGS_OF_TF)
def test_configs_of_the_tf_project_load_unchanged(tmp_path, model, labels):
    content = config_of_tf(model, labels)
    config = configs.load(write(tmp_path, content))
    assert {key: getattr(config, key) for key in content} == content


def test_schema_in_the_repository_is_that_of_the_fields():
    stored = json.loads((ROOT / "configs" / "schema.json").read_text())
    assert stored == configs.json_schema(), (
        "bigearthnet-tf schema > configs/schema.json"
    )


def test_readme_explains_every_key_as_the_fields_do():
    text = (ROOT / "configs" / "README.md").read_text()
    assert configs.markdown_table() in text, "bigearthnet-tf schema --markdown"
    assert all(field.description for field in configs.Config.model_fields.values())


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.json")), ids=str)
def test_shipped_configs_load(path):
    if path.name != "schema.json":
        configs.load(path)


def _bad_values():
    """Every key, with values that no key can have."""
    for key, field in configs.Config.model_fields.items():
        kind = str(field.annotation)
        many = "list[" in kind
        if "int" in kind.replace("Paths", ""):
            bad = [2**31, -(2**40), 10**30, 1.5, math.nan, True, "1", -7]
        elif "float" in kind:
            bad = [math.nan, math.inf, -math.inf, 1e39, True, "1", -7.0]
        elif "str" in kind and key not in ("cache", "model_file"):
            bad = ["", "  ", "a\0b", 7]
        else:
            continue
        for value in bad:
            yield key, [value] if many else value


@pytest.mark.parametrize(
    ("key", "value"), list(_bad_values()), ids=lambda value: str(value)[:20]
)
def test_no_key_takes_any_value(key, value):
    if (key, value) == ("warmup_iterations", -1):
        return
    with pytest.raises(ValueError, match=key) as refusal:
        configs.from_dict({key: value})
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize(
    "devices",
    ["cpu:0", "CPU", "/cpu:0", "cuda", "cuda:0", "gpu", "gpu:", "gpu:0,", "gpu:-1",
     "cpu:1000000", "gpu:0\n", "auto ", "cpu:01"],
)  # fmt: skip
def test_other_names_of_devices_are_explained(devices):
    with pytest.raises(ValueError, match=r"devices: expected .* gpu:0,2"):
        configs.from_dict({"devices": devices})


def test_a_config_that_is_no_file(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(ValueError, match="expected a file, got a folder"):
        configs.load(tmp_path / "a.json")
    os.mkfifo(tmp_path / "b.json")
    with pytest.raises(ValueError, match="expected a file, got a pipe"):
        configs.load(tmp_path / "b.json")
    with pytest.raises(ValueError, match="got NaN"):
        configs.load(write(tmp_path, "{}", "c.json"), ["learning_rate=NaN"])
