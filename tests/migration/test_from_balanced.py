"""A user of balanced-bigearthnet comes with a folder as its README has it."""

import json
import logging
import shlex
import sys

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from event_folders import balanced_scalars, write_events
from iterstrat.ml_stratifiers import MultilabelStratifiedKFold
from PIL import Image
from programs import ROOT

from bigearthnet_tf import cli, console
from bigearthnet_tf.archive import labels, sample
from bigearthnet_tf.evaluation import classification_page

# Its label_indices.json, in which they stand under the name of the 43.
LABELS_19 = (
    "Arable land",
    "Mixed forest",
    "Coniferous forest",
    "Transitional woodland, shrub",
    "Broad-leaved forest",
    labels.LABELS["BigEarthNet-19"][6],  # whose name is longer than a line
    "Complex cultivation patterns",
    "Pastures",
    "Urban fabric",
    "Inland waters",
    "Marine waters",
    "Agro-forestry areas",
    "Permanent crops",
    "Inland wetlands",
    "Moors, heathland and sclerophyllous vegetation",
    "Natural grassland and sparsely vegetated areas",
    "Industrial or commercial units",
    "Coastal wetlands",
    "Beaches, dunes, sands",
)
SIDES = {
    **dict.fromkeys(("B02", "B03", "B04", "B08"), 120),
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 60),
    **dict.fromkeys(("B01", "B09"), 20),
}
ARGUMENTS = (
    "--sets sets.json --model ShortCNN --epochs 1 --optim SGD --lr 1e-3 "
    "--loss BCEWithLogits --batch 4 --finetune 0 --seed 42 --storage_path storage "
    "--count --rgb"
)
# In place of patches at full size.
SMALL = (
    "--set image_size=16 --set devices=cpu --set sample_images=0 "
    "--set bootstrap_rounds=0"
)


def label_table(root):
    """The table of the archive in `root`: an index, `patch`, a column a label."""
    patches = sorted(root.iterdir())
    found = [
        json.loads((p / f"{p.name}_labels_metadata.json").read_text())["labels"]
        for p in patches
    ]
    columns = sorted({label for own in found for label in own})
    rows = [[int(label in own) for label in columns] for own in found]
    frame = pd.DataFrame(rows, columns=columns)
    frame.insert(0, "patch", [path.name for path in patches])
    return frame


def record(number):
    """A record of its prep_splits.py with a label, one more of even ones."""
    found = {number % 19, (number + 7) % 19} if number % 2 == 0 else {number % 19}
    pixels = {
        band: np.full(side**2, 100 * number + 7) for band, side in SIDES.items()
    } | {"original_labels_multi_hot": [int(i in found) for i in range(19)]}
    texts = {
        "original_labels": [LABELS_19[i].encode() for i in sorted(found)],
        "patch_name": [f"S2A_MSIL2A_20170613T101031_{number}_0".encode()],
    }
    features = {
        name: tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        for name, values in pixels.items()
    } | {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        for name, values in texts.items()
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Archive, label table, records, sets.json, and event files of a training."""
    here = tmp_path_factory.mktemp("balanced")
    sample.write_archive(here / "archive", 20, version="v1", seed=1, workers=1)
    label_table(here / "archive" / "BigEarthNet-v1.0").to_csv(here / "data.csv")
    for split, numbers in (("train", range(8)), ("val", (8, 9)), ("test", range(4, 8))):
        with tf.io.TFRecordWriter(str(here / f"{split}.tfrecord")) as file:
            for number in numbers:
                file.write(record(number))
    sets = {split: f"{split}.tfrecord" for split in ("train", "val", "test")}
    for name, label_type in (("sets", "BigEarthNet-19"), ("shipped", "original")):
        text = json.dumps(sets | {"label_type": label_type}, indent=4)
        (here / f"{name}.json").write_text(text)
    write_events(here / "theirs" / "ShortCNN_RGB", balanced_scalars())
    return here


@pytest.fixture
def run(folder, monkeypatch, capfd):
    """Runs a command line in the folder; returns its status and what it printed."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(classification_page, "draw", lambda *_: [])

    def call(line):
        program, *arguments = shlex.split(line)
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        with pytest.raises(SystemExit) as left:
            console.run(cli.run if program == "bigearthnet-tf" else script(program))
        printed = capfd.readouterr()
        return left.value.code, printed.out, printed.err

    yield call
    logging.getLogger().handlers.clear()


def script(name):
    """The function that a script at the top runs."""
    content = {"__name__": name}
    exec(compile((ROOT / name).read_text(), name, "exec"), content)
    return content["main"]


def test_stratified_split_writes_its_folds_and_records(run, folder):
    status, out, err = run(
        "bigearthnet-tf split -d data.csv -k 5 -o out -r archive/BigEarthNet-v1.0 -tf"
    )
    assert status == 0, err
    frame = pd.read_csv(folder / "data.csv", index_col=0)
    names, hot = frame["patch"].to_numpy(), frame.drop(columns="patch").to_numpy()
    theirs = MultilabelStratifiedKFold(n_splits=5, shuffle=True, random_state=0)
    folds = [names[test].tolist() for _, test in theirs.split(names, hot)]

    def listed(name):
        return (folder / "out" / f"{name}.csv").read_text().split()

    assert [listed(f"fold_{index}") for index in range(5)] == folds
    assert listed("train") == folds[0] + folds[1] + folds[2]
    assert (listed("val"), listed("test")) == (folds[3], folds[4])

    # Those that prep_splits.py makes of the same lists.
    status, _, err = run(
        "prep_splits.py -r archive/BigEarthNet-v1.0 -o again -l tensorflow "
        "-n out/train.csv out/val.csv out/test.csv"
    )
    assert status == 0, err
    for path in (folder / "again").glob("*.tfrecord"):
        assert (
            path.read_bytes() == (folder / "out" / "records" / path.name).read_bytes()
        )
    assert json.loads((folder / "out/records/sets.json").read_text()) == {
        **{s: f"{s}-*.tfrecord" for s in ("train", "val", "test")},
        "label_type": "original",
    }
    assert "--set records=out/records/sets.json" in out


def test_its_training_and_test_with_its_own_records(run, folder):
    status, out, err = run(f"train.py --from-balanced '{ARGUMENTS}' {SMALL}")
    assert status == 0, err
    said = [line for line in (out + err).splitlines() if "not carried over" in line]
    assert len(said) == 1
    for left_out in ("scores.csv", "codecarbon", "--count"):
        assert left_out in said[0]
    assert "optimizer SGD (there Adam whatever --optim says)" in out + err
    trained = folder / "storage" / "ShortCNN_RGB"
    used = json.loads((trained / "config.json").read_text())
    expected = {
        "model_name": "ShortCNN_RGB",
        "label_type": "BigEarthNet-19",
        "tr_tf_record_files": ["train.tfrecord"],
        "loss": "sigmoid_cross_entropy",
        "optimizer": "sgd",
        "momentum": 0.0,
        "learning_rate": 1e-3,
        "batch_size": 4,
        "nb_epoch": 1,
        "interpolation": "bilinear",
        "seed": 42,
    }
    assert {key: used[key] for key in expected} == expected

    status, out, err = run(f"eval.py --from-balanced '{ARGUMENTS}' {SMALL}")
    assert status == 0, err
    scored = np.load(trained / "eval_scores.npz")
    ours = labels.label_names("BigEarthNet-19")
    for row, number in enumerate(range(4, 8)):
        found = {ours[index] for index in np.flatnonzero(scored["labels"][row])}
        more = {LABELS_19[number + 7]} if number % 2 == 0 else set()
        assert found == {LABELS_19[number]} | more
    conventions = json.loads((trained / "eval_conventions.json").read_text())
    assert set(conventions["balanced"]) >= {
        *("macro_precision", "macro_recall", "macro_f1", "macro_f2"),
        *("micro_precision", "recall", "micro_f1", "micro_f2"),
    }


def test_43_labels_asked_of_its_19_are_told_apart(run):
    line = f"train.py --from-balanced '{ARGUMENTS}' {SMALL}"
    status, _, err = run(line.replace("sets.json", "shipped.json"))
    assert status == 1
    assert "pass --set label_type=BigEarthNet-19" in err.splitlines()[-1]


def test_read_event_draws_its_event_files(run, folder):
    status, out, err = run("bigearthnet-tf plot --storage_path theirs --out plots")
    assert status == 0, err
    files = ("losses.png", "metrics.png", "curves.html", "curves.csv")
    assert out.split() == [f"plots/{name}" for name in files]
    with Image.open(folder / "plots" / "metrics.png") as image:
        assert image.size[0] >= 1200  # training beside validation
    table = pd.read_csv(folder / "plots" / "curves.csv")
    last = table[(table["measure"] == "accuracy") & (table["iteration"] == 4)]
    assert dict(zip(last["split"], last["value"], strict=True)) == {
        "training": 84.0,
        "validation": 82.0,
    }
