"""Divisions: the splits there are, and what becomes of small sets."""

import numpy as np
import pandas as pd
import pytest

from bigearthnet_tf.archive import division, patch_set


def make_patches(splits, folder):
    names = [f"S2A_MSIL2A_20170613T101031_{index}_0" for index in range(len(splits))]
    path = folder / "labels.csv"
    pd.DataFrame({"patch": names, "Pastures": 1}).to_csv(path)
    patches = patch_set.from_label_table(path)
    patches.table["split"] = splits
    return patches


def test_splits_stand_in_their_usual_order(tmp_path):
    patches = make_patches(["extra", "test", "train", "test", "val"], tmp_path)
    found = division.as_listed(patches)
    assert found.splits == ("train", "val", "test", "extra")
    assert found.assigned.tolist() == [3, 2, 0, 2, 1]
    assert found.sizes.tolist() == [1, 1, 2, 1]
    assert found.ratios is None


def test_patches_without_a_split(tmp_path):
    with pytest.raises(ValueError, match="1 of 2 patches are in no split yet"):
        division.as_listed(make_patches(["train", ""], tmp_path))


def test_a_split_that_stays_empty(tmp_path):
    patches = make_patches([""] * 3, tmp_path)
    with pytest.raises(ValueError, match="3 patches are so few that split 'c' stays"):
        division.stratified(patches, ("a", "b", "c"), (0.49, 0.49, 0.02), 0)


def test_blocks_keep_patches_together(tmp_path):
    patches = make_patches([""] * 90, tmp_path)
    patches.table["tile"] = "33UUP"
    found = division.by_blocks(patches, ("a", "b"), (0.5, 0.5), 12, 0)
    assert found.method == "blocks of 12 km"
    runs = np.diff(found.assigned) != 0
    assert runs.sum() <= 9  # the row is 108 km long
    assert abs(found.sizes[0] - 45) <= 10


def test_the_last_folds_are_test_and_validation():
    assert division.join_folds([[0, 1], [2], [3], [4], [5, 6]]) == {
        "train": [0, 1, 2, 3],
        "val": [4],
        "test": [5, 6],
    }
    assert division.join_folds([[0], [1]]) == {}
