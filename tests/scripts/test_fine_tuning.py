"""Runs that start from weights, with some layers frozen or slower."""

import json

import numpy as np
import pytest
import tensorflow as tf
import toy


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    for first, split in enumerate(("train", "val", "test")):
        toy.write_records(folder, split, 8, "v2", first=8 * first)
    return folder


@pytest.fixture
def first_run(call, records, write_config, tmp_path):
    config = write_config(records, nb_epoch=1, out_dir=str(tmp_path / "first"))
    assert call("train", config).status == 0
    return tmp_path / "first"


def weights_of(run) -> dict[str, np.ndarray]:
    """The model's weights in the newest checkpoint, by their paths."""
    newest = max(
        (run / "checkpoints").glob("iteration-*"),
        key=lambda p: int(p.name.split("-")[1]),
    )
    reader = tf.train.load_checkpoint(str(newest / "state"))
    names = [n for n in reader.get_variable_to_shape_map() if n.startswith("model/")]
    return {
        name.split("/", maxsplit=2)[2]: reader.get_tensor(name)
        for name in names
        if "seed" not in name
    }


def changed(before, after) -> int:
    assert before.keys() == after.keys()
    return sum(not np.array_equal(before[key], after[key]) for key in before)


def train(call, write_config, records, tmp_path, **keys):
    out = tmp_path / "second"
    config = write_config(records, nb_epoch=2, out_dir=str(out), **keys)
    result = call("train", config)
    return result, out


def test_level_0_learns_the_head_alone(
    call, records, write_config, tmp_path, first_run
):
    result, out = train(
        call, write_config, records, tmp_path,
        weights=str(first_run), fine_tune_level=0, drop_rate=0.0,
    )  # fmt: skip
    assert result.status == 0, result.err
    assert f"starting from the weights of {first_run}" in result.out
    assert changed(weights_of(first_run), weights_of(out)) == 2


@pytest.mark.long
def test_level_1_learns_everything(call, records, write_config, tmp_path, first_run):
    result, out = train(call, write_config, records, tmp_path, weights=str(first_run))
    assert result.status == 0, result.err
    before = weights_of(first_run)
    assert changed(before, weights_of(out)) > len(before) * 0.9


def test_layers_are_frozen_by_name(call, records, write_config, tmp_path, first_run):
    result, out = train(
        call, write_config, records, tmp_path,
        weights=str(first_run), freeze=["stem*", "stage1_*"],
    )  # fmt: skip
    assert result.status == 0, result.err
    description = json.loads(
        next((out / "checkpoints").glob("iteration-*/description.json")).read_text()
    )
    assert description["model_name"] == "resnet_test"
    before, after = weights_of(first_run), weights_of(out)
    kept = len(before) - changed(before, after)
    # 5 convolutions and norms: stem, three parts and a shortcut; 5 variables each.
    assert kept == 25


@pytest.mark.long
def test_a_perceptron_as_head(call, records, write_config, tmp_path, first_run):
    result, out = train(
        call, write_config, records, tmp_path,
        weights=str(first_run), weights_head="new", head_dims=[16], fine_tune_level=0,
    )  # fmt: skip
    assert result.status == 0, result.err
    # Its own weights are found again, by a run that starts from this one.
    config = write_config(
        records, nb_epoch=1, weights=str(out), head_dims=[16],
        out_dir=str(tmp_path / "third"),
    )  # fmt: skip
    assert call("train", config).status == 0


def test_weights_for_other_bands_and_labels(
    call, records, write_config, tmp_path, first_run
):
    keys = {"weights": str(first_run), "bands": "all"}
    result, out = train(call, write_config, records, tmp_path, **keys)
    assert result.status == 1
    assert "also sees VV VH" in result.complaint
    assert not out.exists()
    result, _ = train(
        call, write_config, records, tmp_path, weights_bands="mean", **keys
    )
    assert result.status == 0, result.err


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"weights": "a", "fine_tune_level": 2}, "level 2 starts from scratch: leave"),
        ({"weights_head": "new"}, "weights_head needs weights"),
        ({"weights_bands": "mean"}, "weights_bands needs weights"),
        ({"fine_tune_level": 0}, "fine_tune_level 0 needs weights"),
        ({"weights": "nothing/here/x"}, "nothing/here/x: no such weights; expected"),
        ({"freeze": ["stam*"]}, "no layer of resnet_test is 'stam*'; those with"),
        ({"freeze": ["*"]}, "leaves nothing to learn"),
        ({"fine_tune": True, "model_file": "a", "weights": "b"}, "give one of them"),
        ({"backbone_learning_rate_factor": 0}, "greater than 0"),
    ],
)
def test_bad_wishes(call, records, write_config, tmp_path, keys, message):
    result, out = train(call, write_config, records, tmp_path, **keys)
    assert result.status == 1
    assert message in result.complaint
    assert not out.exists()


@pytest.mark.long
def test_a_slower_backbone(call, records, write_config, tmp_path, first_run):
    """Two runs of one step each: Adam's first step has the size of the rate."""
    for factor in (1.0, 0.1):
        config = write_config(
            records, nb_epoch=1, batch_size=8, weights=str(first_run),
            backbone_learning_rate_factor=factor, out_dir=str(tmp_path / str(factor)),
        )  # fmt: skip
        result = call("train", config)
        assert result.status == 0, result.err
    start = weights_of(first_run)
    fast, slow = (weights_of(tmp_path / f) for f in ("1.0", "0.1"))
    ratios = {"head": [], "backbone": []}
    for path, before in start.items():
        if "moving" in path:
            continue
        step, smaller = (np.abs(after[path] - before) for after in (fast, slow))
        moved = step > 5e-3
        part = "head" if path.startswith("head/") else "backbone"
        ratios[part].extend(smaller[moved] / step[moved])
    np.testing.assert_allclose(np.median(ratios["head"]), 1, rtol=0.01)
    np.testing.assert_allclose(np.median(ratios["backbone"]), 0.1, rtol=0.01)
    assert min(len(of) for of in ratios.values()) > 10
