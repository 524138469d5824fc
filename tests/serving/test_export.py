"""What is written for other tools, and where it may be written."""

import json

import closeness
import keras
import numpy as np
import pytest
import timm_models
import toy
from published_files import (
    O19,
    PREFIX,
    S19,
    WEIGHTS,
    as_hub_has_it,
    batch,
    randomised,
)
from safetensors import numpy as safetensors

from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import statistics as band_statistics
from bigearthnet_tf.serving import hub


@pytest.fixture
def folder(tmp_path):
    return as_hub_has_it(randomised(), tmp_path / "x-s2-v0.2.0", "s2")


def test_statistics_and_resampling_travel_with_the_weights(tmp_path):
    own = {
        key: {b: value + n for n, b in enumerate(band_facts.resolve_bands("s2"))}
        for key, value in (("mean", 500.0), ("std", 300.0))
    }
    known = {"interpolation": "bilinear", "image_size": 40}
    for number, statistics in enumerate(("v1", own)):
        model = randomised(statistics=statistics, **known)
        given = as_hub_has_it(
            model, tmp_path / f"{number}-v0.2.0", "s2", statistics=statistics, **known
        )
        out = hub.export_timm(given, tmp_path / f"out{number}")
        config = json.loads((out / "config.json").read_text())
        assert config["statistics"] == statistics
        assert config["interpolation"] == "bilinear"
        loaded = hub.from_pretrained(out)
        assert loaded.get_layer("preprocessing_resample_s2_20m").output.shape[-1] == 40
        closeness.assert_close(
            loaded(batch(model)), model(batch(model)), closeness.NETWORK
        )


def test_folders_that_hold_something_else_are_left_alone(tmp_path, folder):
    run, full, other = (tmp_path / name for name in ("run", "full", "other"))
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.json").write_text("{}")
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    other.mkdir()
    (other / "config.json").write_text('{"model_name": "resnet50"}')
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for out, message in (
        (run, "is the folder of a run"),
        (full, "not empty and holds no earlier export"),
        (other, "not empty and holds no earlier export"),
        (folder, "is read by the same call, or written twice by it"),
    ):
        with pytest.raises(ValueError, match=f"^{out}: .*{message}; choose another"):
            hub.export_timm(folder, out)
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    (tmp_path / "empty").mkdir()
    hub.export_timm(folder, tmp_path / "empty")
    hub.export_timm(folder, tmp_path / "empty")


def test_any_prefix(tmp_path, folder):
    without = hub.export_timm(folder, tmp_path / "plain", prefix="")
    usual = hub.export_timm(folder, tmp_path / "usual")
    names = safetensors.load_file(without / WEIGHTS)
    assert "conv1.weight" in names
    assert {PREFIX + n for n in names} == set(safetensors.load_file(usual / WEIGHTS))
    model = hub.from_pretrained(usual)
    np.testing.assert_array_equal(
        hub.from_pretrained(without)(batch(model)), model(batch(model))
    )


@pytest.mark.slow
def test_timm_reads_an_export_without_prefix_by_itself(tmp_path):
    timm = timm_models.load()
    import torch

    model = randomised("resnet18")
    given = as_hub_has_it(
        model, tmp_path / "x-v0.2.0", "s2", timm_model_name="resnet18"
    )
    out = hub.export_timm(given, tmp_path / "plain", prefix="")
    theirs = timm.create_model(
        "resnet18", in_chans=10, num_classes=19, checkpoint_path=str(out / WEIGHTS)
    ).eval()
    stack = keras.Model(model.input, model.get_layer("preprocessing_stack").output)
    images = np.asarray(stack(batch(model))).transpose(0, 3, 1, 2)
    with torch.no_grad():
        logits = theirs(torch.from_numpy(np.ascontiguousarray(images))).numpy()
    ours = model(batch(model)).numpy()[:, [O19.index(label) for label in S19]]
    closeness.assert_close(logits, ours, closeness.NETWORK)


@pytest.mark.long
def test_a_run_of_all_43_labels_with_statistics_of_its_own(tmp_path, monkeypatch):
    """Through training, export and back; the file of statistics is gone by then."""
    from bigearthnet_tf import config as configs
    from bigearthnet_tf.training import session

    monkeypatch.chdir(tmp_path)
    for number, split in enumerate(("train", "val", "test")):
        toy.write_records(tmp_path, split, 8, "v1", first=8 * number)
    bands = band_facts.resolve_bands("s1")
    own = {"mean": dict.fromkeys(bands, -12.0), "std": dict.fromkeys(bands, 4.0)}
    (tmp_path / "own.json").write_text(json.dumps(own))
    config = configs.from_dict(
        {
            "model_name": "resnet_test",
            "modality": "S1",
            "statistics": "own.json",
            "image_size": 32,
            "interpolation": "bilinear",
            "head_dims": [6],
            "batch_size": 4,
            "nb_epoch": 1,
            "devices": "cpu",
            "out_dir": "run",
            "tr_tf_record_files": ["train-*.tfrecord"],
            "val_tf_record_files": [],
        }
    )

    def train(out, config):
        opened = session.open_session(config)
        session.train(opened, *session.build(opened), tmp_path / out)
        return opened

    opened = train("run", config)
    model, _ = session.load_trained(opened, tmp_path / "run", "last")
    train("plain", config.model_copy(update={"head_dims": [], "out_dir": "plain"}))

    (tmp_path / "own.json").write_text(json.dumps(own | {"mean": {"VV": 0, "VH": 0}}))
    with pytest.raises(ValueError, match=r"statistics is .*-12.0.*but the config asks"):
        session.load_trained(opened, tmp_path / "run", "last")
    (tmp_path / "own.json").unlink()
    monkeypatch.chdir("/")

    loaded = hub.from_pretrained(tmp_path / "run")
    assert loaded.get_layer("head_hidden1").units == 6
    images = batch(model)
    np.testing.assert_array_equal(loaded(images), model(images))
    lonely = tmp_path / "lonely"
    (tmp_path / "run" / "checkpoints" / "iteration-2").rename(lonely)
    np.testing.assert_array_equal(hub.from_pretrained(lonely)(images), model(images))

    with pytest.raises(ValueError, match="hidden layers before the last one"):
        hub.export_timm(lonely, tmp_path / "out")
    out = hub.export_timm(tmp_path / "plain", tmp_path / "out")
    stored = json.loads((out / "config.json").read_text())
    assert stored["statistics"] == own
    assert stored["classes"] == 43
    one, other = hub.from_pretrained(tmp_path / "plain"), hub.from_pretrained(out)
    closeness.assert_close(one(images), other(images), closeness.NETWORK)
    assert band_statistics.lasting_name("v1", bands) == "v1"
