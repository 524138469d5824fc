"""Folders that are made and unmade, paths from the user, paths for TensorFlow."""

from pathlib import Path

import pytest

from bigearthnet_tf import files


def test_a_folder_that_stays_empty_is_removed_with_those_above(tmp_path):
    with files.made_folder(tmp_path / "a" / "b" / "c"):
        assert (tmp_path / "a" / "b" / "c").is_dir()
    assert not (tmp_path / "a").exists()


def test_a_folder_that_holds_something_or_was_there_stays(tmp_path):
    with files.made_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "file").touch()
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["file"]
    (tmp_path / "there").mkdir()
    with files.made_folder(tmp_path / "there"):
        pass
    assert (tmp_path / "there").is_dir()


def test_what_fails_leaves_no_folder(tmp_path):
    with (
        pytest.raises(ValueError, match="no"),
        files.write_atomically(tmp_path / "a" / "b" / "c.txt") as temporary,
    ):
        temporary.write_text("half")
        raise ValueError("no")
    assert not list(tmp_path.iterdir())


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert files.expand("~/runs/*") == str(tmp_path / "home/runs/*")
    assert files.expand("~") == str(tmp_path / "home")
    assert files.expand("a/~/b") == "a/~/b"
    assert files.expand("~nobody-of-that-name/x") == "~nobody-of-that-name/x"
    Path("~").mkdir()
    assert files.expand("~") == "~"


def test_links_stand_for_files_of_a_prefix(tmp_path):
    here = tmp_path / "a [1]"
    here.mkdir()
    for name in ("model[2].index", "model[2].data", "other"):
        (here / name).write_text(name)
    with files.plain_path(here / "model[2]") as path:
        assert "[" not in path
        assert Path(f"{path}.index").read_text() == "model[2].index"
        assert Path(f"{path}.data").read_text() == "model[2].data"
    assert not Path(path).parent.exists()
    with files.plain_path(tmp_path / "plain") as path:
        assert path == str(tmp_path / "plain")
