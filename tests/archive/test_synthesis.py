"""The generated landscape: its tables, its maps, and what the satellites see of it."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet_tf.archive import bands, labels, landscape, patch, patterns, synthesis

CLC_CODES = [code for label in labels.ORIGINAL_TABLE for code in label.clc_codes]

# Means of BigEarthNet v2 (spec/classification.md 3.4), in the channel order.
REAL_MEANS = dict(
    zip(
        bands.BANDS,
        [
            -12.6,
            -19.4,
            361,
            438,
            614,
            588,
            943,
            1770,
            2050,
            2193,
            2236,
            2241,
            1568,
            998,
        ],
        strict=True,
    )
)


@pytest.fixture(scope="module")
def tables():
    path = Path(synthesis.__file__).with_name("spectra.json")
    return json.loads(path.read_text(encoding="utf-8"))


def render(codes, month=7, country="Austria", seed=0):
    """A patch of one class, or of several in equal vertical stripes."""
    rng = np.random.default_rng(seed)
    scene = landscape.Scene(tuple(codes), country, "arable plain")
    parcels = patterns.draw_parcels(rng, 13, 0.5)
    columns = np.repeat(np.array(codes, np.uint16), 120 // len(codes))
    return synthesis.render(scene, np.tile(columns, (120, 1)), parcels, month, rng)


def ndvi(images):
    red, infrared = (images[name].astype(float) for name in ("B04", "B08"))
    return ((infrared - red) / (infrared + red)).mean()


def test_tables_refer_to_one_another(tables):
    assert tables["bands"] == [n for n, b in bands.BANDS.items() if b.sensor == "S2"]
    for name, material in tables["materials"].items():
        assert len(material["reflectance"]) == 12, name
        assert 10 <= min(material["reflectance"]) < max(material["reflectance"]) < 6000
        assert -35 < material["vh"] < material["vv"] < 0, name
        assert material["responds"] in synthesis.RADAR_SPREAD_DB, name
    for name, cover in tables["covers"].items():
        assert cover["curve"] in tables["phenology"], name
        for season in ("on", "off"):
            assert set(cover[season]) <= set(tables["materials"]), name
            assert sum(cover[season].values()) == pytest.approx(1), name
    for code, entry in tables["classes"].items():
        assert entry["pattern"] in patterns.PATTERNS, code
        assert set(entry["covers"]) <= set(tables["covers"]), code
        assert sum(entry["covers"].values()) == pytest.approx(1), code
    climates = {landscape.Scene((), c, "").climate for c in landscape.COUNTRIES}
    for by_climate in tables["phenology"].values():
        assert set(by_climate) == climates
        assert all(len(months) == 12 for months in by_climate.values())


def test_every_original_label_has_a_look_and_every_code_a_landscape(tables):
    assert {int(code) for code in tables["classes"]} == set(CLC_CODES)
    assert set(landscape.UNLABELLED) == {
        code for code in CLC_CODES if labels.CLC_TO_19[code] is None
    }
    for entry in landscape.LANDSCAPES.values():
        assert (len(entry.labels), len(entry.countries)) == (19, 10)
    for index, by_climate in landscape.SUBCLASSES.items():
        for shares in by_climate.values():
            assert sum(shares.values()) == pytest.approx(1)
            assert {labels.CLC_TO_19[code] for code in shares} == {index}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_map_has_the_codes_of_its_scene(seed):
    rng = np.random.default_rng(seed)
    scene = landscape.draw_scene(rng)
    parcels = patterns.draw_parcels(rng, rng.uniform(9, 17), rng.uniform(0, np.pi))
    codes = landscape.land_cover(scene, parcels, rng)
    assert (codes.shape, codes.dtype) == ((120, 120), np.uint16)
    found, sizes = np.unique(codes, return_counts=True)
    assert tuple(found) == scene.codes
    assert sizes.min() >= 0.01 * codes.size
    unlabelled = np.isin(found, list(landscape.UNLABELLED))
    assert sizes[unlabelled].sum() < 0.25 * codes.size
    assert not unlabelled.all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.floats(1, 200), st.integers(1, 4), st.floats(2, 60))
def test_noise_is_standardised_and_parcels_are_numbered(seed, scale, octaves, width):
    rng = np.random.default_rng(seed)
    noise = patterns.smooth_noise(rng, scale, octaves)
    assert noise.dtype == np.float32
    np.testing.assert_allclose([noise.mean(), noise.std()], [0, 1], atol=1e-4)
    parcels = patterns.draw_parcels(rng, width, rng.uniform(0, 2 * np.pi))
    assert 0 <= parcels.ids.min() <= parcels.ids.max() < parcels.count
    means = parcels.mean(noise)
    largest = np.bincount(parcels.ids.ravel()).argmax()
    inside = parcels.ids == largest
    np.testing.assert_allclose(means[inside], noise[inside].mean(), atol=1e-5)


@pytest.mark.parametrize("code", CLC_CODES)
def test_covers_of_a_class_have_their_shares(tables, code):
    entry = tables["classes"][str(code)]
    shares = np.array(list(entry["covers"].values()))
    upper = np.append(np.cumsum(shares)[:-1], np.inf).astype(np.float32)
    texture = patterns.Texture(
        entry["pattern"], entry["scale"], np.arange(len(shares)), upper
    )
    found = np.zeros(len(shares))
    for seed in range(6):
        rng = np.random.default_rng(seed)
        parcels = patterns.draw_parcels(rng, 13, rng.uniform(0, np.pi))
        place, tone = patterns.PATTERNS[entry["pattern"]](texture, parcels, rng)
        assert place.shape == tone.shape == (120, 120)
        assert place.min() >= 0
        assert place.max() <= 1.001
        nth = np.searchsorted(upper, place.ravel())
        found += np.bincount(nth, minlength=len(shares)) / place.size / 6
    np.testing.assert_allclose(found, shares, atol=0.08)


@pytest.mark.parametrize("code", CLC_CODES)
def test_every_class_renders_in_the_archives_form(code):
    images = render([code])
    assert set(images) == set(bands.BANDS)
    for name, image in images.items():
        patch.check_band(name, image, "generated")
        assert np.isfinite(image).all()
    assert min(images[name].min() for name in ("B01", "B02", "B11")) >= 1


def test_rendering_is_a_function_of_its_generator():
    one, two, other = render([211, 313]), render([211, 313]), render([211, 313], seed=1)
    for name in bands.BANDS:
        np.testing.assert_array_equal(one[name], two[name])
        assert (one[name] != other[name]).mean() > 0.5


def test_water_is_dark_and_forest_green():
    for seed in range(3):
        sea, forest = render([523], seed=seed), render([311], seed=seed)
        assert ndvi(sea) < 0.1 < 0.6 < ndvi(forest)
        assert sea["B11"].mean() < 0.2 * forest["B11"].mean()
        assert sea["VH"].mean() < forest["VH"].mean() - 5


def test_towns_are_bright_to_the_radar_and_rough():
    town, field = render([111]), render([231])
    assert town["VV"].mean() > field["VV"].mean() + 3
    assert town["VV"].std() > field["VV"].std()
    assert town["B02"].std() > 2 * field["B02"].std()


@pytest.mark.parametrize(
    ("code", "country", "green_month", "dry_month"),
    [
        (311, "Serbia", 7, 1),  # leaves
        (244, "Portugal", 3, 8),  # the grass under the oaks
        (231, "Finland", 6, 2),
        (213, "Portugal", 8, 12),
    ],
)
def test_seasons_are_those_of_the_climate(code, country, green_month, dry_month):
    green, dry = (
        np.mean([ndvi(render([code], month, country, seed)) for seed in range(4)])
        for month in (green_month, dry_month)
    )
    assert green > dry + 0.15


def test_neighbouring_classes_meet_at_their_border():
    images = render([312, 523])
    infrared = images["B08"].astype(float).mean(axis=0)
    assert infrared[:58].min() > 2 * infrared[62:].max()
    assert infrared[62:].max() < infrared[60] < infrared[:58].min()  # point spread


def test_speckle_has_the_looks_of_a_ground_range_product():
    looks = []
    for seed in range(5):
        power = 10 ** (render([523], seed=seed)["VV"].astype(float) / 10)
        looks.append((power.mean() / power.std()) ** 2)
        flat = power - power.mean()
        neighbours = (flat[:, 1:] * flat[:, :-1]).mean() / flat.var()
        assert 0.5 < neighbours < 0.9
    assert 3.5 < np.mean(looks) < 6


def test_band_means_are_near_the_real_ones():
    sums = dict.fromkeys(bands.BANDS, 0.0)
    for seed in range(60):
        rng = np.random.default_rng([7, seed])
        scene = landscape.draw_scene(rng)
        parcels = patterns.draw_parcels(rng, 13, rng.uniform(0, np.pi))
        codes = landscape.land_cover(scene, parcels, rng)
        month = int(rng.integers(1, 13))
        images = synthesis.render(scene, codes, parcels, month, rng)
        for name, image in images.items():
            sums[name] += float(image.mean()) / 60
    for name, mean in sums.items():
        assert 0.7 < mean / REAL_MEANS[name] < 1.4, name
