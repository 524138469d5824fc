"""A user of reBEN's training scripts: their folder and README, from top to bottom."""

import json
import logging
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from published_files import as_hub_has_it, batch, randomised

import bigearthnet_tf
from bigearthnet_tf import cli, console
from bigearthnet_tf.archive import metadata, sample

ROOT = Path(__file__).parents[2]
# `split_csv`, `s1_mapping_csv`, `labels_csv` of the earlier scripts, and the columns.
THREE = {
    "patch_id_split_mapping.csv": "split",
    "patch_id_s1_mapping.csv": "s1_name",
    "patch_id_label_mapping.csv": "label",
}
# The paper's command, with smaller numbers.
COMMAND = (
    "--no-test-run --use-wandb --upload-to-hub --hf-entity=me --architecture=resnet18 "
    "--bandconfig=s2 --bs=4 --lr=0.001 --epochs=1 --warmup=1 --workers=2"
)
# For seconds in place of minutes, and no account with Weights & Biases.
SMALL = [
    *("--set", "model_name=resnet_test", "--set", "image_size=32"),
    *(
        "--set",
        "devices=cpu",
        "--set",
        "sample_images=0",
        "--set",
        "bootstrap_rounds=0",
    ),
    *("--set", "wandb_project=null"),
]


@pytest.fixture
def call(monkeypatch, capfd):
    """Calls a script in this process; returns what it said, if it ended well."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        monkeypatch.syspath_prepend(ROOT)
        main = cli.run if name == "bigearthnet-tf" else __import__(name).main
        with pytest.raises(SystemExit) as left:
            console.run(main)
        said = capfd.readouterr()
        assert left.value.code == 0, said.err
        return said.out + said.err

    yield run
    logging.getLogger().handlers.clear()
    keras.utils.clear_session()


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated")
    return sample.write_archive(folder / "archive", 16, version="v2", seed=1, workers=1)


@pytest.fixture
def theirs(call, generated, tmp_path, monkeypatch):
    """Their data folder, which is the working directory: LMDB, Parquet, three CSVs."""
    from bigearthnet_tf.evaluation import classification_page

    # The pictures of a report take most of the time of a small evaluation.
    monkeypatch.setattr(classification_page, "draw", lambda *_: [])
    monkeypatch.chdir(tmp_path)
    call(
        *("prep_splits", "-r", generated / "BigEarthNet-S2", "-o", "made"),
        *("-s", generated / "BigEarthNet-S1", "--workers", 1),
        *("--metadata", generated / "metadata.parquet"),
    )
    lmdb = "BigEarthNet-V2-LMDB"
    call("bigearthnet-tf", "convert", "made/*.tfrecord", "-o", lmdb, "--to", "lmdb")
    shutil.rmtree("made")
    Path(f"{lmdb}.metadata.parquet").rename("metadata.parquet")
    write_csvs(Path("metadata.parquet"))
    return tmp_path


def write_csvs(parquet):
    table = pd.read_parquet(parquet).rename(columns={"labels": "label"})
    for name, column in THREE.items():
        rows = table[["patch_id", column]].explode(column)
        rows.to_csv(name, index=False)


def test_from_their_folder_to_a_folder_for_the_hub(theirs, call):
    lmdb = ("prep_splits", "--lmdb", "BigEarthNet-V2-LMDB", "--workers", 1)
    call(*lmdb, "--metadata", *THREE, "-o", "records")
    # Both interfaces give the same bytes.
    call(*lmdb, "--metadata", "metadata.parquet", "-o", "later")
    made = {path.name: path.read_bytes() for path in Path("records").glob("*.tfrecord")}
    assert made == {p.name: p.read_bytes() for p in Path("later").glob("*.tfrecord")}
    assert len(made) == 3

    said = call("train", "--from-reben", COMMAND, *SMALL)
    lists = [line for line in said.splitlines() if "not carried over" in line]
    assert len(lists) == 1
    left_out = lists[0].partition("not carried over: ")[2].split("; ")
    assert [text.partition(":")[0] for text in left_out] == [
        "--upload-to-hub",
        "--workers",
    ]
    run = Path("runs/reben/resnet18-42-s2")
    assert json.loads((run / "config.json").read_text())["statistics"] == (
        "v2_120_nearest"
    )

    call("eval", "--from-reben", COMMAND, *SMALL)
    results = json.loads((run / "eval_conventions.json").read_text())
    assert "AveragePrecision" in json.dumps(results["torchmetrics"])

    call("bigearthnet-tf", "export", run, "-o", "resnet_test-s2-v0.2.0")
    again = bigearthnet_tf.from_pretrained("resnet_test-s2-v0.2.0")
    trained = bigearthnet_tf.from_pretrained(str(run))
    images = batch(again)
    np.testing.assert_allclose(again(images), trained(images), atol=1e-4)


@pytest.mark.long
def test_one_text_of_one_word(theirs, call):
    call(
        *("prep_splits", "--lmdb", "BigEarthNet-V2-LMDB", "--workers", 1),
        *("--metadata", *THREE, "-o", "records"),
    )
    said = call("train", "--from-reben", "--bs=4", "--test-run", *SMALL)
    assert "this is the whole run" in said
    assert Path("runs/reben/resnet101-42-all-test-run/checkpoints").is_dir()


def test_a_model_by_its_name_of_v0_1_1(tmp_path):
    # The first names on the hub also had the project and the seed.
    model = randomised()
    folder = tmp_path / "BENv2-resnet50-42-s2-v0.1.1"
    as_hub_has_it(model, folder, "ilm_v1_s2")
    found = bigearthnet_tf.from_pretrained(folder)
    images = batch(model)
    np.testing.assert_allclose(found(images), model(images), atol=1e-4)


def test_genuine_patches_with_both_interfaces(shared, tmp_path, call, monkeypatch):
    source = shared / "data/v2_lmdb"
    monkeypatch.chdir(tmp_path)
    write_csvs(source / "metadata.parquet")
    wanted = metadata.read_metadata(source / "metadata.parquet")
    found = metadata.read_tables(list(THREE))
    pd.testing.assert_frame_equal(found, wanted[list(found)])
    for number, table in enumerate(([source / "metadata.parquet"], [*THREE])):
        call(
            *("prep_splits", "--lmdb", source / "BigEarthNet-V2-LMDB"),
            *("--workers", 1, "--metadata", *table, "-o", number),
        )
    for split in ("train", "val", "test"):
        name = f"{split}-00000-of-00001.tfrecord"
        assert Path("0", name).read_bytes() == Path("1", name).read_bytes()
