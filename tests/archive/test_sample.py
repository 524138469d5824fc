"""The generated archive on disk: layout, names, coordinates, labels, seeds."""

import json

import numpy as np
import pytest
import rasterio
import tifffile
from pyarrow import parquet

from bigearthnet_tf.archive import (
    bands,
    geotiff,
    labels,
    metadata,
    names,
    patch,
    plans,
    sample,
    splits,
)

PATCHES = 9
SEED = 3

# Positives of BigEarthNet v2 (spec/classification.md 2.2: train + validation + test
# of metadata.parquet, 480,038 patches), in O19 order.
REAL_COUNTS = np.array(
    [
        *(63758, 11142, 188025, 29588, 95605, 99598, 122709, 33181, 135928, 154941),
        *(165780, 11882, 13894, 141150, 1316, 20919, 1397, 63212, 61832),
    ]
)


@pytest.fixture(scope="module")
def v1(tmp_path_factory):
    return sample.write_archive(
        tmp_path_factory.mktemp("sample") / "v1", PATCHES, "v1", SEED, workers=1
    )


@pytest.fixture(scope="module")
def v2(tmp_path_factory):
    return sample.write_archive(
        tmp_path_factory.mktemp("sample") / "v2", PATCHES, "v2", SEED, workers=1
    )


@pytest.fixture(scope="module")
def table(v2):
    return parquet.read_table(v2 / "metadata.parquet").to_pandas()


@pytest.fixture(scope="module")
def many():
    return plans.draw_plans(3000, seed=0)


def contents(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def band_paths(root, table, row):
    """Band name -> file of a row of the v2 table, in the genuine layout."""
    name_s2, name_s1 = table.patch_id[row], table.s1_name[row]
    tile, scene = name_s2.rsplit("_", 2)[0], name_s1.rsplit("_", 3)[0]
    return {
        name: root
        / (
            f"BigEarthNet-S2/{tile}/{name_s2}/{name_s2}_{name}.tif"
            if band.sensor == "S2"
            else f"BigEarthNet-S1/{scene}/{name_s1}/{name_s1}_{name}.tif"
        )
        for name, band in bands.BANDS.items()
    }


def map_path(root, name):
    return (
        root / f"Reference_Maps/{name.rsplit('_', 2)[0]}/{name}"
        f"/{name}_reference_map.tif"
    )


def test_v2_holds_the_genuine_files_and_no_others(v2, table):
    expected = {v2 / "metadata.parquet", v2 / "README.txt"}
    for row, name in enumerate(table.patch_id):
        expected |= {*band_paths(v2, table, row).values(), map_path(v2, name)}
        assert len(name.rsplit("_", 2)[0]) == 44
    assert {path for path in v2.rglob("*") if path.is_file()} == expected


def test_v2_metadata_is_in_the_genuine_form(v2, table):
    schema = parquet.read_schema(v2 / "metadata.parquet")
    kinds = {name: str(schema.field(name).type) for name in schema.names}
    assert list(kinds) == [
        *("patch_id", "labels", "split", "country", "s1_name", "s2v1_name"),
        *("contains_seasonal_snow", "contains_cloud_or_shadow"),
    ]
    assert kinds["labels"].startswith("list<") and "string" in kinds["labels"]
    assert kinds["contains_seasonal_snow"] == "bool"
    assert len(table) == PATCHES
    assert table.patch_id.is_monotonic_increasing
    assert set(table.split) == {"train", "validation", "test"}
    assert all(list(row) == sorted(row) and len(row) for row in table.labels)
    assert not table.contains_seasonal_snow.any()
    assert len(metadata.read_metadata(v2 / "metadata.parquet")) == PATCHES


def test_v1_holds_the_genuine_files_and_no_others(v1, table):
    expected = {v1 / "README.txt", *(v1 / f"{s}.csv" for s in ("train", "val", "test"))}
    for name_s2, name_s1 in zip(table.s2v1_name, table.s1_name, strict=True):
        for name, band in bands.BANDS.items():
            expected.add(
                v1 / f"BigEarthNet-v1.0/{name_s2}/{name_s2}_{name}.tif"
                if band.sensor == "S2"
                else v1 / f"BigEarthNet-S1-v1.0/{name_s1}/{name_s1}_{name}.tif"
            )
        for root, name in (
            ("BigEarthNet-v1.0", name_s2),
            ("BigEarthNet-S1-v1.0", name_s1),
        ):
            expected.add(v1 / root / name / f"{name}_labels_metadata.json")
    assert {path for path in v1.rglob("*") if path.is_file()} == expected


def test_v1_json_has_the_genuine_keys_in_both_forms(v1):
    entries = [
        entry
        for split in ("train", "val", "test")
        for entry in splits.read_split_csv(v1 / f"{split}.csv")
    ]
    assert len(entries) == PATCHES
    for entry in entries:
        path_s2 = (
            v1 / f"BigEarthNet-v1.0/{entry.name}/{entry.name}_labels_metadata.json"
        )
        path_s1 = (
            v1 / f"BigEarthNet-S1-v1.0/{entry.name_s1}"
            f"/{entry.name_s1}_labels_metadata.json"
        )
        raw_s2, raw_s1 = (json.loads(path.read_text()) for path in (path_s2, path_s1))
        assert set(raw_s2) == {
            *("labels", "coordinates", "projection"),
            *("tile_source", "acquisition_date"),
        }
        assert set(raw_s1) == {
            *("labels", "coordinates", "projection"),
            *("corresponding_s2_patch", "scene_source", "acquisition_time"),
        }
        assert list(raw_s2["coordinates"]) == ["ulx", "uly", "lrx", "lry"]
        assert list(raw_s1["coordinates"]) == ["ulx", "uly", "lrx", "lly"]
        optical, radar = (metadata.read_v1_json(path) for path in (path_s2, path_s1))
        assert radar.corresponding_s2 == entry.name
        assert (optical.bounds, optical.labels) == (radar.bounds, radar.labels)
        day = names.parse_name(entry.name).acquired.date()
        assert optical.acquired.date() == day


@pytest.mark.parametrize("band_name", bands.BANDS)
def test_rasterio_finds_the_patch_where_its_name_says(v2, table, band_name):
    band = bands.BANDS[band_name]
    origins = {site.tile: site for site in plans.read_sites()}
    for row, name in enumerate(table.patch_id):
        _, _, _, _, _, tile, column, line = name.split("_")
        site = origins[tile[1:]]
        path = band_paths(v2, table, row)[band_name]
        with rasterio.open(path) as dataset:
            left = site.origin[0] + 1200 * int(column)
            top = site.origin[1] - 1200 * int(line)
            assert tuple(dataset.bounds) == (left, top - 1200, left + 1200, top)
            assert dataset.crs.to_epsg() == 32600 + int(tile[1:3])
            assert dataset.res == (band.metres, band.metres)
            assert (dataset.count, dataset.nodata) == (1, None)
            pixels = dataset.read(1)
        patch.check_band(band_name, pixels, path)
        np.testing.assert_array_equal(geotiff.read_tiff(path, band_name), pixels)
        assert np.isfinite(pixels).all() and pixels.std() > 0


def test_files_have_the_tags_of_the_genuine_ones(shared, v2, table):
    """Same strips and GeoKeys as the real file of the same band."""
    (real,) = shared.glob("data/v1/BigEarthNet-v1.0/*_87_48/*_B02.tif")
    row = int(np.flatnonzero(table.patch_id.str.contains("_T33"))[0])
    with (
        tifffile.TiffFile(real) as one,
        tifffile.TiffFile(band_paths(v2, table, row)["B02"]) as two,
    ):
        real_tags, tags = one.pages.first.tags, two.pages.first.tags
        for code in (258, 259, 278, 279, 33550, 34735, 34737):
            assert tags[code].value == real_tags[code].value, real_tags[code].name
        assert one.byteorder == two.byteorder


def test_tiles_lie_where_the_real_ones_do(shared):
    sites = {site.tile: site for site in plans.read_sites()}
    checked = 0
    for path in shared.glob("data/v1/BigEarthNet-S1-v1.0/*/*.json"):
        *_, tile, column, row = path.parent.name.split("_")
        real = json.loads(path.read_text())["coordinates"]
        plan = plans.Plan(0, None, sites[tile], None, int(column), int(row), "train")
        assert plan.corner == (real["ulx"], real["uly"])
        checked += 1
    assert checked == 6


def test_maps_and_labels_agree(v1, v2, table):
    for name, name_v1, own in zip(
        table.patch_id, table.s2v1_name, table.labels, strict=True
    ):
        path = map_path(v2, name)
        codes = geotiff.read_reference_map(path)
        with rasterio.open(path) as dataset:
            np.testing.assert_array_equal(dataset.read(1), codes)
            assert dataset.compression.name == "deflate"
            assert dataset.nodata == 0
        found = [labels.CLC_TO_19[code] for code in np.unique(codes)]
        expected = {
            labels.label_names("BigEarthNet-19")[index]
            for index in found
            if index is not None
        }
        assert set(own) == expected
        unlabelled = [labels.CLC_TO_19[code] is None for code in codes.ravel()]
        assert np.mean(unlabelled) < 0.25
        original = metadata.read_v1_json(
            v1 / f"BigEarthNet-v1.0/{name_v1}/{name_v1}_labels_metadata.json"
        ).labels
        assert set(labels.convert_43_to_19(original)) == expected
        assert len(original) == len(found)


def test_both_versions_hold_the_same_pixels(v1, v2, table):
    for row in range(PATCHES):
        for name, path in band_paths(v2, table, row).items():
            optical = bands.BANDS[name].sensor == "S2"
            folder = "BigEarthNet-v1.0" if optical else "BigEarthNet-S1-v1.0"
            own = table.s2v1_name[row] if optical else table.s1_name[row]
            twin = v1 / folder / own / f"{own}_{name}.tif"
            assert twin.read_bytes() == path.read_bytes()


def test_number_of_workers_changes_no_byte(v2, tmp_path):
    done = []
    again = sample.write_archive(
        tmp_path / "two", PATCHES, "v2", SEED, workers=2, progress=done.append
    )
    assert contents(again) == contents(v2)
    assert sum(done) == PATCHES


def test_seed_changes_the_patches(v2, tmp_path):
    other = sample.write_archive(tmp_path / "other", 1, "v2", SEED + 1, workers=1)
    ours, theirs = contents(v2), contents(other)
    assert set(ours) & set(theirs) == {"README.txt", "metadata.parquet"}


def test_smaller_archive_is_the_start_of_a_larger_one(many):
    assert plans.draw_plans(20, seed=0) == many[:20]


def test_readme_says_that_it_is_generated(v1, v2):
    for root in (v1, v2):
        text = (root / "README.txt").read_text()
        assert text.startswith("GENERATED DATA")
        assert f"seed {SEED}" in text.replace("\n", " ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patches": 0}, "expected 1 to 100000 patches, got 0"),
        ({"patches": sample.MAX_PATCHES + 1}, "expected 1 to 100000 patches"),
        ({"version": "v3"}, "unknown archive version 'v3'"),
        ({"seed": -1}, "expected a seed of 0 or more, got -1"),
        ({"workers": 0}, "expected 1 worker or more, got 0"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        sample.write_archive(tmp_path / "out", **{"patches": 1, **options})
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="something is there"):
        sample.write_archive(tmp_path, 1, workers=1)
    with pytest.raises(ValueError, match="something is there"):
        sample.write_archive(tmp_path / "notes.txt", 1, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "out").mkdir()
    out = sample.write_archive(tmp_path / "out", 1, "v1", workers=1)
    assert (out / "train.csv").exists()
    assert not (out / "test.csv").exists()  # an empty list can't be read back


def test_an_interrupted_archive_leaves_nothing(tmp_path):
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample.write_archive(tmp_path / "out", 2, workers=1, progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_names_are_genuine_and_differ(many):
    for version in ("v1", "v2"):
        found = [plan.name_s2(version) for plan in many]
        assert len(set(found)) == len(many)
        for plan, name in zip(many, found, strict=True):
            parsed = names.parse_name(name)
            assert (parsed.sensor, parsed.version) == ("S2", version)
            assert (parsed.column, parsed.row) == (plan.column, plan.row)
            assert parsed.acquired.strftime("%Y%m%d") == plan.acquisition.time[:8]
    assert len({plan.name_s1 for plan in many}) == len(many)
    assert all(names.parse_name(plan.name_s1).sensor == "S1" for plan in many)


def test_v1_names_have_their_traps(many):
    found = [plan.name_s2("v1") for plan in many]
    times = [name.split("_")[2].split("T")[1] for name in found]
    assert 0.05 < np.mean([len(time) == 5 for time in times]) < 0.6
    assert "94161" in times
    assert any(plan.name_s2("v2").endswith(f"_{7:02}_{plan.row:02}") for plan in many)


def test_splits_are_rings_of_the_tiles(many):
    side = plans.TILE_METRES
    inner, middle = 0.25 * side, 0.5 * side * (1 - 0.5**0.5)
    margins = {"train": [], "val": [], "test": []}
    for plan in many:
        x, y = ((index + 0.5) * 1200 for index in (plan.column, plan.row))
        margins[plan.split].append(min(x, y, side - x, side - y))
    assert max(margins["train"]) < middle <= min(margins["val"])
    assert max(margins["val"]) < inner <= min(margins["test"])
    shares = [len(margins[split]) / len(many) for split in ("train", "val", "test")]
    assert shares == [0.5, 0.25, 0.25]


def multi_hot(drawn):
    matrix = np.zeros((len(drawn), 19))
    for row, plan in enumerate(drawn):
        for index in map(labels.CLC_TO_19.get, plan.scene.codes):
            if index is not None:
                matrix[row, index] = 1
    return matrix


def test_label_shares_are_the_real_ones(many):
    matrix = multi_hot(many)
    shares, real = matrix.mean(axis=0), REAL_COUNTS / 480_038
    assert np.corrcoef(shares, real)[0, 1] > 0.99
    lifted = np.isin(np.arange(19), [14, 16])  # beaches and coastal wetlands
    assert (shares[lifted] > 0.01).all()
    np.testing.assert_allclose(shares[~lifted], real[~lifted], atol=0.03)
    assert 2.8 < matrix.sum(axis=1).mean() < 3.15
    assert matrix.sum(axis=1).min() == 1
    assert matrix.sum(axis=1).max() <= 11
    original = {code for plan in many for code in plan.scene.codes}
    assert original == {
        code for label in labels.ORIGINAL_TABLE for code in label.clc_codes
    }


def test_labels_occur_together_as_the_real_ones(shared, many):
    path = shared / "data" / "v2" / "metadata.parquet"
    stored = parquet.read_table(path, columns=["labels"])["labels"]
    rows = stored.take(np.arange(0, len(stored), 97)).to_pylist()
    real = np.stack([labels.to_multi_hot(row, "BigEarthNet-19") for row in rows])
    upper = np.triu_indices(19, 1)
    pairs = [np.corrcoef(matrix.T)[upper] for matrix in (multi_hot(many), real)]
    usual = ~np.isin(upper, [14, 16]).any(axis=0)
    assert np.corrcoef(pairs[0][usual], pairs[1][usual])[0, 1] > 0.93


def test_sites_are_data_without_contradictions():
    sites = plans.read_sites()
    origin = {(site.origin[0] % 60, site.origin[1] % 60) for site in sites}
    assert origin == {(0, 0)}  # of the 60 m grid
    times = [a.time for site in sites for a in site.acquisitions]
    assert len(set(times)) == len(times)  # v1 names have no tile to differ by
