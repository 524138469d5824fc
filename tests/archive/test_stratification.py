"""Iterative stratification: the package's own folds, and closeness to the whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

from bigearthnet_tf.archive import stratification


def long_tail(patches, labels, seed=0):
    """Labels of which each is rarer than the last; some patches have none."""
    rng = np.random.default_rng(seed)
    return (rng.random((patches, labels)) < np.geomspace(0.4, 0.004, labels)).astype(
        np.uint8
    )


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("folds", [2, 3, 5, 10])
def test_equal_folds_are_those_of_the_package(folds, seed):
    multi_hot = long_tail(600, 19)
    kept = multi_hot.copy()
    assigned = stratification.stratify(multi_hot, [1 / folds] * folds, seed)
    splitter = MultilabelStratifiedKFold(
        n_splits=folds, shuffle=True, random_state=seed
    )
    for fold, (_, expected) in enumerate(splitter.split(multi_hot, multi_hot)):
        np.testing.assert_array_equal(np.flatnonzero(assigned == fold), expected)
    np.testing.assert_array_equal(multi_hot, kept)


def test_frequencies_are_nearer_to_the_whole_than_those_of_a_random_split():
    multi_hot = long_tail(5000, 43)
    assigned = stratification.stratify(multi_hot, [0.6, 0.2, 0.2], 0)
    sizes = np.bincount(assigned)
    np.testing.assert_allclose(sizes / 5000, [0.6, 0.2, 0.2], atol=0.01)
    random = stratification.shuffle(sizes.tolist(), 0)

    def largest(split):
        rows = [multi_hot[split == index].mean(0) for index in range(3)]
        return np.abs(np.stack(rows) / multi_hot.mean(0) - 1).max()

    # A label with 20 positives can't be shared out evenly: one of 4 is 25 per cent.
    assert largest(assigned) < 0.3 < largest(random)


@given(
    st.integers(3, 60),
    st.lists(st.integers(1, 9), min_size=2, max_size=3),
    st.integers(0, stratification.MAX_SEED),
)
def test_no_label_is_short_by_more_than_the_last_patch(patches, weights, seed):
    ratios = np.array(weights) / sum(weights)
    single = np.ones((patches, 1), np.uint8)
    assigned = stratification.stratify(single, ratios.tolist(), seed)
    sizes = np.bincount(assigned, minlength=len(ratios))
    assert sizes.sum() == patches
    # With one label each patch goes where most are lacking: never far from wanted.
    assert (np.abs(sizes - ratios * patches) < 1 + 1e-9).all()
    again = stratification.stratify(single, ratios.tolist(), seed)
    np.testing.assert_array_equal(assigned, again)


@pytest.mark.parametrize(
    ("shape", "ratios", "seed", "message"),
    [
        ((9, 0), [0.5, 0.5], 0, "at least one label"),
        ((2, 3), [0.4, 0.3, 0.3], 0, "patches for each of 3 splits, but there are 2"),
        ((9, 3), [1.0], 0, "two splits or more"),
        ((9, 3), [0.6, 0.3], 0, "0.6 0.3 sum to 0.9"),
        ((9, 3), [1.5, -0.5], 0, "above 0, got 1.5 -0.5"),
        ((9, 3), [float("nan"), 1.0], 0, "above 0, got nan 1"),
        ((9, 3), [0.5, 0.5], -1, "seed from 0 to 4294967295, got -1"),
        ((9, 3), [0.5, 0.5], 2**32, "got 4294967296"),
    ],
)
def test_what_can_not_be_divided(shape, ratios, seed, message):
    with pytest.raises(ValueError, match=message):
        stratification.stratify(np.ones(shape, np.uint8), ratios, seed)


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=5),
    st.integers(0, stratification.MAX_SEED),
)
def test_random_splits_have_their_sizes_and_repeat(sizes, seed):
    assigned = stratification.shuffle(sizes, seed)
    assert np.bincount(assigned, minlength=len(sizes)).tolist() == sizes
    np.testing.assert_array_equal(assigned, stratification.shuffle(sizes, seed))


def test_random_splits_are_random():
    assert (
        stratification.shuffle([50, 50], 0) != stratification.shuffle([50, 50], 1)
    ).any()
    assert len(set(stratification.shuffle([50, 50], 0)[:50])) == 2
    with pytest.raises(ValueError, match="seed"):
        stratification.shuffle([5], -1)
