"""Features on disk: whose they are, whole or not at all, the same in any batch."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import closeness
import numpy as np
import pytest
import toy

from bigearthnet_tf import config as configs
from bigearthnet_tf import files
from bigearthnet_tf.evaluation import evaluate
from bigearthnet_tf.evaluation import retrieval as evaluation
from bigearthnet_tf.retrieval import embeddings, stored
from bigearthnet_tf.training import session

ROOT = Path(__file__).parents[2]
COUNT = 11


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedded")
    for split, first in (("train", 0), ("val", 30), ("test", 60)):
        toy.write_records(folder, split, COUNT, version="v2", first=first)
    return folder


def open_session(records, out_dir, **keys):
    shards = {
        f"{key}_tf_record_files": [str(records / f"{split}-*.tfrecord")]
        for key, split in (("tr", "train"), ("val", "val"), ("test", "test"))
    }
    content = {
        "task": "contrastive",
        "encoders": "joint",
        "modality": "MM",
        "model_name": "resnet_test",
        "label_type": "BigEarthNet-19",
        "batch_size": 4,
        "image_size": 16,
        "projection_dim": 6,
        "devices": "cpu",
        "out_dir": str(out_dir),
        **shards,
    }
    return session.open_session(configs.from_dict(content | keys), alone=True)


@pytest.fixture(scope="module")
def opened(records, tmp_path_factory):
    return open_session(records, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def built(opened):
    return opened.task.build_model()


@pytest.fixture
def model(built):
    """The same for all tests, who may change its weights."""
    kept = [np.asarray(weight).copy() for weight in built.weights]
    yield built
    for weight, value in zip(built.weights, kept, strict=True):
        weight.assign(value)


def test_features_are_those_of_the_model(opened, model, tmp_path):
    folder, is_new = embeddings.embed(opened, model, 7, "test", tmp_path / "run")
    assert is_new
    found = stored.load(folder)
    assert found.facts.iteration == 7
    assert set(found.layers) == {"h_s1", "h_s2", "p_s1", "p_s2"}
    first = 0
    scales = {name: np.abs(values).max() for name, values in found.layers.items()}
    for groups, labels, weights in opened.task.scoring_data("test"):
        # Each patch on its own, which has no part in the batch it came in.
        for row in np.flatnonzero(weights.numpy()):
            alone = {name: group[row : row + 1] for name, group in groups.items()}
            for name, value in model(alone, training=False).items():
                closeness.assert_close(
                    found.layers[name][first], value[0], scale=scales[name]
                )
            np.testing.assert_array_equal(found.labels[first], labels[row])
            first += 1
    assert first == COUNT == len(found.names) == len(set(found.names))
    assert all(name.startswith("S1A_IW_GRDH") for name in found.names_s1)


def test_the_batch_size_does_not_matter_and_the_same_one_gives_the_same_bits(
    opened, model, records, tmp_path
):
    folder, _ = embeddings.embed(opened, model, 0, "test", tmp_path, tmp_path / "a")
    again, _ = embeddings.embed(opened, model, 0, "test", tmp_path, tmp_path / "b")
    other = open_session(records, tmp_path, batch_size=5)
    third, _ = embeddings.embed(other, model, 0, "test", tmp_path, tmp_path / "c")
    one, same, five = map(stored.load, (folder, again, third))
    for name, values in one.layers.items():
        np.testing.assert_array_equal(values, same.layers[name])
        closeness.assert_close(values, five.layers[name])


def test_what_is_there_is_taken_unless_model_or_records_differ(
    opened, model, records, tmp_path
):
    run = tmp_path / "run"
    folder, _ = embeddings.embed(opened, model, 0, "test", run)
    assert embeddings.embed(opened, model, 0, "test", run) == (folder, False)
    weight = model.trainable_variables[0]
    weight.assign(weight + 1)
    other, is_new = embeddings.embed(opened, model, 1, "test", run)
    assert is_new
    assert other != folder
    val, _ = embeddings.embed(opened, model, 1, "val", run)
    assert val not in (folder, other)
    with pytest.raises(ValueError, match="another model, other records"):
        embeddings.embed(opened, model, 1, "test", run, folder)


def test_both_sensors_as_one(opened, model, tmp_path):
    """Of unit length each where angles count, else the longer one would decide."""
    found = stored.load(embeddings.embed(opened, model, 0, "test", tmp_path)[0])
    raw = [found.layers[name] for name in ("p_s1", "p_s2")]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in raw]
    for metric, (one, two) in (("cosine", unit), ("l2", raw), ("chi_square", raw)):
        for fusion, expected in {
            "concat": np.concatenate([one, two], 1),
            "avg": (one + two) / 2,
            "max": np.maximum(one, two),
            "sum": one + two,
        }.items():
            fused = found.features("fused", "p", fusion, metric)
            closeness.assert_close(fused, expected, closeness.FORMULA)
    np.testing.assert_array_equal(found.features("s1", "h"), found.layers["h_s1"])
    with pytest.raises(ValueError, match="expected a sensor"):
        found.features("s3")


def test_layers_are_chosen(opened, model, tmp_path):
    whole = stored.load(embeddings.embed(opened, model, 0, "test", tmp_path)[0])
    folder, is_new = embeddings.embed(
        opened, model, 0, "test", tmp_path, layers=["h", "fused"]
    )
    assert is_new
    found = stored.load(folder)
    assert set(found.layers) == {"h_s1", "h_s2", "p_fused"}
    closeness.assert_close(found.features("fused"), whole.features("fused"))
    with pytest.raises(ValueError, match="is of fusion concat for cosine"):
        found.features("fused", "p", "max")
    with pytest.raises(ValueError, match="no features 'p_s1'"):
        found.features("s1")


def test_other_precision_or_tools_make_other_features(opened, model, tmp_path):
    """Though the weights are the same; and it is written what was done before them."""
    first = embeddings.embed(opened, model, 0, "test", tmp_path)[0]
    facts = stored.load(first).facts
    assert facts.precision == "float32"
    assert facts.preprocessing["statistics"] == opened.task.statistics
    assert set(facts.preprocessing["mean"]) == set(opened.task.bands)
    changes = {
        "precision": facts.model_copy(update={"precision": "mixed_bfloat16"}),
        "tool": facts.model_copy(update={"tool_version": "0"}),
        "before": facts.model_copy(
            update={"preprocessing": facts.preprocessing | {"interpolation": "x"}}
        ),
    }
    source = opened.task.source("test")
    keys = {name: embeddings._key(each, source) for name, each in changes.items()}
    assert len({facts.key, *keys.values()}) == 4
    assert embeddings._key(facts, source) == facts.key


@pytest.mark.parametrize(
    ("keys", "layers"),
    [
        ({"modality": "S1"}, {"h_s1"}),
        ({"modality": "S2"}, {"h_s2"}),
        ({"modality": "MM"}, {"h_fused"}),
        ({"encoders": "separate"}, {"h_s1", "h_s2", "p_s1", "p_s2"}),
    ],
)
def test_classifications_have_features_too(records, tmp_path, keys, layers):
    keys = {"task": "classification", "encoders": "single"} | keys
    opened = open_session(records, tmp_path, **keys)
    model = opened.task.build_model()
    folder, _ = embeddings.embed(opened, model, 0, "val", tmp_path)
    found = stored.load(folder)
    assert set(found.layers) == layers
    with pytest.raises(ValueError, match=r"no features 'p_s1'|expected") as raised:
        found.features("s1", "p") if "p_s1" not in layers else found.features("x")
    assert "\n" not in str(raised.value)


def test_a_folder_that_is_not_whole_is_refused(opened, model, tmp_path):
    folder, _ = embeddings.embed(opened, model, 0, "test", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no embeddings\.json"):
        stored.load(tmp_path)
    for name, spoil, reason in (
        ("p_s1.npy", lambda p: p.write_bytes(p.read_bytes()[:-8]), "damaged|expected"),
        ("h_s1.npy", lambda p: np.save(p, np.zeros((2, 2), np.float32)), "of shape"),
        ("labels.npy", lambda p: p.unlink(), "damaged or missing"),
        ("embeddings.json", lambda p: files.write_json(p, {}), "version"),
    ):
        copy = tmp_path / f"copy_{name}"
        shutil.copytree(folder, copy)
        spoil(copy / name)
        with pytest.raises(ValueError, match=reason):
            stored.load(copy)


EMBED_AND_DIE = """
    import os, signal, sys
    from bigearthnet_tf import console
    console.load_tensorflow()
    sys.path[:0] = ["tests", "tests/retrieval"]
    import test_embeddings as t
    from pathlib import Path
    from bigearthnet_tf.retrieval import embeddings, stored
    opened = t.open_session(Path(sys.argv[1]), sys.argv[2])
    model = opened.task.build_model()
    found = embeddings._batches
    def dying(*arguments):
        for number, batch in enumerate(found(*arguments)):
            if number == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch
    embeddings._batches = dying
    embeddings.embed(opened, model, 0, "test", Path(sys.argv[2]))
"""


def test_killed_half_way_it_starts_clean(opened, model, records, tmp_path):
    import textwrap

    run = tmp_path / "run"
    code = textwrap.dedent(EMBED_AND_DIE)
    command = [sys.executable, "-c", code, str(records), str(run)]
    died = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr[-2000:]
    left = [path.name for path in (run / "embeddings").iterdir()]
    assert left
    assert all(name.startswith(".test-") for name in left)
    folder, is_new = embeddings.embed(opened, model, 0, "test", run)
    assert is_new
    assert [path.name for path in (run / "embeddings").iterdir()] == [folder.name]
    assert np.isfinite(stored.load(folder).layers["p_s1"]).all()


def test_a_full_disk_is_one_error_and_leaves_nothing(
    opened, model, tmp_path, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"\.npy: needs .* make room"):
        embeddings.embed(opened, model, 0, "test", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_empty_folder_is_taken_and_a_foreign_one_is_not(opened, model, tmp_path):
    (tmp_path / "out").mkdir()
    folder, is_new = embeddings.embed(
        opened, model, 0, "test", tmp_path, tmp_path / "out"
    )
    assert is_new
    assert stored.load(folder).names
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").touch()
    with pytest.raises(OSError, match=r"no embeddings\.json"):
        embeddings.embed(opened, model, 0, "test", tmp_path, tmp_path / "mine")


def test_features_that_are_not_finite_are_not_kept(opened, model, tmp_path):
    kernel = model.get_layer("projection_s1").kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    with pytest.raises(ValueError, match="NaN or infinite"):
        embeddings.embed(opened, model, 0, "test", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_what_is_learnt_from_labels_is_searched_with_too(records, tmp_path):
    """By the metrics of the CBIR project, too, by their former name."""
    run = tmp_path / "run"
    opened = open_session(
        records,
        run,
        task="classification",
        retrieval_k=[1, 5],
        retrieval_definitions="older",
        retrieval_metric="l2",
        retrieval_layer="h",
    )
    run.mkdir()
    lines = evaluate(opened, opened.task.build_model(), 3, run)
    assert any(line.startswith("  S1→S2") for line in lines)
    assert "macro_f1_score" in (run / "eval_result.json").read_text()
    result = json.loads((run / "retrieval" / "eval_result.json").read_text())
    assert 0 <= result["s1_s2_map@5"] <= 1
    assert "s1_s2_hit_rate@5" not in result
    assert result["queries_without_labels"] == 0
    assert (run / "retrieval" / "report.html").stat().st_size > 10_000


def test_an_evaluation_writes_all_directions(records, tmp_path):
    run = tmp_path / "run"
    opened = open_session(records, run, baselines=True, retrieval_k=[1, 5, 200])
    model = opened.task.build_model()
    run.mkdir()
    lines = evaluation.evaluate(opened, model, 3, run)
    assert any(line.startswith("  S1→S2") for line in lines)
    result = json.loads((run / "eval_result.json").read_text())
    for direction in ("s1_s1", "s2_s2", "s1_s2", "s2_s1", "fused_fused"):
        assert 0 <= result[f"{direction}_map@5"] <= 1
    assert "s1_s1_partner_recall@1" not in result
    # All of the archive is found at last, among it the partner.
    assert result["s1_s2_partner_recall@200"] == 1.0
    others = json.loads((run / "eval_baselines.json").read_text())
    assert set(others) == {"untrained", "band statistics", "random"}
    # The model was not trained either.
    assert set(others["untrained"]) == set(result)
    for name, value in others["untrained"].items():
        assert value == pytest.approx(result[name], abs=1e-6)
    with np.load(run / "eval_hits.npz") as hits:
        own = np.arange(COUNT)
        assert not (hits["s1_s1_ids"] == own[:, None]).any()
        assert hits["s1_s2_ids"].shape == (COUNT, COUNT)
    page = (run / "report.html").read_text()
    assert "S1→S2 mAP@5" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert (run / "eval_retrieval.csv").read_text().startswith("query,archive,metric")
    assert (run / "eval_per_class.csv").read_text().count("\n") == 20
