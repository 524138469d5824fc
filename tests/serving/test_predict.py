"""Scores of patches, the same from folders, archives, an LMDB and records."""

import csv
import json
import shutil
import sys

import closeness
import filelock
import numpy as np
import pandas as pd
import pytest
import scene_files
import toy
import v1_lmdbs
from pyarrow import parquet

from bigearthnet_tf import cli
from bigearthnet_tf.archive import archives, lmdb_store, names
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.archive.patch import PatchEntry
from bigearthnet_tf.serving import (
    chosen_thresholds,
    patch_scores,
    patch_sources,
    trained,
)

LABELS = label_facts.LABELS["BigEarthNet-19"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs on Sentinel-2, on Sentinel-1 and on both, by name."""
    folder = tmp_path_factory.mktemp("runs")
    bands = {"s2": "s2", "s1": "s1", "both": "all"}
    return {
        name: scene_files.write_run(folder / name, bands=own)
        for name, own in bands.items()
    }


@pytest.fixture
def predict(monkeypatch):
    """Calls the command and returns its table."""

    def call(run, *arguments, out):
        words = [run, *arguments, "-o", out]
        monkeypatch.setattr(sys, "argv", ["", "predict", *map(str, words)])
        cli.run()
        return pd.read_parquet(out) if out.suffix == ".parquet" else pd.read_csv(out)

    return call


def expected(run, patches):
    """Scores of patches that are read and batched here."""
    model = trained.load(run)
    groups = {
        name: np.stack([np.stack([own[band] for band in members]) for own in patches])
        for name, members in band_facts.group_bands(model.bands).items()
    }
    return model.score(groups)


def test_an_archive_of_version_1_and_its_patches(shared, runs, predict, tmp_path):
    root = shared / "data/v1/BigEarthNet-v1.0"
    table = predict(runs["s2"], root, "--batch-size", 4, out=tmp_path / "a.parquet")
    folders = sorted(root.iterdir())
    patches = scene_files.real_patches(shared, "s2")
    scores = expected(runs["s2"], patches)
    assert table["name"].tolist() == [folder.name for folder in folders]
    closeness.assert_close(table[list(LABELS)], scores, closeness.NETWORK)
    for given, row in zip(table["labels"], scores, strict=True):
        assert list(given) == [
            name for name, score in zip(LABELS, row, strict=True) if score >= 0.5
        ]
    facts = json.loads(
        parquet.read_schema(tmp_path / "a.parquet").metadata[b"bigearthnet_tf"]
    )
    assert facts["labels"] == list(LABELS) and facts["thresholds"] == [0.5] * 19
    # Single patches, in the order that they are given in.
    pair = predict(runs["s2"], folders[3], folders[1], out=tmp_path / "b.csv")
    assert pair["name"].tolist() == [folders[3].name, folders[1].name]
    closeness.assert_close(pair[list(LABELS)], scores[[3, 1]], closeness.NETWORK)
    # With the partners that only the JSON files know.
    s1 = shared / "data/v1/BigEarthNet-S1-v1.0"
    both = predict(runs["both"], root, "--s1", s1, out=tmp_path / "c.parquet")
    archive = archives.open_archive(root, s1)
    assert both["name"].tolist() == table["name"].tolist()
    for patch, partner in zip(both["name"], both["name_s1"], strict=True):
        assert archive.metadata_of(PatchEntry(patch)).labels
        assert names.parse_name(partner).sensor == "S1"
    radar = predict(runs["s1"], s1, out=tmp_path / "d.parquet")
    assert radar["name"].tolist() == sorted(p.name for p in s1.iterdir())


def test_version_2_from_folders_lmdb_and_records(shared, runs, predict, tmp_path):
    data = shared / "data/v2"
    roots = [data / "BigEarthNet-S2", "--s1", data / "BigEarthNet-S1"]
    present = sorted(path.name for path in roots[0].glob("*/*"))
    part = parquet.read_table(
        data / "metadata.parquet", filters=[("patch_id", "in", present)]
    )
    parquet.write_table(part, tmp_path / "metadata.parquet")
    there = {path.name for path in roots[2].glob("*/*")}
    partners = {
        row["patch_id"]: row["s1_name"]
        for row in part.to_pylist()
        if row["s1_name"] in there
    }
    known = sorted(partners)
    listed = tmp_path / "some.csv"
    listed.write_text("\n".join(known) + "\n")
    options = ["--patches", listed, "--metadata", tmp_path / "metadata.parquet"]
    folders = predict(runs["both"], *roots, *options, out=tmp_path / "f.parquet")
    assert folders["name"].tolist() == known
    assert folders["name_s1"].tolist() == [partners[name] for name in known]
    lmdb = data / "Encoded-BigEarthNet"
    keys = predict(runs["both"], lmdb, *options, out=tmp_path / "l.parquet")
    pd.testing.assert_frame_equal(keys, folders)
    # Without metadata where one sensor is enough.
    optical = predict(runs["s2"], lmdb, out=tmp_path / "o.parquet")
    plain = predict(runs["s2"], roots[0], out=tmp_path / "p.parquet")
    common = optical.merge(plain, on="name")
    assert len(common) == len(plain)
    for name in LABELS:
        one, other = common[f"{name}_x"], common[f"{name}_y"]
        closeness.assert_close(one, other, closeness.NETWORK)


def test_records_and_thresholds_of_the_run(runs, predict, tmp_path):
    toy.write_records(tmp_path, "test", 10, "v2")
    patches = [toy.patch(number, "BigEarthNet-19") for number in range(10)]
    scores = expected(runs["both"], [patch.bands for patch in patches])
    limits = np.linspace(0.2, 0.8, 19)
    stored = {"labels": LABELS, "thresholds": limits.tolist()}
    run = tmp_path / "run"
    shutil.copytree(runs["both"], run)
    (run / "thresholds.json").write_text(json.dumps(stored))
    out = tmp_path / "t.csv"
    for source in (tmp_path, tmp_path / "test-*"):
        found = predict(
            run, source, "--thresholds", "tuned", "--batch-size", 3, out=out
        )
        order = np.argsort(found["name"].tolist())
        theirs = np.argsort([patch.name_s2 for patch in patches])
        np.testing.assert_array_equal(
            found[list(LABELS)].to_numpy(np.float32)[order].shape, scores.shape
        )
        closeness.assert_close(
            found[list(LABELS)].to_numpy()[order], scores[theirs], closeness.NETWORK
        )
    with out.open(newline="") as file:
        for row in csv.DictReader(file):
            own = {n for n, t in zip(LABELS, limits, strict=True) if float(row[n]) >= t}
            assert set(filter(None, row["labels"].split(patch_scores.SEPARATOR))) == own


def test_groups_of_rows_are_written_as_they_come(runs, tmp_path, monkeypatch):
    toy.write_records(tmp_path, "test", 10, "v2")
    monkeypatch.setattr(patch_scores, "ROWS", 4)
    model = trained.load(runs["s2"])
    source = patch_sources.open_source([str(tmp_path)], model.bands)
    out = tmp_path / "t.parquet"
    (tmp_path / ".t.parquet.4711.tmp").write_bytes(b"of a process that was killed")
    assert patch_scores.write(model, source, out, np.full(19, 0.5), 3) == 10
    assert not list(tmp_path.glob(".t.parquet*"))
    with (
        filelock.FileLock(tmp_path / ".t.parquet.lock"),
        pytest.raises(OSError, match="another process is writing it"),
    ):
        patch_scores.write(model, source, out, np.full(19, 0.5), 3)
    found = parquet.ParquetFile(out).metadata
    rows = [found.row_group(i).num_rows for i in range(found.num_row_groups)]
    assert sum(rows) == 10 and max(rows) <= 4


def test_nothing_is_left_of_what_failed(shared, runs, tmp_path):
    root = tmp_path / "BigEarthNet-v1.0"
    shutil.copytree(shared / "data/v1/BigEarthNet-v1.0", root)
    damaged = sorted(root.iterdir())[4]
    (damaged / f"{damaged.name}_B08.tif").write_bytes(b"II*\0")
    model = trained.load(runs["s2"])
    source = patch_sources.open_source([str(root)], model.bands)
    out = tmp_path / "out" / "t.parquet"
    with pytest.raises(ValueError, match=f"{damaged.name}_B08.tif"):
        patch_scores.write(model, source, out, np.full(19, 0.5), 2)
    assert not list(tmp_path.glob("out/*"))


def test_what_cannot_be_scored_is_refused_in_a_line(shared, runs, tmp_path):
    v1, v2 = shared / "data/v1", shared / "data/v2"
    s2, s1 = v1 / "BigEarthNet-v1.0", v1 / "BigEarthNet-S1-v1.0"
    both = band_facts.resolve_bands("all")
    optical = band_facts.resolve_bands("s2")

    def refuse(match, *sources, bands=optical, **options):
        with pytest.raises((ValueError, FileNotFoundError), match=match):
            patch_sources.open_source([str(s) for s in sources], bands, **options)

    patch = next(s2.iterdir())
    lists = [v1 / "test.csv"]
    refuse("no such file or folder", tmp_path / "none")
    refuse("no root of S1 is given: give its root with --s1", s2, bands=both)
    refuse("no root of S2 is given", s1)
    refuse("expected one archive or LMDB", s2, s1)
    refuse("expected one archive or LMDB", s2, patch)
    refuse("lists and metadata are for archives", patch, lists=lists)
    refuse("which has its own Sentinel-1", v2 / "Encoded-BigEarthNet", s1=str(s1))
    refuse("give the folder of the Sentinel-1 partner", patch, bands=both)
    refuse("expected folders named like BigEarthNet patches", tmp_path)
    refuse(
        "labels or Sentinel-1 name of .* are not known",
        v2 / "BigEarthNet-S2",
        bands=both,
        s1=str(v2 / "BigEarthNet-S1"),
    )
    model = trained.load(runs["s2"])
    with pytest.raises(ValueError, match=r"ends in .parquet or .csv"):
        patch_scores.write(model, None, tmp_path / "t.json", np.full(19, 0.5), 2)
    toy.write_records(tmp_path, "test", 2, "v2", bands=band_facts.resolve_bands("s1"))
    refuse("B02", tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"labels": LABELS[::-1][:18], "thresholds": [0.5] * 18}, "for each of the 19"),
        ({"thresholds": [float("nan")] * 19}, "got NaN"),
        ({"fingerprint": "of other weights"}, "thresholds of other weights"),
        ({"labels": "Pastures"}, "labels"),
    ],
)
def test_thresholds_of_something_else_are_refused(tmp_path, change, match):
    stored = {"labels": LABELS, "thresholds": [0.5] * 19, "fingerprint": "ours"}
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps(stored | change))
    with pytest.raises(ValueError, match=match):
        chosen_thresholds.find(str(path), tmp_path, LABELS, "ours")


def test_lmdbs_of_version_1(shared, runs, predict, tmp_path):
    source = shared / "data/v1_lmdb/BigEarthNetEncoded.lmdb"
    both = predict(runs["both"], source, out=tmp_path / "b.parquet")
    archive = lmdb_store.open_lmdb(source)
    assert both["name"].tolist() == archive.names()
    patches = [archive.read(PatchEntry(name)).bands for name in archive.names()]
    scores = expected(runs["both"], patches)
    closeness.assert_close(both[list(LABELS)], scores, closeness.NETWORK)
    # The same patches as the CBIR project has them, which knows Sentinel-1 by name.
    names_s2 = ["S2A_MSIL2A_20170613T101031_87_48"]
    names_s1 = ["S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48"]
    vector = np.eye(19)[4]
    optical = v1_lmdbs.write(
        tmp_path / "s2", {names_s2[0]: v1_lmdbs.cbir_s2(patches[0], vector)}
    )
    radar = v1_lmdbs.write(
        tmp_path / "s1", {names_s1[0]: v1_lmdbs.cbir_s1(patches[0], vector)}
    )
    (tmp_path / "pairs.csv").write_text(f"{names_s2[0]},{names_s1[0]}\n")
    options = ["--s1", radar, "--patches", tmp_path / "pairs.csv"]
    pair = predict(runs["both"], optical, *options, out=tmp_path / "p.parquet")
    assert (pair["name"].tolist(), pair["name_s1"].tolist()) == (names_s2, names_s1)
    closeness.assert_close(pair[list(LABELS)], scores[:1], closeness.NETWORK)
