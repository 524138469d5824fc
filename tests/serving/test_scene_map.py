"""Maps of scenes: exact on real patches, the same for any block, blended as defined."""

import dataclasses
import logging

import closeness
import numpy as np
import pytest
import rasterio
import scene_files
from affine import Affine

from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.serving import (
    map_picture,
    maps,
    scene_map,
    scene_products,
    trained,
    windows,
)
from bigearthnet_tf.serving.maps import Request
from bigearthnet_tf.serving.windows import Grid, WindowModel

BANDS = ("B02", "B05")
LABELS = ("dark", "bright", "even")


def means(groups):
    """Scores that follow from the means of two bands, none of which the batch sees."""
    fine, coarse = (groups[name].astype(np.float64) for name in ("s2_10m", "s2_20m"))
    a, b = (group[:, 0].mean((1, 2)) / 4000 for group in (fine, coarse))
    return np.stack([1 - a, a, b], axis=1).astype(np.float32)


def pixels(groups):
    """Likewise of each pixel of 10 m."""
    fine = groups["s2_10m"][:, 0] / 4000
    coarse = groups["s2_20m"][:, 0].repeat(2, axis=1).repeat(2, axis=2) / 4000
    return np.stack([1 - fine, fine, coarse], axis=-1).astype(np.float32)


def model_of(score=means, **facts):
    colours = ("#101010", "#f0f000", "#808080")
    return WindowModel(BANDS, LABELS, colours, score, "key", "means", **facts)


def map_scene(scene, out, model=None, **options):
    """Maps a scene and returns its pixels and what the file says of itself."""
    model = model or model_of()
    request = Request(out.parent, out.parent, "classification", scene, out, options)
    scene_map.write(model, request)
    with rasterio.open(out) as dataset:
        return dataset.read(), dataset.profile, dataset.tags()


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A scene of 4.2 x 3.1 km that is no multiple of anything, with its bands."""
    bands = scene_files.noise(312, 423, BANDS)
    folder = tmp_path_factory.mktemp("scenes") / "scene"
    return scene_files.write_bands(folder, bands), bands


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return scene_files.write_run(folder, bands="s2_full")


def test_a_scene_of_real_patches_is_mapped_exactly(shared, run, tmp_path):
    patches = scene_files.real_patches(shared)
    scene = scene_files.write_bands(
        tmp_path / "scene", scene_files.mosaic(patches, columns=3)
    )
    lines = maps.make_map(
        run, scene, tmp_path / "scores.tif", output="scores", stride=1200
    )
    assert "2 x 3 pixels of 1200 m" in lines[0]
    model = trained.load(run)
    groups = {
        name: np.stack([np.stack([own[band] for band in members]) for own in patches])
        for name, members in band_facts.group_bands(model.bands).items()
    }
    expected = model.score(groups)
    assert np.ptp(expected, axis=0).max() > 0.01
    with rasterio.open(tmp_path / "scores.tif") as dataset:
        found = dataset.read()
        assert dataset.crs.to_epsg() == 32629
        assert np.isnan(dataset.nodata)
        assert dataset.descriptions == label_facts.LABELS["BigEarthNet-19"]
        for number in range(6):
            row, column = divmod(number, 3)
            # The centre of a pixel is that of its patch.
            centre = (
                scene_files.LEFT + 600 + 1200 * column,
                scene_files.TOP - 600 - 1200 * row,
            )
            assert dataset.xy(row, column) == centre
            sampled = next(dataset.sample([centre]))
            closeness.assert_close(sampled, expected[number], closeness.NETWORK)
    assert found.shape == (19, 2, 3)
    # The best label is that of the same scores, with the colours of CORINE.
    maps.make_map(run, scene, tmp_path / "best.tif", stride=1200)
    with rasterio.open(tmp_path / "best.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), found.argmax(axis=0))
        assert dataset.nodata == 255
        table = label_facts.TABLES["BigEarthNet-19"]
        for value, label in enumerate(table):
            assert dataset.tags()[f"CLASS_{value}"] == label.name
            rgb = tuple(bytes.fromhex(label.colour[1:]))
            assert dataset.colormap(1)[value][:3] == rgb


def blended(bands, grid):
    """The same map in float64, by the definition, on 10 m pixels."""
    size = [n * grid.pixel for n in grid.shape]
    total, weight = np.zeros((3, *size)), np.zeros(size)
    fine = 8
    hann = np.sin(np.pi * (np.arange(120 * fine) + 0.5) / (120 * fine)) ** 2
    side = hann.reshape(120, fine).mean(axis=1)
    if grid.stride >= 120:
        side = np.ones(120)
    for row in windows.offsets(grid.height, grid.stride):
        for column in windows.offsets(grid.width, grid.stride):
            groups = {}
            for name, group in zip(BANDS, ("s2_10m", "s2_20m"), strict=True):
                step = band_facts.BANDS[name].metres // 10
                cut = bands[name][
                    row // step : (row + 120) // step,
                    column // step : (column + 120) // step,
                ].astype(np.float64)
                full = np.full((120 // step, 120 // step), np.rint(cut.mean()))
                full[: cut.shape[0], : cut.shape[1]] = cut
                groups[group] = full[None, None]
            scores = means(groups)[0]
            rows, columns = slice(row, row + 120), slice(column, column + 120)
            own = np.outer(side, side)[: size[0] - row, : size[1] - column]
            weight[rows, columns] += own
            total[:, rows, columns] += own * scores[:, None, None]
    shape = (grid.shape[0], grid.pixel, grid.shape[1], grid.pixel)
    return total.reshape(3, *shape).sum((2, 4)) / weight.reshape(shape).sum((1, 3))


@pytest.mark.parametrize(
    ("stride", "pixel"), [(600, 600), (300, 60), (1200, 1200), (420, 100)]
)
def test_windows_are_blended_as_defined(scene, tmp_path, stride, pixel):
    found, profile, _ = map_scene(
        scene[0], tmp_path / "m.tif", output="scores", stride=stride, pixel=pixel
    )
    grid = Grid(312, 423, stride // 10, pixel // 10, 1200)
    assert found.shape[1:] == grid.shape
    place = Affine(pixel, 0, scene_files.LEFT, 0, -pixel, scene_files.TOP)
    assert profile["transform"] == place
    expected = blended(scene[1], grid)
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("per_pixel", [False, True])
def test_any_block_size_gives_the_same_map(scene, tmp_path, per_pixel):
    model = model_of(pixels if per_pixel else means, per_pixel=per_pixel)
    options = {"output": "scores", "stride": 300, "pixel": 60}
    found = [
        map_scene(
            scene[0],
            tmp_path / f"{block}.tif",
            model,
            block_size=block,
            batch_size=batch,
            **options,
        )[0]
        for block, batch in ((6000 // 10, 64), (60, 1), (126, 7), (432, 5))
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_scores_of_pixels_are_those_of_each_pixel(scene, tmp_path):
    model = model_of(pixels, per_pixel=True)
    found, profile, _ = map_scene(scene[0], tmp_path / "m.tif", model, output="scores")
    assert found.shape == (3, 312, 423) and profile["transform"].a == 10
    closeness.assert_close(found[1], scene[1]["B02"] / 4000)
    coarse = scene[1]["B05"].repeat(2, 0).repeat(2, 1)[:312, :423] / 4000
    closeness.assert_close(found[2], coarse)


def test_pixels_without_data_have_none_and_change_nothing_else(scene, tmp_path):
    bands = {name: values.copy() for name, values in scene[1].items()}
    bands["B02"][:, :200] = 0
    bands["B05"][:60, :] = 0
    holed = scene_files.write_bands(tmp_path / "holed", bands, nodata=0)
    found, profile, _ = map_scene(
        holed, tmp_path / "m.tif", output="scores", pixel=60, stride=300
    )
    none = np.isnan(found[0])
    # A map pixel has data if one of its pixels has them in all bands.
    assert none[:, : 198 // 6].all() and none[: 120 // 6].all()
    assert not none[120 // 6 :, 198 // 6 :].any()
    # Windows without a hole score as before.
    full, *_ = map_scene(
        scene[0], tmp_path / "full.tif", output="scores", pixel=60, stride=300
    )
    far = (slice(None), slice(240 // 6, None), slice(320 // 6, None))
    closeness.assert_close(found[far], full[far])
    best, *_ = map_scene(holed, tmp_path / "b.tif", pixel=60, stride=300)
    np.testing.assert_array_equal(best[0] == 255, none)
    bytes_, profile, _ = map_scene(
        holed, tmp_path / "u.tif", output="scores", dtype="uint8", pixel=60, stride=300
    )
    assert profile["dtype"] == "uint8" and profile["nodata"] == 255
    np.testing.assert_allclose(
        np.where(none, np.nan, bytes_ / scene_products.STEPS), found, atol=0.00201
    )


def test_flags_by_thresholds(scene, tmp_path):
    scores, *_ = map_scene(scene[0], tmp_path / "s.tif", output="scores")
    flags, _, tags = map_scene(
        scene[0], tmp_path / "f.tif", output="labels", thresholds="0.4"
    )
    np.testing.assert_array_equal(flags, scores >= 0.4)
    assert 0 < flags.mean() < 1 and tags["THRESHOLDS"] == "0.4 0.4 0.4"


def test_one_file_of_described_bands_is_the_same_scene(scene, tmp_path):
    """Bands of 20 m repeated at 10 m, as many tools deliver them."""
    coarse = scene[1]["B05"].repeat(2, 0).repeat(2, 1)[:312, :423]
    path = scene_files.write_tiff(
        tmp_path / "all.tif",
        np.stack([coarse, scene[1]["B02"]]),
        10,
        ["B5 (20 m)", "S2_B02"],
    )
    one, *_ = map_scene(path, tmp_path / "one.tif", output="scores")
    several, *_ = map_scene(scene[0], tmp_path / "several.tif", output="scores")
    closeness.assert_close(one, several)


@pytest.mark.parametrize(
    ("facts", "added"),
    [
        ({"baseline": "05.10"}, 1000),
        ({"baseline": "05.10", "offsets": False}, 1000),
        ({"baseline": "03.01", "offsets": False}, 0),
    ],
)
def test_products_of_esa_lose_the_offset_of_their_baseline(tmp_path, facts, added):
    bands = scene_files.noise(120, 240, BANDS)
    bands["B02"][:10] = 0  # Below the offset once it is taken away: dark, not missing.
    # Of a file without a tag 0 would be no data.
    plain = scene_files.write_bands(tmp_path / "plain", bands, nodata=65535)
    raised = {name: values + added for name, values in bands.items()}
    product = scene_files.write_safe(tmp_path / "S2A_MSIL2A.SAFE", raised, **facts)
    options = {"output": "scores", "stride": 1200}
    found, *_ = map_scene(product, tmp_path / "safe.tif", **options)
    if added:
        expected, *_ = map_scene(plain, tmp_path / "plain.tif", **options)
        closeness.assert_close(found, expected)
    # Without an offset 0 stands for no data, of a part of the windows.
    assert np.isfinite(found).all()


def test_sentinel_1_is_put_onto_the_grid(tmp_path):
    bands = scene_files.noise(240, 240, "s2") | scene_files.noise(240, 240, "s1")
    model = dataclasses.replace(
        model_of(lambda g: np.stack([g["s1_10m"].mean((1, 2, 3)) / -40] * 3, axis=1)),
        bands=("VV", "VH", "B02"),
    )
    optical = scene_files.write_bands(tmp_path / "s2", {"B02": bands["B02"]})
    radar = {name: bands[name] for name in ("VV", "VH")}
    same = scene_files.write_bands(tmp_path / "s1", radar)
    options = {"output": "scores", "stride": 1200}
    expected, *_ = map_scene(optical, tmp_path / "a.tif", model, s1=same, **options)
    for row, column in np.ndindex(2, 2):
        rows, columns = (slice(120 * n, 120 * n + 120) for n in (row, column))
        mean = np.mean([radar[name][rows, columns] for name in radar]) / -40
        closeness.assert_close(expected[0, row, column], mean)
    # From a grid that is shifted and larger, with no data in the east.
    wide = {n: np.pad(v, ((0, 0), (3, 0)), mode="edge") for n, v in radar.items()}
    for values in wide.values():
        values[:, 140:] = -9999
    place = Affine(10, 0, scene_files.LEFT - 30, 0, -10, scene_files.TOP)
    other = scene_files.write_bands(
        tmp_path / "other", wide, transform=place, nodata=-9999
    )
    shifted, *_ = map_scene(optical, tmp_path / "b.tif", model, s1=other, **options)
    closeness.assert_close(shifted[:, :, 0], expected[:, :, 0])
    assert np.isfinite(shifted[:, :, 1]).all()  # Filled by what is there.
    with pytest.raises(ValueError, match="lacks VV, VH; give those of Sentinel-1"):
        map_scene(optical, tmp_path / "c.tif", model, **options)


def test_what_was_cut_off_goes_on(scene, tmp_path, caplog):
    calls = []

    def failing(groups):
        calls.append(len(groups["s2_10m"]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return means(groups)

    def counting(groups):
        calls.append(len(groups["s2_10m"]))
        return means(groups)

    options = {"output": "scores", "block_size": 120, "stride": 600}
    out = tmp_path / "m.tif"
    with pytest.raises(KeyboardInterrupt):
        map_scene(scene[0], out, model_of(failing), **options)
    assert not out.exists()
    first = sum(calls[:2])
    calls.clear()
    with caplog.at_level(logging.INFO):
        found, *_ = map_scene(scene[0], out, model_of(counting), **options)
    assert f"going on, {first} of" in caplog.text
    again = sum(calls)
    calls.clear()
    whole, *_ = map_scene(scene[0], tmp_path / "w.tif", model_of(counting), **options)
    assert sum(calls) == first + again
    np.testing.assert_array_equal(found, whole)
    calls.clear()
    map_scene(scene[0], out, model_of(counting), **options)
    assert not calls


def test_pictures_of_all_products(scene, tmp_path):
    """They are drawn; what they look like is looked at elsewhere."""
    for output in ("best", "scores", "labels"):
        path = tmp_path / f"{output}.png"
        map_scene(scene[0], tmp_path / f"{output}.tif", output=output, picture=path)
        assert path.stat().st_size > 5000
    figure = map_picture.draw(tmp_path / "best.tif", "A title")
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any(text.startswith("bright  ") and text.endswith(" %") for text in texts)
    assert figure.axes[0].get_title(loc="left") == "A title"
    assert "easting (m)" in figure.axes[0].get_xlabel()
    with pytest.raises(ValueError, match="expected a band of 1 to 3, got 4"):
        map_picture.draw(tmp_path / "scores.tif", band=4)
    with pytest.raises(ValueError, match="expected a GeoTIFF"):
        map_picture.draw(scene[0])


def test_what_cannot_be_mapped_is_refused_in_a_line(scene, tmp_path, monkeypatch):
    folder, bands = scene

    def refuse(match, what, **options):
        with pytest.raises((ValueError, FileNotFoundError), match=match):
            map_scene(what, tmp_path / "out.tif", **options)
        assert not list(tmp_path.glob("*out.tif*"))

    def rewritten(name, **profile):
        return scene_files.write_bands(tmp_path / name, bands, **profile)

    lone = scene_files.write_bands(tmp_path / "lone", {"B02": bands["B02"]})
    refuse("needs B02, B05, but the scene lacks B05$", lone)
    refuse("no such file or folder", tmp_path / "absent")
    degrees = Affine(1e-4, 0, 9, 0, -1e-4, 53)
    refuse(
        "expected coordinates in metres, but EPSG:4326 is in degrees.*gdalwarp",
        rewritten("degrees", crs="EPSG:4326", transform=degrees),
    )
    refuse(
        "expected a coordinate system, but the file has none", rewritten("no", crs=None)
    )
    nothing = {name: np.zeros_like(values) for name, values in bands.items()}
    refuse(
        "no pixel has data in all of B02, B05",
        scene_files.write_bands(tmp_path / "nothing", nothing, nodata=0),
    )
    other = rewritten("other")
    moved = Affine(20, 0, scene_files.LEFT + 20, 0, -20, scene_files.TOP)
    scene_files.write_tiff(
        other / "scene_B05.tif", bands["B05"][None], 20, transform=moved
    )
    refuse(
        "band B05 covers .*, but .*scene_B02.tif .*put all bands onto one grid", other
    )
    zone = rewritten("zone")
    scene_files.write_tiff(
        zone / "scene_B05.tif", bands["B05"][None], 20, crs="EPSG:32630"
    )
    refuse("band B05 is in EPSG:32630, but .* in EPSG:32629", zone)
    turned = Affine(10, 1, scene_files.LEFT, 1, -10, scene_files.TOP)
    refuse("rows from west to east", rewritten("turned", transform=turned))
    odd = Affine(11, 0, scene_files.LEFT, 0, -11, scene_files.TOP)
    refuse("pixels of 11 x 11 m", rewritten("odd", transform=odd))
    small = {name: (v / 10000).astype(np.float32) for name, v in bands.items()}
    refuse(
        "reflectance x 10,000, got .* give --scale 10000",
        scene_files.write_bands(tmp_path / "small", small),
    )
    twice = rewritten("twice")
    scene_files.write_tiff(twice / "again_B02.tif", bands["B02"][None], 10)
    refuse("band B02 is there twice", twice)
    broken = rewritten("broken")
    path = broken / "scene_B02.tif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refuse("scene_B02.tif: expected a raster that GDAL reads", broken)
    level_1c = tmp_path / "S2A_MSIL1C.SAFE"
    level_1c.mkdir()
    (level_1c / "MTD_MSIL1C.xml").write_text("<a/>")
    refuse("expected a level-2A product", level_1c)
    refuse("--block-size: expected a multiple of 60 pixels", folder, block_size=100)
    refuse("--stride: expected a multiple of 60 m up to 1200", folder, stride=1260)
    refuse("--pixel: expected a multiple of 10 m up to 1200", folder, pixel=15)
    refuse("--batch-size: expected 1 or more", folder, batch_size=0)
    refuse("--thresholds is for --output labels alone", folder, thresholds="0.5")
    with monkeypatch.context() as patch:
        patch.setattr("bigearthnet_tf.training.memory.available", lambda: 10**5)
        size = r"--block-size: \d+ x \d+ pixels of 10 m at once need 0\.\d GB"
        refuse(size, folder)
        patch.setattr("bigearthnet_tf.training.memory.available", lambda: 10**6)
        large = model_of(example_bytes=10**6)
        refuse("--batch-size: 4 at once need", folder, model=large, batch_size=4)
    refuse(
        "expected a number of 0 to 1, got 2", folder, output="labels", thresholds="2"
    )
    refuse("has no tuned thresholds", folder, output="labels", thresholds="tuned")
    refuse("the model takes no Sentinel-1; leave it out", folder, s1=folder)
    refuse(r"ends in \.png", folder, picture=tmp_path / "out.jpg")
    own = folder / "scene_B02.tif"
    before = own.read_bytes()
    with pytest.raises(OSError, match="was not written by this command"):
        map_scene(folder, own)
    assert own.read_bytes() == before


def test_a_task_without_maps_and_foreign_options_are_refused(run, tmp_path):
    with pytest.raises(ValueError, match="--kind is not for the maps of task"):
        maps.make_map(run, tmp_path, tmp_path / "m.tif", kind=["class"])
    with pytest.raises(FileNotFoundError, match="expected the folder of a run"):
        maps.make_map(tmp_path / "none", tmp_path, tmp_path / "m.tif")
