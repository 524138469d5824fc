"""Contact sheets: what they show, that all of it is on the page, reproducible files."""

import dataclasses
import re

import matplotlib
import numpy as np
import pytest
import toy
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from bigearthnet_tf.archive import composites, labels
from bigearthnet_tf.records import contact_sheet

RGB, RADAR = composites.TRUE_COLOUR, composites.RADAR
V2_NAME = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_87_48"


def patch(number=0, bands=RGB + RADAR, with_map=False, **changes):
    made = toy.patch(number, "BigEarthNet-19", bands)
    codes = np.full((120, 120), 312, np.uint16)
    codes[60:] = 999
    extra = {"reference_map": codes} if with_map else {}
    return dataclasses.replace(made, name_s2=V2_NAME, **(extra | changes))


def records(count, **options):
    patches = [patch(number, **options) for number in range(count)]
    return [contact_sheet.Record(7 * i, p) for i, p in enumerate(patches)]


ALL_LABELS = {"labels": labels.LABELS["BigEarthNet-19"]}
SHEETS = {
    "one": records(1, bands=RGB),
    "true colour": records(13, bands=RGB),
    "radar": records(5, bands=RADAR),
    "both": records(9),
    "three": records(7, with_map=True),
    "every label": records(4, with_map=True, **ALL_LABELS),
    "43 labels": [
        contact_sheet.Record(
            0, patch(labels=labels.LABELS["original"], label_type="original")
        )
    ],
    "mixed": [*records(2, bands=RADAR), *records(2, bands=RGB)],
}
COLUMNS = {"one": 1, "true colour": 6, "radar": 5, "both": 4, "three": 3}


def drawn_texts(figure):
    """Each text with its box in inches from the upper left corner."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    (axes,) = figure.axes
    height = figure.get_figheight()
    for text in axes.texts:
        box = text.get_window_extent(renderer)
        x0, y1, x1, y0 = np.array([box.x0, box.y0, box.x1, box.y1]) / figure.dpi
        yield text.get_text(), (x0, height - y0, x1, height - y1)


@pytest.mark.parametrize("shown", SHEETS.values(), ids=SHEETS)
def test_nothing_is_cut_off_and_nothing_overlaps(shown):
    figure = contact_sheet.draw(shown, "a title")
    width, height = figure.get_size_inches()
    assert width <= 7.7  # the text of an A4 page
    boxes = [box for _, box in drawn_texts(figure)]
    for x0, y0, x1, y1 in boxes:
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
    pictures = []
    for image in figure.axes[0].images:
        left, right, bottom, top = image.get_extent()
        pictures.append((left, top, right, bottom))
    boxes += pictures
    for number, one in enumerate(boxes):
        for other in boxes[:number]:
            apart_x = min(one[2], other[2]) - max(one[0], other[0])
            apart_y = min(one[3], other[3]) - max(one[1], other[1])
            # Boxes of text reach a little beyond the ink.
            assert apart_x < 0.01 or apart_y < 0.03, (one, other)


@pytest.mark.parametrize("name", COLUMNS)
def test_rows_fill_the_page(name):
    shown = SHEETS[name]
    panels = len(contact_sheet.draw(shown, "").axes[0].images) // len(shown)
    assert panels == {"both": 2, "three": 3}.get(name, 1)
    images = contact_sheet.draw(shown, "").axes[0].images
    tops = [image.get_extent()[3] for image in images]
    assert tops.count(tops[0]) == COLUMNS[name] * panels
    sides = {round(e[1] - e[0], 9) for e in (i.get_extent() for i in images)}
    (side,) = sides
    assert 0.7 < side <= 1.6
    for image in images:
        left, right, bottom, top = image.get_extent()
        assert bottom - top == pytest.approx(right - left)  # square, north up


def test_pictures_are_the_composites_in_order():
    shown = SHEETS["three"]
    images = contact_sheet.draw(shown, "").axes[0].images
    expected = [
        picture
        for record in shown
        for picture in (
            composites.true_colour(record.patch.bands),
            composites.radar_composite(record.patch.bands),
            composites.reference_map_colours(
                record.patch.reference_map, "BigEarthNet-19"
            ),
        )
    ]
    for image, picture in zip(images, expected, strict=True):
        np.testing.assert_array_equal(image.get_array(), picture)


def test_names_labels_and_numbers_stand_below():
    shown = [contact_sheet.Record(1234, patch(3, bands=RGB))]
    texts = [text for text, _ in drawn_texts(contact_sheet.draw(shown, "the title"))]
    assert texts[0] == "the title"
    start = texts.index("1234  S2A_MSIL2A_20170613T101031_")
    assert texts[start + 1] == "N9999_R022_T33UUP_87_48"
    for name in shown[0].patch.labels:
        (acronym,) = labels.acronyms([name], "BigEarthNet-19")
        assert acronym in texts
        assert f"{acronym}  {name}" in texts  # spelt out at the foot
    assert "true colour" in texts
    assert "Sentinel-1" not in texts
    assert any("reflectance 0 to 0.2" in text for text in texts)


def test_the_foot_names_what_a_map_shows_beside_the_labels():
    shown = records(1, bands=RGB, with_map=True, labels=("Urban fabric",))
    texts = [text for text, _ in drawn_texts(contact_sheet.draw(shown, ""))]
    assert "UF  Urban fabric" in texts
    assert "CF  Coniferous forest" in texts
    assert "without a label" in texts
    ranges = r"VV −23 to −2 dB, green VH −30 to −8 dB, blue VV − VH 0 to 13 dB"
    shown = records(1, bands=RADAR, labels=())
    texts = [text for text, _ in drawn_texts(contact_sheet.draw(shown, ""))]
    assert "no label" in texts
    assert any(re.search(ranges, text) for text in texts)


def test_what_can_not_be_drawn_is_said():
    patches = [record.patch for record in records(2, bands=("B04", "B02", *RADAR))]
    assert contact_sheet.not_drawn(patches) == [
        "no true colour composite: the records hold no B03"
    ]
    mixed = SHEETS["mixed"]
    assert contact_sheet.not_drawn([record.patch for record in mixed]) == []
    texts = [text for text, _ in drawn_texts(contact_sheet.draw(mixed, ""))]
    assert texts.count("no VV VH") == 2
    assert texts.count("no B04 B03 B02") == 2
    with pytest.raises(ValueError, match="these records hold none of these"):
        contact_sheet.draw(records(1, bands=("B08",)), "")


def test_chosen_records():
    assert contact_sheet.choose(10, 5) == [0, 2, 4, 6, 8]
    assert contact_sheet.choose(3, 24) == [0, 1, 2]
    assert contact_sheet.choose(1, 1) == [0]
    spread = contact_sheet.choose(480_038, 24)
    assert set(np.diff(spread)) <= {20001, 20002}
    one, other = (contact_sheet.choose(1000, 24, seed) for seed in (1, 2))
    assert one == contact_sheet.choose(1000, 24, 1) == sorted(set(one))
    assert one != other
    assert len(one) == 24
    for count in (0, contact_sheet.MAX_RECORDS + 1):
        with pytest.raises(
            ValueError, match=f"1 to 240 records on a sheet, got {count}"
        ):
            contact_sheet.choose(1000, count)


def test_the_same_sheet_gives_the_same_bytes(tmp_path):
    before = dict(matplotlib.rcParams)
    for name in ("a", "b"):
        figure = contact_sheet.draw(SHEETS["three"], "a title")
        contact_sheet.save_png(figure, tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert dict(matplotlib.rcParams) == before
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png"}
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["Software"] == "bigearthnet_tf"
        width, height = figure.get_size_inches()
        assert image.size == (int(width * 200), int(height * 200))


def test_paths_that_can_not_be_written(tmp_path):
    figure = contact_sheet.draw(SHEETS["one"], "")
    with pytest.raises(ValueError, match=r"sheet.pdf: expected a path .* with .png"):
        contact_sheet.save_png(figure, tmp_path / "sheet.pdf")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        contact_sheet.save_png(figure, tmp_path / "file" / "sheet.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OSError, match=r"folder\.png"):
        contact_sheet.save_png(figure, tmp_path / "folder.png")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder.png"}
