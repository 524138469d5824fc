"""A run with somebody's own model module, from training to export."""

import json

import pytest
import toy
from programs import run_program

NET = """
import keras
import bigearthnet_tf

@bigearthnet_tf.register_model("MyNet")
def my_net(x):
    x = keras.layers.Conv2D(4, 5, strides=4, activation="relu")(x)
    return keras.layers.GlobalAveragePooling2D()(x)
"""
# Every step in one process: two logical devices are there from its start.
PROGRAM = """
import contextlib, io, json, os, runpy, sys
from pathlib import Path
root = Path.cwd()
os.chdir(sys.argv[1])
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
config = ["nets/config.json"]

def call(name, *arguments):
    sys.argv = [name, *arguments]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            if name == "bigearthnet-tf":
                from bigearthnet_tf import cli
                cli.main()
            runpy.run_path(str(root / name), run_name="__main__")
        except SystemExit as left:
            return left.code, printed.getvalue()

net = Path("nets/MyNet.py")
# A process can gather over its logical devices once.
alone = ["--set", "devices=cpu"]
found = {
    "train": call("train.py", *config),
    "continue": call("train.py", *config, *alone, "--set", "nb_epoch=2"),
    "eval": call("eval.py", *config, *alone, "--set", "nb_epoch=2"),
    "predict": call("bigearthnet-tf", "predict", "run", "test-*", "-o", "scores.csv"),
    "export": call("bigearthnet-tf", "export", "run", "-o", "net.onnx"),
    "of_own": call("train.py", "own.json", *alone, "--test-run"),
}
text = net.read_text()
net.write_text(text + "\\n# changed\\n")
found["changed"] = call("train.py", *config, *alone, "--set", "nb_epoch=3")
net.unlink()
found["gone"] = call("train.py", *config, *alone, "--set", "nb_epoch=4")
found["gone_run"] = call("bigearthnet-tf", "predict", "run", "test-*", "-o", "2.csv")
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    for split, first, count in (("train", 0, 8), ("val", 30, 4), ("test", 50, 4)):
        toy.write_records(folder, split, count, first=first)
    keys = {
        "model_name": "MyNet",
        "batch_size": 4,
        "nb_epoch": 1,
        "image_size": 32,
        "sample_images": 0,
        "bootstrap_rounds": 0,
        "devices": "cpu:2",
        "out_dir": "run",
        **{
            f"{key}_tf_record_files": [f"{split}-*"]
            for key, split in (("tr", "train"), ("val", "val"), ("test", "test"))
        },
    }
    for sub in ("nets", "models"):
        (folder / sub).mkdir()
    (folder / "nets" / "MyNet.py").write_text(NET)
    (folder / "nets" / "config.json").write_text(
        json.dumps({**keys, "modules": ["MyNet.py"]})
    )
    # As in the TF project, without a key.
    (folder / "models" / "TheirNet.py").write_text(NET.replace("MyNet", "TheirNet"))
    (folder / "own.json").write_text(json.dumps({**keys, "model_name": "TheirNet"}))
    return folder, json.loads(run_program(PROGRAM, folder))


def test_it_is_trained_continued_evaluated_predicted_exported(found):
    folder, steps = found
    for step in ("train", "continue", "eval", "predict", "export", "of_own"):
        assert steps[step][0] == 0, steps[step]
    assert "over 2 replica(s)" in steps["train"][1]
    assert "modules  nets/MyNet.py: model 'MyNet'" in steps["train"][1]
    assert "continuing from run/checkpoints/iteration-2" in steps["continue"][1]
    assert "has changed" not in steps["continue"][1]
    assert json.loads((folder / "run" / "eval_result.json").read_text())
    assert len((folder / "scores.csv").read_text().splitlines()) == 5
    assert (folder / "net.onnx").stat().st_size
    assert "modules  models/TheirNet.py: model 'TheirNet'" in steps["of_own"][1]


def test_one_that_has_changed_is_named(found):
    status, printed = found[1]["changed"]
    assert status == 0
    assert "iteration-4: the module nets/MyNet.py that it was trained with" in printed
    assert "has changed (SHA-256" in printed


@pytest.mark.parametrize("step", ["gone", "gone_run"])
def test_one_that_is_missing_is_one_line(found, step):
    status, printed = found[1][step]
    assert status == 1
    assert "MyNet.py: no such module" in printed.splitlines()[-1]
    assert "Traceback" not in printed
