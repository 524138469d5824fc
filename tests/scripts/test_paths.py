"""Whole paths: an archive is prepared, trained on, evaluated."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import bigearthnet_tf
from bigearthnet_tf.archive import archives, metadata, splits
from bigearthnet_tf.records import reader
from bigearthnet_tf.records.plan import plan_split
from bigearthnet_tf.training import logs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def records(archive_v2, tmp_path_factory):
    out = tmp_path_factory.mktemp("records")
    command = [
        sys.executable, ROOT / "prep_splits.py", "-r", archive_v2 / "BigEarthNet-S2",
        "-s", archive_v2 / "BigEarthNet-S1", "-o", out, "--workers", "2",
        "--metadata", archive_v2 / "metadata.parquet", "--shard-size-mb", "1",
    ]  # fmt: skip
    subprocess.run(command, check=True, cwd=ROOT)
    return out


def test_from_archive_to_report(call, records, write_config, tmp_path):
    config = write_config(records, modality="MM", baselines=True)
    trained = call("train", config)
    assert trained.status == 0, trained.err
    assert f"python eval.py {config}" in trained.out
    evaluated = call("eval", config)
    assert evaluated.status == 0, evaluated.err

    run = tmp_path / "run"
    expected = {
        "config.json", "environment.json", "checkpoints", "logs", "history.jsonl",
        "eval_result.json", "eval_baselines.json", "eval_per_class.csv",
        "eval_scores.npz", "report.html",
    }  # fmt: skip
    assert {path.name for path in run.iterdir()} == expected
    assert {p.name for p in (run / "logs").iterdir()} == {
        "training",
        "validation",
        "test",
    }
    result = json.loads((run / "eval_result.json").read_text())
    assert all(isinstance(value, float) for value in result.values())
    assert np.isfinite(list(result.values())).all()
    assert {"macro_average_precision", "sample_f1_score", "hamming_loss"} <= set(result)
    with (run / "eval_per_class.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == list(
        json.loads((run / "config.json").read_text()) and _labels(records)
    )
    # The stored scores give the stored numbers.
    with np.load(run / "eval_scores.npz") as stored:
        again = bigearthnet_tf.metrics.multi_label_report(
            stored["labels"], stored["scores"]
        )
        names = stored["names"].tolist()
    for key, value in again.items():
        assert result[key] == pytest.approx(value, abs=1e-12), key
    assert names == reader.read_names(reader.open_records(str(records / "test-*")))
    baselines = json.loads((run / "eval_baselines.json").read_text())
    assert set(baselines) == {"class priors", "logistic regression on band statistics"}
    for value in ("macro_average_precision", "class priors", "logistic regression"):
        assert value in evaluated.out


def _labels(records):
    manifest = json.loads((records / "test.manifest.json").read_text())
    return manifest["label_order"]["BigEarthNet-19"]


def test_called_again_a_run_continues(call, records, write_config, tmp_path):
    """Two epochs in one call, or one and then another, give the same weights."""
    keys = {
        "augmentation": ["flips", "quarter_turns"],
        "drop_rate": 0.2,
        "log_per_iteration": 1,
        "shuffle_buffer_size": 5,
    }
    whole = write_config(records, **keys, out_dir=str(tmp_path / "whole"))
    assert call("train", whole).status == 0
    for epochs in (1, 2):
        part = write_config(
            records, **keys, out_dir=str(tmp_path / "parts"), nb_epoch=epochs
        )
        outcome = call("train", part)
    assert "continuing from" in outcome.out
    a, b = (last_weights(tmp_path / name) for name in ("whole", "parts"))
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
    assert iterations(tmp_path / "whole") == iterations(tmp_path / "parts")
    assert "are done" in call("train", part).out


def last_weights(run):
    import tensorflow as tf

    folders = (run / "checkpoints").glob("iteration-*")
    newest = max(folders, key=lambda path: int(path.name.split("-")[1]))
    checkpoint = tf.train.load_checkpoint(str(newest / "state"))
    names = checkpoint.get_variable_to_shape_map()
    return {n: checkpoint.get_tensor(n) for n in names if n.endswith("VALUE")}


def iterations(run):
    return [(point["split"], point["iteration"]) for point in logs.read_history(run)]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["short_cnn", "resnet_test"])
def test_two_replicas_and_one_device_give_the_same_weights(
    records, write_config, tmp_path, model
):
    """20 iterations, the same global batch, no dropout; in fresh processes."""
    for name, devices in (("one", "cpu"), ("two", "cpu:2")):
        config = write_config(
            records,
            model_name=model,
            image_size=32,
            devices=devices,
            nb_epoch=10,
            learning_rate=1e-3,
            out_dir=str(tmp_path / name),
        )
        command = [sys.executable, ROOT / "train.py", config]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert f"over {1 if name == 'one' else 2} replica(s)" in done.stdout
    one, two = (last_weights(tmp_path / name) for name in ("one", "two"))
    assert iterations(tmp_path / "one")[-1][1] >= 20
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=0, atol=1e-5)


def test_the_rate_is_the_configs_after_a_restart_too(
    call, records, write_config, tmp_path
):
    assert call("train", write_config(records, nb_epoch=1)).status == 0
    before = last_weights(tmp_path / "run")
    assert call("train", write_config(records, learning_rate=1e-12)).status == 0
    after = last_weights(tmp_path / "run")
    kernels = [n for n in before if n.startswith("model/") and before[n].ndim == 4]
    for name in kernels:
        np.testing.assert_allclose(before[name], after[name], atol=1e-9)
    assert logs.read_history(tmp_path / "run")[-2]["learning_rate"] < 1e-11


@pytest.mark.parametrize("keys", [{"batch_size": 2}, {"seed": 7}])
def test_another_order_of_data_is_no_continuation(
    call, records, write_config, tmp_path, keys
):
    assert call("train", write_config(records, nb_epoch=1)).status == 0
    before = (tmp_path / "run" / "config.json").read_bytes()
    outcome = call("train", write_config(records, **keys))
    assert outcome.status == 1
    assert f"can't be continued with {next(iter(keys))}" in outcome.complaint
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_overwrite_mends_damaged_records(call, archive_v2, tmp_path):
    arguments = (
        "-r", archive_v2 / "BigEarthNet-S2", "-o", tmp_path, "--workers", 1,
        "--metadata", archive_v2 / "metadata.parquet",
    )  # fmt: skip
    assert call("prep_splits", *arguments).status == 0
    shard = tmp_path / "train-00000-of-00001.tfrecord"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    (tmp_path / "val.manifest.json").write_text("{")
    assert call("prep_splits", *arguments, "--overwrite").status == 0
    assert shard.read_bytes() == whole
    assert reader.open_records(str(tmp_path / "val-*.tfrecord")).num_records == 4


def test_a_test_run_has_a_folder_of_its_own(call, records, write_config, tmp_path):
    outcome = call("train", write_config(records, nb_epoch=50), "--test-run")
    assert outcome.status == 0
    assert not (tmp_path / "run").exists()
    run = tmp_path / "run-test-run"
    assert iterations(run)[-1][1] == 4
    assert f"out_dir={run}" in outcome.out


def test_fine_tuning_starts_from_the_weights_of_another_run(
    call, records, write_config, tmp_path
):
    first = write_config(records, nb_epoch=1, out_dir=str(tmp_path / "first"))
    assert call("train", first).status == 0
    model_file = next((tmp_path / "first" / "checkpoints").glob("iteration-*"))
    second = write_config(
        records,
        nb_epoch=1,
        fine_tune=True,
        model_file=str(model_file),
        learning_rate=1e-12,
        out_dir=str(tmp_path / "second"),
    )
    outcome = call("train", second)
    assert "starting from the weights of" in outcome.out
    a, b = (last_weights(tmp_path / name) for name in ("first", "second"))
    kernels = [n for n in a if n.startswith("model/") and a[n].ndim == 4]
    assert kernels
    for name in kernels:
        np.testing.assert_allclose(a[name], b[name], atol=1e-9)


def test_expected_sizes_are_compared_with_the_files(call, records, write_config):
    outcome = call("train", write_config(records, training_size=269695), "--test-run")
    assert "the config expects 269695 records, the files hold" in outcome.out


SHIPPED = sorted(
    path
    for path in (ROOT / "configs").rglob("*.json")
    if path.stem not in ("base", "schema")
)
# The small size of a family in place of one that takes minutes.
SMALL = {
    "ResNet101": "ResNet50",
    "ResNet152": "ResNet50",
    "VGG16": "vgg_test",
    "VGG19": "vgg_test",
    "InceptionV3": "inception_v3_test",
    "resnet101": "resnet50",
    "convmixer_768_32": "convmixer_test",
    "convnextv2_base": "convnext_test",
    "mixer_b16_224": "mixer_test",
    "mobilevit_s": "mobilevit_test",
    "vit_base_patch8_224": "vit_test",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_every_shipped_config_runs_in_miniature(call, tmp_path, path, request):
    name = json.loads(path.read_text())["model_name"]
    records = request.getfixturevalue("records_v1")
    arguments = [
        path,
        *("--set", f'tr_tf_record_files=["{records}/train-*.tfrecord"]'),
        *("--set", f'val_tf_record_files=["{records}/val-*.tfrecord"]'),
        *("--set", f'test_tf_record_files=["{records}/test-*.tfrecord"]'),
        *("--set", f"out_dir={tmp_path / 'run'}", "--set", "batch_size=2"),
        *("--set", "devices=cpu", "--set", f"model_name={SMALL.get(name, name)}"),
    ]
    outcome = call("train", *arguments, "--test-run")
    assert outcome.status == 0, outcome.err
    arguments += ["--set", f"out_dir={tmp_path / 'run-test-run'}"]
    outcome = call("eval", *arguments)
    assert outcome.status == 0, outcome.err
    assert (tmp_path / "run-test-run" / "eval_result.json").is_file()


@pytest.fixture(scope="session")
def records_v1(archive_v1, tmp_path_factory):
    """Records of the v1 archive, which carry both nomenclatures."""
    from bigearthnet_tf.records import convert

    out = tmp_path_factory.mktemp("records_v1")
    archive = archives.open_archive(
        archive_v1 / "BigEarthNet-v1.0", archive_v1 / "BigEarthNet-S1-v1.0"
    )
    for split in ("train", "val", "test"):
        entries = splits.read_split_csv(archive_v1 / f"{split}.csv")
        convert.convert(archive, [plan_split(archive, entries, split)], out)
    return out


# The six real pairs; one of them is in the table of patches with snow.
SNOW_AND_CLOUD = "metadata_for_patches_with_snow_cloud_or_shadow.parquet"


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory):
    """Records of the six real pairs as v1 and as v2, and the patches as v2 lists."""
    folder = tmp_path_factory.mktemp("real")
    v1, v2 = shared / "data" / "v1", shared / "data" / "v2"
    tables = [v2 / "metadata.parquet", v2 / SNOW_AND_CLOUD]
    table = metadata.read_tables(tables)
    v2_names = dict(zip(table["s2v1_name"], table["patch_id"], strict=True))
    for split in ("train", "val", "test"):
        names = [e.name for e in splits.read_split_csv(v1 / f"{split}.csv")]
        (folder / f"{split}.csv").write_text("\n".join(v2_names[n] for n in names))
    names = ("train.csv", "val.csv", "test.csv")
    prepare(
        "-r", v1 / "BigEarthNet-v1.0", "-s", v1 / "BigEarthNet-S1-v1.0",
        "-o", folder / "v1", "-n", *(v1 / name for name in names),
    )  # fmt: skip
    prepare(
        "-r", v2 / "BigEarthNet-S2", "-s", v2 / "BigEarthNet-S1", "-o", folder / "v2",
        "--metadata", *tables, "-n", *(folder / n for n in names),
    )  # fmt: skip
    return folder


def prepare(*arguments):
    command = [sys.executable, ROOT / "prep_splits.py", *map(str, arguments)]
    subprocess.run(command, check=True, cwd=ROOT)


def tensors(folder, split="*", bands="all_full"):
    """Patch name without its version -> band groups and labels."""
    source = reader.open_records(str(folder / f"{split}-*.tfrecord"))
    names = reader.read_names(source)
    data = bigearthnet_tf.load_dataset(str(folder / f"{split}-*.tfrecord"), 1, bands)
    return {
        name: ({k: g.numpy()[0] for k, g in groups.items()}, labels.numpy()[0])
        for name, (groups, labels) in zip(names, data, strict=True)
    }


def test_v1_and_v2_of_a_pair_hold_identical_pixels(real, shared):
    v2 = shared / "data" / "v2"
    table = metadata.read_tables([v2 / "metadata.parquet", v2 / SNOW_AND_CLOUD])
    v2_names = dict(zip(table["s2v1_name"], table["patch_id"], strict=True))
    old, new = tensors(real / "v1"), tensors(real / "v2")
    assert len(old) == len(new) == 6
    for name, (groups, labels) in old.items():
        other_groups, other_labels = new[v2_names[name]]
        for group in groups:
            np.testing.assert_array_equal(groups[group], other_groups[group])
        assert labels.shape == other_labels.shape == (19,)


def test_every_pixel_in_a_record_is_rasterios(real, shared):
    import rasterio

    root = shared / "data" / "v1" / "BigEarthNet-v1.0"
    for name, (groups, _) in tensors(real / "v1", bands="s2_full").items():
        for group, bands in {
            "s2_10m": ("B02", "B03", "B04", "B08"),
            "s2_20m": ("B05", "B06", "B07", "B8A", "B11", "B12"),
            "s2_60m": ("B01", "B09"),
        }.items():
            for plane, band in zip(groups[group], bands, strict=True):
                with rasterio.open(root / name / f"{name}_{band}.tif") as file:
                    np.testing.assert_array_equal(plane, file.read(1))


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["S2", "S1", "MM"])
@pytest.mark.parametrize(
    ("model", "version"),
    [("short_cnn", "v1"), ("short_cnn", "v2"), ("resnet50", "v1"), ("resnet50", "v2")],
)
def test_the_real_patches_are_learnt(
    call, real, write_config, tmp_path, model, version, modality
):
    """The three training patches until sample F1 is 1; the others are evaluated."""
    folder = real / version
    # Radar alone takes the deep network longest.
    epochs = {"short_cnn": 20, "resnet50": 80 if modality == "S1" else 60}[model]
    config = write_config(
        folder,
        model_name=model,
        modality=modality,
        batch_size=3,
        nb_epoch=epochs,
        learning_rate=1e-3,
        validate_per_iteration=100,
        val_tf_record_files=[],
    )
    assert call("train", config).status == 0
    on_training = ["--set", f'test_tf_record_files=["{folder}/train-*.tfrecord"]']
    assert call("eval", config, "--checkpoint", "last", *on_training).status == 0
    result = json.loads((tmp_path / "run" / "eval_result.json").read_text())
    assert result["sample_f1_score"] == 1.0
    outcome = call("eval", config)
    assert outcome.status == 0
    with np.load(tmp_path / "run" / "eval_scores.npz") as stored:
        assert len(stored["names"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "modality", "label_type"),
    [
        ("mm_19", "MM", "BigEarthNet-19"),
        ("s2_19", "S2", "BigEarthNet-19"),
        ("s2_43_original", "S2", "original"),
    ],
)
def test_older_records_train_and_evaluate_with_the_same_command(
    call, shared, real, write_config, tmp_path, file, modality, label_type
):
    path = shared / "data" / "legacy_tfrecords" / f"{file}.tfrecord"
    config = write_config(
        tmp_path,
        modality=modality,
        label_type=label_type,
        tr_tf_record_files=[str(path)],
        val_tf_record_files=[str(path)],
        test_tf_record_files=[str(path)],
    )
    assert call("train", config).status == 0
    assert call("eval", config).status == 0
    old = {}
    names = reader.read_names(reader.open_records(str(path)))
    bands = "all_full" if modality == "MM" else "s2_full"
    data = bigearthnet_tf.load_dataset(str(path), 1, bands, label_type)
    for name, (groups, labels) in zip(names, data, strict=True):
        old[name] = ({k: g.numpy()[0] for k, g in groups.items()}, labels.numpy()[0])
    files = str(real / "v1" / "*-*.tfrecord")
    new_names = reader.read_names(reader.open_records(files))
    data = bigearthnet_tf.load_dataset(files, 1, bands, label_type)
    new = dict(zip(new_names, data, strict=True))
    for name, (groups, labels) in old.items():
        for group in groups:
            np.testing.assert_array_equal(groups[group], new[name][0][group][0])
        np.testing.assert_array_equal(labels, new[name][1][0])


def test_a_disk_that_fills_up_leaves_nothing_half_written(
    archive_v1, tmp_path, monkeypatch
):
    """The limit of a file's size stands for a full disk: writes fail half-way."""
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))\n"
        "import runpy; runpy.run_path('prep_splits.py', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "-r", archive_v1 / "BigEarthNet-v1.0", "-n",
         archive_v1 / "train.csv", "-o", tmp_path / "out", "--workers", "1"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "could not be read or written (" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_killed_at_any_moment_a_run_ends_with_the_same_weights(
    records, write_config, tmp_path
):
    """SIGKILL three times, wherever the run is; dropout and augmentation are on."""

    def start(name):
        config = write_config(
            records,
            nb_epoch=40,
            drop_rate=0.3,
            augmentation=["flips", "quarter_turns"],
            shuffle_buffer_size=5,
            save_checkpoint_per_iteration=7,
            keep_checkpoints=2,
            out_dir=str(tmp_path / name),
        )
        return subprocess.Popen([sys.executable, ROOT / "train.py", config], cwd=ROOT)

    assert start("whole").wait() == 0
    folder = tmp_path / "killed" / "checkpoints"
    for iteration in (14, 28, 42):
        process = start("killed")
        wait_for(folder, iteration, process)
        process.kill()
        process.wait()
    assert newest(folder) < 80 == newest(tmp_path / "whole" / "checkpoints")
    assert start("killed").wait() == 0
    whole, killed = (last_weights(tmp_path / name) for name in ("whole", "killed"))
    for name in whole:
        np.testing.assert_array_equal(whole[name], killed[name])


def newest(folder) -> int:
    found = [int(p.name.split("-")[1]) for p in folder.glob("iteration-*")]
    return max(found, default=0)


def wait_for(folder, iteration, process, seconds=120):
    deadline = time.monotonic() + seconds
    while newest(folder) < iteration:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
