"""The folder of a user of the TF project, taken through its README by its commands."""

import importlib.util
import json
import logging
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import toy

from bigearthnet_tf import config as configs
from bigearthnet_tf import console, models
from bigearthnet_tf.archive import bands, sample
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.evaluation import classification_page
from bigearthnet_tf.models import resnet, zoo
from bigearthnet_tf.tasks import base

ROOT = Path(__file__).parents[2]
WEIGHTS = "model_weights/BigEarthNet-19_labels/ResNet50"
BASE = {
    "model_name": "ResNet50",
    "batch_size": 1000,
    "nb_epoch": 100,
    "learning_rate": 1e-3,
    "save_checkpoint_after_iteration": 0,
    "save_checkpoint_per_iteration": 1,
    "tr_tf_record_files": ["TFRecord_files/train.tfrecord"],
    "val_tf_record_files": ["TFRecord_files/val.tfrecord"],
    "test_tf_record_files": ["TFRecord_files/test.tfrecord"],
    "label_type": "original",
    "fine_tune": False,
    "model_file": "model_weights/original_labels/ResNet50/"
    "ResNet50_BigEarthNet_original_labels",
    "shuffle_buffer_size": 130000,
    "training_size": 269695,
    "test_size": 125866,
}
MODEL = {
    "model_name": "ResNet50",
    "batch_size": 3,
    "nb_epoch": 4,
    "learning_rate": 1e-3,
    "save_checkpoint_after_iteration": 2,
    "out_dir": WEIGHTS,
    "model_file": f"{WEIGHTS}/ResNet50_BigEarthNet-19_labels",
    "label_type": "BigEarthNet-19",
}


@pytest.fixture
def run(monkeypatch, capfd):
    """Calls a program as on the command line; returns its status and what it said."""

    def call(name, *arguments):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        spec = importlib.util.spec_from_file_location(name, ROOT / f"{name}.py")
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        with pytest.raises(SystemExit) as left:
            console.run(script.main)
        printed = capfd.readouterr()
        return left.value.code, printed.out + printed.err

    # Pictures take most of the time of a small evaluation.
    monkeypatch.setattr(classification_page, "draw", lambda *_: [])
    yield call
    logging.getLogger().handlers.clear()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The checkout of that project, in which its user works."""
    for name, content in {
        "configs/base.json": BASE,
        "configs/ResNet50_BigEarthNet-19_labels.json": MODEL,
        "configs/snapshot.json": MODEL
        | {"model_file": f"{WEIGHTS}/models/iteration-2"},
        "label_indices.json": {"original_labels": {}, "label_conversion": []},
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=4))
    sample.write_archive(tmp_path / "data", 8, version="v1", seed=1, workers=1)
    (tmp_path / "data").rename(tmp_path / "splits")
    (tmp_path / "splits" / "BigEarthNet-v1.0").rename(tmp_path / "BigEarthNet-v1.0")
    monkeypatch.chdir(tmp_path)
    # Its ResNet-50 with two units in place of sixteen, for the sake of time.
    entry = models.get_model("ResNet50")

    def small(x):
        return resnet.resnet(x, (1, 1), form=resnet.SLIM, widths=(4, 8), stem_width=4)

    monkeypatch.setitem(zoo.MODELS._entries, entry.name, replace(entry, build=small))
    return tmp_path


def test_from_patches_to_results_by_its_commands(folder, run):
    config = "configs/ResNet50_BigEarthNet-19_labels.json"
    lists = [f"splits/{split}.csv" for split in ("train", "val", "test")]
    before = {path: path.read_bytes() for path in folder.rglob("*.json")}
    status, said = run(
        "prep_splits", "-r", "BigEarthNet-v1.0", "-o", "TFRecord_files",
        "-n", *lists, "-l", "tensorflow", "--update_json", "--workers", 1,
    )  # fmt: skip
    assert status == 0, said
    assert "the JSON files of the archive stay as they are" in said

    status, said = run("train", config, "--set", "devices=cpu")
    assert status == 0, said
    assert said.count("assumed") == 1
    assert f'{config}: assumed "interpolation": "tf1_bicubic"; ' in said
    assert '"tr_tf_record_files": ["TFRecord_files/train-*.tfrecord"]' in said
    assert "train: the config expects 269695 records, the files hold" in said
    assert "--checkpoint best" in said
    used = json.loads(Path(WEIGHTS, "config.json").read_text())
    assert (used["bands"], used["statistics"]) == ("tf_s2", "v1")
    # One a step, once the second is done; all are kept.
    kept = sorted(path.name for path in Path(WEIGHTS, "checkpoints").iterdir())
    count = len(Path(lists[0]).read_text().split())
    last = math.ceil(count * MODEL["nb_epoch"] / MODEL["batch_size"])
    assert kept == [f"iteration-{number}" for number in range(2, last + 1)]
    assert len(kept) > 3

    # The weights that its config names were never downloaded.
    status, said = run("eval", config)
    assert status == 1
    assert f"{MODEL['model_file']}: no checkpoint at model_file; expected" in said
    assert said.strip().endswith("takes the best of the run instead")
    # A snapshot by the name that it has there.
    status, said = run("eval", "configs/snapshot.json", "--set", "devices=cpu")
    assert status == 0, said
    snapshot = f"{WEIGHTS}/checkpoints/iteration-2"
    assert f"weights  {snapshot} (model_file of the config" in said
    found = json.loads(Path(WEIGHTS, "eval_weights.json").read_text())
    assert (found["weights"], found["iteration"]) == (snapshot, 2)
    result = json.loads(Path(WEIGHTS, "eval_result.json").read_text())
    theirs = {"micro_f1_score", "macro_precision_class_avg", "sample_f0_5_score"}
    assert theirs | {"hamming_loss", "coverage", "one_error"} <= set(result)
    for split in ("training", "test"):
        assert list(Path(WEIGHTS, "logs", split).glob("events.out.tfevents.*"))
    assert all(path.read_bytes() == content for path, content in before.items())


def feature(value):
    """A feature of the kind that the TF project's scripts wrote."""
    if isinstance(value, list):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
    if value.dtype == np.float32:
        return tf.train.Feature(float_list=tf.train.FloatList(value=value.ravel()))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=value.ravel()))


def write(path: Path, form: str, patches) -> None:
    """Writes records of 2019 (A: 43 labels), 2020 (B: 19) or 2021 (C: with S1)."""
    kind = "original" if form == "A" else "BigEarthNet-19"
    order = label_facts.LABELS[patches[0].label_type]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for patch in patches:
            features = {
                name: value if name in ("VV", "VH") else value.astype(np.int64)
                for name, value in patch.bands.items()
                if form == "C" or name not in ("VV", "VH")
            }
            multi_hot = np.array([name in patch.labels for name in order], np.int64)
            features[f"{kind}_labels"] = [name.encode() for name in patch.labels]
            features[f"{kind}_labels_multi_hot"] = multi_hot
            name_s1, name_s2 = patch.name_s1.encode(), patch.name_s2.encode()
            names = {"patch_name": [name_s2]}
            if form == "C":
                names = {"patch_name_s1": [name_s1], "patch_name_s2": [name_s2]}
            content = {k: feature(v) for k, v in (features | names).items()}
            example = tf.train.Example(features=tf.train.Features(feature=content))
            writer.write(example.SerializeToString())


@pytest.mark.parametrize(
    ("form", "modality", "order"),
    [
        ("A", "S2", "B04 B03 B02 B08 B05 B06 B07 B8A B11 B12"),
        ("B", "S2", "B04 B03 B02 B08 B05 B06 B07 B8A B11 B12"),
        ("C", "MM", "B04 B03 B02 B08 B05 B06 B07 B8A B11 B12 VV VH"),
        ("C", "S1", "VV VH"),
    ],
)
def test_its_own_records_and_variants(tmp_path, monkeypatch, form, modality, order):
    """Both polarisations are what they are, where that project had VV twice."""
    kind = "original" if form == "A" else "BigEarthNet-19"
    patches = [toy.patch(number, kind) for number in range(3)]
    (tmp_path / "TFRecord_files").mkdir()
    for split in ("train", "test"):
        write(tmp_path / "TFRecord_files" / f"{split}.tfrecord", form, patches)
    own = MODEL | {"label_type": kind, "modality": modality}
    for name, content in (("base", BASE), ("own", own)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    config = configs.load("own.json")
    # It never read those for validation, and there are none.
    assert config.val_tf_record_files == []
    task = base.open_task(config)
    assert " ".join(task.bands) == order
    groups, labels, _ = next(iter(task.scoring_data("test")))
    names = label_facts.LABELS[patches[0].label_type]
    for row, patch in enumerate(patches):
        chosen = np.flatnonzero(labels[row])
        assert {names[index] for index in chosen} == set(patch.labels)
        for group, members in bands.group_bands(task.bands).items():
            for number, band in enumerate(members):
                np.testing.assert_array_equal(
                    groups[group][row][number], patch.bands[band]
                )


def test_flags_of_its_preparation_are_taken_or_answered(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sample.write_archive(tmp_path / "data", 3, version="v1", seed=1, workers=1)
    arguments = ("-o", "out", "-n", "data/train.csv")
    status, said = run("prep_splits", "-r", "x", *arguments, "-l", "pytorch")
    assert status == 2
    assert "-l pytorch: the LMDB of pyarrow values is not written; leave -l out" in said
    status, said = run("prep_splits", "-r", "x", "-o", "out", "-l", "tensorflow")
    assert status == 2
    assert "give -n with lists of patches" in said
    # The multi-modal variant, whose lists have the S1 name behind that of S2.
    status, said = run(
        "prep_splits", "-r1", "data/BigEarthNet-S1-v1.0",
        "-r2", "data/BigEarthNet-v1.0", *arguments, "--workers", 1,
    )  # fmt: skip
    assert status == 0, said
    manifest = json.loads((tmp_path / "out" / "train.manifest.json").read_text())
    assert "VV" in json.dumps(manifest)
