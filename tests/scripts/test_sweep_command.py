"""All encoders and fusions from one config."""

import json
import os
import shutil

import numpy as np
import pytest

from bigearthnet_tf.evaluation import directions, sweep
from bigearthnet_tf.retrieval import stored

KEYS = {
    "modality": "MM",
    "encoders": "joint",
    "image_size": 16,
    "nb_epoch": 1,
    "retrieval_k": [2],
    "projection_dim": 5,
}


@pytest.mark.long
def test_one_contrastive_training_serves_all_fusions(call, records, write_config):
    config = write_config(records, model_name="resnet_test", task="contrastive", **KEYS)
    root = json.loads(config.read_text())["out_dir"]
    outcome = call("bigearthnet-tf", "sweep", config, "--encoders", "joint")
    assert outcome.status == 0, outcome.err
    rows = json.loads((config.parent / root / "sweep.json").read_text())
    assert [row["fusion"] for row in rows] == ["concat", "avg", "max", "sum"]
    # Across the sensors nothing is fused; the mean and the sum have one direction.
    assert len({row["S1→S2 map@2"] for row in rows}) == 1
    assert rows[1]["both map@2"] == rows[3]["both map@2"]
    run = config.parent / root / "joint"
    result = json.loads((run / "eval_result.json").read_text())
    assert rows[0]["both ndcg@2"] == pytest.approx(result["fused_fused_ndcg@2"])
    assert rows[0]["S2→S1 map@2"] == pytest.approx(result["s2_s1_map@2"])
    features = stored.load(next((run / "embeddings").glob("test-*")))
    split = directions.Split(
        features.labels, {"fused": features.features("fused", "p", "max")}
    )
    found = directions.look_for(split, split, ("fused", "fused"), [2], "cosine", True)
    assert rows[2]["both map@2"] == pytest.approx(found.values["map@2"].mean())
    # Newer features of other weights, of the same split, are not taken for its own.
    other = run / "embeddings" / "test-ffffffffffff"
    shutil.copytree(next((run / "embeddings").glob("test-*")), other)
    for layer in ("p_s1", "p_s2"):
        values = np.load(other / f"{layer}.npy")
        np.save(other / f"{layer}.npy", np.random.default_rng(0).permutation(values))
    os.utime(other, (2e9, 2e9))
    again = call("bigearthnet-tf", "sweep", config, "--encoders", "joint")
    assert again.out.splitlines()[-7:] == outcome.out.splitlines()[-7:]
    assert json.loads((config.parent / root / "sweep.json").read_text()) == rows


@pytest.mark.long
def test_a_classification_is_trained_for_each_fusion(call, records, write_config):
    config = write_config(records, model_name="resnet_test", **KEYS)
    outcome = call(
        "bigearthnet-tf", "sweep", config, "--encoders", "joint",
        "--fusions", "avg", "max",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    root = config.parent / json.loads(config.read_text())["out_dir"]
    rows = json.loads((root / "sweep.json").read_text())
    assert [row["fusion"] for row in rows] == ["avg", "max"]
    for row in rows:
        run = root / f"joint_{row['fusion']}"
        result = json.loads((run / "eval_result.json").read_text())
        for name in ("macro_average_precision", "micro_average_precision"):
            assert row[name] == pytest.approx(result[name])
        hits = json.loads((run / "retrieval" / "eval_result.json").read_text())
        assert row["both map@2"] == pytest.approx(hits["fused_fused_map@2"])
        assert row["S1→S2 ndcg@2"] == pytest.approx(hits["s1_s2_ndcg@2"])


def test_unknown_ways_are_named(call, records, write_config):
    config = write_config(records, model_name="resnet_test", task="contrastive", **KEYS)
    outcome = call("bigearthnet-tf", "sweep", config, "--fusions", "mean")
    assert outcome.status == 1
    assert "concat, avg, max, sum, got 'mean'" in outcome.complaint


def test_the_best_of_each_column_is_bold():
    rows = [
        {"encoders": "joint", "fusion": "avg", "map": 0.5},
        {"encoders": "joint", "fusion": "max", "map": 0.25},
    ]
    assert sweep.table(rows)[1:] == [
        "| --- | --- | ---: |",
        "| joint | avg | **0.5000** |",
        "| joint | max | 0.2500 |",
    ]
