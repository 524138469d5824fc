"""`bigearthnet-tf plot` as a user calls it."""

import json

import pytest
from PIL import Image


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "resnet"
    folder.mkdir(parents=True)
    points = [
        {"split": "training", "iteration": 2, "focal_loss": 0.5, "learning_rate": 1.0},
        {"split": "validation", "iteration": 2, "focal_loss": 0.5, "micro_auroc": 0.5},
        {"split": "test", "iteration": 2, "micro_auroc": 0.5},
    ]
    text = "".join(json.dumps(point) + "\n" for point in points)
    (folder / "history.jsonl").write_text(text)
    return folder


def test_pictures_and_page_of_a_run(call, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call("bigearthnet-tf", "plot", run, "--metrics", "micro_auroc")
    assert done.status == 0, done.err
    names = ["losses.png", "metrics.png", "optimization.png"]
    names += ["curves.html", "curves.csv"]
    assert done.out.split() == [f"curves/{name}" for name in names]
    for name in names[:3]:
        with Image.open(tmp_path / "curves" / name) as image:
            assert image.size[0] >= 900
    assert "resnet" in (tmp_path / "curves" / "curves.html").read_text()


def test_of_a_run_without_validation_the_training_is_drawn(call, run, tmp_path):
    path = run / "history.jsonl"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    done = call("bigearthnet-tf", "plot", run, "--out", tmp_path / "o")
    assert done.status == 0, done.err
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == [
        "curves.csv",
        "curves.html",
        "losses.png",
        "optimization.png",
    ]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["absent"], "absent: no such folder; give the out_dir of a run of train.py"),
        (["RUN", "RUN"], "this run was given twice"),
        (["RUN", "--metrics", "micro_auro"], "did you mean 'micro_auroc'?"),
        (["RUN", "--axis", "epoch"], "no checkpoint says how many training records"),
    ],
)
def test_bad_calls_are_told_in_a_line(call, run, tmp_path, arguments, complaint):
    words = [run if word == "RUN" else word for word in arguments]
    failed = call("bigearthnet-tf", "plot", *words, "--out", tmp_path / "o")
    assert failed.status == 1
    assert complaint in failed.complaint
    assert not (tmp_path / "o").exists()


def test_a_folder_that_cannot_be_written(call, run, tmp_path):
    (tmp_path / "file").write_text("")
    failed = call("bigearthnet-tf", "plot", run, "--out", tmp_path / "file")
    assert failed.status == 1
    assert str(tmp_path / "file") in failed.complaint
