"""Metrics of labels of pixels against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from bigearthnet_tf.metrics import pixels


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**32 - 1), labels=st.integers(2, 8), count=st.integers(1, 60)
)
def test_agrees_with_scikit_learn(seed, labels, count):
    """With labels that occur in one of the two alone, or nowhere."""
    rng = np.random.default_rng(seed)
    top_true, top_given = rng.integers(1, labels + 1, 2)
    truth, given_ = rng.integers(0, top_true, count), rng.integers(0, top_given, count)
    names = range(labels)
    confused = pixels.confusion(truth, given_, labels)
    np.testing.assert_array_equal(
        confused, oracle.confusion_matrix(truth, given_, labels=names)
    )
    report = pixels.pixel_report(confused)

    def scored(function, average, **options):
        return function(truth, given_, average=average, zero_division=0, **options)

    for name, function in (
        ("iou", oracle.jaccard_score),
        ("precision", oracle.precision_score),
        ("recall", oracle.recall_score),
        ("f1", oracle.f1_score),
    ):
        each = scored(function, None, labels=names)
        found = [report[f"{name}_class{j}"] for j in names]
        np.testing.assert_allclose(found, each, atol=1e-12)
    assert report["mean_iou"] == pytest.approx(scored(oracle.jaccard_score, "macro"))
    assert report["macro_f1"] == pytest.approx(scored(oracle.f1_score, "macro"))
    assert report["frequency_weighted_iou"] == pytest.approx(
        scored(oracle.jaccard_score, "weighted")
    )
    assert report["pixel_accuracy"] == pytest.approx((truth == given_).mean())
    recalls = scored(oracle.recall_score, None, labels=np.unique(truth))
    assert report["balanced_accuracy"] == pytest.approx(recalls.mean())
    if len(np.union1d(truth, given_)) > 1:
        kappa = oracle.cohen_kappa_score(truth, given_)
        assert report["kappa"] == pytest.approx(kappa, abs=1e-12)
    assert report["labelled_pixels"] == count


def test_pixels_without_label_do_not_count():
    truth = np.array([[0, 255], [1, 2]], np.uint8)
    found = pixels.confusion(truth, np.array([[0, 1], [0, 2]]), 3)
    np.testing.assert_array_equal(found, [[1, 0, 0], [1, 0, 0], [0, 0, 1]])


def test_nothing_at_all_is_zero():
    assert set(pixels.pixel_report(np.zeros((3, 3))).values()) == {0.0}


def test_what_can_not_be_counted():
    with pytest.raises(ValueError, match="as many predictions as pixels, got 2 for 3"):
        pixels.confusion([0, 1, 2], [0, 1], 3)
    with pytest.raises(ValueError, match="predictions of 0 to 2"):
        pixels.confusion([0, 1], [0, 3], 3)
    for wrong in ([[1, 2]], [[1, -1], [0, 0]], [1, 2]):
        with pytest.raises(ValueError, match="expected a confusion matrix"):
            pixels.pixel_report(wrong)
