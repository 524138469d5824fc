"""A run as a folder for others, and on the hub: the same model, the same results."""

import argparse
import json
import logging
import shutil

import loopback_hub
import numpy as np
import pytest
import yaml
from programs import run_program
from trained_runs import train

import bigearthnet_tf
from bigearthnet_tf import config as configs
from bigearthnet_tf import evaluation
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.commands import publish as command
from bigearthnet_tf.evaluation import thresholds
from bigearthnet_tf.serving import hub, publish
from bigearthnet_tf.training import session

DATA = "24 generated patches"


@pytest.fixture(scope="module")
def published(run, records, tmp_path_factory):
    """The shared run as a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(records)
        out = tmp_path_factory.mktemp("published") / "land-cover"
        return publish.publish(run, out, data=DATA, licence="mit")


def patches():
    rng = np.random.default_rng(6)
    return {
        "s1_10m": rng.normal(-15, 5, (2, 2, 120, 120)).astype("float32"),
        "s2_10m": rng.integers(0, 9000, (2, 4, 120, 120), dtype="uint16"),
        "s2_20m": rng.integers(0, 9000, (2, 6, 60, 60), dtype="uint16"),
    }


def evaluate(folder, out_dir, **keys):
    """What `eval.py training.json --checkpoint FOLDER` leaves in `eval_result.json`."""
    config = configs.load(folder / "training.json").model_copy(
        update={
            "out_dir": str(out_dir),
            "test_tf_record_files": ["test-*.tfrecord"],
            "devices": "cpu",
            **keys,
        }
    )
    opened = session.open_session(config)
    model, iteration = session.load_trained(opened, out_dir, str(folder))
    evaluation.evaluate(opened, model, iteration, out_dir)
    return json.loads((out_dir / "eval_result.json").read_text())


def test_what_is_loaded_back_has_the_same_results(
    published, run, records, tmp_path, monkeypatch
):
    monkeypatch.chdir(records)
    chosen = str(published / "thresholds.json")
    result = evaluate(published, tmp_path / "theirs", thresholds=chosen)
    before = json.loads((run / "eval_result.json").read_text())
    assert any(key.startswith("tuned_") for key in before)
    assert result == before
    stored = json.loads((published / "eval_result.json").read_text())
    assert stored == before
    model = bigearthnet_tf.from_pretrained(published)
    original = hub.open_finished(run).model
    np.testing.assert_array_equal(model(patches()), original(patches()))


def test_the_folder_says_what_it_holds(published, run, records):
    assert {path.name for path in published.iterdir()} == {
        *("README.md", "config.json", "model.safetensors", "training.json"),
        *("thresholds.json", "eval_result.json", "eval_per_class.csv", "example.png"),
    }
    assert (published / "example.png").read_bytes()[:4] == b"\x89PNG"
    config = json.loads((published / "training.json").read_text())
    assert config["batch_size"] == 4
    everything = "".join(
        path.read_text() for path in published.iterdir() if path.suffix != ".png"
        and path.suffix != ".safetensors"
    )  # fmt: skip
    assert str(records) not in everything
    assert not list(published.parent.glob(".*"))
    others_read = (published / "model.safetensors").stat().st_mode & 0o044
    assert others_read == (published / "README.md").stat().st_mode & 0o044


def test_the_card_says_what_was_measured(published, run):
    _, head, body = (published / "README.md").read_text().split("---\n", 2)
    facts = yaml.safe_load(head)
    assert facts["license"] == "mit"
    assert {"sentinel-1", "sentinel-2", "resnet_test"} <= set(facts["tags"])
    (index,) = facts["model-index"]
    measured = {m["name"]: m["value"] for m in index["results"][0]["metrics"]}
    result = json.loads((run / "eval_result.json").read_text())
    wanted = result["macro_average_precision"]
    assert measured["average precision, macro"] == wanted
    assert f"| average precision, macro | {wanted:.4f} |" in body
    assert "Generated data, not real" in body
    assert "(example.png)" in body
    assert 'from_pretrained("land-cover")' in body
    assert "--checkpoint land-cover" in body
    assert "| `s2_20m` | uint16 | [6, 60, 60] | B05 B06 B07 B8A B11 B12 |" in body


def test_upload_and_download(run, records, tmp_path):
    """The command puts it on the hub, and the id brings the same scores back."""
    pytest.importorskip("huggingface_hub")
    np.savez(tmp_path / "patches.npz", **patches())
    program = """
        import os, sys
        out, run, address, token, data = sys.argv[1:]
        os.environ |= {"HF_ENDPOINT": address, "HF_HOME": out, "HF_TOKEN": token,
                       "HF_HUB_DISABLE_XET": "1"}
        import numpy as np
        from bigearthnet_tf import cli, from_pretrained
        os.chdir(data)
        sys.argv = ["bigearthnet-tf", "publish", run, "--repo-id", "org/land-cover",
                    "--private", "--data", "toy"]
        try:
            cli.main()
        except SystemExit as end:
            assert not end.code
        groups = dict(np.load(f"{out}/patches.npz"))
        np.save(f"{out}/logits.npy", from_pretrained("org/land-cover")(groups))
    """
    with loopback_hub.serve() as server:
        said = run_program(
            program, tmp_path, run, server.address, loopback_hub.TOKEN, records
        )
        assert said.splitlines()[0].startswith(f"{server.address}/org/land-cover")
        stored = server.repos["org/land-cover"]
        assert server.private == {"org/land-cover": True}
    assert b"hf download org/land-cover" in stored["README.md"]
    original = hub.open_finished(run).model
    np.testing.assert_array_equal(np.load(tmp_path / "logits.npy"), original(patches()))


def test_no_token_no_work(run, monkeypatch):
    library = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(library, "get_token", lambda: None)
    with pytest.raises(
        ValueError, match=r"org/x: nobody is logged in .* hf auth login"
    ):
        publish.check_hub("org/x")
    with pytest.raises(ValueError, match="--repo-id: expected ORG/NAME, got 'x'"):
        publish.check_hub("x")


def test_a_hub_that_refuses(published, monkeypatch):
    library = pytest.importorskip("huggingface_hub")

    class Refusing:
        def create_repo(self, *_, **__):
            raise RuntimeError("403 Forbidden:\n you have no rights to org/x")

    monkeypatch.setattr(library, "get_token", lambda: "token")
    monkeypatch.setattr(library, "HfApi", Refusing)
    with pytest.raises(OSError, match=r"^org/x: can't be uploaded \(403 .* -o FOLDER"):
        publish.upload(published, "org/x")


def test_results_of_other_weights_stay_away(run, records, tmp_path, caplog):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    with np.load(copy / "eval_scores.npz") as stored:
        content = {**stored, "fingerprint": np.array("0" * 64)}
    np.savez(copy / "eval_scores.npz", **content)
    with caplog.at_level(logging.WARNING):
        out = publish.publish(copy, tmp_path / "same", data="toy")
    assert "evaluated was another version" in caplog.text
    assert not (out / "eval_result.json").exists()
    content["iteration"] = np.array(77)
    np.savez(copy / "eval_scores.npz", **content)
    with caplog.at_level(logging.WARNING):
        out = publish.publish(copy, tmp_path / "out", data="toy")
    assert "evaluated was iteration 77, published is iteration 2" in caplog.text
    assert "no example picture" in caplog.text
    assert not (out / "eval_result.json").exists()
    assert "These weights were not evaluated" in (out / "README.md").read_text()
    (copy / "eval_scores.npz").unlink()
    with caplog.at_level(logging.WARNING):
        publish.publish(copy, out, data="toy", overwrite=True)
    assert "was not evaluated" in caplog.text


@pytest.mark.long
def test_statistics_of_its_own_travel(records, tmp_path, monkeypatch):
    bands = band_facts.resolve_bands("s2")
    own = {
        "name": "mine",
        "mean": {band: 500.0 for band in bands},
        "std": {band: 250.0 for band in bands},
    }
    (tmp_path / "mine.json").write_text(json.dumps(own))
    out = tmp_path / "run"
    train(
        records,
        modality="S2",
        statistics=str(tmp_path / "mine.json"),
        out_dir=str(out),
        thresholds="none",
    )
    monkeypatch.chdir(records)
    made = publish.publish(out, tmp_path / "made", data="toy")
    keys = {"statistics": str(made / "statistics.json")}
    result = evaluate(made, tmp_path / "again", **keys)
    assert result == json.loads((out / "eval_result.json").read_text())


def test_what_is_in_the_way_stays(published, run, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    with pytest.raises(ValueError, match="holds something else than an earlier"):
        publish.publish(run, mine, data="toy", overwrite=True)
    with pytest.raises(ValueError, match=r"is there already; .* --overwrite"):
        publish.publish(run, published, data="toy")
    with pytest.raises(ValueError, match="is read by the same call"):
        publish.publish(run, run, data="toy", overwrite=True)
    with pytest.raises(ValueError, match="is no run"):
        publish.publish(published, tmp_path / "twice", data="toy")
    with pytest.raises(FileNotFoundError):
        publish.publish(tmp_path / "nothing", tmp_path / "out", data="toy")
    assert (mine / "thesis.txt").read_text() == "years"
    edited = tmp_path / "edited"
    shutil.copytree(published, edited)
    (edited / "notes.txt").write_text("mine")
    with pytest.raises(OSError, match=r"holds notes\.txt, which this command"):
        publish.publish(run, edited, data="toy", overwrite=True)


def test_a_full_disk_leaves_the_earlier_one(published, run, tmp_path, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(published, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publish.model_card, "render", full)
    with pytest.raises(OSError, match="No space left"):
        publish.publish(run, out, data="toy", overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_command_asks_where(run):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    with pytest.raises(ValueError, match=r"-o\) or an id on the hub"):
        command.run(parser.parse_args([str(run), "--data", "toy"]))


def test_thresholds_are_of_these_weights(published):
    """They are known by the weights again, wherever those were loaded."""
    model = hub.open_finished(published).model
    stored = json.loads((published / "thresholds.json").read_text())
    assert stored["fingerprint"] == thresholds.fingerprint(model)
