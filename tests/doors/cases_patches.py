"""Patches and records of other people: what says something of the numbers in them."""

import json
import shutil

import numpy as np
import rasterio
import scene_files
from affine import Affine
from doors.case import Case

NAME = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_87_48"
LAND = np.full((120, 120), 1600, np.uint16)
LAND[0, 0] = 1500
DECIBELS = np.full((120, 120), -12, np.float32)


def _write(folder, band, image, tags=None, mask=None, **options):
    folder.mkdir()
    path = folder / f"{folder.name}_{band}.tif"
    profile = {
        "driver": "GTiff", "count": 1, "height": 120, "width": 120,
        "dtype": image.dtype, "crs": "EPSG:32633",
        "transform": Affine(10, 0, 3e5, 0, -10, 5e6),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile | options) as dataset:
        dataset.write(image, 1)
        dataset.update_tags(**(tags or {}))
    if mask is not None:
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=mask == "inside"),
            rasterio.open(path, "r+") as dataset,
        ):
            hidden = np.full((120, 120), 255, np.uint8)
            hidden[:60] = 0
            dataset.write_mask(hidden)
    return path


def patch(kind, name, image, says=(), right=None, folder=NAME, beside=None, **facts):
    """A patch that is read by its Python function, with its last pixel."""
    band = "B04" if image.dtype == np.uint16 else "VV"

    def call(kit, here):
        path = _write(here / folder, band, image, **facts)
        if beside:
            beside(path)

        def read():
            from bigearthnet_tf.archive import archives
            from bigearthnet_tf.archive.bands import BANDS

            places = {BANDS[band].sensor: here / folder}
            print("last", archives.read_bands(places, [band])[band][-1, -1])

        return read

    def check(here, outcome):
        assert f"last {right}\n" in outcome.out, outcome.out

    return Case(kind, name, "python", call, says=says, check=None if says else check)


def _sidecar(content):
    def write(path):
        path.with_name(f"{path.name}.aux.xml").write_text(
            f'<PAMDataset><PAMRasterBand band="1">{content}</PAMRasterBand>'
            "</PAMDataset>"
        )

    return write


def _metadata(path):
    scene_files.write_safe(path.parent, {}, baseline="05.10")


def _filled(image, fill):
    made = image.copy()
    made[:60] = fill
    return made


NONE = ["7200 of 14400 pixels are no data"]
PATCHES = [
    patch("offset", "a patch with the tag of the offset", LAND, right=600,
          tags={"BOA_ADD_OFFSET": "-1000"}),
    patch("offset", "a patch with the tag of the baseline", LAND, right=600,
          tags={"PROCESSING_BASELINE": "05.00"}),
    patch("offset", "a patch with a baseline as in names", LAND, right=600,
          tags={"PROCESSING_BASELINE": "0500"}),
    patch("offset", "a patch with the metadata of its product", LAND, right=600,
          beside=_metadata),
    patch("offset", "a patch whose tag says 2023", LAND, ["before 2022-01-25"],
          folder="mine", tags={"ACQUISITION_DATE": "2023-05-01"}),
    patch("scale", "a patch with a scale beside it", LAND, right=600,
          beside=_sidecar("<Offset>-0.1</Offset><Scale>0.0001</Scale>")),
    patch("scale", "a patch with statistics beside it", LAND, right=1600,
          beside=_sidecar("<Metadata><MDI key='STATISTICS_MEAN'>9</MDI></Metadata>")),
    patch("no data", "a patch with 65535", _filled(LAND, 65535), NONE, nodata=65535),
    patch("no data", "a patch with zeros and their tag", _filled(LAND, 0), right=1600,
          nodata=0),
    patch("no data", "Sentinel-1 with -30", _filled(DECIBELS, -30), NONE, nodata=-30),
    patch("masks", "inside a patch", LAND, NONE, mask="inside"),
    patch("masks", "beside a patch", LAND, NONE, mask="beside"),
]  # fmt: skip


# Records as the older projects write them, changed by hand.
def _spoiled(change):
    def make(kit, here):
        import tensorflow as tf

        from bigearthnet_tf.records import frames, schema

        shard = sorted(kit.records.glob("test-*.tfrecord"))[0]
        records = list(frames.read_all(str(shard)))
        form = schema.recognise(records[0], str(shard))
        with tf.io.TFRecordWriter(str(here / "old.tfrecord")) as writer:
            for number, record in enumerate(records[:3]):
                patch = schema.decode(record, form, "")
                example = tf.train.Example.FromString(schema.encode(patch, "int64"))
                if number == 1:
                    change(example.features.feature)
                writer.write(example.SerializeToString())
        return "old.tfrecord"

    return make


def _put(feature, place, value):
    def change(features):
        features[feature].int64_list.value[place] = value

    return change


VECTOR = "BigEarthNet-19_labels_multi_hot"
SPOILED = {
    "a number above 65535": (_put("B04", 5, 70_000), ["B04 has values beyond uint16"]),
    "a number below 0": (_put("B04", 5, -5), ["B04 has values beyond uint16"]),
    "a label of 2": (_put(VECTOR, 0, 2), ["expected 0 or 1 for each label"]),
    "a label that its name contradicts": (
        lambda f: f["BigEarthNet-19_labels"].bytes_list.value.append(b"Sandcastles"),
        ["Sandcastles"],
    ),
}


def _record_cases():
    for fault, (change, says) in SPOILED.items():
        source = _spoiled(change)
        says = [r"record 1", *says]
        yield Case("contents of records", fault, "inspect",
                   lambda kit, here, source=source: [source(kit, here), "--verify"],
                   says=says)  # fmt: skip
        yield Case("contents of records", fault, "convert",
                   lambda kit, here, source=source: [
                       source(kit, here), "-o", "out", "--workers", 1],
                   says=says)  # fmt: skip
        if "number" in fault:
            yield Case("contents of records", fault, "predict",
                       lambda kit, here, source=source: [
                           kit.run, source(kit, here), "-o", "o.csv"],
                       says=says)  # fmt: skip


# Points.
def _two_zones(kit, here):
    tiles = kit.copy("tiles", here)
    shutil.rmtree(tiles / "tile_03")
    for number, zone in ((1, 13), (2, 14)):
        path = tiles / f"tile_0{number}/tile.json"
        facts = {
            "crs": f"EPSG:326{zone}",
            "transform": [10, 0, 600_000, 0, -10, 4_430_000],
        }
        path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    (here / "points.csv").write_text("x,y,label\n600105,4429895,10\n")
    return tiles


def _asked(kit, here):
    tiles = _two_zones(kit, here)
    return [kit.land_cover, tiles, "--points", "points.csv", "-o", "out.csv"]


def _records_of_points(kit, here):
    tiles = _two_zones(kit, here)
    return [tiles, "--points", "points.csv", "-o", "out", "--min-valid", 16]


ZONES = ["EPSG:32613 and of EPSG:32614"]
POINTS = [
    Case("coordinate system", "points in two zones", "points", _asked, says=ZONES),
    Case("coordinate system", "points in two zones", "tiles", _records_of_points,
         says=ZONES),
]  # fmt: skip

CASES = [*PATCHES, *_record_cases(), *POINTS]
