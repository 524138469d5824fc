"""RankMe in both forms: reference values and what it must be by definition."""

import json

import numpy as np
import pytest

from bigearthnet_tf.metrics import rank


def test_the_reference_values(shared):
    folder = shared / "reference/self_supervised"
    expected = json.loads((folder / "expected.json").read_text())["rankme"]
    assert len(expected) == 3
    with np.load(folder / "cases.npz") as cases:
        for case in expected:
            z = cases[case["z"]]
            old, published = rank.rank_me_normalised(z), rank.rank_me(z)
            assert old == pytest.approx(case["normalised_entropy_old_form"], rel=1e-9)
            assert published == pytest.approx(case["published_exp_entropy"], rel=1e-9)


@pytest.mark.parametrize("shape", [(200, 16), (16, 16), (8, 30)])
def test_orthonormal_features_use_every_dimension(shape):
    z = np.linalg.qr(np.random.default_rng(0).normal(size=(max(shape), max(shape))))[0]
    z = z[: shape[0], : shape[1]]
    if shape[0] < shape[1]:
        z = np.linalg.qr(z.T)[0].T
    assert rank.rank_me(z) == pytest.approx(min(shape), rel=1e-4)
    assert rank.rank_me_normalised(z) == pytest.approx(1, abs=1e-4)


def test_features_on_a_line_use_one():
    z = np.outer(np.arange(1, 30), np.ones(8))
    assert rank.rank_me(z) == pytest.approx(1, abs=1e-3)
    assert rank.rank_me_normalised(z) == pytest.approx(0, abs=1e-4)


def test_zeros_and_a_single_dimension_are_finite():
    for z in (np.zeros((5, 4)), np.ones((5, 1))):
        assert np.isfinite([rank.rank_me(z), rank.rank_me_normalised(z)]).all()


@pytest.mark.parametrize(
    ("z", "message"), [(np.ones(3), "got the shape"), ([[np.nan]], "finite features")]
)
def test_what_is_no_matrix_is_refused(z, message):
    with pytest.raises(ValueError, match=message):
        rank.rank_me(z)
