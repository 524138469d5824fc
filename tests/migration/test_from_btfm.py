"""A user of btfm brings a folder of tiles: to a map, and back to arrays.

The folders are laid out as btfm has them: no coordinate system, no year and no names of
bands anywhere. What is checked is what the page docs/migration/btfm.md says.
"""

import argparse
import importlib.util
import json
import logging
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bigearthnet_tf import cli, console
from bigearthnet_tf.archive import tile_sample

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "migration" / "btfm.md"
SIZE, CLOUDY = 16, (3, 5)
TILES = "data/global/processed"
ORDER = "B04 B02 B03 B08 B8A B09 B05 B06 B07 B11 B12"
FEW = ("model_name=pixel_mlp", "batch_size=64", "nb_epoch=1", "devices=cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The folders of btfm: tiles without labels, and some with, for two splits."""
    base = tmp_path_factory.mktemp("base")
    tile_sample.write_tiles(base / "made", tiles=4, size=SIZE, dates=80, years=1)
    places = (
        f"{TILES}/MGRS-12TYN",
        f"{TILES}/MGRS-13TCH",
        "downstream/train/12TYM",
        "downstream/test/13TDG",
    )
    for number, place in enumerate(places, start=1):
        folder = base / place
        folder.parent.mkdir(parents=True, exist_ok=True)
        (base / "made" / f"tile_0{number}").rename(folder)
        (folder / "tile.json").unlink()
        if "downstream" not in place:
            (folder / "labels.npy").unlink()
        masks = np.load(folder / "masks.npy")
        masks[:, CLOUDY[0], CLOUDY[1]] = 0
        np.save(folder / "masks.npy", masks.astype(np.int8))
        for name in ("band_mean", "band_std"):
            values = np.load(folder / f"{name}.npy").astype(np.float32)
            np.save(folder / f"{name}.npy", values)
    return base


def run(name, *arguments) -> str:
    """Calls a command, which must end well; returns what it printed and logged."""
    sys.argv = [name, *map(str, arguments)]
    if name == "bigearthnet-tf":
        main = cli.run
    else:
        spec = importlib.util.spec_from_file_location(name, ROOT / f"{name}.py")
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        main = script.main
    with pytest.raises(SystemExit) as left:
        console.run(main)
    assert left.value.code == 0
    return name


@pytest.fixture
def call(capfd, monkeypatch, base):
    """Calls commands in the folder of the user."""
    monkeypatch.chdir(base)
    monkeypatch.setattr(sys, "argv", sys.argv)

    def called(name, *arguments):
        run(name, *arguments)
        return capfd.readouterr().out

    yield called
    logging.getLogger().handlers.clear()


def configured(name, *settings):
    keys = [word for each in (*FEW, *settings) for word in ("--set", each)]
    return [ROOT / "configs" / "time_series" / f"{name}.json", *keys]


def standardised_with(base, out):
    """Mean and deviation within the newest checkpoint of a run."""
    (path,) = (base / out / "checkpoints").glob("iteration-*")
    reader = tf.train.load_checkpoint(str(path / "state"))
    names = reader.get_variable_to_shape_map()
    return [
        reader.get_tensor(next(n for n in names if n.endswith(f"standardize/{what}")))
        for what in ("mean", "std")
    ]


@pytest.mark.slow
def test_a_folder_of_tiles_becomes_maps(call, base):
    told = call(
        *("bigearthnet-tf", "tiles", TILES, "-o", "series", "--val", "MGRS-13TCH"),
        *("--statistics", "files", "--block-size", 8),
    )
    assert "MGRS-12TYN and 1 more: no file names the 11 bands, so their order" in told
    assert f"assumed to be {ORDER}; give --bands" in told
    files = "standardised by band_mean.npy and band_std.npy of "
    assert f"train: bands are {files}MGRS-12TYN\n" in told
    records = (
        'tr_tf_record_files=["series/train-*"]',
        'val_tf_record_files=["series/val-*"]',
    )
    told = call("train", *configured("btfm", *records))
    assert f"{files}the training tiles" in told
    for found, name in zip(
        standardised_with(base, "runs/btfm"), ("band_mean", "band_std"), strict=True
    ):
        own = np.load(base / TILES / "MGRS-12TYN" / f"{name}.npy")
        np.testing.assert_array_equal(found, own)

    told = call(
        *("bigearthnet-tf", "tiles", "downstream/train", "downstream/test"),
        *("-o", "labelled", "--test", "13TDG", "--min-valid", 16, "--block-size", 8),
    )
    assert "train: bands are standardised by mean and deviation measured on its" in told
    records = (
        'tr_tf_record_files=["labelled/train-*"]',
        "val_tf_record_files=[]",
        'test_tf_record_files=["labelled/test-*"]',
        "baselines=false",
    )
    told = call("train", *configured("btfm_land_cover", *records))
    assert "classes  10: Tree cover" in told
    assert "came with the encoder of runs/btfm" in told
    # What the encoder was trained with comes along, as it should.
    np.testing.assert_array_equal(
        standardised_with(base, "runs/btfm_land_cover"),
        standardised_with(base, "runs/btfm"),
    )
    call("eval", *configured("btfm_land_cover", *records))
    result = json.loads((base / "runs/btfm_land_cover/eval_result.json").read_text())
    assert 0 <= result["macro_f1"] <= 1

    told = call(
        *("bigearthnet-tf", "map", "runs/btfm_land_cover", "downstream/test/13TDG"),
        *("-o", "maps/class_map.npy", "--draws", 1),
    )
    assert told.count("13TDG: no coordinate system is known, so maps are in pixel") == 1
    classes = np.load(base / "maps/class_map.npy")
    assert (classes.dtype, classes.shape) == (np.uint8, (SIZE, SIZE))
    assert np.argwhere(classes == 255).tolist() == [list(CLOUDY)]
    call(
        *("bigearthnet-tf", "map", "runs/btfm", f"{TILES}/MGRS-13TCH", "--draws", 1),
        *("-o", "maps/representation_map.npy", "--kind", "embedding"),
    )
    embeddings = np.load(base / "maps/representation_map.npy")
    assert (embeddings.dtype, embeddings.shape) == (np.float32, (SIZE, SIZE, 64))
    nothing = np.isnan(embeddings).any(axis=-1)
    assert np.argwhere(nothing).tolist() == [list(CLOUDY)]

    # Those of btfm itself are drawn as well: int64 classes, 0 where nothing is.
    np.save(
        base / "mlp_classification_map.npy",
        np.where(classes == 255, 0, classes + 1).astype(np.int64),
    )
    for name in (
        "mlp_classification_map",
        "maps/class_map",
        "maps/representation_map",
    ):
        told = call("bigearthnet-tf", "map", "--read", f"{name}.npy", "-o", "a.png")
        assert told.startswith("a.png: ")
        assert (base / "a.png").stat().st_size > 10_000


# What the specification names of btfm.
THEIRS = (
    *("bands.npy", "masks.npy", "doys.npy", "labels.npy", "band_mean.npy"),
    *("band_std.npy", "<backbone>_classification_map.npy", "representation_map.npy"),
    *("train.py", "infer.py", "read_inference_map", "data.py", "get_tile"),
    *("min_valid", "sample_size", "time_dim", "roi.tiff", "labels.tif"),
)


def rows():
    """The cells of all rows of the tables of the page."""
    lines = PAGE.read_text().splitlines()
    found = [line.strip("|").split(" | ") for line in lines if line.startswith("| ")]
    return [
        [cell.strip() for cell in row] for row in found if row[0].strip() != "theirs"
    ]


def test_the_page_covers_what_btfm_has():
    theirs = " ".join(row[0] for row in rows())
    assert [name for name in THEIRS if f"`{name}`" not in theirs] == []
    assert all(len(row) == 3 for row in rows())


def test_what_the_page_names_of_ours_is_there():
    keys = json.loads((ROOT / "configs" / "schema.json").read_text())["properties"]
    spans = [span for _, here, _ in rows() for span in re.findall(r"`([^`]+)`", here)]
    assert len(spans) > 30
    for span in spans:
        if found := re.match(r'"?(\w+)"?(: .+)?$', span):
            key, value = found.groups()
            assert key in keys, span
            assert value is None or json.loads("{" + span + "}"), span
        elif span.startswith("bigearthnet-tf "):
            parser = argparse.ArgumentParser()
            name = span.split()[1]
            module = importlib.import_module(f"bigearthnet_tf.commands.{name}")
            module.add_arguments(parser)
            for flag in re.findall(r"--[a-z-]+", span):
                assert flag in parser.format_help(), span
        elif "/" in span and span.startswith(("configs", "bigearthnet_tf")):
            assert (ROOT / span).exists(), span


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:30])
def test_a_row_has_ours_or_says_why_not(row):
    _, here, differs = row
    assert here and differs
    assert "`" in here or (here == "–" and len(differs) > 20)
