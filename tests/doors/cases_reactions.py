"""Signals at every door, test runs, and the mark of generated data."""

import argparse
import json
import signal

import rasterio
import tqdm
from doors.case import Case

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _at_the_start(number, arguments):
    """Has the command get a signal while it reads its command line."""

    def call(kit, here):
        read = argparse.ArgumentParser.parse_known_args

        def interrupted(self, *args, **kwargs):
            signal.raise_signal(number)
            return read(self, *args, **kwargs)

        argparse.ArgumentParser.parse_known_args = interrupted
        return arguments(kit, here)

    return call


def _at_work(number, arguments):
    """Has the command get a signal when its first progress is counted."""

    def call(kit, here):
        update = tqdm.tqdm.update

        def interrupted(self, n=1):
            signal.raise_signal(number)
            return update(self, n)

        tqdm.tqdm.update = interrupted
        return arguments(kit, here)

    return call


def _v2(kit, here, *more):
    s2, s1 = kit.bands_of_v2()
    return [
        "-r", s2, "-s", s1, "--metadata", kit.v2 / "metadata.parquet", "-o", "out",
        "--workers", 1, *more,
    ]  # fmt: skip


DOORS = {
    "prep_splits": _v2,
    "train": lambda kit, here: [kit.config, "--test-run"],
    "eval": lambda kit, here: [kit.config],
    "sample": lambda kit, here: ["--patches", 40, "--out", "out", "--workers", 1],
    "convert": lambda kit, here: [kit.records / "*.tfrecord", "-o", "out"],
    "split": lambda kit, here: [
        "--metadata", kit.v2 / "metadata.parquet", "-o", "out"],
    "statistics": lambda kit, here: [
        kit.records / "*.tfrecord", "-o", "own.json", "--workers", 1],
    "tiles": lambda kit, here: [kit.tiles, "-o", "out", "--min-valid", 3],
    "inspect": lambda kit, here: [kit.records, "--verify"],
    "embed": lambda kit, here: [kit.config, "--out", "out"],
    "index": lambda kit, here: ["build", kit.features, "-o", "out"],
    "retrieve": lambda kit, here: [kit.index, "--name", "x"],
    "sweep": lambda kit, here: [kit.config],
    "predict": lambda kit, here: [
        kit.run, kit.records / "test-*.tfrecord", "-o", "out.csv"],
    "map": lambda kit, here: [kit.s2_run, kit.scene, "-o", "map.tif"],
    "points": lambda kit, here: [kit.land_cover, kit.tiles, "-o", "out.csv"],
    "regress": lambda kit, here: ["out.csv"],
    "export": lambda kit, here: [kit.s2_run, "-o", "out"],
    "publish": lambda kit, here: [kit.s2_run, "-o", "out", "--data", "x"],
    "plot": lambda kit, here: [kit.run, "--out", "out"],
    "compare": lambda kit, here: [kit.run, kit.s2_run, "--out", "out"],
    "models": lambda kit, here: [],
    "schema": lambda kit, here: [],
}  # fmt: skip

# Of these nothing may be left; others keep finished work to go on with.
AT_WORK = ("sample", "statistics", "inspect", "predict", "embed")


def _test_run(**keys):
    def call(kit, here):
        return [kit.write_config(here, **keys), "--test-run"]

    return call


def _series_test_run(kit, here):
    config = {
        "task": "barlow_twins", "model_name": "pixel_mlp", "batch_size": 512,
        "nb_epoch": 1, "devices": "cpu", "out_dir": "run",
        **{f"{key}_tf_record_files": [str(kit.blocks / f"{split}-*.tfrecord")]
           for key, split in (("tr", "train"), ("val", "val"), ("test", "test"))},
    }  # fmt: skip
    path = here / "series.json"
    path.write_text(json.dumps(config))
    return [path, "--test-run"]


def _batch_is(size, accumulation=1):
    def check(here, outcome):
        config = json.loads((here / "run-test-run/config.json").read_text())
        found = config["batch_size"], config["gradient_accumulation"]
        assert found == (size, accumulation)

    return check


def _says_generated(here, outcome):
    with rasterio.open(here / "map.tif") as dataset:
        assert "generated data" in dataset.tags()["MODEL"]


def _manifests_are_marked(here, outcome):
    for path in here.rglob("*.manifest.json"):
        assert json.loads(path.read_text())["generated"] is True


def _banner_in(name):
    def check(here, outcome):
        assert "Generated data, not real" in (here / name).read_text()

    return check


def _marked(kit, here):
    """A run on the bands of the scene that says it is of generated data."""
    run = kit.copy("s2_run", here)
    for path in run.rglob("description.json"):
        content = json.loads(path.read_text())
        content["progress"]["config"]["generated"] = True
        path.write_text(json.dumps(content))
    return run


def _published(kit, here):
    return [_marked(kit, here), "-o", "out", "--data", "x"]


CASES = [
    *(
        Case("a signal at the start", number.name, door, _at_the_start(number, of),
             says=[f"^{number.name}: stopping; .*; once more ends at once$"],
             status=128 + number)
        for door, of in DOORS.items()
        for number in SIGNALS
    ),
    *(
        Case("a signal at work", number.name, door, _at_work(number, DOORS[door]),
             says=[f"^{number.name}: stopping; .*; once more ends at once$"],
             status=128 + number)
        for door in AT_WORK
        for number in SIGNALS
    ),
    Case("a test run", "more records a batch than there are", "train",
         _test_run(batch_size=512), check=_batch_is(12)),
    Case("a test run", "accumulated", "train",
         _test_run(batch_size=512, gradient_accumulation=64), check=_batch_is(12, 12)),
    Case("a test run", "two devices", "train",
         _test_run(batch_size=64, devices="cpu:2"), check=_batch_is(12)),
    Case("a test run", "a batch that the run could not divide", "train",
         _test_run(batch_size=9, devices="cpu:2"), says=["batch_size 9 .* divide"]),
    Case("a test run", "contrastive", "train", _test_run(
        task="contrastive", encoders="joint", modality="MM", batch_size=512),
        check=_batch_is(12)),
    Case("a test run", "pixel time series", "train", _series_test_run,
         check=_batch_is(16)),
    Case("generated data", "a run", "publish", _published,
         says=["generated", "--allow-generated"]),
    Case("generated data", "a run, allowed", "publish", lambda kit, here: [
        *_published(kit, here), "--allow-generated"],
        check=_banner_in("out/README.md")),
    Case("generated data", "a model", "map", lambda kit, here: [
        _marked(kit, here), kit.scene, "-o", "map.tif"], check=_says_generated),
    Case("generated data", "an archive", "prep_splits", _v2,
         check=_manifests_are_marked),
    Case("generated data", "records", "convert", DOORS["convert"],
         check=_manifests_are_marked),
    Case("generated data", "tiles", "tiles", DOORS["tiles"],
         check=_manifests_are_marked),
    Case("generated data", "a run", "plot", DOORS["plot"],
         check=_banner_in("out/curves.html")),
]  # fmt: skip
