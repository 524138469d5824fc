"""Whole patches: real pairs of both versions, and archives with faults."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import rasterio
import tifffile

from bigearthnet_tf.archive import archives, bands, labels, metadata, names, splits
from bigearthnet_tf.archive.patch import PatchEntry

S2_V1 = "S2A_MSIL2A_20170613T101031_87_48"
S2_V2 = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_87_48"
S1 = "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48"


@pytest.fixture(scope="module")
def real_v1(shared):
    data = shared / "data/v1"
    return archives.open_archive(
        data / "BigEarthNet-v1.0", data / "BigEarthNet-S1-v1.0"
    )


@pytest.fixture(scope="module")
def tables(shared):
    """Both tables of v2: one of the six pairs is among those with snow."""
    return pd.concat(
        metadata.read_metadata(path)
        for path in sorted((shared / "data/v2").glob("metadata*.parquet"))
    )


@pytest.fixture(scope="module")
def real_v2(shared, tables):
    data = shared / "data/v2"
    return archives.open_archive(
        data / "BigEarthNet-S2", data / "BigEarthNet-S1", metadata=tables
    )


def v1_entries(shared):
    return [
        entry
        for name in ("train", "val", "test")
        for entry in splits.read_split_csv(shared / f"data/v1/{name}.csv")
    ]


def make_archive(root, version, suffix=".tif"):
    """Writes one pair; returns the roots of Sentinel-2 and Sentinel-1."""
    roots = {"S2": root / "s2", "S1": root / "s1"}
    patches = {"S2": S2_V1 if version == "v1" else S2_V2, "S1": S1}
    for sensor, name in patches.items():
        parent = names.tile_folder(name) if version == "v2" else "."
        folder = roots[sensor] / parent / name
        folder.mkdir(parents=True)
        for band in bands.BANDS.values():
            if band.sensor == sensor:
                value = -band.metres if sensor == "S1" else band.metres
                image = np.full((band.pixels, band.pixels), value, band.dtype)
                tifffile.imwrite(folder / f"{name}_{band.name}{suffix}", image)
        if version == "v1":
            (folder / f"{name}_labels_metadata.json").write_text(
                json.dumps(v1_json(sensor))
            )
    return roots["S2"], roots["S1"]


def v1_json(sensor):
    common = {
        "labels": ["Pastures"],
        "coordinates": {"ulx": 0, "uly": 1200, "lrx": 1200, "lry": 0},
        "projection": "EPSG:32633",
        "acquisition_date": "2017-06-13 10:10:31",
        "tile_source": "S2A",
    }
    return common if sensor == "S2" else {**common, "corresponding_s2_patch": S2_V1}


def table_of(**changes):
    row = {
        "patch_id": S2_V2,
        "labels": ("Pastures",),
        "split": "train",
        "country": "Austria",
        "s1_name": S1,
        **changes,
    }
    return pd.DataFrame([row])


def test_v1_pairs_are_read_as_rasterio_reads_them(shared, real_v1):
    assert real_v1.version == "v1"
    entries = v1_entries(shared)
    assert len(entries) == 6
    for entry in entries:
        patch = real_v1.read(entry)
        assert (patch.name_s2, patch.name_s1) == (entry.name, entry.name_s1)
        assert patch.label_type == "original"
        assert patch.reference_map is None
        assert tuple(patch.bands) == tuple(bands.BANDS)
        for name, image in patch.bands.items():
            s1 = bands.BANDS[name].sensor == "S1"
            folder = "BigEarthNet-S1-v1.0" if s1 else "BigEarthNet-v1.0"
            own = entry.name_s1 if s1 else entry.name
            path = shared / f"data/v1/{folder}/{own}/{own}_{name}.tif"
            with rasterio.open(path) as dataset:
                np.testing.assert_array_equal(image, dataset.read(1), strict=True)


def test_the_pairs_of_v2_have_the_pixels_of_v1(shared, real_v1, real_v2, tables):
    assert real_v2.version == "v2"
    v2_name = tables.set_index("s2v1_name")["patch_id"]
    for entry in v1_entries(shared):
        v1 = real_v1.read(entry)
        v2 = real_v2.read(PatchEntry(v2_name[entry.name]))
        assert v2.name_s1 == v1.name_s1
        assert v2.label_type == "BigEarthNet-19"
        for name in bands.BANDS:
            np.testing.assert_array_equal(v1.bands[name], v2.bands[name], strict=True)


def test_georeferences_are_those_of_the_json(shared, real_v1, real_v2, tables):
    v2_name = tables.set_index("s2v1_name")["patch_id"]
    for entry in v1_entries(shared):
        known = real_v1.metadata_of(entry)
        for archive, name in ((real_v1, entry.name), (real_v2, v2_name[entry.name])):
            geo = archive.georeference(PatchEntry(name))
            assert geo.bounds == known.bounds
            assert geo.crs.removeprefix("EPSG:") in known.crs


def test_v1_partners_come_from_the_json_of_sentinel_1(shared, real_v1):
    entries = v1_entries(shared)
    bare = [PatchEntry(entry.name, split=entry.split) for entry in entries]
    assert real_v1.complete(bare) == entries
    assert real_v1.read(bare[0]).name_s1 == entries[0].name_s1


def test_sentinel_1_alone_has_labels_and_place(shared, real_v1):
    alone = archives.open_archive(None, shared / "data/v1/BigEarthNet-S1-v1.0")
    for entry in v1_entries(shared):
        patch = alone.read(PatchEntry(entry.name))
        assert list(patch.bands) == ["VV", "VH"]
        assert patch.labels == real_v1.read(entry, ["B01"]).labels
        assert alone.georeference(entry) == real_v1.georeference(entry)


def test_v2_entries_are_completed_from_the_metadata(real_v2, tables):
    known = metadata.entries_from_metadata(tables, "train")[:50]
    bare = [PatchEntry(entry.name) for entry in known]
    assert real_v2.complete(bare) == known
    assert real_v2.complete(known) == known
    own = PatchEntry(known[0].name, labels=("Pastures",), label_type="BigEarthNet-19",
                     split="fold_1")  # fmt: skip
    (filled,) = real_v2.complete([own])
    assert filled.labels == ("Pastures",)
    assert filled.split == "fold_1"
    assert filled.name_s1 == known[0].name_s1


def test_v2_metadata_of_a_patch(real_v2, tables):
    entry = PatchEntry(S2_V2)
    found = real_v2.metadata_of(entry)
    assert found.labels == tables.set_index("patch_id")["labels"][S2_V2]
    assert found.bounds == (404400, 5341200, 405600, 5342400)
    assert found.crs == "EPSG:32633"
    assert found.acquired == names.parse_name(S2_V2).acquired


def test_the_v2_patch_without_partner(real_v2):
    entry = PatchEntry(S2_V2.replace("87_48", "75_43"))
    assert list(real_v2.read(entry, ["B04", "B01"]).bands) == ["B04", "B01"]
    with pytest.raises(
        FileNotFoundError, match=r"75_43: the folder of this patch is m"
    ):
        real_v2.read(entry)


def test_reference_maps(shared, tmp_path):
    s2, _ = make_archive(tmp_path, "v2")
    maps = shared / "data/v2/Reference_Maps"
    archive = archives.open_archive(s2, metadata=table_of(), maps_root=maps)
    with pytest.raises(FileNotFoundError, match="87_48: the folder of this patch is"):
        archive.read(PatchEntry(S2_V2))
    (folder,) = maps.glob("*/*")
    tile = s2 / folder.parent.name
    (tile / S2_V2).rename(tile / folder.name)
    for path in (tile / folder.name).iterdir():
        path.rename(path.with_name(path.name.replace(S2_V2, folder.name)))
    entry = PatchEntry(folder.name, S1, ("Pastures",), "BigEarthNet-19")
    found = archive.read(entry).reference_map
    assert found.dtype == np.uint16
    assert set(np.unique(found).tolist()) <= set(labels.CLC_TO_19)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("suffix", archives.SUFFIXES)
def test_both_suffixes_and_a_choice_of_bands(tmp_path, version, suffix):
    roots = make_archive(tmp_path, version, suffix)
    archive = archives.open_archive(*roots)
    name = S2_V1 if version == "v1" else S2_V2
    entry = PatchEntry(name, S1, ("Pastures",), "BigEarthNet-19", "train")
    patch = archive.read(entry, ["B12", "VH", "B02"])
    assert [(key, int(band[0, 0])) for key, band in patch.bands.items()] == [
        ("B12", 20),
        ("VH", -10),
        ("B02", 10),
    ]
    assert archive.version == version
    assert (patch.labels, patch.label_type) == (("Pastures",), "BigEarthNet-19")


def test_sentinel_2_alone_needs_no_partner(tmp_path):
    s2, _ = make_archive(tmp_path, "v1")
    archive = archives.open_archive(str(s2))
    assert archive.bands == bands.BAND_SETS["s2_full"]
    assert archive.complete([PatchEntry(S2_V1)]) == [PatchEntry(S2_V1)]
    patch = archive.read(PatchEntry(S2_V1))
    assert patch.name_s1 is None
    assert patch.labels == ("Pastures",)
    with pytest.raises(ValueError, match="no root of S1"):
        archive.read(PatchEntry(S2_V1), ["VV"])


def test_a_pickled_archive_is_small_and_reads_completed_entries(tmp_path):
    archive = archives.open_archive(*make_archive(tmp_path, "v2"), metadata=table_of())
    (entry,) = archive.complete([PatchEntry(S2_V2)])
    content = pickle.dumps(archive)
    assert len(content) < 1000
    copy = pickle.loads(content)
    original = archive.read(entry)
    read = copy.read(pickle.loads(pickle.dumps(entry)))
    assert (read.labels, read.name_s1) == (original.labels, original.name_s1)
    np.testing.assert_array_equal(read.bands["VV"], original.bands["VV"])
    with pytest.raises(
        ValueError, match=f"labels or .* of {S2_V2} are not known.*--metadata"
    ):
        copy.read(PatchEntry(S2_V2))


def test_v2_without_metadata_asks_for_it(tmp_path):
    archive = archives.open_archive(*make_archive(tmp_path, "v2"))
    for call in (archive.read, archive.metadata_of, lambda e: archive.complete([e])):
        with pytest.raises(
            ValueError, match=f"labels or .* of {S2_V2} are not known.*--metadata"
        ):
            call(PatchEntry(S2_V2))


def test_patches_outside_the_metadata_are_named(tmp_path):
    archive = archives.open_archive(*make_archive(tmp_path, "v2"), metadata=table_of())
    other = S2_V2.replace("87_48", "00_00")
    with pytest.raises(ValueError, match=f"1 of 2 patches .* {other}.*snow"):
        archive.complete([PatchEntry(S2_V2), PatchEntry(other)])


def test_missing_files_and_folders_are_told_apart(tmp_path):
    s2, s1 = make_archive(tmp_path, "v1")
    archive = archives.open_archive(s2, s1)
    absent = S2_V1.replace("87_48", "1_1")
    with pytest.raises(FileNotFoundError, match=f"{absent}: the folder of this patch"):
        archive.read(PatchEntry(absent), ["B02"])
    (s2 / S2_V1 / f"{S2_V1}_B05.tif").unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"the patch is there, but its file {S2_V1}_B05\.tif"
    ):
        archive.read(PatchEntry(S2_V1, S1))
    (s2 / S2_V1 / f"{S2_V1}_labels_metadata.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"metadata\.json: no such file"):
        archive.read(PatchEntry(S2_V1, S1), ["B02"])


def test_a_missing_partner_is_named(tmp_path):
    archive = archives.open_archive(*make_archive(tmp_path, "v1"))
    other = S2_V1.replace("87_48", "1_1")
    with pytest.raises(ValueError, match=f"{other} has no Sentinel-1 partner"):
        archive.read(PatchEntry(other), ["VV"])
    with pytest.raises(ValueError, match=f"{other} has no Sentinel-1 partner"):
        archive.complete([PatchEntry(S2_V1), PatchEntry(other)])


def test_names_of_the_other_version_are_refused(tmp_path):
    v1 = archives.open_archive(*make_archive(tmp_path / "v1", "v1"))
    with pytest.raises(
        ValueError, match=f"v1 archive, but {S2_V2} is not a name of v1"
    ):
        v1.read(PatchEntry(S2_V2, S1))
    v2 = archives.open_archive(*make_archive(tmp_path / "v2", "v2"))
    with pytest.raises(ValueError, match="is not a name of v2"):
        v2.read(PatchEntry(S2_V1, S1, ("Pastures",), "BigEarthNet-19"))


def test_roots_that_do_not_do(tmp_path):
    v1 = make_archive(tmp_path / "v1", "v1")
    v2 = make_archive(tmp_path / "v2", "v2")
    for arguments, options, error, message in [
        ((None, None), {}, ValueError, "got neither"),
        ((tmp_path / "none",), {}, FileNotFoundError, "none: no such folder"),
        ((v1[0], tmp_path / "none"), {}, FileNotFoundError, "none: no such folder"),
        ((v1[0], v2[1]), {}, ValueError, "one archive version, but .* is v1, .* is v2"),
        ((tmp_path / "v1",), {}, ValueError, "did you mean .*v1/s1"),
        ((tmp_path,), {}, ValueError, "found none$"),
        (
            (v1[0],),
            {"metadata": table_of()},
            ValueError,
            "leave the metadata of v2 out",
        ),
        ((v1[0],), {"maps_root": v2[0]}, ValueError, "one archive version"),
        (
            (next(v1[0].glob("*/*_B02.tif")),),
            *({}, ValueError, "expected a folder, got a file"),
        ),
    ]:
        with pytest.raises(error, match=message):
            archives.open_archive(*arguments, **options)
