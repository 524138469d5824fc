"""Missed labels and false alarms in one patch, against loops."""

import numpy as np
import outcomes
import pytest

from bigearthnet_tf.evaluation import confusions, outcome_plots


@pytest.fixture(scope="module")
def case():
    one = outcomes.predictions(samples=80)
    return one.labels, one.scores >= 0.5


def test_the_matrix_equals_loops(case):
    labels, given = case
    expected = np.zeros((4, 4), int)
    for truth, said in zip(labels, given, strict=True):
        for i in range(4):
            for j in range(4):
                expected[i, j] += bool(
                    truth[i] and not said[i] and said[j] and not truth[j]
                )
    found = confusions.matrix(labels, given)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int64
    assert (found.diagonal() == 0).all()
    assert found.sum() > 0


def test_rows_are_the_most_frequent_pairs_first(case):
    labels, given = case
    found = confusions.matrix(labels, given)
    rows = confusions.rows(labels, given, outcomes.LABELS, count=50)
    assert len(rows) == (found > 0).sum()
    counts = [row["patches"] for row in rows]
    assert counts == sorted(counts, reverse=True)
    top = rows[0]
    i, j = (outcomes.LABELS.index(top[key]) for key in ("missed", "given"))
    missed = (labels[:, i] > 0) & ~given[:, i]
    false = given[:, j] & (labels[:, j] == 0)
    assert top["share"] == top["patches"] / missed.sum()
    assert top["lift"] == pytest.approx(top["share"] / false.mean())
    assert len(confusions.rows(labels, given, outcomes.LABELS, count=2)) == 2


def test_without_a_mistake_there_is_none(case):
    labels, _ = case
    assert confusions.rows(labels, labels, outcomes.LABELS) == []
    figure = outcome_plots.confusion_map(
        confusions.matrix(labels, labels), np.zeros(4, int), outcomes.LABELS
    )
    assert not figure.axes[0].texts


def test_the_map_says_the_shares_in_percent(case):
    labels, given = case
    found = confusions.matrix(labels, given)
    missed = ((labels > 0) & ~given).sum(axis=0)
    figure = outcome_plots.confusion_map(found, missed, outcomes.LABELS)
    shares = 100 * found / np.maximum(missed, 1)[:, None]
    texts = {t.get_position(): t.get_text() for t in figure.axes[0].texts}
    assert texts == {(j, i): f"{shares[i, j]:.0f}" for i, j in np.argwhere(shares >= 1)}
    names = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert names[0] == f"Urban fabric  ({missed[0]})"
    with pytest.raises(ValueError, match="one per label name"):
        outcome_plots.confusion_map(found, missed, outcomes.LABELS[:3])


def test_reliability_has_a_panel_for_all_labels_and_each(case):
    one = outcomes.predictions(samples=80)
    figure = outcome_plots.reliability_curves(one.labels, one.scores, outcomes.LABELS)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["all labels", *outcomes.LABELS]
    notes = [axes.texts[0].get_text() for axes in figure.axes[:5]]
    assert [note.split("n = ")[1] for note in notes] == [
        str(count) for count in (one.labels.sum(), *one.labels.sum(axis=0))
    ]
    with pytest.raises(ValueError, match="of one shape"):
        outcome_plots.reliability_curves(one.labels, one.scores[1:], outcomes.LABELS)
