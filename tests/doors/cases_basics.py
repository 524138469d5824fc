"""A few cases of every door, which show how cases are written."""

import json

import numpy as np
import rasterio
import scene_files
from doors.case import Case


def _prepare(kit, here, *more):
    s2, s1 = kit.bands_of_v2()
    metadata = kit.v2 / "metadata.parquet"
    options = ("--workers", 1, "-o", here / "out")
    return ["-r", s2, "-s", s1, "--metadata", metadata, *options, *more]


def _is_whole(here, outcome):
    assert json.loads((here / "out/train.manifest.json").read_text())["num_records"]


def _map_of_kit(here, outcome):
    with rasterio.open(here / "map.tif") as dataset:
        assert dataset.shape == (24, 24) or min(dataset.shape) > 0
        assert np.isfinite(dataset.read()).all()


def _scene_of_reflectance(kit, here):
    bands = scene_files.noise(120, 120, "s2")
    scene_files.write_bands(
        here / "scene", {k: (v / 1e4).astype("f4") for k, v in bands.items()}
    )
    return [kit.s2_run, "scene", "-o", "map.tif"]


CASES = [
    Case("as it should be", "v2", "prep_splits", _prepare, check=_is_whole),
    Case("as it should be", "the kit's run", "eval", lambda kit, here: [
        kit.copy("config", here), "--set", f"out_dir={kit.copy('run', here)}"]),
    Case("as it should be", "one step", "train", lambda kit, here: [
        kit.write_config(here), "--test-run"]),
    Case("as it should be", "a scene", "map", lambda kit, here: [
        kit.s2_run, kit.scene, "-o", "map.tif"], check=_map_of_kit),
    Case("as it should be", "test records", "predict", lambda kit, here: [
        kit.run, kit.records / "test-*", "-o", "out.csv"]),
    Case("as it should be", "a folder", "inspect", lambda kit, here: [kit.records]),
    Case("missing input", "no such run", "map", lambda kit, here: [
        here / "none", kit.scene, "-o", "map.tif"], says=["none"]),
    Case("missing input", "no such root", "prep_splits", lambda kit, here: [
        "-r", "none", "-o", "out"], says=["give -n"], status=2),
    Case("pixel numbers", "reflectance as floats", "map", _scene_of_reflectance,
         says=["reflectance", "scale"]),
]  # fmt: skip
