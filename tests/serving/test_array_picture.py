"""Pictures of maps that are arrays: what is drawn, and what is refused."""

import json

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from bigearthnet_tf.archive.land_cover import WORLD_COVER
from bigearthnet_tf.serving import array_picture

COLOURS = {each.code: np.array(to_rgb(each.colour)) * 255 for each in WORLD_COVER}


def draw(path, array):
    np.save(path, array)
    return array_picture.draw(path)


def pixels(figure):
    """The image that is shown, (rows, columns, 4)."""
    return np.asarray(figure.axes[0].images[0].get_array())


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_classes_of_btfm_count_from_one(tmp_path):
    # Trees, wetland with mangroves, moss; 0 where nothing was mapped.
    array = np.array([[1, 1, 1], [9, 9, 10], [0, 0, 0]])
    assert array.dtype == np.int64
    figure, told = draw(tmp_path / "mlp_classification_map.npy", array)
    shown = pixels(figure)
    for place, code in (((0, 0), 10), ((1, 0), 90), ((1, 2), 100)):
        np.testing.assert_allclose(shown[place][:3], COLOURS[code], atol=0.5)
    assert (shown[2, :, 3] == 0).all()
    assert legend(figure)[:2] == ["1 Tree cover  50 %", "9 Wetland and mangroves  33 %"]
    assert "as btfm numbers them" in told


def test_classes_of_ours_have_the_names_of_their_report(tmp_path):
    array = np.array([[0, 0, 8], [8, 8, 255]], np.uint8)
    path = tmp_path / "map.npy"
    figure, told = draw(path, array)
    assert legend(figure)[:2] == ["8  60 %", "0  40 %"]
    assert "map.json that names them is not beside it" in told
    rows = [{"class": 8, "name": "Wetland and mangroves", "code": 90}]
    path.with_suffix(".json").write_text(json.dumps({"classes": rows}))
    figure, told = array_picture.draw(path)
    assert legend(figure)[0] == "8 Wetland and mangroves  60 %"
    np.testing.assert_allclose(pixels(figure)[1, 0, :3], COLOURS[90], atol=0.5)
    assert pixels(figure)[1, 2, 3] == 0
    assert "not beside" not in told


@pytest.mark.parametrize("nothing", [0.0, np.nan])
def test_embeddings_are_drawn_by_their_principal_components(tmp_path, nothing):
    rng = np.random.default_rng(0)
    array = rng.normal(size=(6, 9, 5)).astype(np.float32)
    array[:, 5:] += 40 * np.array([1, 0, 0, 0, 0])  # two groups, far apart
    array[2, 3] = nothing
    figure, told = draw(tmp_path / "representation_map.npy", array)
    shown = pixels(figure).astype(int)
    assert shown[2, 3, 3] == 0
    assert (np.delete(shown[..., 3].ravel(), 2 * 9 + 3) == 255).all()
    # No data take no part in the components, so the first one parts the groups.
    left, right = np.delete(shown[:, :5, 0].ravel(), 13), shown[:, 5:, 0]
    assert left.max() < 60 < 190 < right.min()
    assert told == "principal components of 5 dimensions"


def test_a_large_map_is_thinned_out_and_keeps_its_coordinates(tmp_path):
    array = np.ones((1, 4000), np.int64)
    array[0, 2001:] = 4
    figure, _ = draw(tmp_path / "wide.npy", array)
    shown = pixels(figure)
    assert shown.shape[1] == 1334  # every third
    np.testing.assert_allclose(shown[0, 667, :3], COLOURS[40], atol=0.5)
    np.testing.assert_allclose(shown[0, 666, :3], COLOURS[10], atol=0.5)
    assert figure.axes[0].get_xlim() == (0, 4002)


OBJECTS = np.empty((2, 2), object)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (OBJECTS, "a pickle"),
        (np.ones(4, np.uint8), "of shape"),
        (np.ones((2, 2, 2, 2)), "of shape"),
        (np.ones((2, 2)), "float64 of shape"),
        (np.ones((2, 2), np.int16), "int16 of shape"),
        (np.ones((2, 2, 3), np.uint8), "uint8 of shape"),
        (np.ones((2, 2), [("a", "i4")]), "of shape"),
        (np.array(3), "of shape"),
        (np.ones((0, 4), np.uint8), "no pixels"),
        (np.full((2, 2), 40, np.uint8), "0 to 10, and 255 for no data, got 40"),
        (np.full((2, 2), -1), "0 to 10, and 0 for no data, got -1"),
        (np.zeros((2, 2), np.int64), "all pixels are 0"),
        (np.full((2, 2), 255, np.uint8), "all pixels are 255"),
        (np.full((2, 2, 4), np.nan), "all pixels are NaN or 0"),
        (np.ones((9, 9, 2)), "3 dimensions"),
    ],
    ids=str,
)
def test_other_arrays_are_refused_in_one_line(tmp_path, array, message):
    np.save(tmp_path / "map.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=message) as error:
        array_picture.draw(tmp_path / "map.npy")
    assert str(error.value).startswith(str(tmp_path / "map.npy"))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400
