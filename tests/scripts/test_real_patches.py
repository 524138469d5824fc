"""The six real pairs: prepared as v1 and as v2, compared, learnt."""

import json
import subprocess
import sys
from pathlib import Path

import long_tests
import numpy as np
import pytest

import bigearthnet_tf
from bigearthnet_tf.archive import metadata, splits
from bigearthnet_tf.records import reader

ROOT = Path(__file__).parents[2]
# The table of one of them.
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
        assert len(groups) == 4
        for group in groups:
            np.testing.assert_array_equal(groups[group], other_groups[group])
        assert labels.shape == other_labels.shape == (19,)


def test_every_pixel_in_a_record_is_rasterios(real, shared):
    import rasterio

    root = shared / "data" / "v1" / "BigEarthNet-v1.0"
    patches = tensors(real / "v1", bands="s2_full")
    assert len(patches) == 6
    for name, (groups, _) in patches.items():
        for group, bands in {
            "s2_10m": ("B02", "B03", "B04", "B08"),
            "s2_20m": ("B05", "B06", "B07", "B8A", "B11", "B12"),
            "s2_60m": ("B01", "B09"),
        }.items():
            for plane, band in zip(groups[group], bands, strict=True):
                with rasterio.open(root / name / f"{name}_{band}.tif") as file:
                    np.testing.assert_array_equal(plane, file.read(1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "version", "modality"),
    long_tests.beyond(
        [("short_cnn", "v2", "S2")],
        [
            *(("short_cnn", v, m) for v in ("v1", "v2") for m in ("S2", "S1", "MM")),
            ("resnet50", "v2", "S2"),
        ],
    ),
)
def test_the_real_patches_are_learnt(
    call, real, write_config, tmp_path, model, version, modality
):
    """The three training patches until sample F1 is 1; the others are evaluated."""
    folder = real / version
    epochs = {"short_cnn": 20, "resnet50": 60}[model]
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
    long_tests.beyond(
        [("mm_19", "MM", "BigEarthNet-19")],
        [
            ("mm_19", "MM", "BigEarthNet-19"),
            ("s2_19", "S2", "BigEarthNet-19"),
            ("s2_43_original", "S2", "original"),
        ],
    ),
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
    assert len(old) == 3
    for name, (groups, labels) in old.items():
        assert len(groups) == (4 if modality == "MM" else 3)
        for group in groups:
            np.testing.assert_array_equal(groups[group], new[name][0][group][0])
        np.testing.assert_array_equal(labels, new[name][1][0])


@pytest.mark.long
@pytest.mark.parametrize("encoders", ["separate", "joint"])
def test_the_real_pairs_find_each_other(call, real, write_config, tmp_path, encoders):
    """All six memorised: each patch finds its own view by the other sensor."""
    shards = [f"{real}/v2/*.tfrecord"]
    config = write_config(
        real / "v2",
        task="contrastive",
        modality="MM",
        encoders=encoders,
        model_name="resnet_test",
        batch_size=6,
        nb_epoch=60,
        learning_rate=3e-3,
        validate_per_iteration=1000,
        retrieval_k=[1],
        tr_tf_record_files=shards,
        test_tf_record_files=shards,
    )
    assert call("train", config).status == 0
    assert call("eval", config, "--checkpoint", "last").status == 0
    result = json.loads((tmp_path / "run" / "eval_result.json").read_text())
    assert result["s1_s2_partner_recall@1"] == 1
    assert result["s2_s1_partner_recall@1"] == 1
