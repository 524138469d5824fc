"""Configs of the older retrieval system."""

import pytest

from bigearthnet_tf import config as configs

ARGS = """\
batch_size: 128
epochs: 50
start_epoch: 0
pretrain: False
type: joint
train_csv: splits/train.csv
loss_func: contrastive
fusion: avg
bigEarthPthLMDB_S2: /data/S2
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


@pytest.fixture
def write(tmp_path):
    def to_file(text):
        path = tmp_path / "args.yaml"
        path.write_text(text)
        return path

    return to_file


def test_all_of_it_has_a_place(write, caplog):
    config = configs.load(write(ARGS), ["batch_size=32"])
    assert config.task == "contrastive"
    assert config.encoders == "joint"
    assert (config.fusion, config.projection_dim, config.out_channels) == (
        "avg",
        64,
        16,
    )
    assert (config.batch_size, config.nb_epoch) == (32, 50)
    assert (config.optimizer, config.momentum) == ("sgd", 0.0)
    assert (config.learning_rate, config.temperature) == (1e-3, 0.2)
    assert config.learning_rate_schedule == "one_cycle"
    assert (config.modality, config.label_type) == ("MM", "BigEarthNet-19")
    assert config.projection_activation == "relu"
    assert config.out_dir == "logs/serbia/joint_avg"
    assert "pretrain, num_cpu" in caplog.text
    assert "prep_splits.py" in caplog.text


def test_numbers_and_truths_may_be_written_as_texts(write):
    text = ARGS.replace("weight_decay: 0.0", "weight_decay: 0e-4")
    text = text.replace("scheduler: True", 'scheduler: "False"')
    config = configs.load(write(text.replace("name: serbia", "name: 7")))
    assert config.learning_rate_schedule == "constant"
    assert config.out_dir == "logs/7/joint_avg"


def test_a_file_with_our_own_keys_is_one_of_ours(write):
    config = configs.load(write("model_name: resnet50\nbatch_size: 8\n"))
    assert (config.model_name, config.batch_size) == ("resnet50", 8)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("type: joint", 'type: ""', "type is missing; expected one of separate"),
        ("fusion: avg", "fusion: add", "fusion: expected one of concat"),
        ("loss_func: contrastive\n", "", "loss_func is missing"),
        ("temperature: 0.2", "temperature: 0", "temperature: expected a number above"),
        ("optimizer: sgd", "optimizer: lars", "optimizer: expected one of adam, sgd"),
        ("epochs: 50", "epochs: 50\nepochs: 60", "'epochs' twice"),
        ("epochs: 50", "epoch: 50", "unknown key 'epoch'.*epochs"),
        ("n_features: 2048", "n_features: 512", "has 2048"),
        ('state_dict: ""', "state_dict: best.pth", "are not read"),
        ("start_epoch: 0", "start_epoch: 3", "start_epoch"),
        ("weight_decay: 0.0", "weight_decay: 0.1", "adamw"),
        ("type: joint", "type: [", "expected YAML"),
        ("type: joint", "type: !!python/object:os.system {}", "expected YAML"),
        ("batch_size: 128", "batch_size: many", "batch_size"),
        ("1e-3", "null", "learning_rate: expected a number, got None"),
        ("temperature: 0.2", "temperature: hot", "temperature: expected a number"),
        ("temperature: 0.2", "temperature: -1", "temperature: expected a number above"),
        ("weight_decay: 0.0", "weight_decay: yes", "weight_decay: expected a number"),
        ("scheduler: True", "scheduler: often", "scheduler: expected True or False"),
        ("name: serbia", "name: []", r"name: expected a name, got \[\]"),
        ("name: serbia", "name: serbia\n1: 2", "unknown key '1' of the older system"),
        (
            "logging_params:\n  save_dir: logs/\n  name: joint_avg",
            "logging_params: logs/",
            "logging_params: expected save_dir and name below it",
        ),
        ("  save_dir: logs/", "  save_dir: null", "save_dir: expected a name"),
    ],
)
def test_what_can_not_be_carried_over_is_named(write, old, new, reason):
    assert old in ARGS
    with pytest.raises(ValueError, match=reason) as raised:
        configs.load(write(ARGS.replace(old, new)))
    assert "\n" not in str(raised.value)
    assert "args.yaml" in str(raised.value)


def test_a_list_is_no_config(write):
    with pytest.raises(ValueError, match="expected keys and values, got list"):
        configs.load(write("- 1\n"))
