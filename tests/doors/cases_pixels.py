"""What pixel numbers mean: offsets, scales, no-data, decibels, metres, other layers."""

import json

import numpy as np
import rasterio
import scene_files
import tile_folders
from affine import Affine
from doors.case import Case

RNG = np.random.default_rng(0)
LAND = RNG.integers(1200, 4000, (120, 120)).astype(np.uint16)
DECIBELS = RNG.normal(-12, 4, (120, 120)).astype(np.float32)
NAME = "S2A_MSIL2A_20220512T101021_{}_R022_T32UMA"


def _scale(path, scale, offset, **tags):
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (
            (n,) * dataset.count for n in (scale, offset)
        )
        dataset.update_tags(**tags)


def _write(folder, bands, scale=1.0, offset=0.0, tags=None, **options):
    scene_files.write_bands(folder, bands, metres=10, **options)
    for path in folder.glob("*.tif"):
        _scale(path, scale, offset, **(tags or {}))
    return folder


def scene(kind, name, folder, bands, says=(), right=None, options=(), **facts):
    """A scene read by its Python functions, with the number that is right at (9, 9)."""

    def call(kit, here):
        path = _write(here / folder, bands, **facts)
        given = dict(options)
        if "s1" in given:
            given["s1"] = _write(here / "s1", given["s1"])

        def read():
            from bigearthnet_tf.serving.scene_map import find_bands
            from bigearthnet_tf.serving.scenes import Scene

            wanted = (*bands, *(("VV",) if "s1" in given else ()))
            with Scene(find_bands(wanted, path, given), path) as opened:
                region = opened.read(0, 0, 120, 120)
            for band in wanted:
                valid = region.valid[band]
                print(band, region.bands[band][valid][-1] if valid.any() else "none",
                      round(float(valid.mean()), 2))  # fmt: skip

        return read

    def check(here, outcome):
        assert right in outcome.out, outcome.out

    return Case(kind, name, "python", call, says=says, check=None if says else check)


def mapped(kind, name, run, bands, says, options=(), **facts):
    """A scene that `map` refuses."""

    def call(kit, here):
        _write(here / "scene", bands, **facts)
        return [getattr(kit, run), "scene", "-o", "map.tif", *options]

    return Case(kind, name, "map", call, says=says)


def tile(kind, name, numbers, says=(), right=None, day="20220512", product=None,
         options=(), extra=None, scales=None, **facts):  # fmt: skip
    """A tile of a single date, written as records or refused."""

    def call(kit, here):
        folder = here / "tiles/T32UMA" / (NAME.format(product) if product else "")
        path = folder / f"T32UMA_{day}T101021_B04_10m.tif"
        tile_folders.write_tif(path, numbers[None], **facts)
        if scales:
            _scale(path, *scales)
        clear = np.full((1, 60, 60), 4, np.uint8)
        tile_folders.write_tif(folder / f"T32UMA_{day}_SCL_20m.tif", clear, metres=20.0)
        for other in extra or ():
            tile_folders.write_tif(folder / f"T32UMA_{day}_{other}.tif", clear)
        return [here / "tiles", "-o", here / "out", "--min-valid", 0, "--workers", 1,
                *options]  # fmt: skip

    def check(here, outcome):
        manifest = json.loads((here / "out/train.manifest.json").read_text())
        assert manifest["bands"] == ["B04"]
        assert abs(manifest["mean"][0] - right) < 1e-3, manifest

    return Case(kind, name, "tiles", call, says=says, check=None if says else check)


def full(value, dtype="u2"):
    return np.full((120, 120), value, dtype)


def b4(value, dtype="u2"):
    return {"B04": full(value, dtype)}


HALF = {"B04": np.where(np.arange(120)[:, None] < 60, 0, 600) * full(1)}
ASK = ["2022-05-12", "--offset -1000", "--offset 0"]
SCENES = [
    scene("offset", "name of ESA", NAME.format("N0509"), b4(1600), right="B04 600"),
    scene("offset", "older name", NAME.format("N0301"), b4(1600), right="B04 1600"),
    scene("offset", "user's sen2cor", NAME.format("N9999"), b4(1600), says=ASK),
    scene("offset", "date alone", "20220512", b4(1600), says=ASK),
    scene("offset", "float reflectance since 2022", "20220512", b4(0.16, "f4"),
          says=ASK, options={"scale": 1e4}),
    scene("offset", "option 0", "20220512", b4(1600), right="B04 1600",
          options={"offset": 0.0}),
    scene("offset", "option -1000", "20220512", b4(1600), right="B04 600",
          options={"offset": -1000.0}),
    scene("offset", "before 2022", "20210512", b4(1600), right="B04 1600"),
    scene("offset", "tags of a COG", "20220512", b4(1600), right="B04 600",
          scale=1e-4, offset=-0.1),
    scene("offset", "tags in digital numbers", "a", b4(1600), right="B04 600",
          offset=-1000.0),
    scene("offset", "tag of the baseline", "a", b4(1600), right="B04 600",
          tags={"PROCESSING_BASELINE": "05.00"}),
    scene("offset", "tag 99.99", "20220512", b4(1600), says=ASK,
          tags={"PROCESSING_BASELINE": "99.99"}),
    scene("offset", "tag that is no number", "a", b4(1600), says=["04.00"],
          tags={"PROCESSING_BASELINE": "new"}),
    scene("offset", "tag as in names", "a", b4(1600), right="B04 600",
          tags={"PROCESSING_BASELINE": "0500"}),
    scene("offset", "tag of the wrong sign", "a", b4(1600), says=["0 or below"],
          tags={"BOA_ADD_OFFSET": "1000"}),
    scene("offset", "two baselines in a name", "g_N0301_repro_N0509", b4(1600),
          says=["N0301 and N0509"]),
    scene("offset", "a latitude in a name", "site_N0512_E01330", b4(1600),
          right="B04 1600"),
    scene("offset", "years in a name", "median_2021-2023", b4(1600), says=[
          "2023-12-31", *ASK[1:]]),
    scene("offset", "days in a name", "S2_20210601_20230601", b4(1600), says=[
          "2023-06-01", *ASK[1:]]),
    scene("offset", "a tag later than the folder", "export_20210101", b4(1600),
          says=ASK, tags={"ACQUISITION_DATE": "2022-05-12"}),
    scene("offset", "harmonised before", NAME.format("N0509"), b4(300),
          says=["B04", "fall below 0", "--offset 0"]),
    scene("scale", "reflectance", "a", b4(0.1, "f4"), says=["--scale 10000"]),
    scene("scale", "reflectance, option", "a", b4(0.1, "f4"), right="B04 1000",
          options={"scale": 1e4}),
    scene("scale", "reflectance and a fill", "a",
          {"B04": np.where(HALF["B04"] == 0, -9999, 0.1).astype("f4")},
          says=["--scale 10000"]),
    scene("scale", "option beside tags", "a", b4(1600), says=["offset too"],
          options={"scale": 1e4}, scale=1e-4, offset=-0.1),
    scene("scale", "option of digital numbers", "a", b4(1600), says=["100%", "65535"],
          options={"scale": 1e4}),
    scene("scale", "tag of 0.01", "a", b4(1600), says=["0.0001"], scale=0.01),
    scene("scale", "a picture in bytes", "a", b4(90, "u1"), says=["byte"]),
    scene("scale", "int16", "a", b4(600, "i2"), right="B04 600"),
    scene("no data", "zeros without a tag", "a", HALF, right="B04 600 0.5"),
    scene("no data", "zeros with another tag", "a", HALF, right="B04 600 1.0",
          nodata=65535),
    scene("no data", "-10000 without a tag", "a",
          {"B04": HALF["B04"].astype("i2") - 10000 * (HALF["B04"] == 0).astype("i2")},
          right="B04 600 0.5"),
    scene("no data", "65535 without a tag", "a",
          {"B04": np.where(HALF["B04"] == 0, 65535, 600).astype("u2")},
          says=["65535"]),
    scene("no data", "NaN", "a",
          {"B04": np.where(HALF["B04"] == 0, np.nan, 600).astype("f4")},
          right="B04 600 0.5"),
    scene("decibels", "power", "a", b4(600), says=["VV", "10 log10"],
          options={"s1": {"VV": 10 ** (DECIBELS / 10)}}),
    scene("decibels", "amplitudes", "a", b4(600), says=["VV", "20 log10"],
          options={"s1": {"VV": 10 ** (DECIBELS / 20)}}),
    scene("decibels", "digital numbers", "a", b4(600), says=["VV", "calibrate"],
          options={"s1": {"VV": LAND}}),
    scene("decibels", "int16 without a scale", "a", b4(600), says=["-scale 0.01"],
          options={"s1": {"VV": (100 * DECIBELS).astype("i2")}}),
    scene("decibels", "border of zeros", "a", b4(600), right="VV -12.0 0.5",
          options={"s1": {"VV": np.where(HALF["B04"] == 0, 0, -12).astype("f4")}}),
    scene("decibels", "border of -9999", "a", b4(600), right="VV -12.0 0.5",
          options={"s1": {"VV": np.where(HALF["B04"] == 0, -9999, -12).astype("f4")}}),
    scene("metres", "Web Mercator", "a", b4(600), says=["metres on the ground"],
          crs="EPSG:3857", transform=Affine(10, 0, 3e5, 0, -10, 5e6)),
    scene("metres", "equal area of the globe", "a", b4(600), says=["on the ground"],
          crs="EPSG:6933", transform=Affine(10, 0, 1e6, 0, -10, 5e6)),
    scene("metres", "feet", "a", b4(600), says=["in metres"],
          crs="EPSG:2263", transform=Affine(10, 0, 2e6, 0, -10, 7e5)),
    scene("metres", "LAEA of Europe", "a", b4(600), right="B04 600 1.0",
          crs="EPSG:3035", transform=Affine(10, 0, 4.3e6, 0, -10, 3.2e6)),
]  # fmt: skip

MAPS = [
    mapped("offset", "date alone", "rgb_run",
           {b: full(1600) for b in ("B02", "B03", "B04")}, ["--offset"],
           tags={"ACQUISITION_DATE": "2022-05-12"}),
    mapped("decibels", "digital numbers", "vv_run", {"VV": LAND, "B04": LAND},
           ["VV", "calibrate"]),
    mapped("no data", "a scene of zeros", "rgb_run",
           {b: full(0) for b in ("B02", "B03", "B04")}, ["no pixel has data", "0"]),
]  # fmt: skip

# Of mean 1600: a band that is the same everywhere can't be standardised.
SMALL = np.where(np.indices((120, 120)).sum(axis=0) % 2, 1590, 1610).astype(np.uint16)
TILES = [
    tile("offset", "name of ESA", SMALL, right=600, product="N0400"),
    tile("offset", "user's sen2cor", SMALL, ["--dn-offset"], product="N9999"),
    tile("offset", "date alone", SMALL, ["--dn-offset", "2022-05-12"]),
    tile("offset", "option 0", SMALL, right=1600, options=("--dn-offset", 0)),
    tile("offset", "option 1000", SMALL, right=600, options=("--dn-offset", 1000)),
    tile("offset", "before 2022", SMALL, right=1600, day="20210512"),
    tile("offset", "tags", SMALL, right=600, scales=(1e-4, -0.1)),
    tile("scale", "reflectance", SMALL / np.float32(1e4), ["--dn-scale 10000"],
         day="20210512"),
    tile("scale", "reflectance, option", SMALL / np.float32(1e4), right=1600,
         day="20210512", options=("--dn-scale", 10000)),
    tile("no data", "zeros", np.where(HALF["B04"] == 0, full(0), SMALL), right=1600,
         day="20210512"),
    tile("no data", "nothing but zeros", full(0), ["all cloud"], day="20210512"),
    tile("other layers", "TCI and AOT", SMALL, right=1600, day="20210512",
         extra=("TCI_10m", "AOT_10m")),
    tile("other layers", "as a band", SMALL, ["TCI"], day="20210512",
         options=("--bands", "B04", "TCI")),
]  # fmt: skip


def _banana(kit, here):
    (here / "points.csv").write_text("x,y\n600005,5299995\n")
    return [kit.land_cover, kit.tiles, "--points", "points.csv", "-o", "out.csv",
            "--points-crs", "EPSG:banana"]  # fmt: skip


SYSTEMS = [Case("coordinate system", "banana", "points", _banana, says=["EPSG:banana"])]

CASES = [*SCENES, *MAPS, *TILES, *SYSTEMS]
