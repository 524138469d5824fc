import json
import math

import numpy as np
import pytest
import tensorflow as tf
import tile_folders

from bigearthnet_tf.archive import tiles
from bigearthnet_tf.archive.tile_points import Point
from bigearthnet_tf.data import time_series
from bigearthnet_tf.records import (
    block_manifest,
    block_plan,
    block_writer,
    blocks,
    frames,
    series_schema,
)

CLASSES = {10: "Tree cover", 40: "Cropland", 95: "Mangroves", 100: "Moss"}
MIN_VALID = 24


def plan(opened, areas=None, split="train", **options):
    areas = block_plan.by_tiles(opened)["train"] if areas is None else areas
    options = {"side": 16, "min_valid": MIN_VALID, "shard_size_mb": 1, **options}
    return block_plan.plan_blocks(split, areas, CLASSES, "here", **options)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Two tiles of other sizes and numbers of dates, whose edges cut blocks."""
    root = tmp_path_factory.mktemp("tiles")
    place = {"crs": tile_folders.CRS, "transform": tile_folders.TRANSFORM}
    tile_folders.write_npy(root / "a", 40, 30, 50, years=2021, **place)
    tile_folders.write_npy(root / "b", 35, 17, 20, seed=1, labels=False)
    return [tiles.open_tile(path) for path in tiles.find_tiles(root)]


@pytest.fixture(scope="module")
def written(opened, tmp_path_factory):
    out = tmp_path_factory.mktemp("records")
    block_writer.write_blocks(opened, [plan(opened)], out)
    return out


@pytest.fixture(scope="module")
def source(written):
    return blocks.open_blocks(str(written / "train-*"))


def test_round_trip_is_exact(opened, source):
    by_name = {tile.name: tile for tile in opened}
    seen = {tile.name: np.zeros((tile.height, tile.width), int) for tile in opened}
    for block in blocks.iterate_blocks(source):
        original = by_name[block.tile].read(*block.window)
        for name in ("bands", "mask", "doys", "years", "labels"):
            ours, theirs = getattr(block, name), getattr(original, name)
            np.testing.assert_array_equal(ours, theirs)
            assert ours is None or ours.dtype == theirs.dtype
        seen[block.tile][block.window.slices] += 1
    assert all((times == 1).all() for times in seen.values())
    assert max(block.bands.max() for block in blocks.iterate_blocks(source)) == 65_535
    only = {block.tile for block in blocks.iterate_blocks(source, "b")}
    assert only == {"b"}
    with pytest.raises(ValueError, match="no tile 'c'"):
        next(blocks.iterate_blocks(source, "c"))


def test_manifest_counts_places_and_statistics(opened, source, written):
    whole = [tile.read(0, 0, tile.height, tile.width) for tile in opened]
    valid = [block.valid(MIN_VALID) for block in whole]
    # Strictly more usable dates than `min_valid`, as in btfm.
    equal = sum((block.mask.sum(axis=2) == MIN_VALID).sum() for block in whole)
    assert source.num_pixels == sum(map(np.sum, valid))
    assert equal > 0
    assert source.num_labelled == (valid[0] & (whole[0].labels != 255)).sum()
    assert source.num_blocks == 2 * 4 + 2 * 2
    assert source.num_dates == 40
    assert len(source.files) == len(source.valid) > 1
    usable = np.concatenate([block.bands[block.mask == 1] for block in whole])
    exact = usable.astype(np.float64)
    np.testing.assert_allclose(source.mean, exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(source.std, exact.std(axis=0), rtol=1e-12)
    facts = source.tiles["a"]
    assert tuple(facts.affine)[:6] == tile_folders.TRANSFORM
    assert (facts.height, facts.width, set(facts.years)) == (30, 50, {2021})
    assert source.tiles["b"].affine is None
    manifest = block_manifest.load(written / "train.manifest.json")
    assert manifest.classes == CLASSES
    assert (manifest.units, manifest.scale) == ("digital numbers", 1e-4)


def test_records_have_the_features_of_the_schema(source):
    dataset = tf.data.TFRecordDataset(source.files[0])
    features = tf.train.Example.FromString(next(iter(dataset)).numpy()).features.feature
    height, width, dates, bands = features["shape"].int64_list.value
    assert (
        len(features["bands"].bytes_list.value[0]) == 2 * height * width * dates * bands
    )
    assert len(features["mask"].bytes_list.value[0]) == height * width * dates
    assert features["n_valid"].int64_list.value[0] == source.valid[0][0]
    assert {"doy", "year", "origin", "tile"} <= set(features)


def test_a_single_date(tmp_path):
    folder = tile_folders.write_npy(tmp_path / "a", dates=1)
    tile = tiles.open_tile(folder)
    block_writer.write_blocks([tile], [plan([tile], min_valid=0)], tmp_path / "out")
    source = blocks.open_blocks(str(tmp_path / "out" / "train-*"))
    assert source.num_pixels == np.load(folder / "masks.npy").sum()
    for block in blocks.iterate_blocks(source):
        np.testing.assert_array_equal(block.bands, tile.read(*block.window).bands)


def test_points_have_their_usable_dates_and_their_own_label(opened, tmp_path):
    rng = np.random.default_rng(0)
    tile, other = opened
    places = rng.permutation(30 * 50)[:20]
    points = [
        Point(
            f"p{number}",
            tile_folders.TRANSFORM[2] + 10 * (place % 50) + 5,
            tile_folders.TRANSFORM[5] - 10 * (place // 50) - 5,
            40 if number % 2 else 255,
        )
        for number, place in enumerate(places)
    ]
    wanted = block_plan.plan_points("train", [tile], points, CLASSES, "", min_valid=24)
    (made,) = block_writer.write_blocks(opened, [wanted], tmp_path)
    assert (made.kind, made.num_records, made.block_side) == ("points", 20, 1)
    source = blocks.open_blocks(str(tmp_path / "train-*"))
    original = tile.read(0, 0, 30, 50)
    labels = {}
    for block in blocks.iterate_blocks(source):
        usable = original.mask[block.row, block.column] == 1
        series = original.bands[block.row, block.column]
        np.testing.assert_array_equal(block.bands[0, 0], series[usable])
        np.testing.assert_array_equal(block.doys, original.doys[usable])
        assert block.mask.all()
        labels[block.row * 50 + block.column] = int(block.labels[0, 0])
    assert labels == {
        place: point.label for place, point in zip(places, points, strict=True)
    }
    valid = original.valid(24).ravel()[places]
    assert 0 < source.num_pixels == valid.sum() < 20
    assert source.num_labelled == (valid & (np.arange(20) % 2 == 1)).sum()
    record = tf.train.Example.FromString(next(frames.read_all(source.files[0])))
    features = record.features.feature
    point = next(
        p for p in points if p.name == features["id"].bytes_list.value[0].decode()
    )
    assert np.frombuffer(features["x"].bytes_list.value[0], "<f8") == point.x
    assert (
        features["n_obs"].int64_list.value[0] == features["shape"].int64_list.value[2]
    )
    with pytest.raises(ValueError, match="no coordinate system or transform"):
        block_plan.plan_points("train", [other], points, CLASSES, "", min_valid=24)
    with pytest.raises(ValueError, match="none of 1 points lies in a"):
        nowhere = [Point("q", 0.0, 0.0, 40)]
        block_plan.plan_points("train", [tile], nowhere, CLASSES, "", min_valid=24)
    # They are read as blocks are, one pixel each.
    batches = time_series.pixel_batches(
        source, 4, sample_size=8, labelled=True, pad=True, shuffle_buffer_size=0
    )
    assert sum(weights.numpy().sum() for *_, weights in batches) == source.num_labelled


def test_parsing_in_tensorflow_agrees(source):
    dataset = tf.data.TFRecordDataset(list(source.files))
    for serialized, block in zip(dataset, blocks.iterate_blocks(source), strict=True):
        found = series_schema.parse_block(serialized)
        pixels = block.mask.shape[0] * block.mask.shape[1]
        flat = block.bands.reshape(pixels, *block.bands.shape[2:])
        np.testing.assert_array_equal(found["bands"], flat)
        np.testing.assert_array_equal(found["mask"], block.mask.reshape(pixels, -1))
        labels = 255 if block.labels is None else block.labels.ravel()
        np.testing.assert_array_equal(found["labels"], np.full(pixels, labels))
        rows, columns = np.indices(block.mask.shape[:2])
        np.testing.assert_array_equal(found["row"], rows.ravel() + block.row)
        np.testing.assert_array_equal(found["column"], columns.ravel() + block.column)


def test_an_interrupted_conversion_continues_to_the_same_bytes(
    opened, written, tmp_path, monkeypatch
):
    """Fails in the third shard; the first two are not written again."""
    done = []
    original = block_writer.write_shard

    def failing(source, job, on_record):
        if len(done) == 2:
            raise OSError("no more")
        done.append(job.index)
        return original(source, job, on_record)

    monkeypatch.setattr(block_writer, "write_shard", failing)
    with pytest.raises(OSError, match="no more"):
        block_writer.write_blocks(opened, [plan(opened)], tmp_path)
    assert not list(tmp_path.glob("*.tfrecord"))
    again = []

    def counting(source, job, on_record):
        again.append(job.index)
        return original(source, job, on_record)

    monkeypatch.setattr(block_writer, "write_shard", counting)
    block_writer.write_blocks(opened, [plan(opened)], tmp_path)
    assert again
    assert not set(again) & set(done)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in written.iterdir()
    }
    # What is there is not written again, and nothing else is replaced unasked.
    again.clear()
    block_writer.write_blocks(opened, [plan(opened)], tmp_path)
    assert not again
    with pytest.raises(FileExistsError, match="other tiles or settings"):
        block_writer.write_blocks(opened, [plan(opened, min_valid=20)], tmp_path)
    other = plan(opened, min_valid=20)
    (made,) = block_writer.write_blocks(opened, [other], tmp_path, overwrite=True)
    assert made.min_valid == 20


def test_overwriting_takes_nothing_of_tiles_that_have_changed(
    opened, tmp_path, monkeypatch
):
    original = block_writer.write_shard
    written = []

    def failing(source, job, on_record):
        if written:
            raise OSError("no more")
        written.append(job.index)
        return original(source, job, on_record)

    monkeypatch.setattr(block_writer, "write_shard", failing)
    with pytest.raises(OSError, match="no more"):
        block_writer.write_blocks(opened, [plan(opened)], tmp_path)
    again = []

    def counting(source, job, on_record):
        again.append(job.index)
        return original(source, job, on_record)

    monkeypatch.setattr(block_writer, "write_shard", counting)
    block_writer.write_blocks(opened, [plan(opened)], tmp_path, overwrite=True)
    assert set(again) >= set(written)
    assert len(again) == len(plan(opened).shards)


def test_whole_tiles_are_divided_by_name(opened):
    areas = block_plan.by_tiles(opened, val=["b"])
    assert {split: [t.name for t, _ in of] for split, of in areas.items()} == {
        "train": ["a"],
        "val": ["b"],
    }
    with pytest.raises(ValueError, match=r"no tile 'bb'.*b"):
        block_plan.by_tiles(opened, test=["bb"])
    with pytest.raises(ValueError, match="both val and test"):
        block_plan.by_tiles(opened, ["b"], ["b"])


def test_squares_are_divided_without_touching_twice(opened):
    areas = block_plan.by_squares(opened, 16, [0.5, 0.25, 0.25], seed=0)
    again = block_plan.by_squares(opened, 16, [0.5, 0.25, 0.25], seed=0)
    assert areas == again
    seen = np.zeros((30, 50), int)
    sizes = {}
    for split, of_split in areas.items():
        for tile, window in of_split:
            sizes[split] = sizes.get(split, 0) + window.height * window.width
            if tile.name == "a":
                seen[window.slices] += 1
    assert (seen == 1).all()
    assert sizes["train"] / sum(sizes.values()) == pytest.approx(0.5, abs=0.15)
    plans = [plan(opened, of_split, split=split) for split, of_split in areas.items()]
    entries = [e for p in plans for shard in p.shards for e in shard]
    assert len(entries) == len(set(entries)) == 12
    with pytest.raises(ValueError, match="stays empty"):
        block_plan.by_squares(opened[:1], 64, [0.8, 0.2], seed=0)


def test_moments_are_exact():
    rng = np.random.default_rng(0)
    numbers = rng.integers(65_000, 65_536, (1000, 3)).astype(np.uint16)
    parts = [block_manifest.Moments.of(part) for part in np.split(numbers, 10)]
    moments = block_manifest.Moments.total(parts)
    exact = numbers.astype(np.float64)
    np.testing.assert_allclose(moments.mean, exact.mean(axis=0), rtol=1e-15)
    np.testing.assert_allclose(moments.std, exact.std(axis=0), rtol=1e-13)
    assert all(map(math.isnan, block_manifest.Moments.of(numbers[:0]).mean))


def test_tiles_that_give_no_pixel_are_refused(tmp_path):
    folder = tile_folders.write_npy(tmp_path / "a")
    tile = tiles.open_tile(folder)
    with pytest.raises(ValueError, match="a: 40 dates, but a pixel needs more than 40"):
        plan([tile], min_valid=40)
    with pytest.raises(ValueError, match=r"all cloud.*none has more than"):
        block_plan.check_not_all_cloud(tile, 39)
    block_plan.check_not_all_cloud(tile, MIN_VALID)
    np.save(folder / "masks.npy", np.zeros((40, 30, 50), np.uint8))
    with pytest.raises(ValueError, match="none has more than 0 of 40"):
        block_plan.check_not_all_cloud(tile, 0)
    with pytest.raises(ValueError, match="not a single usable observation"):
        block_writer.write_blocks([tile], [plan([tile])], tmp_path / "out")


def test_a_band_without_values_is_refused(tmp_path):
    folder = tile_folders.write_npy(tmp_path / "a")
    numbers = np.load(folder / "bands.npy")
    numbers[..., 3] = 7
    np.save(folder / "bands.npy", numbers)
    tile = tiles.open_tile(folder)
    with pytest.raises(ValueError, match="band B08 is 7 everywhere"):
        block_writer.write_blocks([tile], [plan([tile])], tmp_path / "out")


def test_tiles_of_other_bands_or_one_name_are_refused(opened, tmp_path):
    other = tiles.open_tile(tile_folders.write_npy(tmp_path / "c", num_bands=10))
    with pytest.raises(ValueError, match="c: bands B04"):
        block_plan.check_tiles([*opened, other], MIN_VALID)
    twin = tiles.open_tile(tile_folders.write_npy(tmp_path / "x" / "a"))
    with pytest.raises(ValueError, match="two tiles are called 'a'"):
        block_plan.check_tiles([*opened, twin], MIN_VALID)


def edit_manifest(folder, **changes):
    path = folder / "train.manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda f: (f / "train.manifest.json").unlink(), "no manifest beside it"),
        (lambda f: next(f.glob("train-00001*")).unlink(), "is not there"),
        (
            lambda f: next(f.glob("train-00001*")).write_bytes(b"x"),
            "bytes by its manifest, got 1",
        ),
        (lambda f: edit_manifest(f, mean=[math.nan] * 11), "NaN"),
        (lambda f: edit_manifest(f, std=[0.0] * 11), "std must be above 0"),
        (lambda f: edit_manifest(f, num_pixels=7), "expected the sums of the shards"),
        (lambda f: edit_manifest(f, num_labelled=7), "expected the sums of the shards"),
        (lambda f: edit_manifest(f, schema_version=9), "schema version 9"),
        (lambda f: edit_manifest(f, kind="patches"), "speaks of patches"),
        (lambda f: (f / "train.manifest.json").write_text("{"), "expected JSON"),
    ],
)
def test_damaged_records_are_refused_in_one_line(written, tmp_path, fault, message):
    for path in written.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    fault(tmp_path)
    with pytest.raises((ValueError, OSError), match=message):
        blocks.open_blocks(str(tmp_path / "train-*"))


def test_no_records_at_all(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such records"):
        blocks.open_blocks(str(tmp_path / "train-*"))
