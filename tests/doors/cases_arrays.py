"""Arrays of btfm: statistics beside tiles, maps, and tiles that lie nowhere."""

import json
import shutil

import numpy as np
from doors.case import Case


def _statistics(name, change):
    def call(kit, here):
        shutil.copytree(kit.tiles / "tile_01", here / "tile")
        path = here / "tile" / name
        if change is None:
            path.unlink()
        else:
            np.save(path, change(np.load(path)))
        options = ("--min-valid", 16, "--workers", 1, "--statistics", "files")
        return ["tile", "-o", "out", *options]

    return call


def _at(place, value):
    def change(array):
        array[place] = value
        return array

    return change


STATISTICS = [
    Case("statistics of a tile", fault, "tiles", _statistics(name, change), says=[says])
    for fault, name, change, says in (
        ("missing", "band_std.npy", None, "band_std.npy: no such file"),
        ("zero", "band_std.npy", _at(3, 0), "above 0.*got 0 for band 3"),
        ("negative", "band_std.npy", _at(3, -1), "above 0.*got -1"),
        ("NaN", "band_mean.npy", _at(0, np.nan), "11 finite numbers"),
        ("of 10 bands", "band_mean.npy", lambda a: a[:10], "11 finite numbers"),
        ("of reflectance", "band_mean.npy", lambda a: a / 1e4, "of reflectance"),
        ("objects", "band_mean.npy", lambda a: a.astype(object), "a pickle"),
    )
]


def _used(here, outcome):
    found = json.loads((here / "out" / "train.manifest.json").read_text())
    assert found["mean"] == np.load(here / "tile" / "band_mean.npy").tolist()
    assert "standardised by band_mean.npy and band_std.npy of tile" in outcome.out


def _read(array, out="map.png", raw=None):
    def call(kit, here):
        if raw is None:
            np.save(here / "map.npy", array, allow_pickle=True)
        else:
            (here / "map.npy").write_bytes(raw)
        return ["--read", "map.npy", "-o", out]

    return call


ARRAYS = [
    Case("an array that is no map", fault, "map", _read(array), says=["map.npy", says])
    for fault, array, says in (
        ("objects", np.array([[{}]]), "a pickle"),
        ("one dimension", np.ones(4, np.uint8), "shape"),
        ("four dimensions", np.ones((1, 2, 2, 3)), "shape"),
        ("no pixels", np.ones((0, 4), np.uint8), "no pixels"),
        ("int32", np.ones((4, 4), np.int32), "uint8, or in int64"),
        ("complex", np.ones((4, 4, 4), complex), "complex128"),
        ("codes of WorldCover", np.full((4, 4), 40, np.uint8), "got 40"),
        ("below 0", np.full((4, 4), -1, np.int64), "got -1"),
        ("no data alone", np.full((4, 4), 255, np.uint8), "nothing to draw"),
        ("NaN alone", np.full((4, 4, 4), np.nan, np.float32), "nothing to draw"),
        ("two dimensions of embeddings", np.ones((9, 9, 2)), "3 dimensions"),
    )
] + [
    Case("an array that is no map", "cut short", "map",
         _read(None, raw=b"\x93NUMPY\x01\x00"), says=["map.npy", "does not read"]),
    Case("an array that is no map", "not there", "map", lambda kit, here: [
        "--read", "none.npy", "-o", "a.png"], says=["none.npy"]),
    Case("an output of another kind", "a picture of an array", "map",
         _read(np.ones((4, 4), np.uint8), out="map.npy"), says=["ends in .png"]),
    Case("options that don't go together", "--read and --kind", "map",
         lambda kit, here: ["--read", "a.npy", "-o", "a.png", "--kind", "class"],
         says=["--read.*not --kind"], status=2),
    Case("options that don't go together", "neither a run nor --read", "map",
         lambda kit, here: ["-o", "a.png"], says=["required: run, source"], status=2),
]  # fmt: skip


def _nowhere(kit, here):
    shutil.copytree(kit.tiles / "tile_01", here / "tile")
    facts = json.loads((here / "tile" / "tile.json").read_text())
    del facts["crs"], facts["transform"]
    (here / "tile" / "tile.json").write_text(json.dumps(facts))
    return here / "tile"


def _map(out, *options):
    def call(kit, here):
        tile = _nowhere(kit, here)
        return [kit.land_cover, tile, "-o", out, "--draws", 1, *options]

    return call


def _is_an_array(here, outcome):
    found = np.load(here / "map.npy")
    assert found.dtype == np.uint8
    assert found.ndim == 2
    assert "maps are in pixel coordinates" in outcome.out


def _foreign(kit, here):
    np.save(here / "map.npy", np.ones((4, 4)))
    return _map("map.npy")(kit, here)


CASES = [
    *STATISTICS,
    Case("statistics of a tile", "as they should be", "tiles",
         _statistics("band_std.npy", lambda a: a), check=_used),
    *ARRAYS,
    Case("a tile without a place", "a map", "map", _map("map.npy"), check=_is_an_array),
    Case("a tile without a place", "a transform alone", "map",
         _map("out", "--transform", 10, 0, 0, 0, -10, 0),
         says=["no coordinate system to place it by"]),
    Case("an output of another kind", "probabilities as an array", "map",
         _map("map.npy", "--kind", "probability"), says=["--kind class or embedding"]),
    Case("an output that is there", "a foreign array", "map", _foreign,
         says=["map.npy.*not written by this command"]),
    Case("an output that is an input", "an array in a tile", "map",
         _map("tile/map.npy"), says=["lies in the folder of a tile"]),
]  # fmt: skip
