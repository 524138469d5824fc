"""Runs of Weights & Biases, kept on disk; nothing is sent anywhere."""

import logging
import struct

import numpy as np
import pytest
from matplotlib.figure import Figure

from bigearthnet_tf import config as configs
from bigearthnet_tf import extras
from bigearthnet_tf.training import logs

CONFIG = configs.from_dict({"wandb_project": "big-earth", "learning_rate": 0.125})


@pytest.fixture
def offline(monkeypatch, tmp_path):
    wandb = pytest.importorskip("wandb", reason="the extra wandb is absent")
    for kind in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{kind}_DIR", str(tmp_path / kind))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    yield
    # It has kept the settings of this environment.
    wandb.teardown()


def read_records(path):
    """Yields the records of a run's file: LevelDB's log format after seven bytes."""
    content, place, parts = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        left = -place % 32768
        if left < 7 and left:  # too short for a head: the block is filled up
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def read_run(folder):
    """Returns ids, config and points of a run's file."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("*.wandb")
    config, points, ids = {}, [], set()
    for data in read_records(path):
        record = wandb_internal_pb2.Record.FromString(data)
        if record.HasField("run"):
            ids.add(record.run.run_id)
            config |= {item.key: item.value_json for item in record.run.config.update}
        if record.HasField("history"):
            items = record.history.item
            points.append({i.key or i.nested_key[0]: i.value_json for i in items})
    return ids, config, points


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(extras.importlib, "import_module", absent)
    with pytest.raises(ValueError, match=r"pip install '\.\[wandb\]'"):
        logs.RunLog(tmp_path, 0, CONFIG)


def test_without_a_project_there_is_none(tmp_path):
    logs.RunLog(tmp_path, 0, configs.from_dict({})).close()
    assert not (tmp_path / "wandb").exists()


@pytest.mark.slow
def test_a_continued_run_is_the_same_run(offline, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    out_dir = tmp_path / "resnet"
    for start in (0, 4):
        log = logs.RunLog(out_dir, start, CONFIG)
        log.write("training", start + 2, {"mse_loss": 0.5})
        log.write_figures("validation", start + 2, {"picture": Figure((1, 1))})
        log.write_histograms("validation", start + 2, {"scores": np.arange(5.0)})
        log.write("validation", start + 2, {}, {"f1": {"Marine waters": 0.25}})
        log.close()
    first, second = sorted((out_dir / "wandb").glob("offline-run-*"))
    for folder, iteration in ((first, 2), (second, 6)):
        ids, config, points = read_run(folder)
        assert ids == {(out_dir / "wandb" / "run_id").read_text()}
        assert config["learning_rate"] == "0.125"
        assert {point["iteration"] for point in points} == {str(iteration)}
        seen = {key: value for point in points for key, value in point.items()}
        assert float(seen["training/mse_loss"]) == 0.5
        assert {"validation/picture", "validation/scores"} <= seen.keys()
        assert float(seen["validation/f1/Marine waters"]) == 0.25
        assert f"wandb sync {folder}" in caplog.text
    assert list(first.glob("files/media/images/**/*.png"))


@pytest.mark.slow
def test_without_login_or_network_it_stays_on_disk(
    offline, tmp_path, monkeypatch, caplog
):
    from bigearthnet_tf.training import sinks

    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(sinks, "_WANDB_START", 2)
    # A port of this machine at which nobody listens.
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    for number, key in enumerate(("", "0123456789" * 4)):
        monkeypatch.setenv("WANDB_API_KEY", key)
        log = logs.RunLog(tmp_path / f"run{number}", 0, CONFIG)
        log.write("training", 2, {"mse_loss": 0.5})
        log.close()
        (folder,) = (tmp_path / f"run{number}" / "wandb").glob("offline-run-*")
        assert read_run(folder)[2]
    assert caplog.text.count("can't be reached") == 2
