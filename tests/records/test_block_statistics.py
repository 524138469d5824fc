"""Records that are standardised by the statistics of the tiles' own files."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tile_folders

from bigearthnet_tf.archive import tiles
from bigearthnet_tf.archive.tile_statistics import BandStatistics
from bigearthnet_tf.records import block_manifest, block_plan, block_writer, blocks


def write(opened, statistics, out):
    plan = block_plan.plan_blocks(
        "train",
        block_plan.by_tiles(opened)["train"],
        {10: "Tree cover", 40: "Cropland", 95: "Mangroves", 100: "Moss"},
        "here",
        side=8,
        min_valid=5,
    )
    plan = replace(plan, statistics=statistics)
    (made,) = block_writer.write_blocks(opened, [plan], out)
    return made


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Two tiles of other sizes, dates and numbers."""
    root = tmp_path_factory.mktemp("tiles")
    tile_folders.write_npy(root / "a", 12, 9, 10)
    tile_folders.write_npy(root / "b", 20, 17, 8, seed=1)
    for name, factor in (("a", 2), ("b", 3)):
        bands = np.load(root / name / "bands.npy")
        np.save(root / name / "bands.npy", bands // factor + 7)
    return [tiles.open_tile(path) for path in tiles.find_tiles(root)]


def test_those_of_several_tiles_are_pooled_by_observations(opened, tmp_path):
    pixels = {}
    for tile in opened:
        block = tile.read(0, 0, tile.height, tile.width)
        pixels[tile.name] = block.bands[block.mask == 1].astype(np.float64)
    own = {
        name: BandStatistics(tuple(each.mean(axis=0)), tuple(each.std(axis=0)))
        for name, each in pixels.items()
    }
    made = write(opened, own, tmp_path)
    # As if all observations of both tiles had been one group.
    together = np.concatenate(list(pixels.values()))
    np.testing.assert_allclose(made.mean, together.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(made.std, together.std(axis=0), rtol=1e-12)
    assert made.statistics == "files"
    source = blocks.open_blocks(str(tmp_path / "train-*"))
    assert source.statistics == "files"
    np.testing.assert_array_equal(source.mean, made.mean)


def test_those_of_one_tile_are_kept_to_the_last_digit(opened, tmp_path):
    mean, std = tuple(np.linspace(1, 2, 11)), tuple(np.linspace(0.1, 0.3, 11))
    alike = {tile.name: BandStatistics(mean, std) for tile in opened}
    made = write(opened, alike, tmp_path)
    assert (tuple(made.mean), tuple(made.std)) == (mean, std)
    read = block_manifest.load(tmp_path / "train.manifest.json")
    assert (tuple(read.mean), tuple(read.std)) == (mean, std)


def test_they_are_part_of_what_was_asked_for(opened, tmp_path):
    measured = write(opened, {}, tmp_path)
    assert measured.statistics == "measured"
    mean = tuple(measured.mean)
    own = {tile.name: BandStatistics(mean, mean) for tile in opened}
    with pytest.raises(FileExistsError, match="other tiles or settings"):
        write(opened, own, tmp_path)
    # Manifests of earlier versions do not say, and are of measured ones.
    path = tmp_path / "train.manifest.json"
    facts = json.loads(path.read_text())
    del facts["statistics"]
    path.write_text(json.dumps(facts))
    assert block_manifest.load(path).statistics == "measured"
    assert write(opened, {}, tmp_path).plan == measured.plan


def test_records_of_both_kinds_are_not_read_together(opened, tmp_path):
    write(opened, {}, tmp_path / "one")
    own = {tile.name: BandStatistics((1.0,) * 11, (2.0,) * 11) for tile in opened}
    write(opened, own, tmp_path / "other")
    with pytest.raises(ValueError, match=r"statistics files.*have measured"):
        blocks.open_blocks(
            [str(tmp_path / name / "train-*") for name in ("one", "other")]
        )
