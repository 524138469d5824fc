"""Results by country, season and tile, against the report of their patches."""

import numpy as np
import outcomes
import pandas as pd
import pytest

from bigearthnet_tf import metrics
from bigearthnet_tf.evaluation import groups
from bigearthnet_tf.metrics import bootstrap


@pytest.fixture
def table(tmp_path):
    one = outcomes.predictions()
    frame = pd.DataFrame(
        {
            "patch_id": one.names[:40],
            "labels": [["Arable land"]] * 40,
            "split": ["test"] * 40,
            "country": ["Finland", "Austria"] * 20,
            "s1_name": [outcomes.name_s1(number) for number in range(40)],
        }
    )
    path = tmp_path / "metadata.parquet"
    frame.to_parquet(path)
    return path


def test_names_tell_season_and_tile():
    found = groups.find(outcomes.predictions())
    assert found["season"][:4] == ["Summer", "Fall", "Winter", "Summer"]
    assert found["tile"][:3] == ["29SNB", "33UUP", "29SNB"]
    assert "country" not in found


def test_older_names_take_the_tile_of_their_partner():
    one = outcomes.predictions(
        names=[f"S2A_MSIL2A_20170613T101031_{n}_7" for n in range(60)],
        names_s1=[f"S1A_IW_GRDH_1SDV_20170613T165043_33UUP_{n}_7" for n in range(60)],
    )
    assert groups.find(one)["tile"] == ["33UUP"] * 60


def test_names_that_say_nothing_give_no_groups():
    one = outcomes.predictions(names=[f"mine {n}" for n in range(60)])
    assert groups.find(one) == {}


def test_countries_come_from_the_metadata(table):
    found = groups.find(outcomes.predictions(), [table])
    assert list(found) == ["country", "season", "tile"]
    assert found["country"] == ["Finland", "Austria"] * 20 + [""] * 20


def test_metadata_of_other_patches_is_refused(table):
    one = outcomes.predictions(names=[f"S2 {n}" for n in range(60)])
    with pytest.raises(ValueError, match=r"none of the 60 .* the first is S2 0"):
        groups.find(one, [table])


def test_a_group_is_the_report_of_its_patches(table):
    one = outcomes.predictions()
    kinds = groups.find(one, [table])
    rows = groups.measure(one, kinds, rounds=30)
    assert [row["group"] for row in rows] == [
        "Austria", "Finland", "Winter", "Summer", "Fall", "29SNB", "33UUP",
    ]  # fmt: skip
    for row in rows:
        own = np.array(kinds[row["kind"]]) == row["group"]
        assert row["patches"] == own.sum()
        report = metrics.multi_label_report(one.labels[own], one.scores[own])
        assert row["micro_f1_score"] == report["micro_f1_score"]
        present = np.flatnonzero(one.labels[own].any(axis=0))
        assert row["labels_present"] == len(present) == 3
        mean = np.mean([report[f"average_precision_class{j}"] for j in present])
        assert row["macro_average_precision_present"] == pytest.approx(mean)
        if row["kind"] == "tile":
            assert row["micro_ap_low"] is None
            continue
        sampled = bootstrap.replicates(one.labels[own], one.scores[own], rounds=30)
        low, high = bootstrap.interval(sampled["micro_average_precision"])
        assert row["micro_ap_low"] == pytest.approx(low)
        assert row["micro_ap_high"] == pytest.approx(high)


def test_a_group_without_labels_has_no_numbers():
    one = outcomes.predictions(labels=np.zeros((60, 4), np.uint8))
    (row,) = groups.measure(one, {"season": ["Fall"] * 60}, rounds=5)
    assert row["patches"] == 60
    assert row["micro_average_precision"] is None
    assert row["macro_f1_score_present"] is None
