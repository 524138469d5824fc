"""Drawn predictions that tests of evaluations share."""

import numpy as np

from bigearthnet_tf.evaluation.predictions import Predictions

LABELS = ("Urban fabric", "Arable land", "Pastures & <fields>", "Marine waters")
TILES = ("29SNB", "33UUP", "35VPK")
DAYS = ("20170613", "20171104", "20180204")


def predictions(samples=60, seed=0, skill=1.0, **changes):
    """Scores of some skill, on a grid so that there are ties; no sea in the truth.

    The truth depends on the number of samples alone.
    """
    truth = np.random.default_rng(samples).random((samples, 4)) < [0.2, 0.5, 0.4, 0]
    noise = np.random.default_rng(seed).normal(0.35, 0.25, truth.shape)
    scores = np.clip(noise + 0.3 * skill * truth, 0, 1)
    content = {
        "names": [name(number) for number in range(samples)],
        "label_order": LABELS,
        "labels": truth.astype(np.uint8),
        "scores": (np.round(scores * 40) / 40).astype(np.float32),
        "split": "test",
        "iteration": 12,
        "fingerprint": f"weights {seed}",
    }
    return Predictions(**(content | changes))


def name(number):
    """A v2 name; tile and day go by the number."""
    return (
        f"S2A_MSIL2A_{DAYS[number % 3]}T101031_N9999_R022_T{TILES[number % 2]}_"
        f"{number // 90:02d}_{number % 90:02d}"
    )


def name_s1(number):
    """The name of its partner."""
    return (
        f"S1A_IW_GRDH_1SDV_{DAYS[number % 3]}T165043_{TILES[number % 2]}_"
        f"{number // 90}_{number % 90}"
    )
