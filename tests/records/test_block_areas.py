"""No ground in two splits: squares and tiles that overlap, on one grid or others."""

import numpy as np
import pytest
import tile_folders
from rasterio.warp import transform as reproject

from bigearthnet_tf.archive import tile_points, tiles
from bigearthnet_tf.archive.tile import Window, windows
from bigearthnet_tf.records import block_areas, block_plan, block_writer, blocks

SIDE = 8
RATIOS = [0.5, 0.25, 0.25]
WEST, NORTH = 300_000.0, 5_000_000.0
ZONE_32, ZONE_33 = "EPSG:32632", "EPSG:32633"


def make(folder, name, *, crs=ZONE_33, west=WEST, north=NORTH, metres=10.0, seed=0):
    """A tile of 40 x 48 pixels; None as `crs` for one without a place."""
    place = {"crs": crs, "transform": (metres, 0, west, 0, -metres, north)}
    tile_folders.write_npy(
        folder / name, 3, 40, 48, seed=seed, **(place if crs else {})
    )
    return tiles.open_tile(folder / name)


def across_the_border(west, north):
    """The place in zone 32 of a corner in zone 33."""
    (east,), (top,) = reproject(ZONE_33, ZONE_32, [west], [north])
    return {"crs": ZONE_32, "west": round(east), "north": round(top)}


# A second tile that overlaps one at (WEST, NORTH).
SECOND = {
    "copy": {},
    "one grid": {"west": WEST + 200, "north": NORTH - 110},
    "north-west": {"west": WEST - 170, "north": NORTH + 130},
    "half a pixel": {"west": WEST + 205, "north": NORTH - 115},
    "other pixels": {"west": WEST + 100, "north": NORTH - 100, "metres": 20.0},
    "other zone": across_the_border(WEST + 150, NORTH - 90),
}


def pixels(areas):
    """Places of the pixels of a split in metres of zone 33, and tile of each."""
    found = []
    for tile, area in areas:
        rows, columns = np.mgrid[
            area.row : area.row + area.height, area.column : area.column + area.width
        ]
        x, y = tile.transform @ (columns.ravel() + 0.5, rows.ravel() + 0.5)
        crs = tile.crs
        found.append(np.array(reproject(crs, ZONE_33, x, y)))
    return np.concatenate(found, axis=1)


def share_ground(one, other):
    """Whether the middle of a pixel of one split lies in an area of another."""
    x, y = pixels(one)
    for tile, area in other:
        column, row = ~tile.transform @ np.array(reproject(ZONE_33, tile.crs, x, y))
        inside = (row > area.row + 1e-3) & (row < area.row + area.height - 1e-3)
        inside &= column > area.column + 1e-3
        inside &= column < area.column + area.width - 1e-3
        if inside.any():
            return True
    return False


def assert_apart(areas):
    splits = list(areas)
    for number, one in enumerate(splits):
        for other in splits[number + 1 :]:
            assert not share_ground(areas[one], areas[other]), (one, other)
            assert not share_ground(areas[other], areas[one]), (other, one)


@pytest.mark.parametrize("second", SECOND)
def test_squares_of_overlapping_tiles_share_no_ground(tmp_path, second):
    both = [make(tmp_path, "a"), make(tmp_path, "b", **SECOND[second], seed=1)]
    for seed in range(3):
        areas = block_plan.by_squares(both, 16, RATIOS, seed)
        assert_apart(block_areas.apart(areas, SIDE))


@pytest.mark.parametrize("second", ["copy", "one grid", "north-west"])
def test_squares_on_one_grid_lose_nothing(tmp_path, second, caplog):
    both = [make(tmp_path, "a"), make(tmp_path, "b", **SECOND[second], seed=1)]
    caplog.set_level("INFO")
    areas = block_plan.by_squares(both, 16, RATIOS, seed=0)
    assert "numbered on the ground" in caplog.text
    assert block_areas.apart(areas, SIDE) == areas
    covered = sum(w.height * w.width for of in areas.values() for _, w in of)
    assert covered == 2 * 40 * 48


def test_squares_of_tiles_apart_are_drawn_as_of_each_alone(tmp_path):
    both = [make(tmp_path, "a"), make(tmp_path, "b", west=WEST + 480)]
    areas = block_plan.by_squares(both, 16, RATIOS, seed=0)
    found = {(tile.name, window) for of in areas.values() for tile, window in of}
    assert found == {(t.name, w) for t in both for w in windows(40, 48, 16)}
    assert block_areas.apart(areas, SIDE) is not None


def test_a_chain_of_tiles_has_one_grid(tmp_path):
    # The first two meet in the third alone.
    chain = [
        make(tmp_path, "a"),
        make(tmp_path, "b", west=WEST + 700),
        make(tmp_path, "c", west=WEST + 370),
    ]
    areas = block_plan.by_squares(chain, 16, RATIOS, seed=1)
    assert block_areas.apart(areas, SIDE) == areas
    assert_apart(areas)


@pytest.mark.parametrize("second", [name for name in SECOND if name != "copy"])
@pytest.mark.parametrize("of_val", ["a", "b"])
def test_blocks_in_tiles_of_another_split_are_left_out(
    tmp_path, second, of_val, caplog
):
    both = [make(tmp_path, "a"), make(tmp_path, "b", **SECOND[second], seed=1)]
    areas = block_plan.by_tiles(both, val=[of_val])
    caplog.set_level("INFO")
    found = block_areas.apart(areas, SIDE)
    assert found["val"] == areas["val"]
    assert_apart(found)
    assert "blocks are left out, since their ground is in val" in caplog.text
    # A block that was left out does share ground.
    ((tile, whole),) = areas["train"]
    kept = {window for _, window in found["train"]}
    for window in windows(whole.height, whole.width, SIDE):
        if window not in kept:
            wide = Window(window.row - 1, window.column - 1, SIDE + 2, SIDE + 2)
            assert share_ground([(tile, wide)], areas["val"]) or share_ground(
                areas["val"], [(tile, wide)]
            )


def test_the_same_tile_under_two_names_is_refused_between_splits(tmp_path):
    both = [make(tmp_path, "a"), make(tmp_path, "b")]
    areas = block_plan.by_tiles(both, test=["b"])
    with pytest.raises(ValueError, match=r"'train': all ground of its tiles \(a\)"):
        block_areas.apart(areas, SIDE)


@pytest.mark.parametrize("places", [(None, None), (None, ZONE_33), (ZONE_33, None)])
def test_a_copy_without_a_place_is_refused(tmp_path, places):
    both = [
        make(tmp_path, name, crs=crs) for name, crs in zip("ab", places, strict=True)
    ]
    areas = block_plan.by_tiles(both, val=["b"])
    with pytest.raises(ValueError, match="a and b are the same tile under two names"):
        block_areas.apart(areas, SIDE)


def test_tiles_without_a_place_are_taken_with_a_warning(tmp_path, caplog):
    both = [make(tmp_path, "a", crs=None), make(tmp_path, "b", crs=None, seed=1)]
    areas = block_plan.by_tiles(both, val=["b"])
    assert block_areas.apart(areas, SIDE) == areas
    assert "a, b: no coordinate system or transform is known" in caplog.text


def test_tiles_that_only_touch_keep_all(tmp_path, caplog):
    both = [make(tmp_path, "a"), make(tmp_path, "b", west=WEST + 480)]
    areas = block_plan.by_tiles(both, val=["b"])
    caplog.set_level("INFO")
    assert block_areas.apart(areas, SIDE) == areas
    assert not caplog.text


def test_a_point_in_two_tiles_is_of_the_later_split(tmp_path):
    both = [make(tmp_path, "a"), make(tmp_path, "b", west=WEST + 200, seed=1)]
    areas = block_plan.by_tiles(both, test=["b"])
    points = [
        tile_points.Point(str(x), WEST + x, NORTH - 55, 10, None)
        for x in (5, 205, 305, 485)
    ]
    found = block_areas.points_apart(areas, points)
    assert [point.name for point in found["train"]] == ["5"]
    assert [p.name for p in found["test"] if float(p.name) > 200] == [
        "205",
        "305",
        "485",
    ]


def write(folder, *made):
    areas = [(tile, Window(0, 0, tile.height, tile.width)) for tile in made]
    plan = block_plan.plan_blocks(
        "train", areas, {10: "Tree cover"}, "here", side=16, min_valid=0
    )
    block_writer.write_blocks(made, [plan], folder)
    return blocks.open_blocks(str(folder / "train-*"))


@pytest.mark.parametrize("second", [*SECOND, "elsewhere", "no place", "own copy"])
def test_records_of_separate_calls_are_compared(tmp_path, second):
    places = {**SECOND, "elsewhere": {"west": WEST + 480}, "no place": {"crs": None}}
    first = {"crs": None} if second == "own copy" else {}
    place = places.get(second, first)
    one = write(
        tmp_path / "x",
        make(tmp_path, "a", **first),
        make(tmp_path, "c", west=WEST - 9000),
    )
    name = "a" if second == "own copy" else "b"
    seed = 0 if second == "own copy" else 1
    other = write(
        tmp_path / "y",
        make(tmp_path / "of others", name, seed=seed, **place),
        make(tmp_path / "of others", "farther", west=WEST + 90_000),
    )
    apart = second in ("elsewhere", "no place")
    assert blocks.shared_ground(other, one) == ([] if apart else [name])
    assert blocks.shared_ground(one, one) == []
