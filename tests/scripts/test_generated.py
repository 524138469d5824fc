"""Generated data is marked from the archive to whatever is made of it."""

import json
import shutil
import zipfile

import pytest
import rasterio
import rasterio.shutil

from bigearthnet_tf import config as configs
from bigearthnet_tf import files
from bigearthnet_tf.archive import archives, geotiff, metadata, tile_sample, tiles
from bigearthnet_tf.evaluation import generated
from bigearthnet_tf.records import manifest
from bigearthnet_tf.tasks import origin

SPLITS = ("train", "val", "test")


def marks(folder) -> dict[str, bool]:
    return {
        path.name.split(".")[0]: files.read_json(path)["generated"]
        for path in sorted(folder.glob("*.manifest.json"))
    }


def unmark(path) -> None:
    """Makes a manifest one of the versions before."""
    content = files.read_json(path)
    del content["generated"]
    files.write_json(path, content)


@pytest.fixture(scope="module")
def unmarked(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unmarked") / "records"
    shutil.copytree(records, folder)
    for path in folder.glob("*.manifest.json"):
        unmark(path)
    return folder


def keys(folder, **changes) -> configs.Config:
    patterns = {
        f"{key}_tf_record_files": [str(folder / f"{split}-*.tfrecord")]
        for key, split in zip(("tr", "val", "test"), SPLITS, strict=True)
    }
    return configs.from_dict(patterns | changes)


def test_patches_are_marked_and_stay_so_when_they_are_copied(archive_v2, tmp_path):
    table = metadata.read_tables([archive_v2 / "metadata.parquet"])
    folder = archive_v2 / "BigEarthNet-S2"
    archive = archives.open_archive(folder, metadata=table)
    entry = metadata.entries_from_metadata(table, "train")[0]
    assert archive.read(entry).generated
    assert archive.read(entry, ["B01"]).generated
    path = next(folder.rglob(f"{entry.name}_B02.tif"))
    copy = tmp_path / "copy.tif"
    rasterio.shutil.copy(path, copy, compress="deflate")
    assert geotiff.is_generated(copy)


def test_real_patches_are_not(shared):
    paths = list((shared / "data").rglob("*_B02.tif"))
    assert len(paths) > 12
    for path in paths:
        assert not geotiff.is_generated(path)


def test_records_are_marked_in_every_form_and_back(call, records, tmp_path):
    assert marks(records) == dict.fromkeys(SPLITS, True)
    pattern = str(records / "*.tfrecord")
    for form in ("int64", "bytes"):
        out = tmp_path / form
        done = call("bigearthnet-tf", "convert", pattern, "-o", out, "--to", form)
        assert done.status == 0, done.err
        assert marks(out) == dict.fromkeys(SPLITS, True)
    lmdb = tmp_path / "lmdb"
    done = call("bigearthnet-tf", "convert", pattern, "-o", lmdb, "--to", "lmdb")
    assert done.status == 0, done.err
    back, table = tmp_path / "back", tmp_path / "lmdb.metadata.parquet"
    done = call("prep_splits", "--lmdb", lmdb, "-o", back, "--metadata", table)
    assert done.status == 0, done.err
    assert marks(back) == dict.fromkeys(SPLITS, True)


def test_records_without_the_mark_stay_without(call, unmarked, tmp_path):
    out = tmp_path / "out"
    done = call(
        "bigearthnet-tf", "convert", unmarked / "*.tfrecord", "-o", out, "--to", "int64"
    )
    assert done.status == 0, done.err
    assert marks(out) == dict.fromkeys(SPLITS, False)
    assert not origin.marked(keys(unmarked)).generated


@pytest.mark.parametrize("split", SPLITS)
def test_one_generated_split_is_enough(records, unmarked, tmp_path, split):
    mixed = shutil.copytree(unmarked, tmp_path / "mixed")
    shutil.copy(records / f"{split}.manifest.json", mixed)
    assert origin.marked(keys(mixed)).generated


def test_what_a_run_says_of_itself_counts_and_what_is_not_there_does_not(
    unmarked, tmp_path
):
    assert origin.marked(keys(unmarked, generated=True)).generated
    assert not origin.marked(keys(tmp_path)).generated
    assert not origin.marked(keys(unmarked), ["best", "ORG/name", tmp_path]).generated
    run, published = tmp_path / "run", tmp_path / "published"
    files.write_json(run / "config.json", {"generated": True})
    files.write_json(published / "training.json", {"generated": True})
    checkpoint = run / "checkpoints" / "iteration-3"
    files.write_json(
        checkpoint / "description.json", {"progress": {"config": {"generated": True}}}
    )
    for folder in (run, published, checkpoint):
        assert origin.marked(keys(unmarked), [folder]).generated
        assert origin.marked(keys(unmarked, weights=str(folder))).generated
        begun = keys(unmarked, model_file=str(folder), fine_tune=True)
        assert origin.marked(begun).generated
    assert not origin.marked(keys(unmarked, model_file=str(run))).generated


def test_tiles_are_marked(call, tmp_path):
    folder = tile_sample.write_tiles(tmp_path / "tiles", tiles=2, size=32, dates=40)
    real = tmp_path / "tiles" / "tile_02" / "tile.json"
    assert tiles.open_tile(folder / "tile_01").generated
    content = files.read_json(real)
    del content["generated"]
    files.write_json(real, content)
    assert not tiles.open_tile(folder / "tile_02").generated
    out = tmp_path / "series"
    done = call(
        "bigearthnet-tf", "tiles", folder, "-o", out, "--val", "tile_02",
        "--min-valid", "3",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert marks(out) == {"train": True, "val": False}
    assert manifest.any_generated([str(out / "train-*.tfrecord")])
    assert not manifest.any_generated([str(out / "val-*.tfrecord")])


def test_everything_made_of_a_run_has_a_banner(
    call, records, unmarked, write_config, tmp_path
):
    config, run = write_config(records, nb_epoch=1), tmp_path / "run"
    assert call("train", config).status == 0
    assert files.read_json(run / "config.json")["generated"] is True
    checkpoint = next(run.glob("checkpoints/iteration-*"))
    description = files.read_json(checkpoint / "description.json")
    assert description["progress"]["config"]["generated"] is True
    # The weights bring the mark, too.
    config = write_config(unmarked, nb_epoch=1)
    done = call("eval", config, "--set", "bootstrap_rounds=0")
    assert done.status == 0, done.err
    for name in ("report.html", "report.md"):
        assert generated.TITLE in (run / name).read_text()

    curves = tmp_path / "curves"
    assert call("bigearthnet-tf", "plot", run, "--out", curves).status == 0
    assert generated.TITLE in (curves / "curves.html").read_text()
    other = shutil.copytree(run, tmp_path / "other")
    compared = tmp_path / "compared"
    done = call("bigearthnet-tf", "compare", run, other, "--out", compared)
    assert done.status == 0, done.err
    for name in ("compare.html", "compare.md"):
        assert generated.TITLE in (compared / name).read_text()
    told = json.loads((compared / "compare.json").read_text())
    assert [each["generated"] for each in told["runs"]] == [True, True]

    out = tmp_path / "published"
    command = ["bigearthnet-tf", "publish", run, "-o", out, "--data", "BigEarthNet v2"]
    refused = call(*command)
    assert refused.status == 1
    assert refused.complaint.startswith(f"error: {run}: its records, or the weights")
    assert refused.complaint.endswith(
        "--allow-generated, which the model card will say"
    )
    assert not out.exists()
    done = call(*command, "--allow-generated")
    assert done.status == 0, done.err
    assert generated.TITLE in (out / "README.md").read_text()
    assert files.read_json(out / "training.json")["generated"] is True
    model = tmp_path / "model.keras"
    done = call("bigearthnet-tf", "export", out, "-o", model, "--format", "keras")
    assert done.status == 0, done.err
    with zipfile.ZipFile(model) as archive:
        assert '"generated": true' in archive.read("config.json").decode()
    done = call("bigearthnet-tf", "export", run, "-o", tmp_path / "hub")
    assert done.status == 0, done.err
    assert files.read_json(tmp_path / "hub" / "config.json")["generated"] is True
