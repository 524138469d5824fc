"""Indexes and searches in them from the command line."""

import json

import feature_folders
import numpy as np
import pytest

from bigearthnet_tf.retrieval import stored


@pytest.fixture
def index(call):
    return lambda *arguments: call("bigearthnet-tf", "index", *arguments)


@pytest.fixture
def folders(tmp_path):
    feature_folders.write(tmp_path / "test-1", 40)
    feature_folders.write(tmp_path / "val-1", 10, first=40)
    return tmp_path / "test-1", tmp_path / "val-1"


def test_an_index_is_built_and_changed(index, folders, tmp_path):
    folder, names = tmp_path / "i", tmp_path / "names.txt"
    built = index("build", folder, folders[0], "--sensor", "s1")
    assert built.status == 0, built.err
    assert "40 patches, exact, cosine" in built.out
    assert "50 patches" in index("add", folder, folders[1]).out
    names.write_text("\n".join(feature_folders.names(3, 40)))
    assert "47 patches" in index("remove", folder, "--names-from", names).out
    shown = index("show", folder, "--recall")
    assert "recall of the nearest 10: 1.0000, by 47 patches" in shown.out
    assert json.loads((folder / "index.json").read_text())["sensor"] == "s1"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["remove", "i"], "name the patches"),
        (["remove", "i", ""], "expected a name"),
        (["build", "j", "test-1", "--kind", "hnws"], "hnsw"),
        (["build", "j", "test-1", "--option", "x"], "NAME=NUMBER"),
        (["build", "j", "test-1", "--option", "x=3"], "option"),
        (["build", "i", "test-1"], "is there already"),
        (["show", "test-1"], "index build"),
    ],
)
def test_what_can_not_be_done_is_one_line(
    index, folders, tmp_path, monkeypatch, arguments, reason
):
    monkeypatch.chdir(tmp_path)
    assert index("build", "i", "test-1").status == 0
    outcome = index(*arguments)
    assert outcome.status == (2 if "" in arguments else 1)
    assert reason in outcome.complaint
    assert not (tmp_path / "j").exists()


def found(call, archive, path, *arguments):
    outcome = call(
        "bigearthnet-tf", "retrieve", archive, *arguments, "-k", "3", "--geojson", path
    )
    assert outcome.status == 0, outcome.err
    hits = json.loads(path.read_text())["features"]
    return [hit["properties"] for hit in hits]


def test_an_index_finds_what_its_features_do(call, index, folders, tmp_path):
    path, name = tmp_path / "hits.geojson", feature_folders.names(1, 7)[0]
    index("build", tmp_path / "i", folders[0], "--sensor", "s2")
    same = found(call, folders[0], path, "--name", name)
    assert same == found(call, tmp_path / "i", path, "--name", name)
    assert same == found(call, tmp_path / "i", path, "--number", "7")
    across = found(call, folders[0], path, "--name", name, "--from", "s1", "--to", "s2")
    asked = ("--name", name, "--from", "s1", "--queries", folders[0])
    assert across == found(call, tmp_path / "i", path, *asked)
    # A query of elsewhere.
    other = stored.load(folders[1])
    hits = found(call, tmp_path / "i", path, "--number", "2", "--queries", folders[1])
    vectors = np.asarray(stored.load(folders[0]).features("s2"), float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest = np.argsort(-vectors @ other.features("s2")[2])[:3]
    names = stored.load(folders[0]).names
    assert [hit["name"] for hit in hits] == [
        other.names[2],
        *(names[row] for row in nearest),
    ]


def test_hits_on_a_map(call, folders, tmp_path):
    outcome = call(
        "bigearthnet-tf", "retrieve", folders[0], "--number", "0", "--map",
        tmp_path / "hits.png",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    assert (tmp_path / "hits.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "one query"),
        (["--number", "1", "--name", "x"], "one query"),
        (["--number", "1", "--to", "s1"], "--to s1: this index is of s2"),
        (["--number", "1", "--metric", "l2"], "this index is of cosine"),
        (["--number", "1", "--from", "s1"], "--queries"),
        (["--number", "1", "--queries", "b"], "another model"),
        (["--number", "40"], "counted from 0"),
    ],
)
def test_queries_that_an_index_can_not_answer(
    call, index, folders, tmp_path, monkeypatch, arguments, reason
):
    monkeypatch.chdir(tmp_path)
    feature_folders.write(tmp_path / "b", 5, first=900, model_hash="b" * 64)
    index("build", "i", "test-1", "--sensor", "s2")
    outcome = call("bigearthnet-tf", "retrieve", "i", *arguments)
    assert outcome.status == 1
    assert reason in outcome.complaint
