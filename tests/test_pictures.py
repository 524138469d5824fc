"""PNGs that are the same for the same figure, and never half of one."""

import io

import pytest
from matplotlib.figure import Figure
from PIL import Image

from bigearthnet_tf import pictures


def draw():
    figure = Figure(figsize=(2, 1), dpi=50, facecolor="black")
    figure.add_axes((0, 0, 1, 0.5)).plot([1, 3, 2], color=pictures.OKABE_ITO[0])
    return figure


def test_the_same_figure_gives_the_same_bytes():
    figure = draw()
    assert pictures.to_png(figure) == pictures.to_png(figure) == pictures.to_png(draw())


@pytest.mark.parametrize(("dpi", "size"), [("figure", (100, 50)), (100, (200, 100))])
def test_size_ground_and_what_a_picture_tells_of_itself(dpi, size):
    with Image.open(io.BytesIO(pictures.to_png(draw(), dpi))) as image:
        assert image.format == "PNG"
        assert image.size == size
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        assert image.info.pop("Software") == "bigearthnet_tf"
    assert image.info.keys() <= {"dpi"}


def test_what_is_saved_is_the_picture_alone(tmp_path):
    path = tmp_path / "new" / "a.png"
    pictures.save_png(draw(), path)
    assert path.read_bytes() == pictures.to_png(draw())
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_text("precious")

    def fail(figure):
        raise MemoryError

    monkeypatch.setattr(pictures, "to_png", fail)
    with pytest.raises(MemoryError):
        pictures.save_png(draw(), path)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_colours_are_different():
    assert len(set(pictures.OKABE_ITO)) == 7


@pytest.mark.parametrize("name", ["a$b_{$", "$\\frac$", "cost $5", "$$", "\\$x$y$"])
def test_names_are_no_formulas(name):
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.bar([name, "b"], [1, 1000])
    axes.set_yscale("log")
    axes.set_title(name)
    axes.plot([0, 1], [1, 10], label=name)
    axes.legend()
    assert pictures.to_png(figure)[:4] == b"\x89PNG"
    assert axes.title.get_text() == name
    # The powers of the axis stay formulas.
    powers = [t for t in axes.yaxis.get_ticklabels() if "mathdefault" in t.get_text()]
    assert powers
    assert all(text.get_parse_math() for text in powers)
