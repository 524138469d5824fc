"""Places against georeferences and the MGRS, contacts and blocks by brute force."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.warp import transform

from bigearthnet_tf.archive import geotiff, metadata, names, plans, spatial

LATITUDE_BANDS = "CDEFGHJKLMNPQRSTUVWX"


@pytest.fixture(scope="module")
def real_table(shared):
    return metadata.read_metadata(shared / "data/v2/metadata.parquet")


def places_of(table):
    fields = table["patch_id"].str.extract(names.S2_V2_PATTERN)
    return spatial.locate(
        fields["tile"].tolist(), fields["column"].astype(int), fields["row"].astype(int)
    )


def make_places(corners, zone=33):
    corners = np.asarray(corners, float).reshape(-1, 2)
    zones = np.full(len(corners), zone)
    return spatial.Places(zones, corners[:, 0], corners[:, 1])


@pytest.mark.parametrize(
    ("tile", "origin"), [("33UUP", (300000, 5400000)), ("29UPU", (600000, 5900040))]
)
def test_known_tiles(tile, origin):
    assert spatial.tile_origin(tile) == origin


def test_tiles_of_the_generated_archive():
    for site in plans.read_sites():
        assert spatial.tile_origin(site.tile) == tuple(site.origin)


def test_real_tiles_lie_in_their_zone_and_latitude_band(real_table):
    tiles = real_table["patch_id"].str.extract(names.S2_V2_PATTERN)["tile"].unique()
    assert len(tiles) == 54
    for tile in tiles:
        west, north = spatial.tile_origin(tile)
        sides = [(x, y) for x in (0, 50_000, 99_999) for y in (1, 50_000, 99_999)]
        longitudes, latitudes = transform(
            f"EPSG:326{tile[:2]}",
            "EPSG:4326",
            [west + x for x, _ in sides],
            [north - y for _, y in sides],
        )
        zones = {int((longitude + 180) // 6) + 1 for longitude in longitudes}
        bands = {LATITUDE_BANDS[int((latitude + 80) // 8)] for latitude in latitudes}
        assert int(tile[:2]) in zones, tile
        assert tile[2] in bands, tile


@pytest.mark.parametrize(
    "tile", ["", "33UU", "33CUP", "33UIP", "33UUW", "T33UUP", "3UUUP", "00UUP", "33UAP"]
)
def test_no_tiles(tile):
    with pytest.raises(ValueError, match="not a Sentinel-2 tile"):
        spatial.tile_origin(tile)


def check_place(name, tile, bounds):
    parsed = names.parse_name(name)
    place = spatial.locate([tile], [parsed.column], [parsed.row])
    assert (place.east[0], place.north[0]) == (bounds[0], bounds[3])
    assert place.zone[0] == int(tile[:2])


def test_places_of_the_real_v1_patches(shared):
    folders = sorted((shared / "data/v1/BigEarthNet-S1-v1.0").iterdir())
    assert len(folders) == 6
    for folder in folders:
        found = metadata.read_v1_json(folder / f"{folder.name}_labels_metadata.json")
        check_place(folder.name, names.parse_name(folder.name).tile, found.bounds)


def test_places_of_the_real_v2_patches(shared):
    paths = sorted((shared / "data/v2/BigEarthNet-S2").rglob("*_B02.tif*"))
    assert len(paths) >= 6
    for path in paths:
        geo = geotiff.read_georeference(path)
        tile = names.parse_name(path.parent.name).tile
        check_place(path.parent.name, tile, geo.bounds)
        assert geo.crs == f"EPSG:326{tile[:2]}"


def test_patches_without_a_tile_lie_nowhere():
    places = spatial.locate(["", "33UUP"], [3, 3], [4, 4])
    assert places.zone.tolist() == [spatial.UNKNOWN_ZONE, 33]


def count_by_hand(places, assigned, splits, meets):
    result = np.zeros((splits, splits), int)
    count = len(assigned)
    for one, other in product(range(count), range(splits)):
        result[assigned[one], other] += other != assigned[one] and any(
            assigned[partner] == other
            and places.zone[one] == places.zone[partner] != 0
            and meets(
                abs(places.east[one] - places.east[partner]),
                abs(places.north[one] - places.north[partner]),
            )
            for partner in range(count)
        )
    return result


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 33, 35]),
            st.integers(0, 4),
            st.integers(0, 4),
            # Tiles overlap with grids that are shifted by multiples of 60 m.
            st.sampled_from([0, 60, 600]),
            st.integers(0, 2),
        ),
        max_size=25,
    )
)
def test_contacts_against_all_pairs(drawn):
    rows = np.array(drawn, float).reshape(-1, 5)
    places = spatial.Places(
        rows[:, 0].astype(int),
        500_000 + 1200 * rows[:, 1] + rows[:, 3],
        5_400_000 - 1200 * rows[:, 2],
    )
    assigned = rows[:, 4].astype(int)
    found = spatial.count_contacts(places, assigned, 3)
    for counts, meets in (
        (found.touching, lambda x, y: max(x, y) <= 1200),
        (found.overlapping, lambda x, y: max(x, y) < 1200),
        (found.same_place, lambda x, y: x == y == 0),
    ):
        np.testing.assert_array_equal(counts, count_by_hand(places, assigned, 3, meets))


@pytest.mark.parametrize(("metres", "touches"), [(0, 1), (1000, 1), (1400, 0)])
def test_contact_across_the_border_of_two_zones(metres, touches):
    # The same centre in both zones, on 18 degrees east, moved eastwards in the second.
    centres = [
        transform("EPSG:4326", f"EPSG:326{zone}", [18.0], [48.0]) for zone in (33, 34)
    ]
    (east, north), (own_east, own_north) = ((x[0], y[0]) for x, y in centres)
    places = spatial.Places(
        np.array([33, 34]),
        np.array([east - 600, own_east - 600 + metres]),
        np.array([north + 600, own_north + 600]),
    )
    found = spatial.count_contacts(places, np.array([0, 1]), 2)
    assert found.touching.tolist() == [[0, touches], [touches, 0]]


def test_the_official_split_as_audited(real_table):
    order = {"train": 0, "val": 1, "test": 2}
    assigned = real_table["split"].map(order).to_numpy()
    found = spatial.count_contacts(places_of(real_table), assigned, 3)
    # An independent audit found train and test 12 km apart and no shared ground.
    assert found.touching[0, 2] == found.touching[2, 0] == 0
    assert not found.overlapping.any()
    assert not found.same_place.any()
    share = found.touching[1, 0] / (assigned == 1).sum()
    assert 0.09 < share < 0.13


def test_blocks_are_squares_of_the_zone():
    places = make_places([(300_000, 5_400_000), (308_400, 5_391_600), (309_600, 5.4e6)])
    blocks = spatial.block_numbers(places, 10)
    assert blocks.tolist() == [0, 0, 1]
    elsewhere = spatial.Places(np.array([33, 34, 33]), places.east, places.north)
    assert len(set(spatial.block_numbers(elsewhere, 10))) == 3


@given(
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 90)), min_size=1),
    st.floats(1.2, 60),
)
def test_blocks_are_numbered_without_gaps_and_no_larger_than_they_should(drawn, km):
    corners = np.array(drawn) * (1200, -1200) + (300_000, 5_400_000)
    blocks = spatial.block_numbers(make_places(corners), km)
    assert set(blocks) == set(range(blocks.max() + 1))
    for block in range(blocks.max() + 1):
        own = corners[blocks == block]
        assert (np.ptp(own, axis=0) <= 1000 * km + 1e-6).all()


@pytest.mark.parametrize("km", [0, 1, -5, float("nan"), float("inf")])
def test_blocks_hold_a_patch(km):
    with pytest.raises(ValueError, match=r"blocks of 1\.2 km"):
        spatial.block_numbers(make_places([(0, 0)]), km)


def test_blocks_need_places():
    with pytest.raises(ValueError, match="where 1 of 2 patches lie"):
        spatial.block_numbers(spatial.locate(["33UUP", ""], [0, 1], [0, 1]), 10)


def measure(blocks, chosen, multi_hot, ratios):
    """The sum of the docstring, worked out anew."""
    total = 0.0
    for column, weight in [(np.ones(len(blocks)), 5), *((c, 1) for c in multi_hot.T)]:
        for split, ratio in enumerate(ratios):
            share = column[chosen[blocks] == split].sum() / column.sum()
            total += weight * (share - ratio) ** 2 / ratio
    return total


@given(st.integers(0, 1000))
def test_no_move_of_a_single_block_makes_it_better(seed):
    rng = np.random.default_rng(seed)
    blocks = np.concatenate([np.arange(12), rng.integers(0, 12, 80)])
    multi_hot = np.vstack([np.ones(4), rng.random((91, 4)) < 0.3]).astype(np.uint8)
    ratios = [0.6, 0.2, 0.2]
    assigned = spatial.divide_blocks(blocks, multi_hot, ratios, seed)
    chosen = np.array([assigned[blocks == block][0] for block in range(12)])
    np.testing.assert_array_equal(chosen[blocks], assigned)  # no block is torn
    best = measure(blocks, chosen, multi_hot, ratios)
    for block, split in product(range(12), range(3)):
        other = chosen.copy()
        other[block] = split
        assert measure(blocks, other, multi_hot, ratios) >= best - 1e-9
    again = spatial.divide_blocks(blocks, multi_hot, ratios, seed)
    np.testing.assert_array_equal(assigned, again)


def test_blocks_without_labels_are_divided_by_size():
    blocks = np.arange(100)
    assigned = spatial.divide_blocks(
        blocks, np.empty((100, 0), np.uint8), [0.7, 0.3], 0
    )
    assert np.bincount(assigned).tolist() == [70, 30]


@pytest.mark.parametrize(
    ("count", "ratios", "message"),
    [
        (2, [0.4, 0.3, 0.3], "blocks of land for each of 3 splits, but there are 2"),
        (3, [0.98, 0.01, 0.01], r"small enough for the split with ratio 0\.01"),
    ],
)
def test_too_few_blocks(count, ratios, message):
    blocks = np.repeat(np.arange(count), 20)
    labels = np.ones((len(blocks), 1), np.uint8)
    with pytest.raises(ValueError, match=message):
        spatial.divide_blocks(blocks, labels, ratios, 0)
