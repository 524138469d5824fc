"""Colours of embeddings: components, stretch and file; and embeddings in bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bigearthnet_tf.serving import colour_space, quantise


@pytest.fixture(scope="module")
def embeddings():
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(2000, 3)) * [9, 4, 2] @ rng.normal(size=(3, 8))
    return mixed + rng.normal(size=(2000, 8)) * 0.1 + 5


def test_components_are_those_of_the_covariance(embeddings):
    space = colour_space.fit(embeddings, "k")
    values, vectors = np.linalg.eigh(np.cov(embeddings.T))
    expected = vectors[:, ::-1][:, :3].T
    expected *= np.sign(expected[np.arange(3), np.abs(expected).argmax(axis=1)])[
        :, None
    ]
    np.testing.assert_allclose(space.components, expected, atol=1e-8)
    np.testing.assert_allclose(space.explained, values[::-1][:3] / values.sum())


def test_two_and_ninety_eight_percent_become_black_and_white(embeddings):
    colours = colour_space.fit(embeddings, "k").paint(embeddings)
    assert colours.min() == 1  # 0 is no data
    for channel in colours.T:
        assert np.mean(channel == 1) == pytest.approx(0.02, abs=0.005)
        assert np.mean(channel == 255) == pytest.approx(0.02, abs=0.005)


def test_signs_do_not_depend_on_the_order_of_pixels(embeddings):
    one, other = (colour_space.fit(e, "k") for e in (embeddings, embeddings[::-1]))
    np.testing.assert_allclose(one.components, other.components, atol=1e-10)


def test_a_file_has_all_of_it_and_no_pickle(embeddings, tmp_path):
    space = colour_space.fit(embeddings, "k")
    colour_space.save(space, tmp_path / "pca.npz")
    found = colour_space.load(tmp_path / "pca.npz", "k")
    np.testing.assert_array_equal(found.paint(embeddings), space.paint(embeddings))
    assert found.count == 2000
    with np.load(tmp_path / "pca.npz", allow_pickle=False) as stored:
        assert all(stored[name].dtype != object for name in stored.files)


def _truncated(path):
    path.write_bytes(path.read_bytes()[:300])


def _text(path):
    path.write_text("no npz")


def _other(path):
    np.savez(path, something=np.zeros(3))


def _pickle(path):
    np.savez(path, mean=np.array([{}], object))


def _shapes(path):
    space = colour_space.fit(np.random.default_rng(0).normal(size=(9, 4)), "k")
    content = {**vars(space), "low": np.zeros(2)}
    np.savez(path, **content)


@pytest.mark.parametrize("spoil", [_truncated, _text, _other, _pickle, _shapes])
def test_what_is_no_colour_space_is_refused(embeddings, tmp_path, spoil):
    path = tmp_path / "pca.npz"
    colour_space.save(colour_space.fit(embeddings, "k"), path)
    spoil(path)
    with pytest.raises(ValueError, match=r"pca\.npz: (expected|is no colour)"):
        colour_space.load(path)


def test_few_pixels_or_nan_are_refused():
    with pytest.raises(ValueError, match="needs 3 valid pixels"):
        colour_space.fit(np.zeros((2, 8)), "k")
    with pytest.raises(ValueError, match="not finite"):
        colour_space.fit(np.full((9, 8), np.nan), "k")


def test_what_does_not_vary_is_grey():
    space = colour_space.fit(np.ones((9, 4)), "k")
    assert (space.paint(np.ones((2, 4))) == 128).all()


finite = st.floats(-1e6, 1e6, width=32)
shapes = st.tuples(st.integers(1, 20), st.integers(1, 4))


@given(arrays.arrays(np.float32, shapes, elements=finite))
def test_a_byte_is_within_half_a_scale(embeddings):
    quantiser = quantise.fit(embeddings)
    stored, cut = quantiser.encode(embeddings)
    assert not cut.any()
    assert (stored != quantise.NODATA).all()
    error = np.abs(quantiser.decode(stored) - embeddings.astype(np.float64))
    assert (error <= quantiser.scale / 2 * (1 + 1e-9)).all()


def test_bytes_beyond_the_sample_are_cut_off_and_counted():
    quantiser = quantise.fit(np.array([[0.0], [1.0]]))
    stored, cut = quantiser.encode(np.array([[9.0], [-9.0], [0.5]]))
    assert stored[:, 0].tolist() == [127, -127, 0]
    assert cut[:, 0].tolist() == [True, True, False]
