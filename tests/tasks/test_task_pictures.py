"""Pictures of a validation: what is in them, read back from the figures."""

import io

import long_tests
import numpy as np
import pytest
from PIL import Image

from bigearthnet_tf import pictures as shared_pictures
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import composites
from bigearthnet_tf.tasks import pictures

NAMES = ("Urban fabric", "Pastures", "Marine waters")


def batch_of(bands, count=2):
    rng = np.random.default_rng(0)
    planes = {}
    for name in bands:
        facts = band_facts.BANDS[name]
        shape = (count, facts.pixels, facts.pixels)
        radar = facts.dtype == "float32"
        values = rng.normal(-12, 5, shape) if radar else rng.integers(0, 3000, shape)
        planes[name] = values.astype(facts.dtype)
    groups = {
        group: np.stack([planes[name] for name in names], axis=1)
        for group, names in band_facts.group_bands(bands).items()
    }
    return planes, groups


@pytest.mark.parametrize("bands", ["all", "rgb", "tf_mm"])
def test_true_colour_is_that_of_the_archive_whatever_the_order(bands):
    bands = band_facts.resolve_bands(bands)
    planes, groups = batch_of(bands)
    images = pictures.composite(groups, bands)
    assert images.dtype == np.float32
    for index, image in enumerate(images):
        of = {name: planes[name][index] for name in composites.TRUE_COLOUR}
        np.testing.assert_array_equal(255 * image, composites.true_colour(of))


def test_radar_alone_is_shown_as_its_composite():
    planes, groups = batch_of(("VV", "VH"))
    images = pictures.composite(groups, ("VH", "VV"))
    of = {name: planes[name][1] for name in ("VV", "VH")}
    np.testing.assert_array_equal(255 * images[1], composites.radar_composite(of))


def test_of_other_bands_the_first_is_shown_in_grey():
    planes, groups = batch_of(("B05", "B8A"))
    images = pictures.composite(groups, ("B8A", "B05"))
    assert images.shape == (2, 60, 60, 3)
    np.testing.assert_array_equal(images[..., 0], images[..., 2])
    order = np.argsort(planes["B8A"], axis=None)
    assert (np.diff(images[..., 0].ravel()[order]) >= 0).all()
    low, high = np.percentile(planes["B8A"], (2, 98))
    np.testing.assert_array_equal(images[..., 0] == 0, planes["B8A"] <= low)
    np.testing.assert_array_equal(images[..., 0] == 1, planes["B8A"] >= high)


def test_a_band_without_contrast_is_drawn():
    images = pictures.composite({"s2_20m": np.full((1, 1, 60, 60), 7)}, ("B05",))
    assert np.isfinite(images).all()


def test_groups_that_do_not_fit_the_bands():
    _, groups = batch_of(("B02", "B03"))
    with pytest.raises(ValueError, match=r"expected s2_10m to be \(patches, 3,"):
        pictures.composite(groups, ("B02", "B03", "B04"))
    with pytest.raises(ValueError, match="expected s1_10m"):
        pictures.composite(groups, ("B02", "B03", "VV"))


def texts_of(figure):
    return [t.get_text() for axes in figure.get_axes() for t in axes.texts]


def test_counts_are_of_the_truth_and_of_scores_from_one_half_on():
    labels = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0]])
    scores = np.array([[0.5, 0.9, 0.1], [0.4999, 0.9, 0.1], [1, 0.9, 0]])
    figure = pictures.label_counts(labels, scores, NAMES)
    bars, table = figure.get_axes()
    widths = [[bar.get_width() for bar in group] for group in bars.containers]
    assert widths == [[3, 1, 0], [2, 3, 0]]
    assert [t.get_text() for t in table.texts] == [
        *("have", "3", "1", "0"),
        *("given", "2", "3", "0"),
    ]
    assert [tick.get_text() for tick in bars.get_yticklabels()] == list(NAMES)


def test_samples_stand_with_their_labels_and_scores():
    labels = np.array([[1, 1, 0], [0, 0, 0]])
    scores = np.array([[0.9, 0.2, 0.7], [0.1, 0.1, 0.1]])
    images = np.zeros((2, 8, 8, 3))
    figure = pictures.sample_sheet(images, labels, scores, NAMES)
    assert texts_of(figure)[3:] == [
        "✓ 0.90 Urban fabric",
        "– 0.20 Pastures",
        "+ 0.70 Marine waters",
        "no label, and none given",
    ]
    colours = [text.get_color() for text in figure.get_axes()[0].texts]
    # The legend has the same signs in the same colours.
    assert colours[:3] == colours[3:6]
    assert len(set(colours[:3])) == 3


def test_false_alarms_are_named_up_to_a_number():
    names = [f"label {j}" for j in range(43)]
    scores = np.linspace(0.6, 0.9, 43)[np.newaxis]
    figure = pictures.sample_sheet(
        np.zeros((1, 4, 4, 3)), np.zeros((1, 43)), scores, names
    )
    assert texts_of(figure)[3] == "+ 0.90 label 42"
    assert texts_of(figure)[-1] == "+ 38 more"


@pytest.mark.parametrize("count", long_tests.beyond([1, 5], [1, 4, 5, 64]))
def test_every_patch_is_on_the_sheet_in_its_colours(count):
    shades = np.linspace(0.2, 1, count)
    images = np.zeros((count, 4, 4, 3)) + shades[:, None, None, None] * [1, 0, 0]
    labels = np.eye(3)[np.arange(count) % 3]
    figure = pictures.sample_sheet(images, labels, labels, NAMES)
    png = shared_pictures.to_png(figure)
    seen = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3)
    # One inch is 100 pixels.
    for shade in shades:
        expected = [np.round(255 * shade), 0, 0]
        assert (np.abs(seen - expected).max(axis=1) <= 1).sum() >= 185 * 185


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ((2, 4, 4, 3), (1, 3), "of 1 patches"),
        ((1, 4, 4), (1, 3), "expected images"),
        ((1, 4, 4, 3), (1, 2), r"\(patches, 3\)"),
        ((0, 4, 4, 3), (0, 3), "at least one patch"),
    ],
)
def test_shapes_that_do_not_fit(images, labels, message):
    with pytest.raises(ValueError, match=message):
        pictures.sample_sheet(
            np.zeros(images), np.zeros(labels), np.zeros(labels), NAMES
        )
