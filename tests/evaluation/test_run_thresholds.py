"""Thresholds of a run, and whom they belong to."""

import json

import keras
import numpy as np
import outcomes
import pytest

from bigearthnet_tf import metrics
from bigearthnet_tf.evaluation import thresholds
from bigearthnet_tf.tasks import assembly

MODEL = {"model_name": "resnet_test", "bands": ["B02"]}


@pytest.fixture(scope="module")
def tuned():
    return thresholds.tune(outcomes.predictions(split="val"), MODEL)


def test_tuned_thresholds_are_the_best_of_each_label(tuned):
    one = outcomes.predictions()
    expected = metrics.best_thresholds(one.labels, one.scores)
    np.testing.assert_array_equal(tuned.values, expected)
    assert tuned.undecided == ["Marine waters"]
    assert tuned.thresholds[3] == 0.5
    assert tuned.macro_f1 > tuned.macro_f1_at_half
    assert (tuned.split, tuned.patches) == ("val", 60)
    assert (tuned.checkpoint, tuned.iteration) == ("iteration-12", 12)


def test_one_threshold_for_all_is_the_best_of_the_micro_f1():
    one = outcomes.predictions(split="val")
    found = thresholds.tune(one, MODEL, "global")
    assert len(set(found.thresholds)) == 1
    tried = [
        metrics.multi_label_report(one.labels, one.scores, t)["micro_f1_score"]
        for t in np.unique(one.scores)
    ]
    assert found.micro_f1 == max(tried)
    assert found.undecided == []


def test_what_is_written_is_read(tmp_path, tuned):
    path = tmp_path / thresholds.FILE
    thresholds.save(path, tuned)
    assert thresholds.load(tmp_path) == thresholds.load(path) == tuned
    content = json.loads(path.read_text())
    assert content["labels"] == list(outcomes.LABELS)
    assert content["rule"] == "score >= threshold"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thresholds": [0.5]}, "expected 4 thresholds"),
        ({"thresholds": [0.5, 0.5, 0.5, 1.5]}, r"thresholds in \[0, 1\]"),
        ({"rule": "score > threshold"}, "score >= threshold"),
        ({"labels": None}, "labels"),
    ],
)
def test_other_content_is_refused(tmp_path, tuned, changes, message):
    path = tmp_path / thresholds.FILE
    path.write_text(json.dumps(tuned.model_dump() | changes))
    with pytest.raises(ValueError, match=message) as raised:
        thresholds.load(path)
    assert thresholds.FILE in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_thresholds_say_how_to_make_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="--thresholds tuned"):
        thresholds.load(tmp_path)


def test_thresholds_of_others_are_refused(tuned):
    labels = list(outcomes.LABELS)
    thresholds.check(tuned, "t.json", labels, tuned.fingerprint)
    thresholds.check(tuned, "t.json", labels, "")
    with pytest.raises(ValueError, match="'Urban fabric' where the model has 'Marine"):
        thresholds.check(tuned, "t.json", labels[::-1], "")
    with pytest.raises(ValueError, match="4 of them, the model has 3"):
        thresholds.check(tuned, "t.json", labels[:3], "")
    with pytest.raises(ValueError, match=r"other weights .resnet_test at iteration-12"):
        thresholds.check(tuned, "t.json", labels, "others")


def test_only_what_tuning_would_give_is_used_again(tmp_path, tuned):
    path = tmp_path / thresholds.FILE
    asked = ("per_label", tuned.fingerprint, 60)
    assert thresholds.belongs(path, *asked) is None
    path.write_text("{")
    assert thresholds.belongs(path, *asked) is None
    thresholds.save(path, tuned)
    assert thresholds.belongs(path, *asked) == tuned
    for other in (
        ("global", *asked[1:]),
        ("per_label", "others", 60),
        ("per_label", asked[1], 61),
    ):
        assert thresholds.belongs(path, *other) is None


def test_a_fingerprint_is_that_of_the_weights():
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    first = thresholds.fingerprint(model)
    assert first == thresholds.fingerprint(model)
    model.layers[0].bias.assign([0, 1e-7])
    assert thresholds.fingerprint(model) != first


def test_the_fingerprint_is_the_same_with_and_without_stochastic_depth():
    dropping = assembly.build_model("resnet_test", 19, "s2", drop_path_rate=0.2)
    plain = assembly.build_model("resnet_test", 19, "s2", seed=1)
    assert thresholds.fingerprint(dropping) != thresholds.fingerprint(plain)
    trained = {variable.path: variable for variable in dropping.weights}
    # The order is another one.
    assert list(trained) != [variable.path for variable in plain.weights]
    for variable in plain.weights:
        variable.assign(trained[variable.path])
    assert thresholds.fingerprint(dropping) == thresholds.fingerprint(plain)
