"""Resampled metrics against the report of the resampled patches themselves."""

import numpy as np
import pytest

from bigearthnet_tf import metrics
from bigearthnet_tf.metrics import bootstrap


def predictions(samples=60, labels=5, seed=0, levels=12):
    rng = np.random.default_rng(seed)
    truth = rng.random((samples, labels)) < np.linspace(0, 0.6, labels)
    scores = np.clip(rng.normal(0.35 + 0.25 * truth, 0.25), 0, 1)
    return truth, np.round(scores * levels) / levels


@pytest.mark.parametrize("samples", [1, 60])
def test_every_round_is_the_report_of_its_patches(samples):
    truth, scores = predictions(samples)
    threshold = np.linspace(0.2, 0.7, 5)
    found = bootstrap.replicates(truth, scores, threshold, rounds=9, seed=3)
    rng = np.random.default_rng(3)
    for number in range(9):
        rows = rng.integers(0, samples, samples)
        report = metrics.multi_label_report(truth[rows], scores[rows], threshold)
        # Bins of scores are not resampled; positives are counted nowhere.
        left_out = {
            name
            for name in report
            if "calibration" in name
            or name.startswith("num_")
            or "brier_score_c" in name
        }
        assert found.keys() == report.keys() - left_out
        for name, values in found.items():
            assert values[number] == pytest.approx(report[name], abs=1e-10), name


def test_blocks_are_only_a_matter_of_memory(monkeypatch):
    truth, scores = predictions()
    whole = bootstrap.replicates(truth, scores, rounds=20)
    monkeypatch.setattr(bootstrap, "_BLOCK", 60 * 3)
    monkeypatch.setattr(bootstrap, "_RUNS", 2)
    assert bootstrap.num_blocks(60, 20) == 7
    again = bootstrap.replicates(truth, scores, rounds=20)
    assert again.keys() == whole.keys()
    for name, values in again.items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-12, err_msg=name)


def test_areas_can_be_left_out():
    truth, scores = predictions()
    found = bootstrap.replicates(truth, scores, rounds=3, areas=False)
    whole = bootstrap.replicates(truth, scores, rounds=3)
    assert whole.keys() - found.keys() == {
        name for name in whole if "auroc" in name or "average_precision" in name
    }
    for name, values in found.items():
        np.testing.assert_array_equal(values, whole[name])
    alone = bootstrap.micro_average_precision(truth, scores, rounds=3)
    np.testing.assert_array_equal(alone, whole["micro_average_precision"])


def test_intervals_cover_the_truth_as_often_as_they_say():
    """Of a mean with a known expectation: 95 % intervals, 200 experiments."""
    rng = np.random.default_rng(5)
    covered = 0
    for seed in range(200):
        truth = rng.random((80, 1)) < 0.4
        scores = np.full((80, 1), 0.9)
        found = bootstrap.replicates(truth, scores, rounds=200, seed=seed, areas=False)
        low, high = bootstrap.interval(found["micro_precision"])
        covered += low <= 0.4 <= high
    assert 0.90 <= covered / 200 <= 0.98


def test_the_same_seed_pairs_two_models():
    """Of equal predictions all differences are 0, though each varies."""
    truth, scores = predictions()
    one, other = (bootstrap.replicates(truth, scores, rounds=50) for _ in range(2))
    assert one["micro_f1_score"].std() > 0
    assert (one["micro_f1_score"] == other["micro_f1_score"]).all()
    different = bootstrap.replicates(truth, scores, rounds=50, seed=1)
    assert (one["micro_f1_score"] != different["micro_f1_score"]).any()


def test_no_round_is_refused():
    with pytest.raises(ValueError, match="at least one round"):
        bootstrap.replicates(*predictions(), rounds=0)
