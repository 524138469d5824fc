"""Folders of runs and of their trials."""

from pathlib import Path

import pytest

from bigearthnet_tf import config as configs
from bigearthnet_tf import files, runs


def config(out_dir):
    return configs.from_dict({"out_dir": str(out_dir)})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("runs/x", "runs/x-test-run"),
        ("runs/x/", "runs/x-test-run"),
        ("runs/x//", "runs/x-test-run"),
        ("runs/x/.", "runs/x-test-run"),
        ("x", "x-test-run"),
        ("runs/.x", "runs/.x-test-run"),
        ("runs/a.b", "runs/a.b-test-run"),
    ],
)
def test_a_trial_lies_beside_the_run(given, expected):
    assert runs.out_dir(config(given), test_run=True) == Path(expected)
    assert runs.out_dir(config(given)) == Path(given)


@pytest.mark.parametrize("given", [".", "./", "sub/.."])
def test_so_does_the_trial_of_a_run_in_the_working_directory(
    tmp_path, monkeypatch, given
):
    (tmp_path / "here" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    found = runs.out_dir(config(given), test_run=True)
    assert found.resolve() == tmp_path / "here-test-run"


def test_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert runs.out_dir(config("~/runs/x")) == tmp_path / "runs/x"
    given = {"tr_tf_record_files": ["~/a*"], "metadata": ["~/m"], "weights": "~/w"}
    found = configs.from_dict(given)
    assert found.tr_tf_record_files == [str(tmp_path / "a*")]
    assert found.metadata == [str(tmp_path / "m")]
    assert found.weights == str(tmp_path / "w")


def test_a_trial_clears_what_a_trial_has_written_alone(tmp_path):
    folder = tmp_path / "x-test-run"
    with runs.held(folder):
        runs.clear(folder)
        runs.open_run(folder, config(folder), test_run=True)
        (folder / "checkpoints" / "iteration-4").mkdir(parents=True)
        (folder / "notes.txt").write_text("mine")
    with runs.held(folder):
        runs.clear(folder)
    left = sorted(path.name for path in folder.iterdir())
    assert left == [".test-run", "notes.txt"]


@pytest.mark.parametrize("name", ["notes.txt", "config.json", "checkpoints/x", ".git"])
def test_a_folder_that_no_trial_has_marked_stays(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with runs.held(tmp_path), pytest.raises(FileExistsError, match="marked it as"):
        runs.clear(tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_what_a_link_leads_to_stays(tmp_path):
    folder, elsewhere = tmp_path / "x-test-run", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    folder.mkdir()
    runs.open_run(folder, config(folder), test_run=True)
    (folder / "checkpoints").symlink_to(elsewhere)
    with runs.held(folder):
        runs.clear(folder)
    assert (elsewhere / "file").exists()
    assert not (folder / "checkpoints").exists()


@pytest.mark.parametrize("name", ["config.json", "environment.json"])
@pytest.mark.parametrize("text", ['{"model_name": "x"}', "[1]", "no json"])
def test_a_foreign_file_is_not_replaced(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(FileExistsError, match=f"{name} there is of no run"):
        runs.check_free(tmp_path)


def test_a_run_goes_on_in_its_folder(tmp_path):
    runs.check_free(tmp_path)
    runs.open_run(tmp_path, config(tmp_path))
    runs.check_free(tmp_path)
    # Without its environment it is known by its checkpoints.
    (tmp_path / "environment.json").unlink()
    with pytest.raises(FileExistsError):
        runs.check_free(tmp_path)
    files.write_json(tmp_path / "checkpoints/iteration-1/description.json", {})
    runs.check_free(tmp_path)
