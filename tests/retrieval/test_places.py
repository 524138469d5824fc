"""Where patches lie, against rasterio, and GeoJSON as the standard asks for it."""

import numpy as np
import pytest
from rasterio import warp

from bigearthnet_tf.retrieval import places

V2 = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57"
V1 = "S2A_MSIL2A_20170613T101031_26_57"
S1 = "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_26_57"


def test_footprints_are_squares_of_1200_metres_in_the_tile():
    (ring,) = places.footprints([V2], [""])
    east, north = warp.transform("EPSG:4326", "EPSG:32633", *zip(*ring, strict=True))
    # The tile 33UUP begins at 300 km east and 5,400 km north.
    assert min(east) == pytest.approx(300_000 + 26 * 1200, abs=0.01)
    assert max(east) == pytest.approx(300_000 + 27 * 1200, abs=0.01)
    assert max(north) == pytest.approx(5_400_000 - 57 * 1200, abs=0.01)
    assert min(north) == pytest.approx(5_400_000 - 58 * 1200, abs=0.01)
    assert ring[0] == ring[-1]


def test_names_of_v1_get_the_place_of_their_partner():
    by_partner, unknown, foreign = places.footprints([V1, V1, "x"], [S1, "", ""])
    assert by_partner == places.footprints([V2], [""])[0]
    assert unknown is None
    assert foreign is None


def test_rings_go_against_the_clock_and_are_closed():
    rings = places.footprints([V2, V1], [S1, ""])
    found = places.geojson([{"rank": 0}, {"rank": 1}], rings)
    assert found["type"] == "FeatureCollection"
    polygon = found["features"][0]["geometry"]["coordinates"][0]
    x, y = np.array(polygon).T
    assert polygon[0] == polygon[-1]
    assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() > 0  # Shoelace formula.
    assert 12 < x.mean() < 13
    assert 47 < y.mean() < 49
    assert found["features"][1]["geometry"] is None
    assert found["features"][1]["properties"] == {"rank": 1}


def test_many_patches_in_several_zones_are_placed_as_each_alone():
    names = [
        f"S2A_MSIL2A_20170613T101031_N9999_R022_T{tile}_{i:02d}_{2 * i:02d}"
        for i in range(20)
        for tile in ("33UUP", "29UPU", "34VER")
    ]
    together = places.footprints(names, [""] * len(names))
    for name, ring in zip(names, together, strict=True):
        (alone,) = places.footprints([name], [""])
        np.testing.assert_allclose(ring, alone, atol=1e-9)


def test_a_tile_that_is_none_has_no_place_and_ends_nothing():
    odd = V2.replace("33UUP", "99ZZZ")
    there, nowhere = places.footprints([V2, odd], ["", ""])
    assert there is not None
    assert nowhere is None


def test_tiles_are_squares_of_109800_metres():
    outlines = places.tile_outlines([V2, "x", V1], ["", "", S1])
    assert list(outlines) == ["33UUP"]
    east, north = warp.transform(
        "EPSG:4326", "EPSG:32633", *zip(*outlines["33UUP"], strict=True)
    )
    assert np.ptp(east) == pytest.approx(109_800, abs=0.1)
    assert max(north) == pytest.approx(5_400_000, abs=0.1)


def test_distances_on_the_sphere():
    # A quarter of the equator, and London to Paris.
    found = places.kilometres((0.0, 0.0), [(90.0, 0.0), (0.0, 0.0)])
    assert found == pytest.approx([6371 * np.pi / 2, 0])
    assert places.kilometres((-0.1278, 51.5074), [(2.3522, 48.8566)])[0] == (
        pytest.approx(343.6, abs=0.5)
    )
