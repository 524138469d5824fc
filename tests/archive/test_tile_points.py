import pytest
import tile_folders
from rasterio.warp import transform

from bigearthnet_tf.archive import tile_points, tiles

CODES = [10, 40, 95, 100]


@pytest.fixture(scope="module")
def tile(tmp_path_factory):
    place = {"crs": tile_folders.CRS, "transform": tile_folders.TRANSFORM}
    folder = tmp_path_factory.mktemp("points") / "a"
    return tiles.open_tile(tile_folders.write_npy(folder, **place))


def test_points_are_found_by_map_coordinates_or_degrees(tile, tmp_path):
    # The middle of row 3, column 7; the tile's first corner; outside.
    x, y = [300_075.0, 300_000.0, 299_999.0], [4_499_965.0, 4_500_000.0, 4_499_965.0]
    lon, lat = transform(tile_folders.CRS, "EPSG:4326", x[:1], y[:1])
    text = "x,y,label,id\n" + "".join(
        f"{a},{b},{code},{name}\n"
        for a, b, code, name in zip(x, y, (10, 0, 40), "uvw", strict=True)
    )
    (tmp_path / "metres.csv").write_text(text)
    points = tile_points.read_points(tmp_path / "metres.csv", CODES)
    assert [(p.name, p.label) for p in points] == [("u", 10), ("v", 255), ("w", 40)]
    found = tile_points.locate(points, tile)
    assert [(p.name, row, column) for p, row, column in found] == [
        ("u", 3, 7),
        ("v", 0, 0),
    ]
    (tmp_path / "degrees.csv").write_text(f"lat,lon,label\n{lat[0]},{lon[0]},95\n")
    points = tile_points.read_points(tmp_path / "degrees.csv", CODES)
    ((point, *place),) = tile_points.locate(points, tile)
    assert (place, point.label, point.name) == ([3, 7], 95, "0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a table of points"),
        (
            "x,label\n1,10\n",
            "expected columns lon and lat, or x and y, and label, got x",
        ),
        ("x,y,label\n1,2,10\n1,north,10\n", "csv:3: expected a number in 'y'"),
        ("x,y,label\n1,2,10\n1,2,\n", "but line 3 has none"),
        (
            "x,y,label\n1,2,11\n",
            "expected class codes 10, 40, 95, 100, got 11 in line 2",
        ),
    ],
)
def test_faulty_tables(tmp_path, text, message):
    (tmp_path / "points.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        tile_points.read_points(tmp_path / "points.csv", CODES)


def test_ids_stay_as_they_are_written(tmp_path):
    (tmp_path / "points.csv").write_text("x,y,label,id\n1,2,10,007\n1,2,10,NA\n")
    points = tile_points.read_points(tmp_path / "points.csv", CODES)
    assert [point.name for point in points] == ["007", "NA"]


def test_map_coordinates_in_two_zones_are_asked_about(tile, tmp_path):
    place = {"crs": "EPSG:32614", "transform": tile_folders.TRANSFORM}
    other = tiles.open_tile(tile_folders.write_npy(tmp_path / "b", **place))
    x, y = 300_075.0, 4_499_965.0
    point = tile_points.Point("p", x, y, 10)
    tile_points.check_one_system([point], [tile, tile])
    with pytest.raises(ValueError, match=r"point p: .* EPSG:32613 and of EPSG:32614"):
        tile_points.check_one_system([point], [tile, other])
    (lon,), (lat,) = transform(tile_folders.CRS, "EPSG:4326", [x], [y])
    point = tile_points.Point("p", lon, lat, 10, "EPSG:4326")
    tile_points.check_one_system([point], [tile, other])


def test_a_tile_without_place(tmp_path):
    tile = tiles.open_tile(tile_folders.write_npy(tmp_path / "a"))
    point = tile_points.Point("a", 0.0, 0.0, 10)
    with pytest.raises(ValueError, match="no coordinate system or transform"):
        tile_points.locate([point], tile)
