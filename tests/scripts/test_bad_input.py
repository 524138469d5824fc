"""Bad input gives one clear line and exit status 1, and leaves nothing half-made."""

import json
import shutil

import numpy as np
import pytest
import tifffile
import toy
from run_files import load_script


@pytest.fixture
def broken(archive_v1, tmp_path):
    """A copy of the archive to break, and the first training patch of its list."""
    root = tmp_path / "archive"
    shutil.copytree(archive_v1, root)
    name = (root / "train.csv").read_text().splitlines()[0].split(",")[0]
    return root, name, root / "BigEarthNet-v1.0" / name


def prepare(call, root, tmp_path, *more, s1=True, lists=("train.csv",)):
    sensor = ["-s", root / "BigEarthNet-S1-v1.0"] if s1 else []
    return call(
        "prep_splits",
        *("-r", root / "BigEarthNet-v1.0", *sensor, "-o", tmp_path / "out"),
        *("-n", *(root / name for name in lists), "--workers", 1, *more),
    )


def check(outcome, message, tmp_path=None):
    assert outcome.status == 1
    assert "Traceback" not in outcome.err
    assert outcome.complaint.startswith("error: ")
    for part in [message] if isinstance(message, str) else message:
        assert part in outcome.complaint
    if tmp_path is not None:
        left = tmp_path / "out"
        assert not left.exists() or list(left.iterdir()) == []


def test_missing_root(call, tmp_path, archive_v1):
    outcome = call(
        "prep_splits", "-r", tmp_path / "none", "-o", tmp_path / "out", "-n",
        archive_v1 / "train.csv",
    )  # fmt: skip
    check(outcome, ("none", "no such folder"), tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ("hello\n", "train.csv:1: not a patch name"),
        ("S2A_MSIL2A_20170613T101031_87_48\n" * 2, "train.csv:2: "),
    ],
)
def test_bad_lists(call, broken, tmp_path, text, message):
    root, _, _ = broken
    (root / "train.csv").write_text(text)
    check(prepare(call, root, tmp_path), message, tmp_path)


def test_missing_list(call, broken, tmp_path):
    root, _, _ = broken
    check(prepare(call, root, tmp_path, lists=["no.csv"]), "no.csv: no such", tmp_path)


def test_missing_patch_folder(call, broken, tmp_path):
    root, name, folder = broken
    shutil.rmtree(folder)
    check(prepare(call, root, tmp_path), (name, "folder"), tmp_path)


def damage(path, how):
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("no picture")
    elif how == "shape":
        tifffile.imwrite(path, np.zeros((60, 60), np.uint16))
    elif how == "dtype":
        tifffile.imwrite(path, np.zeros((120, 120), np.float64))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "B04"),
        ("truncated", "cut short"),
        ("empty", "empty"),
        ("text", "TIFF"),
        ("shape", "expected 120 x 120 pixels of uint16, got 60 x 60"),
        ("dtype", "expected 120 x 120 pixels of uint16, got 120 x 120 of float64"),
    ],
)
def test_damaged_bands(call, broken, tmp_path, how, message):
    root, name, folder = broken
    damage(folder / f"{name}_B04.tif", how)
    check(prepare(call, root, tmp_path), (message, name), tmp_path)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_patch_stops_all_workers(
    call, broken, tmp_path, workers, monkeypatch
):
    from bigearthnet_tf.records import convert

    monkeypatch.setattr(convert, "PATCHES_PER_WORKER", 1)
    root, name, folder = broken
    damage(folder / f"{name}_B04.tif", "truncated")
    outcome = prepare(
        call, root, tmp_path, "--workers", workers, "--shard-size-mb", 0.6
    )
    check(outcome, "cut short")
    assert not list((tmp_path / "out").glob("*.tfrecord"))
    assert not list((tmp_path / "out").rglob("*.tmp"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("[]", "labels_metadata.json"),
        ('{"labels": ["Moon"]}', "labels_metadata.json"),
    ],
)
def test_damaged_json(call, broken, tmp_path, text, message):
    root, name, folder = broken
    (folder / f"{name}_labels_metadata.json").write_text(text)
    check(prepare(call, root, tmp_path), (message, name), tmp_path)


def test_unknown_label(call, broken, tmp_path):
    root, name, folder = broken
    path = folder / f"{name}_labels_metadata.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"labels": ["Pasture"]}))
    check(prepare(call, root, tmp_path), (name, "'Pasture'", "'Pastures'"), tmp_path)


def test_partners_of_other_patches_are_no_pairs(call, broken, tmp_path):
    root, _, _ = broken
    pairs = [r.split(",") for r in (root / "train.csv").read_text().splitlines()]
    swapped = zip(
        [s2 for s2, _ in pairs], reversed([s1 for _, s1 in pairs]), strict=True
    )
    (root / "train.csv").write_text("\n".join(map(",".join, swapped)))
    check(prepare(call, root, tmp_path), ("train.csv:1", "are no pair"), tmp_path)


def test_missing_partner(call, broken, tmp_path):
    root, _, _ = broken
    s2, s1 = (root / "train.csv").read_text().splitlines()[0].split(",")
    shutil.rmtree(root / "BigEarthNet-S1-v1.0" / s1)
    check(prepare(call, root, tmp_path), s1, tmp_path)
    # The same with lists that do not name the partners.
    (root / "train.csv").write_text(f"{s2}\n")
    check(prepare(call, root, tmp_path), (s2, "no Sentinel-1 partner"), tmp_path)


def test_out_folder_that_is_a_file(call, broken, tmp_path):
    root, _, _ = broken
    (tmp_path / "out").write_text("")
    outcome = prepare(call, root, tmp_path)
    check(outcome, "can't be written to")


def test_v2_without_metadata(call, archive_v2, tmp_path):
    folder = next((archive_v2 / "BigEarthNet-S2").glob("*/*"))
    (tmp_path / "train.csv").write_text(f"{folder.name}\n")
    outcome = call(
        "prep_splits", "-r", archive_v2 / "BigEarthNet-S2", "-o", tmp_path / "out",
        "-n", tmp_path / "train.csv", "--workers", 1,
    )  # fmt: skip
    check(outcome, "--metadata", tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [[], ["-o", "out"], ["-r", "x", "-o", "y"], ["-r", "x", "--workers", "0"]],
)
def test_wrong_calls_have_status_2(call, arguments):
    assert call("prep_splits", *arguments).status == 2


@pytest.fixture
def records(tmp_path):
    folder = tmp_path / "records"
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        toy.write_records(folder, split, count, bands=toy.ALL_BANDS[2:])
    return folder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such config"),
        ("{", "expected JSON"),
        ("[1]", "expected a JSON object"),
        ('{"lerning_rate": 1}', "unknown key 'lerning_rate': did you mean"),
        ('{"nb_epoch": "many"}', "nb_epoch: should be a valid integer, got 'many'"),
        ('{"learning_rate": -1}', "learning_rate: should be greater than 0"),
        ("{}", "out_dir is missing"),
    ],
)
@pytest.mark.parametrize("script", ["train", "eval"])
def test_bad_configs(call, tmp_path, script, text, message):
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    check(call(script, path), message)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model_name": "resnet_tset"}, "did you mean 'resnet_test'"),
        ({"bands": "s3"}, "'s3'"),
        ({"bands": ["B02", "B10"]}, "'B10'"),
        ({"modality": "S1"}, "no band VV, VH in these records"),
        ({"tr_tf_record_files": ["nothing/*.tfrecord"]}, "nothing/*.tfrecord: no such"),
        ({"tr_tf_record_files": []}, "tr_tf_record_files is empty"),
        ({"optimizer": "adamm"}, "did you mean 'adam'"),
        ({"loss": "sigmoid"}, "unknown loss"),
        ({"statistics": "v3"}, "v3"),
        ({"devices": "gpu:7"}, "TensorFlow sees 0 GPU(s)"),
        ({"monitor": "map"}, "no validation metric 'map'"),
        ({"fine_tune": True, "model_file": "nowhere"}, "nowhere: no checkpoint"),
        ({"model_name": "short_cnn", "drop_path_rate": 0.1}, "drop_path_rate"),
        ({"model_name": "short_cnn", "learning_rate": 1e30}, "no longer finite"),
    ],
)
def test_impossible_runs(call, write_config, records, tmp_path, keys, message):
    check(call("train", write_config(records, **keys)), message)
    left = list((tmp_path / "run").rglob("*")) if (tmp_path / "run").exists() else []
    assert not [path for path in left if path.suffix in (".tmp", ".index")]


def test_a_batch_that_does_not_divide(call, write_config, records):
    path = write_config(records, devices="cpu:2", batch_size=3)
    check(call("train", path), "batch_size 3 is over all devices and must divide")


def test_out_dir_that_is_a_file(call, write_config, records, tmp_path):
    (tmp_path / "run").write_text("")
    check(call("train", write_config(records)), "can't be written to")


@pytest.mark.parametrize("manifest", [True, False])
def test_truncated_shards(call, write_config, records, manifest):
    path = records / "train-00000-of-00001.tfrecord"
    path.write_bytes(path.read_bytes()[:400_000])
    if not manifest:
        (records / "train.manifest.json").unlink()
    check(call("train", write_config(records)), "truncated")


def test_foreign_shards(call, write_config, records):
    (records / "train.manifest.json").unlink()
    (records / "train-00000-of-00001.tfrecord").write_text("no records at all")
    check(call("train", write_config(records)), "no TFRecord file")


def test_a_flipped_bit_within_a_shard(call, write_config, records):
    path = records / "train-00000-of-00001.tfrecord"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    check(call("train", write_config(records)), ("damaged", "train"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema_version=99), "schema version 99"),
        (lambda m: m["label_order"]["original"].reverse(), "labels in another order"),
        (lambda m: m["bands"]["B02"].update(dtype="int8"), "another dtype"),
        (None, "no manifest beside it"),
    ],
)
def test_records_that_mean_something_else(call, write_config, records, change, message):
    path = records / "train.manifest.json"
    content = json.loads(path.read_text())
    path.unlink()
    if change is not None:
        change(content)
        path.write_text(json.dumps(content))
    check(call("train", write_config(records)), message)


def test_evaluation_before_training(call, write_config, records):
    check(call("eval", write_config(records)), "no checkpoints yet")


def test_checkpoint_of_another_model(call, write_config, records, tmp_path):
    assert call("train", write_config(records, nb_epoch=1)).status == 0
    other = write_config(records, nb_epoch=1, bands="rgb")
    check(call("eval", other), "the checkpoint is of another model: bands is")
    check(call("train", other), "the checkpoint is of another model: bands is")
    wrong = write_config(records, nb_epoch=1)
    check(call("eval", wrong, "--checkpoint", tmp_path), "no checkpoint")


def test_debug_shows_the_traceback(monkeypatch, tmp_path):
    import sys

    from bigearthnet_tf import console

    monkeypatch.setattr(sys, "argv", ["train", str(tmp_path / "no.json"), "--debug"])
    with pytest.raises(FileNotFoundError):
        console.run(load_script("train").main)


def test_sample_refuses_a_folder_with_content(call, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    outcome = call("bigearthnet-tf", "sample", "--patches", 1, "--out", tmp_path)
    check(outcome, str(tmp_path))
    assert (tmp_path / "mine.txt").read_text() == "precious"
    check(call("bigearthnet-tf", "sample", "--patches", 0, "--out", tmp_path / "a"), "")
    assert call("bigearthnet-tf", "sampel").status == 2
