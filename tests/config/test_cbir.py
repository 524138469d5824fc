"""Configs of the CBIR project."""

import json
import logging

import pytest
import yaml

from bigearthnet_tf import config as configs

ARGS = """\
batch_size: 128
epochs: 50
start_epoch: 0
pretrain: False
type: joint
train_csv: splits/train.csv
val_csv: splits/val.csv
test_csv: my splits/test.csv
loss_func: contrastive
fusion: avg
bigEarthPthLMDB_S2: /data/S2
bigEarthPthLMDB_S1: /data/S1
num_cpu: 40
name: serbia
n_features: 2048
projection_dim: 64
out_channels: 16
optimizer: sgd
learning_rate: 1e-3
weight_decay: 0.0
scheduler: True
temperature: 0.2
logging_params:
  save_dir: logs/
  name: joint_avg
state_dict: ""
"""
DATA = "train_csv, val_csv, test_csv, bigEarthPthLMDB_S2, bigEarthPthLMDB_S1"
CONVERSION = (
    "python prep_splits.py --lmdb /data/S2 /data/S1 -n splits/train.csv "
    "splits/val.csv 'my splits/test.csv' -o records"
)


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def to_file(text):
        path = tmp_path / "args.yaml"
        path.write_text(text)
        return path

    return to_file


@pytest.fixture
def told(caplog):
    """Returns what is assumed and what is not carried over, as it was logged."""
    caplog.set_level(logging.INFO)

    def find():
        texts = [
            record.getMessage()
            for record in caplog.records
            if record.name.endswith("projects.translated")
        ]
        assumed, left_out = texts
        return assumed.partition(": assumed ")[2], left_out.partition("over: ")[2]

    return find


def test_all_of_it_has_a_place(write, told):
    config = configs.load(write(ARGS), ["batch_size=32"])
    expected = {
        "task": "contrastive",
        "encoders": "joint",
        "fusion": "avg",
        "projection_dim": 64,
        "out_channels": 16,
        "projection_activation": "relu",
        "batch_size": 32,
        "nb_epoch": 50,
        "optimizer": "sgd",
        "learning_rate": 1e-3,
        "learning_rate_schedule": "one_cycle",
        "momentum": 0.9,
        "l2": 0.0,
        "temperature": 0.2,
        "model_name": "resnet50",
        "modality": "MM",
        "label_type": "BigEarthNet-19",
        "interpolation": "bicubic",
        "statistics": "v1",
        "query_split": "train",
        "archive_split": "test",
        "retrieval_layer": "p",
        "retrieval_metric": "chi_square",
        "retrieval_definitions": "cbir",
        "retrieval_k": [8, 16, 32, 64, 128, 1000],
        "tr_tf_record_files": ["records/train-*.tfrecord"],
        "val_tf_record_files": ["records/val-*.tfrecord"],
        "test_tf_record_files": ["records/test-*.tfrecord"],
        "out_dir": "logs/serbia/joint_avg",
    }
    assert {key: getattr(config, key) for key in expected} == expected
    others = configs.from_dict(expected)
    assert config == others
    assumed, left_out = told()
    for key in ("model_name", "retrieval_metric", "query_split", "archive_split"):
        assert f"({key})" in assumed
    assert "retrieval_definitions" in assumed
    assert left_out.split("; ") == [
        "scheduler's cycling of momentum or beta_1 between 0.85 and 0.95 (0.9 here)",
        "pretrain (without effect there)",
        "num_cpu (search takes all cores)",
        f"{DATA} (data are records here, made once by: {CONVERSION})",
    ]


def test_a_checkpoint_and_a_first_epoch_are_left_out(write, told, caplog):
    """Neither keeps a run from being trained, or evaluated by its own checkpoint."""
    plain = configs.load(write(ARGS))
    caplog.clear()
    text = ARGS.replace('""', "logs/x/checkpoints_model_best.pth.tar")
    text = text.replace("start_epoch: 0", "start_epoch: 3")
    assert configs.load(write(text)) == plain
    _, left_out = told()
    assert left_out.startswith("state_dict 'logs/x/checkpoints_model_best.pth.tar' (")
    assert "start_epoch 3 (" in left_out


@pytest.mark.parametrize(
    ("optimizer", "override", "expected"),
    [
        ("adam", [], {"l2": 5e-4, "l2_on": "all"}),
        ("sgd", [], {"l2": 5e-4, "l2_on": "all"}),
        ("adam", ["weight_decay=0"], {"l2": 0.0}),
        ("adam", ["weight_decay=0.125"], {"l2": 0.125, "l2_on": "all"}),
        ("adam", ["l2=0.25", "l2_on=kernels"], {"l2": 0.25, "l2_on": "kernels"}),
        ("adam", ["optimizer=adamw"], {"l2": 0.0, "weight_decay": 5e-4}),
        (
            "adam",
            ["optimizer=adamw", "weight_decay=0.125"],
            {"l2": 0.0, "weight_decay": 0.125},
        ),
    ],
)
def test_weight_decay_is_l2_on_all_parameters(write, optimizer, override, expected):
    """Torch's Adam and SGD add it to the gradients; AdamW takes it off the weights."""
    text = ARGS.replace("weight_decay: 0.0", "weight_decay: 5e-4")
    config = configs.load(write(text.replace("sgd", optimizer)), override)
    assert {key: getattr(config, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("old", "new", "override", "expected"),
    [
        ("temperature: 0.2", "temperature: 0", "temperature=0.1", {"temperature": 0.1}),
        ("temperature: 0.2", "temperature: 0", "task=classification", {}),
        ("temperature: 0.2", "temperature: 0", "loss_func=classification", {}),
        ("type: joint", 'type: ""', "type=separate", {"encoders": "separate"}),
        ("type: joint", 'type: ""', "encoders=separate", {"encoders": "separate"}),
        ("fusion: avg", 'fusion: ""', "fusion=max", {"fusion": "max"}),
        ("loss_func: contrastive\n", "", "task=contrastive", {"task": "contrastive"}),
        ("epochs: 50", "epochs: 0", "epochs=2", {"nb_epoch": 2}),
        ("epochs: 50", "epochs: 0", "nb_epoch=2", {"nb_epoch": 2}),
        ("optimizer: sgd", "optimizer: x", "optimizer=lamb", {"optimizer": "lamb"}),
        ("name: serbia", "name: []", "name=x", {"out_dir": "logs/x/joint_avg"}),
        (
            "n_features: 2048",
            "n_features: 512",
            "model_name=resnet18",
            {"model_name": "resnet18"},
        ),
        (
            "type: joint",
            "type: joint\nsuffix: a",
            "encoders=single task=classification",
            {"encoders": "single", "modality": "MM", "retrieval_metric": "cosine"},
        ),
        (
            "type: joint",
            "type: joint\nscheduler_gamma: 0.9",
            "encoders=joint",
            {"encoders": "joint"},
        ),
    ],
)
def test_overrides_come_before_the_check(write, old, new, override, expected):
    assert old in ARGS
    path = write(ARGS.replace(old, new))
    with pytest.raises(ValueError, match=r"args\.yaml"):
        configs.load(path)
    config = configs.load(path, override.split())
    assert {key: getattr(config, key) for key in expected} == expected


def test_records_of_the_lists_are_taken(write, tmp_path, told):
    text = ARGS.replace("splits/train.csv", "serbia.train.csv")
    path = write(text.replace("splits/val.csv", "serbia_val.csv"))
    (tmp_path / "TFRecord_files").mkdir()
    (tmp_path / "TFRecord_files" / "train-0.tfrecord").touch()
    # Nothing is in `records`, but something where records are by default.
    assert configs.load(path).tr_tf_record_files == ["TFRecord_files/train*.tfrecord"]
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "serbia-0.tfrecord").touch()
    config = configs.load(path)
    assert config.tr_tf_record_files == ["records/serbia-*.tfrecord"]
    assert config.val_tf_record_files == ["records/serbia_val-*.tfrecord"]
    assert config.test_tf_record_files == ["records/test-*.tfrecord"]
    config = configs.load(path, ['test_tf_record_files=["x"]'])
    assert config.test_tf_record_files == ["x"]
    # Lists of one name are one split, which is never trained on and tested on.
    config = configs.load(path, ["test_csv=test/serbia_val.csv"])
    assert config.test_tf_record_files == ["TFRecord_files/test*.tfrecord"]


def test_numbers_and_truths_may_be_written_as_texts(write):
    text = ARGS.replace("weight_decay: 0.0", "weight_decay: 0e-4")
    text = text.replace("scheduler: True", 'scheduler: "False"')
    config = configs.load(write(text.replace("name: serbia", "name: 7")))
    assert config.learning_rate_schedule == "constant"
    assert (config.optimizer, config.momentum) == ("sgd", 0.0)
    assert config.out_dir == "logs/7/joint_avg"


def test_json_of_that_project(write, tmp_path):
    """It read a config as JSON by the end of its name."""
    path = tmp_path / "args.json"
    path.write_text(json.dumps(yaml.safe_load(ARGS) | {"learning_rate": 1e-3}))
    (tmp_path / "base.json").write_text('{"seed": 7}')
    assert configs.load(path) == configs.load(write(ARGS))


def test_a_file_with_our_own_keys_is_one_of_ours(write):
    config = configs.load(write("model_name: resnet50\nfusion: avg\nbatch_size: 8\n"))
    assert (config.model_name, config.batch_size) == ("resnet50", 8)
    with pytest.raises(ValueError, match="unknown key 'type'"):
        configs.load(write("model_name: resnet50\nfusion: avg\ntype: x\nseed: 1\n"))


@pytest.mark.parametrize(
    "text",
    [
        "seed_everything: 1\ntrainer:\n  max_epochs: 3\nmodel: {}\ndata: {}\n",
        "data:\n  benv2_data_dir:\n    images_lmdb: x\nbatch_size: 3\nworkers: 2\n",
    ],
    ids=["lightning", "configilm"],
)
def test_the_file_of_another_project_is_told_as_that(write, text):
    with pytest.raises(ValueError, match="file of another project") as raised:
        configs.load(write(text))
    assert "type, loss_func and fusion" in str(raised.value)
    assert "'data'" in str(raised.value)


def test_all_that_is_wrong_is_told_at_once(write):
    text = ARGS.replace("type: joint", "type: both").replace("fusion: avg\n", "")
    text = text.replace("epochs: 50", "epoch: 50\nepochs: 0")
    text = text.replace("learning_rate: 1e-3", "learning_rate: fast")
    text = text.replace("n_features: 2048", "n_features: 512\nsuffix: a")
    with pytest.raises(ValueError, match=r"args\.yaml") as raised:
        configs.load(write(text), ["temperature=0", "scheduler=often"])
    for fault in (
        "type: expected separate or joint, got 'both'",
        "fusion is missing: expected concat or avg or max or sum",
        "unknown key 'epoch': did you mean 'epochs'",
        "epochs: expected a whole number from 1, got 0",
        "learning_rate: expected a number above 0, got 'fast'",
        "n_features: a ResNet-50 has 2048, got 512",
        "temperature: expected a number above 0",
        "scheduler: expected True or False, got 'often'",
        "suffix: args_bands_12.yaml has such keys",
    ):
        assert fault in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("type: joint", 'type: ""', "type is missing: expected separate or joint"),
        ("fusion: avg", "fusion: add", "fusion: expected concat"),
        ("loss_func: contrastive\n", "", "loss_func is missing"),
        ("temperature: 0.2", "temperature: 0", "--set temperature=0.1"),
        ("optimizer: sgd", "optimizer: lars", "optimizer: expected adam or sgd"),
        ("epochs: 50", "epochs: 50\nepochs: 60", "'epochs' twice"),
        ("epochs: 50", "epoch: 50", "unknown key 'epoch'.*epochs"),
        ("n_features: 2048", "n_features: 512", "has 2048"),
        ("weight_decay: 0.0", "weight_decay: -1", "weight_decay: expected a number f"),
        ("type: joint", "type: [", "expected YAML"),
        ("type: joint", "type: !!python/object:os.system {}", "expected YAML"),
        ("batch_size: 128", "batch_size: many", "batch_size: expected a whole"),
        ("batch_size: 128", "batch_size: True", "batch_size: expected a whole"),
        ("1e-3", "null", "learning_rate: expected a number above 0, got None"),
        ("1e-3", "0", "learning_rate: expected a number above 0, got 0"),
        ("temperature: 0.2", "temperature: hot", "temperature: expected a number"),
        ("temperature: 0.2", "temperature: -1", "temperature: expected a number from"),
        ("weight_decay: 0.0", "weight_decay: yes", "weight_decay: expected a number"),
        ("scheduler: True", "scheduler: often", "scheduler: expected True or False"),
        ("name: serbia", "name: []", r"name: expected a name, got \[\]"),
        ("name: serbia", "name: serbia\n1: 2", "unknown key '1'"),
        (
            "logging_params:\n  save_dir: logs/\n  name: joint_avg",
            "logging_params: logs/",
            "logging_params: expected save_dir and name below it",
        ),
        ("  save_dir: logs/", "  save_dir: null", "save_dir and name expected a name"),
    ],
)
def test_what_can_not_be_carried_over_is_named(write, old, new, reason):
    assert old in ARGS
    with pytest.raises(ValueError, match=reason) as raised:
        configs.load(write(ARGS.replace(old, new)))
    assert "\n" not in str(raised.value)
    assert str(raised.value).count("args.yaml") == 1


def test_a_list_is_no_config(write):
    with pytest.raises(ValueError, match="expected keys and values, got list"):
        configs.load(write("- 1\n"))


def test_an_unknown_override_is_named(write):
    with pytest.raises(ValueError, match="unknown key 'epoch': did you mean"):
        configs.load(write(ARGS), ["epoch=3"])


@pytest.mark.parametrize("name", ["cbir", "older"])
def test_definitions_had_another_name(name):
    config = configs.from_dict({"retrieval_definitions": name})
    assert config.retrieval_definitions == "cbir"
