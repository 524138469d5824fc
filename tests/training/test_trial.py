"""Configs of test runs."""

import pytest

from bigearthnet_tf import config as configs
from bigearthnet_tf.training import trial


@pytest.mark.parametrize(
    ("batch_size", "accumulation", "devices", "records", "expected"),
    [
        (512, 1, 1, None, (16, 1)),
        (512, 1, 1, 1000, (16, 1)),
        (512, 1, 1, 5, (5, 1)),
        (8, 1, 1, 1000, (8, 1)),
        (1, 1, 1, 1000, (1, 1)),
        (512, 4, 1, 1000, (16, 4)),
        (512, 32, 1, 1000, (16, 16)),
        (512, 4, 1, 6, (4, 4)),
        (510, 1, 3, 1000, (15, 1)),
        (510, 2, 3, 1000, (12, 2)),
        (510, 1, 3, 1, (3, 1)),
        (64, 2, 32, 1000, (32, 1)),
        # A loss that compares records needs two.
        (64, 1, 1, 1, (2, 1)),
    ],
)
def test_a_batch_is_small_and_divides(
    batch_size, accumulation, devices, records, expected
):
    config = configs.from_dict(
        {"batch_size": batch_size, "gradient_accumulation": accumulation}
    )
    small = trial.shrink(config, devices, records)
    assert (small.batch_size, small.gradient_accumulation) == expected
    assert small.batch_size % (devices * small.gradient_accumulation) == 0


def test_nothing_is_held_that_is_not_read():
    config = configs.from_dict({"batch_size": 512, "cache": "memory"})
    small = trial.shrink(config, 1)
    assert (small.shuffle_buffer_size, small.cache) == (64, "")
    unshuffled = configs.from_dict({"shuffle_buffer_size": 0})
    assert trial.shrink(unshuffled, 1).shuffle_buffer_size == 0


def test_shrinking_twice_changes_nothing():
    config = configs.from_dict({"batch_size": 384, "gradient_accumulation": 3})
    once = trial.shrink(config, 2, 100)
    assert trial.shrink(once, 2, 100) == once
