"""Scripts called in this process, on a small generated archive."""

import json
import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from run_files import ROOT, load_script

from bigearthnet_tf import cli, console
from bigearthnet_tf.archive import sample


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line that an error ends with."""
        return self.err.strip().splitlines()[-1]


@pytest.fixture
def call(monkeypatch, capfd):
    """Calls a script with arguments; returns exit status and what it printed."""

    def run(name: str, *arguments) -> Outcome:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        main = cli.run if name == "bigearthnet-tf" else load_script(name).main
        with pytest.raises(SystemExit) as left:
            console.run(main)
        printed = capfd.readouterr()
        return Outcome(left.value.code, printed.out, printed.err)

    yield run
    # The handler writes to this test's standard output, which is about to close.
    logging.getLogger().handlers.clear()


@pytest.fixture(autouse=True)
def forget_models():
    """Frees the models of a test, of which Keras keeps track.

    A run that is `deterministic` has all that come after it in this process so.
    """
    yield
    import keras
    from tensorflow.python.framework import config as framework

    keras.utils.clear_session()
    framework.disable_op_determinism()


@pytest.fixture(autouse=True)
def few_pictures(request, monkeypatch):
    """Leaves the pictures of a report out, but for tests marked `pictures`.

    They take most of the time of a small evaluation.
    """
    from bigearthnet_tf.evaluation import classification_page

    if not request.node.get_closest_marker("pictures"):
        monkeypatch.setattr(classification_page, "draw", lambda *_: [])


@pytest.fixture(scope="session")
def archive_v1(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("v1") / "archive"
    return sample.write_archive(out, 16, version="v1", seed=1, workers=1)


@pytest.fixture(scope="session")
def archive_v2(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("v2") / "archive"
    return sample.write_archive(out, 16, version="v2", seed=1, workers=1)


@pytest.fixture(scope="session")
def records(archive_v2, tmp_path_factory):
    out = tmp_path_factory.mktemp("records")
    command = [
        sys.executable, ROOT / "prep_splits.py", "-r", archive_v2 / "BigEarthNet-S2",
        "-s", archive_v2 / "BigEarthNet-S1", "-o", out, "--workers", "2",
        "--metadata", archive_v2 / "metadata.parquet", "--shard-size-mb", "1",
    ]  # fmt: skip
    subprocess.run(command, check=True, cwd=ROOT)
    return out


@pytest.fixture
def write_config(tmp_path):
    """Writes a config of a tiny run; returns its path."""

    def write(records: Path, **keys) -> Path:
        content = {
            "model_name": "resnet_test",
            "label_type": "BigEarthNet-19",
            "batch_size": 4,
            "nb_epoch": 2,
            "learning_rate": 0.01,
            "devices": "cpu",
            "sample_images": 0,
            "out_dir": str(tmp_path / "run"),
            **{
                f"{key}_tf_record_files": [str(records / f"{split}-*.tfrecord")]
                for key, split in (("tr", "train"), ("val", "val"), ("test", "test"))
            },
        }
        path = tmp_path / "config.json"
        path.write_text(json.dumps(content | keys))
        return path

    return write
