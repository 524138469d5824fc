"""The picture of measured statistics."""

import numpy as np
import pytest
from matplotlib.image import imread

from bigearthnet_tf import pictures
from bigearthnet_tf.archive import accumulate, bands, histograms


def measured(*names):
    rng = np.random.default_rng(0)
    result = {}
    for name in names:
        result[name] = {}
        for band in ("VV", "B02", "B12"):
            bins = accumulate.bins_for(bands.BANDS[band], name != "no_interpolation")
            accumulator = accumulate.Accumulator(bins)
            pixels = rng.normal(-12, 4, 5000)
            if band != "VV":
                pixels = np.abs(pixels * 100).astype("uint16")
            accumulator.add(pixels)
            result[name][band] = accumulator
    return result


def panels(figure):
    return [axes for axes in figure.axes if axes.get_title()]


def test_a_panel_for_each_band_holds_all_pixels():
    figure = histograms.draw(measured("no_interpolation", "120_bilinear"), [1, 50, 99])
    titles = [axes.get_title() for axes in panels(figure)]
    assert [title.split(":")[0] for title in titles] == ["VV", "B02", "B12"]
    for axes in panels(figure):
        stairs = axes.patches
        assert len(stairs) == 2
        for drawn in stairs:
            values, edges, _ = drawn.get_data()
            np.testing.assert_allclose(np.nansum(values), 1)
            assert 2 <= len(edges) <= 151
            assert len(np.unique(np.diff(edges).round(6))) == 1
        assert len(axes.lines) == 3
        assert axes.get_yscale() == "log"


def test_percentiles_stand_where_they_are():
    data = measured("no_interpolation")
    figure = histograms.draw(data, [2, 98])
    expected = data["no_interpolation"]["B02"].percentiles([2, 98])
    axes = panels(figure)[1]
    assert {line.get_xdata()[0] for line in axes.lines} == set(expected.values())
    assert {text.get_text() for text in axes.texts} == {"2 %", "98 %"}


def test_constant_bands_can_be_drawn():
    accumulator = accumulate.Accumulator(accumulate.WHOLE_NUMBERS)
    accumulator.add(np.full((3, 3), 7, "uint16"))
    figure = histograms.draw({"no_interpolation": {"B01": accumulator}}, [50])
    values, _, _ = panels(figure)[0].patches[0].get_data()
    assert np.nansum(values) == 1


def test_nothing_to_draw_is_refused():
    empty = accumulate.Accumulator(accumulate.DECIBELS)
    with pytest.raises(ValueError, match="finite pixel"):
        histograms.draw({"no_interpolation": {"VV": empty}}, [50])


def test_the_same_numbers_give_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        figure = histograms.draw(measured("60_bicubic"), [1])
        pictures.save_png(figure, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert imread(tmp_path / "a.png").shape[2] == 4
    assert len(list(tmp_path.iterdir())) == 2
