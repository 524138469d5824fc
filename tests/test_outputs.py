"""What an output may replace: nothing of the user's."""

import os
import socket

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from bigearthnet_tf import outputs, pictures


def nothing(_):
    return False


def everything(_):
    return True


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("a,b\n1,2\n")
    return path


def aliases(mine):
    folder = mine.parent
    (folder / "sub").mkdir()
    (folder / "link.csv").symlink_to(mine)
    os.link(mine, folder / "hard.csv")
    (folder / "linked").symlink_to(folder)
    return [
        mine,
        folder / "link.csv",
        folder / "hard.csv",
        folder / "sub" / ".." / "mine.csv",
        folder / "linked" / "mine.csv",
        folder / "." / "mine.csv",
    ]


def test_no_input_is_replaced_by_whatever_name(mine, monkeypatch):
    monkeypatch.chdir(mine.parent)
    for alias in [*aliases(mine), "mine.csv", "./mine.csv"]:
        with pytest.raises(ValueError, match="is read by the same call"):
            outputs.check_file(alias, everything, ["other", mine])
        with pytest.raises(ValueError, match="is read by the same call"):
            outputs.check_file(mine, everything, [str(alias)])


def test_two_outputs_differ(tmp_path):
    path = tmp_path / "a"
    with pytest.raises(ValueError, match="written twice"):
        outputs.check_files([(path, everything), (tmp_path / "." / "a", everything)])
    outputs.check_files([(path, everything), (tmp_path / "b", everything)], ["c"])


def test_a_foreign_file_is_refused_and_an_empty_or_earlier_one_is_not(mine):
    with pytest.raises(FileExistsError, match="was not written by this command"):
        outputs.check_file(mine, nothing)
    outputs.check_file(mine, everything)
    outputs.check_file(mine, outputs.has_columns("b", "a"))
    with pytest.raises(FileExistsError):
        outputs.check_file(mine, outputs.has_columns("a", "c"))
    (mine.parent / "empty").touch()
    outputs.check_file(mine.parent / "empty", nothing)


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a/.."])
def test_names_of_no_file(tmp_path, monkeypatch, name):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="expected the name of a file"):
        outputs.check_file(name, everything)


def test_what_is_no_file_is_not_replaced(tmp_path, mine):
    with pytest.raises(IsADirectoryError, match="is a folder"):
        outputs.check_file(tmp_path, everything)
    os.mkfifo(tmp_path / "fifo")
    with (
        socket.socket(socket.AF_UNIX) as one,
        pytest.raises(FileExistsError, match="no regular"),
    ):
        one.bind(str(tmp_path / "s"))
        outputs.check_file(tmp_path / "s", everything)
    for path in (tmp_path / "fifo", "/dev/null"):
        with pytest.raises(FileExistsError, match="no regular file"):
            outputs.check_file(path, everything)
    for check in (lambda p: outputs.check_file(p, everything), outputs.check_folder):
        with pytest.raises(PermissionError, match="no folder; choose another place"):
            check(mine / "sub" / "file")
    with pytest.raises(FileExistsError, match="is no folder"):
        outputs.check_folder(mine)


def test_folders(tmp_path, mine):
    outputs.check_folder(tmp_path / "new" / "er", [mine])
    outputs.check_folder(tmp_path, [mine])
    with pytest.raises(ValueError, match="is read by the same call"):
        outputs.check_folder(tmp_path, [f"{tmp_path}/"])
    with pytest.raises(ValueError, match=r"mine.csv, which is read, lies there"):
        outputs.check_replaceable(tmp_path, ["mine.csv"], [mine])
    with pytest.raises(FileExistsError, match=r"holds mine.csv"):
        outputs.check_replaceable(tmp_path, ["other.csv"])
    outputs.check_replaceable(tmp_path, ["mine.csv", "other.csv"])
    outputs.check_replaceable(tmp_path / "new", ["other.csv"])


def test_products_are_recognised(tmp_path, mine):
    figure = Figure()
    pictures.save_png(figure, tmp_path / "ours.png")
    figure.savefig(tmp_path / "theirs.png")
    assert outputs.is_png(tmp_path / "ours.png")
    assert not outputs.is_png(tmp_path / "theirs.png")
    frame = pd.DataFrame({"a": np.arange(3), "b": 1})
    frame.to_parquet(tmp_path / "table.parquet")
    assert list(outputs.columns_of(tmp_path / "table.parquet")) == ["a", "b"]
    (tmp_path / "no.parquet").write_bytes(b"PAR1")
    assert outputs.columns_of(tmp_path / "no.parquet") == []
    assert outputs.columns_of(tmp_path / "ours.png") == []
    (tmp_path / "a.json").write_text('{"a": 1, "b": 2}')
    assert outputs.has_keys("a")(tmp_path / "a.json")
    assert not outputs.has_keys("a", "c")(tmp_path / "a.json")
    for text in ("[1]", "no", '"a"', "[" * 100_000):
        (tmp_path / "b.json").write_text(text)
        assert not outputs.has_keys()(tmp_path / "b.json")
    assert outputs.contains("b,")(mine) is False
    assert outputs.contains(",b")(mine)
    assert outputs.beside(mine, outputs.has_columns("a"))(tmp_path / "x")
    assert not outputs.beside(tmp_path / "none", everything)(tmp_path / "x")
