"""What belongs together: pairs, places, maps, first and others, tiles, manifests."""

import json

import numpy as np
import pandas as pd
import rasterio
from doors.case import Case
from rasterio import Affine

# Splits that are whole stay when a patch of another one is refused.
MADE = ("out", "out/*")
OLD_S1 = "S1A_IW_GRDH_1SDV_20150101T165043"


def _edit(path, image=None, **changes):
    """Writes a GeoTIFF again with another image or profile."""
    with rasterio.open(path) as dataset:
        found, profile = dataset.read(), dataset.profile
    path.unlink()
    with rasterio.open(path, "w", **profile | changes) as dataset:
        dataset.write(found if image is None else image(found))
    return path


def _moved(path, east=10, north=0):
    with rasterio.open(path) as dataset:
        transform = Affine.translation(east, north) @ dataset.transform
    return _edit(path, transform=transform)


def _first(root, pattern):
    return sorted(root.rglob(pattern))[0]


def _prepare(archive, *more):
    return [
        "-r", archive / "BigEarthNet-S2", "-s", archive / "BigEarthNet-S1",
        "--metadata", archive / "metadata.parquet", "-o", "out", "--workers", 1, *more,
    ]  # fmt: skip


def _with_file(pattern, change, *more):
    """A conversion of the archive with one of its files changed."""

    def call(kit, here):
        archive = kit.copy("v2", here)
        change(_first(archive, pattern))
        maps = ["--maps", archive / "Reference_Maps"] if "map" in pattern else []
        return _prepare(archive, *maps, *more)

    return call


def _nan(image):
    image[0, 3, 3:5] = np.nan
    return image


def _inf(image):
    image[0, 0, 0] = -np.inf
    return image


def _codes(code):
    def change(image):
        image[0, 7, 7] = code
        return image

    return change


def _left_out(here, outcome):
    listed = [path.read_text() for path in (here / "out").glob("*.left_out.csv")]
    assert len(listed) == 1
    assert "NaN or infinite" in listed[0]


FILES = [
    ("Sentinel-1 10 m further east", "*_VV.tif", _moved),
    ("Sentinel-1 of the next patch", "*_VH.tif", lambda p: _moved(p, 1200)),
    ("Sentinel-1 of another zone", "*_VH.tif", lambda p: _edit(p, crs="EPSG:32601")),
    ("a band half a pixel off", "*_B02.tif", lambda p: _moved(p, 5, 5)),
    ("a map of the next patch", "*_reference_map.tif", lambda p: _moved(p, 0, -1200)),
]


def _table(change, *, s1=True):
    """A conversion with a changed metadata table."""

    def call(kit, here):
        archive = kit.copy("v2", here)
        table = pd.read_parquet(archive / "metadata.parquet")
        table["s1_name"] = change(table["s1_name"])
        table.to_parquet(archive / "metadata.parquet")
        return _prepare(archive)

    return call


TABLES = [
    ("partners one row on", lambda names: np.roll(names, 1)),
    ("another tile", lambda names: names.str.replace(r"_\d\d[A-Z]{3}_", "_33UXX_",
                                                     regex=True)),
    ("years before", lambda names: OLD_S1 + names.str[32:]),
]  # fmt: skip


def _list(kit, here, change):
    rows = (kit.v1 / "train.csv").read_text().splitlines()
    pairs = [row.split(",") for row in rows]
    (here / "train.csv").write_text("\n".join(f"{s2},{s1}" for s2, s1 in change(pairs)))
    return here / "train.csv"


LISTS = [
    ("partners one row on", lambda p: zip(*(
        [a for a, _ in p], [b for _, b in p[1:] + p[:1]]), strict=True)),
    ("years before", lambda p: [(a, OLD_S1 + b[32:]) for a, b in p]),
]  # fmt: skip


def _with_list(change):
    def call(kit, here):
        s2, s1 = kit.bands_of_v1()
        return ["-r", s2, "-s", s1, "-n", _list(kit, here, change), "-o", "out"]

    return call


def _predict_list(change):
    def call(kit, here):
        s2, s1 = kit.bands_of_v1()
        given = ["--patches", _list(kit, here, change), "-o", "out.csv"]
        return [kit.run, s2, "--s1", s1, *given]

    return call


def _predict_pair(kit, here):
    s2, s1 = (sorted(p for p in root.glob("*/*")) for root in kit.bands_of_v2())
    tail = "_".join(s2[0].name.split("_")[-2:])
    other = next(p for p in s1 if not p.name.endswith(tail))
    return [kit.run, s2[0], "--s1", other, "-o", "out.csv"]


def _json_of_v1(kit, here):
    archive = kit.copy("v1", here)
    found = sorted(archive.glob("BigEarthNet-S1-v1.0/*/*.json"))
    contents = [json.loads(path.read_text()) for path in found]
    for path, content, other in zip(
        found, contents, contents[1:] + contents[:1], strict=True
    ):
        content["corresponding_s2_patch"] = other["corresponding_s2_patch"]
        path.write_text(json.dumps(content))
    names = [row.split(",")[0] for row in (kit.v1 / "train.csv").read_text().split()]
    (here / "train.csv").write_text("\n".join(names))
    s2, s1 = archive / "BigEarthNet-v1.0", archive / "BigEarthNet-S1-v1.0"
    return ["-r", s2, "-s", s1, "-n", here / "train.csv", "-o", "out"]


# What a manifest says, and what is said of it.
MANIFESTS = [
    ("a sum that is none", lambda m: m.update(num_records=m["num_records"] + 1),
     "speaks of"),
    ("no records", lambda m: m.update(num_records=0, shards=[]), "at least one record"),
    ("a count below 0", lambda m: m["shards"][0].update(num_records=-1), "0 or more"),
    ("a shard without bytes", lambda m: m["shards"][0].update(num_bytes=0), "bytes in"),
    ("a shard twice", lambda m: (m["shards"].append(m["shards"][0]),
     m.update(num_records=m["num_records"] + m["shards"][0]["num_records"])), "twice"),
    ("the other version", lambda m: m.update(archive_version="v1"), "is of v2"),
    ("no version", lambda m: m.update(archive_version="v3"), "v1 or v2"),
    ("maps that are not there", lambda m: m.update(reference_maps=True), "speaks of"),
]  # fmt: skip


OF_SHARDS = ("the other version", "maps that are not there")


def _manifest(door, change, split):
    def call(kit, here):
        records = kit.copy("records", here)
        path = records / f"{split}.manifest.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
        if door == "inspect":
            return [records]
        files = {
            f"{key}_tf_record_files": [str(records / f"{name}-*.tfrecord")]
            for key, name in (("tr", "train"), ("val", "val"), ("test", "test"))
        }
        if door == "train":
            return [kit.write_config(here, **files), "--test-run"]
        run = kit.copy("run", here)
        return [kit.write_config(here, out_dir=str(run), **files)]

    return call


def _tiles(kit, here, *more):
    return [kit.tiles, "-o", "out", "--block-size", 16, "--min-valid", 16, *more]


def _tile_twice(*more):
    def call(kit, here):
        tiles = kit.copy("tiles", here)
        (tiles / "tile_02").rename(tiles / "gone")
        (tiles / "gone").rename(here / "gone")
        (tiles / "tile_01").rename(tiles / "tile_02")
        import shutil

        shutil.copytree(tiles / "tile_02", tiles / "tile_01")
        shutil.rmtree(tiles / "tile_03")
        shutil.rmtree(here / "gone")
        options = ("--block-size", 16, "--min-valid", 16, "--workers", 1)
        return [tiles, "-o", "out", *options, *more]

    return call


def _squares_are_apart(here, outcome):
    counts = {
        split: json.loads((here / f"out/{split}.manifest.json").read_text())
        for split in ("train", "test")
    }
    # Both copies of a square are in one split: the numbers of blocks are even.
    assert all(facts["num_records"] % 2 == 0 for facts in counts.values())


def _across_zones(kit, here):
    """Two tiles of neighbouring zones; the west of the second lies in the first."""
    import shutil

    import numpy as np

    from bigearthnet_tf.archive import ground

    tiles = kit.copy("tiles", here)
    shutil.rmtree(tiles / "tile_03")
    west, north = 740_000.0, 4_430_000.0
    # A quarter of the tile of 32 pixels further east.
    x, y = ground.reproject(
        "EPSG:32613", "EPSG:32614", np.array([west + 80]), np.array([north])
    )
    places = {"tile_01": (13, west, north), "tile_02": (14, float(x[0]), float(y[0]))}
    for name, (zone, left, top) in places.items():
        path = tiles / name / "tile.json"
        facts = {"crs": f"EPSG:326{zone}", "transform": [10, 0, left, 0, -10, top]}
        path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    return _tiles_of(tiles, "--block-size", 4, "--val", "tile_02", "--workers", 1)


def _tiles_of(tiles, *options):
    return [tiles, "-o", "out", "--min-valid", 16, *options]


def _zones_share_no_ground(here, outcome):
    import numpy as np
    from affine import Affine

    from bigearthnet_tf.archive import ground
    from bigearthnet_tf.records import blocks

    assert "left out, since their ground is in val too" in outcome.out
    found = {}
    for split in ("train", "val"):
        source = blocks.open_blocks(str(here / f"out/{split}-*.tfrecord"))
        centres = []
        for block in blocks.iterate_blocks(source):
            facts = source.tiles[block.tile]
            rows, columns = np.indices(block.mask.shape[:2]) + 0.5
            place = Affine(*facts.transform)
            xy = place @ (columns + block.column, rows + block.row)
            centres.append(ground.reproject(facts.crs, "EPSG:32613", *xy))
        found[split] = np.hstack([np.reshape(xy, (2, -1)) for xy in centres]).T
    apart = np.linalg.norm(found["train"][:, None] - found["val"], axis=-1)
    # Pixels of 10 m whose centres are nearer than that overlap.
    assert apart.min() > 9
    assert len(found["train"]) > 60


def _changed(kit, here):
    """Records of an archive of which a file has changed since."""
    import shutil
    import sys

    import prep_splits

    archive = kit.copy("v2", here)
    arguments = _prepare(archive)
    sys.argv = ["prep_splits.py", *map(str, arguments)]
    prep_splits.main()
    path = _first(archive, "*_B05.tif")
    shutil.copy(path, here / "copy.tif")
    (here / "copy.tif").replace(path)
    return arguments


CASES = [
    *(
        Case("places of a patch", name, "prep_splits", _with_file(pattern, change),
             ["same ground", pattern[1:-4]], leaves=MADE)
        for name, pattern, change in FILES
    ),
    *(
        Case("pixels that are no numbers", name, "prep_splits",
             _with_file("*_VH.tif", lambda p, i=image: _edit(p, i)),
             ["S2.*VH are NaN or infinite"], leaves=MADE)
        for name, image in (("NaN", _nan), ("infinite", _inf))
    ),
    Case("pixels that are no numbers", "left out", "prep_splits",
         _with_file("*_VH.tif", lambda p: _edit(p, _nan), "--on-error", "skip"),
         check=_left_out),
    *(
        Case("codes of maps", f"code {code}", "prep_splits",
             _with_file("*_reference_map.tif", lambda p, c=code: _edit(p, _codes(c))),
             ["level 3", str(code)], leaves=MADE)
        for code in (1, 44, 110, 255, 600)
    ),
    *(
        Case("codes of maps", f"code {code}", "prep_splits",
             _with_file("*_reference_map.tif", lambda p, c=code: _edit(p, _codes(c))))
        for code in (0, 335, 999)
    ),
    *(
        Case("names that are no pair", f"metadata, {name}", "prep_splits",
             _table(change), ["no partner of patch_id"])
        for name, change in TABLES
    ),
    *(
        Case("names that are no pair", f"list, {name}", "prep_splits",
             _with_list(change), [r"train\.csv:1", "no pair"])
        for name, change in LISTS
    ),
    *(
        Case("names that are no pair", f"list, {name}", "predict",
             _predict_list(change), [r"train\.csv:1", "no pair"])
        for name, change in LISTS
    ),
    Case("names that are no pair", "folders", "predict", _predict_pair, ["no pair"]),
    Case("names that are no pair", "JSON of v1", "prep_splits", _json_of_v1,
         ["json", "no pair"]),
    *(
        Case("manifests", name, door,
             _manifest(door, change, "test" if door == "eval" else "train"), [says])
        for name, change, says in MANIFESTS
        for door in ("train", "eval", "inspect")
        # Of these inspect names all shards, a line each.
        if door != "inspect" or name not in OF_SHARDS
    ),
    Case("sensor of a folder", "-r with Sentinel-1", "prep_splits", lambda kit, here: [
        "-r", kit.bands_of_v2()[1], "-o", "out", "--metadata",
        kit.v2 / "metadata.parquet"], ["expected patches of S2"]),
    Case("sensor of a folder", "-s with Sentinel-2", "prep_splits", lambda kit, here: [
        "-r", kit.bands_of_v2()[0], "-s", kit.bands_of_v2()[0], "-o", "out",
        "--metadata", kit.v2 / "metadata.parquet"], ["expected patches of S1"]),
    Case("changed sources", "a band", "prep_splits", _changed,
         ["files that have changed since"]),
    Case("the same ground", "a tile in train and val", "tiles",
         _tile_twice("--val", "tile_02"), ["all ground of its tiles"]),
    Case("the same ground", "tiles of two zones", "tiles", _across_zones,
         check=_zones_share_no_ground),
    Case("the same ground", "squares of a tile given twice", "tiles",
         _tile_twice("--squares", 16, "--ratios", 0.5, 0.5), check=_squares_are_apart),
]  # fmt: skip
