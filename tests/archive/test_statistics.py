"""The tables of means and standard deviations, and files of one's own."""

import json

import pytest

from bigearthnet_tf.archive import bands, statistics
from bigearthnet_tf.archive.accumulate import Summary

NAMES = [
    "v1",
    *(f"v2_{size}_{mode}" for size in statistics.SIZES for mode in statistics.MODES),
]


@pytest.mark.parametrize("name", NAMES)
def test_every_set_has_all_bands(name):
    found = statistics.band_statistics(name)
    assert found.name == name
    assert found.source
    assert list(found.mean) == list(found.std) == list(bands.BANDS)
    assert all(value > 0 for value in found.std.values())
    assert -20 < found.mean["VH"] < found.mean["VV"] < -12
    assert all(300 < found.mean[b] < 2300 for b in bands.BAND_SETS["s2_full"])


@pytest.mark.parametrize(
    ("name", "band", "mean", "std"),
    [
        ("v1", "VV", -12.619993741972035, 5.115911777546365),
        ("v1", "B01", 340.76769064, 554.81258967),
        ("v1", "B12", 1009.32729131, 818.86747235),
        ("v2_60_nearest", "B8A", 2235.55664, 1356.54407),
        ("v2_60_bilinear", "B02", 438.476044, 602.119141),
        ("v2_60_bicubic", "VH", -19.3526859, 5.58508921),
        ("v2_120_nearest", "B02", 438.37207, 607.026855),
        ("v2_120_bilinear", "B01", 360.64679, 563.173401),
        ("v2_120_bicubic", "B11", 1568.21179, 1070.80115),
        ("v2_128_nearest", "B09", 2241.46753, 1316.40381),
        ("v2_128_bilinear", "VV", -12.643858, 5.04434776),
        ("v2_128_bicubic", "VH", -19.3525524, 5.58498526),
    ],
)
def test_published_values(name, band, mean, std):
    found = statistics.band_statistics(name)
    assert (found.mean[band], found.std[band]) == (mean, std)


def test_resampling_changes_the_statistics_of_resampled_bands_only():
    nearest = statistics.band_statistics("v2_120_nearest")
    bilinear = statistics.band_statistics("v2_120_bilinear")
    for name, band in bands.BANDS.items():
        assert (nearest.std[name] == bilinear.std[name]) == (band.metres == 10)


def test_v1_has_extremes_and_v2_has_none():
    v1 = statistics.band_statistics("v1")
    for name in bands.BANDS:
        assert v1.minimum[name] <= v1.percentile_2[name] + 2
        assert v1.minimum[name] < v1.mean[name] < v1.percentile_98[name]
        assert v1.percentile_98[name] < v1.maximum[name]
    assert v1.maximum["VV"] == 34.60696029663086
    assert v1.percentile_98["B12"] == 5544
    assert statistics.band_statistics("v2_120_nearest").maximum == {}


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("v1",), "v1"),
        (("v1", "bicubic", 224), "v1"),
        (("v2",), "v2_120_nearest"),
        (("v2", "tf1_bicubic"), "v2_120_bicubic"),
        (("v2", "bilinear", 60), "v2_60_bilinear"),
        (("v2", "nearest", 224), "v2_128_nearest"),
        (("v2", "nearest", 64), "v2_60_nearest"),
    ],
)
def test_default(arguments, name):
    assert statistics.default_statistics(*arguments) == name
    assert statistics.band_statistics(name).name == name


def test_file_of_ones_own(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(
        json.dumps({"mean": {"B04": 1, "VV": -2.5}, "std": {"VV": 2, "B04": 3}})
    )
    found = statistics.band_statistics(str(path))
    assert found.mean == {"B04": 1.0, "VV": -2.5}
    assert found.std == {"B04": 3.0, "VV": 2.0}
    assert found.source == str(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], 'expected {"mean"'),
        ({"mean": {"B04": 1}}, 'expected {"mean"'),
        ({"mean": {"B4": 1}, "std": {"B4": 1}}, "unknown band 'B4'"),
        ({"mean": {"B04": "1"}, "std": {"B04": 1}}, "mean of B04 is '1'"),
        ({"mean": {"B04": 1, "B03": 1}, "std": {"B04": 1}}, "B03 lacks"),
        ({"mean": {"B04": 1}, "std": {"B04": 0}}, "std above 0.*B04"),
    ],
)
def test_wrong_files_are_refused(tmp_path, content, message):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        statistics.band_statistics(str(path))


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'v2_120_nearest'"):
        statistics.band_statistics("v2_120_neares")
    with pytest.raises(FileNotFoundError, match=r"none\.json: no such file"):
        statistics.band_statistics(str(tmp_path / "none.json"))
    with pytest.raises(ValueError, match="archive version"):
        statistics.default_statistics("v3")
    with pytest.raises(ValueError, match="'bicubic'"):
        statistics.default_statistics("v2", "cubic")


def summary(mean: float) -> Summary:
    percentiles = {2.0: mean - 5, 98.0: mean + 5, 99.9: mean + 7}
    return Summary(
        100, mean, 2.5, mean - 9, mean + 9, percentiles, 0.5, zeros=3, nonfinite=2,
        outside=1,
    )  # fmt: skip


@pytest.fixture
def measured(tmp_path):
    path = tmp_path / "measured.json"
    of = {
        "no_interpolation": {"VV": summary(-12.5), "B02": summary(400)},
        "120_bilinear": {"VV": summary(-12.25), "B02": summary(410)},
    }
    statistics.write(path, of, {"source": "3 patches", "num_patches": 3})
    return path


def test_measured_statistics_come_back(measured):
    name = f"{measured}#120_bilinear"
    found = statistics.band_statistics(name)
    assert found == statistics.BandStatistics(
        name=name,
        mean={"VV": -12.25, "B02": 410},
        std={"VV": 2.5, "B02": 2.5},
        source="3 patches",
        minimum={"VV": -21.25, "B02": 401},
        maximum={"VV": -3.25, "B02": 419},
        percentile_2={"VV": -17.25, "B02": 405},
        percentile_98={"VV": -7.25, "B02": 415},
    )
    content = json.loads(measured.read_text())
    assert content["num_patches"] == 3
    native = content["resamplings"]["no_interpolation"]
    assert list(native["percentiles"]) == ["2", "98", "99.9"]
    assert native["nonfinite_pixels_left_out"] == {"VV": 2, "B02": 2}


def test_the_only_resampling_needs_no_name(measured):
    content = json.loads(measured.read_text())
    del content["resamplings"]["120_bilinear"]
    measured.write_text(json.dumps(content))
    assert statistics.band_statistics(str(measured)).mean == {"VV": -12.5, "B02": 400}


def test_a_resampling_is_not_guessed(measured, tmp_path):
    with pytest.raises(ValueError, match=r"holds 2 resamplings.*json#120_bilinear"):
        statistics.band_statistics(str(measured))
    with pytest.raises(ValueError, match="did you mean '120_bilinear'"):
        statistics.band_statistics(f"{measured}#120_bilinea")
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"mean": {"B04": 1}, "std": {"B04": 3}}))
    with pytest.raises(ValueError, match="holds one set of statistics"):
        statistics.band_statistics(f"{own}#120_bilinear")


@pytest.mark.parametrize(
    ("resamplings", "message"),
    [
        ({}, "holds 0 resamplings"),
        ({"a": []}, 'expected {"mean"'),
        ({"a": {"mean": {"VV": 1}, "std": {"VV": 0}}}, "std above 0"),
        (
            {"a": {"mean": {"VV": 1}, "std": {"VV": 1}, "minimum": 3}},
            "expected minimum by band, got 3",
        ),
        (
            {"a": {"mean": {"VV": 1}, "std": {"VV": 1}, "percentiles": []}},
            "percentiles",
        ),
    ],
)
def test_damaged_files_of_ours_are_refused(tmp_path, resamplings, message):
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"resamplings": resamplings}))
    with pytest.raises(ValueError, match=message):
        statistics.band_statistics(str(path))


def test_a_path_may_have_a_hash(tmp_path):
    (tmp_path / "run#3").mkdir()
    path = tmp_path / "run#3" / "own#4.json"
    statistics.write(path, {"60_nearest": {"VV": summary(-12)}}, {})
    for name in (path, f"{path}#60_nearest"):
        assert statistics.band_statistics(str(name)).mean == {"VV": -12}
