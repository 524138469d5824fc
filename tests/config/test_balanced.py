"""Command lines of balanced-bigearthnet's `train.py`."""

import shlex

import pytest

from bigearthnet_tf.config.projects import balanced

NEEDED = "--sets sets.json --storage_path storage"


def translate(line, **overrides):
    return balanced.translate(shlex.split(line), overrides)


def test_its_defaults():
    assert translate(NEEDED).keys == {
        "records": "sets.json",
        "model_name": "ShortCNN_All",
        "nb_epoch": 5,
        "batch_size": 500,
        "learning_rate": 1e-3,
        "optimizer": "adam",
        "loss": "softmax_cross_entropy",
        "seed": 42,
        "interpolation": "bilinear",
        "statistics": "v1",
        "shuffle_buffer_size": 1000,
        "out_dir": "storage/ShortCNN_All",
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--rgb", {"model_name": "ShortCNN_RGB", "out_dir": "storage/ShortCNN_RGB"}),
        ("--loss MSE", {"loss": "mean_squared_error"}),
        ("--loss BCEWithLogits", {"loss": "sigmoid_cross_entropy"}),
        ("--optim SGD --lr 0.1", {"optimizer": "sgd", "momentum": 0.0}),
        (
            "--batch 3 --epochs 7 --seed 1",
            {"batch_size": 3, "nb_epoch": 7, "seed": 1},
        ),
        ("--model InceptionV1", {"model_name": "InceptionV1", "bands": "bal_all"}),
        ("--model InceptionV1 --rgb", {"bands": "rgb"}),
        (
            "--model InceptionV3 --finetune 2",
            {"bands": "rgb", "image_size": 299, "fine_tune_level": 2},
        ),
    ],
)
def test_what_its_arguments_stand_for(line, expected):
    keys = translate(f"{NEEDED} {line}").keys
    assert {key: keys[key] for key in expected} == expected


@pytest.mark.parametrize("level", [0, 1])
def test_inception_v3_learns_what_finetune_says_from_weights_that_are_given(level):
    line = f"{NEEDED} --model InceptionV3 --finetune {level}"
    keys = translate(line, weights="inception.safetensors").keys
    assert (keys["fine_tune_level"], keys["weights_head"]) == (level, "new")
    with pytest.raises(ValueError, match="begins with ImageNet weights: add --set"):
        translate(line)


def test_what_differs_from_its_training_is_told():
    found = translate(f"{NEEDED} --optim SGD --verbose --count")
    assert any("CrossEntropy, the default there" in text for text in found.assumed)
    assert "optimizer SGD (there Adam whatever --optim says)" in found.assumed
    started = [text.partition(":")[0] for text in found.left_out]
    assert started == [
        "output/scores.csv",
        "codecarbon/emissions.csv",
        "--verbose",
        "--count, refused there too",
    ]
    less = translate(f"{NEEDED} --loss MSE", track_emissions=True)
    assert not any("loss" in text for text in less.assumed)
    assert [text.partition(":")[0] for text in less.left_out] == ["output/scores.csv"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--sets sets.json", "the following arguments are required: --storage_path"),
        (f"{NEEDED} --loss Focal", "invalid choice: 'Focal'"),
        (f"{NEEDED} --optim adam", "invalid choice: 'adam'"),
        (f"{NEEDED} --model InceptionV2", "invalid choice: 'InceptionV2'"),
        (f"{NEEDED} --finetune 3", "invalid choice: 3"),
        (f"{NEEDED} --epochs five", "expected a whole number, got 'five'"),
        (f"{NEEDED} --epoch_number 5", r"'--epoch_number' \(did you mean '--epochs'"),
    ],
)
def test_what_it_cannot_mean_is_refused(line, message):
    with pytest.raises(ValueError, match=message) as caught:
        translate(line)
    assert str(caught.value).startswith("--from-balanced: ")
