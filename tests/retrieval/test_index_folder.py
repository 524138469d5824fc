"""Indexes on disk: the same hits, whole after any interruption, of one model."""

import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import feature_folders
import long_tests
import numpy as np
import pytest

from bigearthnet_tf.retrieval import folders, index_folder, search, stored

needs_faiss = pytest.mark.skipif(
    importlib.util.find_spec("faiss") is None, reason="FAISS is not installed"
)
APPROXIMATE = [
    ("hnsw", {"neighbours": 8, "breadth": 16}),
    ("int8", {}),
    ("binary", {"rerank": 3}),
    ("binary", {"rerank": 0}),
]


@pytest.fixture
def source(tmp_path):
    return feature_folders.write(tmp_path / "test-1", 300)


def same_hits(one, other, queries):
    found, again = (each.search(queries, 5) for each in (one, other))
    np.testing.assert_array_equal(found.ids, again.ids)
    np.testing.assert_array_equal(found.distances, again.distances)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("sensor", ["s1", "fused"])
def test_an_exact_index_finds_what_one_in_memory_does(source, tmp_path, metric, sensor):
    index_folder.build(tmp_path / "i", [source], sensor, metric=metric, fusion="avg")
    opened = index_folder.load(tmp_path / "i")
    vectors = np.asarray(source.features(sensor, "p", "avg", metric))
    same_hits(opened.index, search.build(vectors, metric), vectors[:9])
    assert opened.items.names == source.names
    assert opened.items.names_s1 == source.names_s1
    np.testing.assert_array_equal(opened.items.labels, source.labels)
    assert opened.facts.iteration == 7


@needs_faiss
@pytest.mark.parametrize(("kind", "options"), APPROXIMATE)
def test_an_approximate_index_comes_back_as_it_was(source, tmp_path, kind, options):
    index_folder.build(
        tmp_path / "i", [source], "s2", metric="cosine", kind=kind, options=options
    )
    opened = index_folder.load(tmp_path / "i")
    vectors = np.asarray(source.features("s2"))
    built = search.build(vectors, "cosine", kind, **options)
    same_hits(opened.index, built, vectors[:9])
    assert opened.index.bytes_per_item == built.bytes_per_item
    assert opened.index.kind == kind


@needs_faiss
@pytest.mark.slow
def test_product_codes_come_back_with_their_probes(tmp_path):
    source = feature_folders.write(tmp_path / "many", 10_000, dims=16)
    options = {"codes": 8, "lists": 40, "probes": 13}
    index_folder.build(tmp_path / "i", [source], "s2", kind="ivf_pq", options=options)
    opened = index_folder.load(tmp_path / "i")
    vectors = np.asarray(source.features("s2"))
    same_hits(
        opened.index, search.build(vectors, "cosine", "ivf_pq", **options), vectors[:9]
    )


def test_patches_come_and_go(source, tmp_path):
    folder = tmp_path / "i"
    index_folder.build(folder, [source], "s2")
    more = feature_folders.write(tmp_path / "val-1", 50, first=300)
    assert index_folder.add(folder, more).num_items == 350
    gone = [source.names[4], more.names_s1[0]]
    assert index_folder.remove(folder, gone).num_items == 348
    opened = index_folder.load(folder)
    left = [n for n in source.names + more.names if n not in (gone[0], more.names[0])]
    assert opened.items.names == left
    both = np.concatenate([source.features("s2"), more.features("s2")])
    same_hits(opened.index, search.build(np.delete(both, [4, 300], axis=0)), both[:9])
    # What was is not kept.
    assert len(list(folder.glob("content-*"))) == 1


def test_what_does_not_belong_is_refused(source, tmp_path):
    folder = tmp_path / "i"
    index_folder.build(folder, [source], "s2")
    other = feature_folders.write(tmp_path / "b", 5, first=900, model_hash="b" * 64)
    with pytest.raises(ValueError, match="another model"):
        index_folder.add(folder, other)
    with pytest.raises(ValueError, match="another model"):
        index_folder.build(tmp_path / "j", [source, other], "s2")
    with pytest.raises(ValueError, match="is there already"):
        index_folder.add(folder, source)
    with pytest.raises(FileExistsError, match="index add"):
        index_folder.build(folder, [source], "s2")
    with pytest.raises(ValueError, match="no patch 'S2A_x'"):
        index_folder.remove(folder, ["S2A_x"])
    with pytest.raises(ValueError, match="nothing would be left"):
        index_folder.remove(folder, source.names)
    with pytest.raises(ValueError, match="no features 'h_s2'"):
        index_folder.build(tmp_path / "j", [source], "s2", "h")
    assert index_folder.load(folder).facts.num_items == 300
    assert not (tmp_path / "j").exists()


@needs_faiss
@pytest.mark.parametrize("kind", ["exact", "hnsw", "binary"])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_every_kind_is_added_to_and_removed_from(source, tmp_path, kind, metric):
    """As if it had been built of what is left."""
    folder = tmp_path / "i"
    index_folder.build(folder, [source], "s2", metric=metric, kind=kind)
    more = feature_folders.write(tmp_path / "val-1", 20, first=300)
    index_folder.add(folder, more)
    index_folder.remove(folder, source.names[5:9])
    opened = index_folder.load(folder)
    both = np.concatenate([source.features("s2"), more.features("s2")])
    left = np.delete(both, range(5, 9), axis=0)
    same_hits(opened.index, search.build(left, metric, kind), both[:9])


def contents(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def labels_in_another_order(found):
    facts = found.facts.model_copy(update={"labels": found.facts.labels[::-1]})
    return dataclasses.replace(found, facts=facts)


def with_vectors(change):
    def changed(found):
        layers = {name: change(np.array(of)) for name, of in found.layers.items()}
        return dataclasses.replace(found, layers=layers)

    return changed


def with_nan(vectors):
    vectors[3, 2] = np.nan
    return vectors


SPOILED = {
    "fewer names": lambda f: dataclasses.replace(f, names=f.names[:-1]),
    "more names": lambda f: dataclasses.replace(f, names=[*f.names, "more"]),
    "fewer partners": lambda f: dataclasses.replace(f, names_s1=f.names_s1[1:]),
    "a name of two lines": lambda f: dataclasses.replace(
        f, names=["a\nb", *f.names[1:]]
    ),
    "a carriage return": lambda f: dataclasses.replace(
        f, names_s1=["a\rb", *f.names_s1[1:]]
    ),
    "an empty name": lambda f: dataclasses.replace(f, names=["", *f.names[1:]]),
    "a number for a name": lambda f: dataclasses.replace(f, names=[5, *f.names[1:]]),
    "half a surrogate": lambda f: dataclasses.replace(
        f, names=["a\udc80", *f.names[1:]]
    ),
    "fewer labels": lambda f: dataclasses.replace(f, labels=f.labels[:-1]),
    "labels of two": lambda f: dataclasses.replace(f, labels=f.labels + 2),
    "labels as floats": lambda f: dataclasses.replace(
        f, labels=f.labels.astype(np.float32)
    ),
    "other labels": labels_in_another_order,
    "vectors of float64": with_vectors(lambda v: v.astype(np.float64)),
    "fewer vectors": with_vectors(lambda v: v[:-1]),
    "fewer dimensions": with_vectors(lambda v: v[:, :-1]),
    "vectors that are not finite": with_vectors(with_nan),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_what_could_not_be_read_again_changes_nothing(source, tmp_path, spoil):
    folder = tmp_path / "i"
    index_folder.build(folder, [source], "s2")
    before = contents(tmp_path)
    more = feature_folders.write(tmp_path / "more", 20, first=300)
    spoiled = spoil(more)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        index_folder.add(folder, spoiled)
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        index_folder.build(tmp_path / "j", [source, spoiled], "s2")
    assert contents(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["i", "more", "test-1"]
    assert index_folder.load(folder).facts.num_items == 300


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ({"s1": [], "s2": []}, "expected 20 names under s2, got 0"),
        ({"s2": ["a"] * 20}, "s1: is missing"),
        ({"s1": ["a"] * 19, "s2": ["a"] * 20}, "expected 20 names under s1, got 19"),
        ({"s1": ["a"] * 20, "s2": [1] * 20}, "s2"),
        ({"s1": ["a"] * 20, "s2": "a" * 20}, "s2"),
        ([], "names.json"),
    ],
)
def test_features_whose_names_are_damaged_are_refused(tmp_path, names, reason):
    feature_folders.write(tmp_path / "a", 20)
    (tmp_path / "a" / "names.json").write_text(json.dumps(names))
    with pytest.raises(ValueError, match=reason):
        stored.load(tmp_path / "a")


def test_a_full_disk_leaves_the_index_as_it_was(source, tmp_path, monkeypatch):
    folder = tmp_path / "i"
    index_folder.build(folder, [source], "s2")
    more = feature_folders.write(tmp_path / "more", 20, first=300)
    before = contents(tmp_path)

    def full(*_):
        raise OSError("320 requested and 100 written")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match=r"i: can't be written .*make room"):
        index_folder.add(folder, more)
    with pytest.raises(OSError, match=r"j: can't be written .*make room"):
        index_folder.build(tmp_path / "j", [source], "s2")
    assert contents(tmp_path) == before
    assert not (tmp_path / "j").exists()


def test_a_first_build_that_was_killed_can_be_repeated(source, tmp_path):
    folder = tmp_path / "i"
    (folder / "content-0123").mkdir(parents=True)
    (folder / "content-0123" / "vectors.npy").write_bytes(b"half")
    (folder / ".index.json.17.tmp").write_text("{")
    assert index_folder.build(folder, [source], "s2").num_items == 300
    assert len(list(folder.glob("content-*"))) == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(FileExistsError, match="is there already"):
        index_folder.build(tmp_path / "mine", [source], "s2")


def test_an_index_says_what_was_done_to_its_vectors(source, tmp_path):
    facts = index_folder.build(tmp_path / "i", [source], "s2")
    assert facts.normalisation == "unit length"
    assert facts.preprocessing == source.facts.preprocessing
    vectors = index_folder.load(tmp_path / "i").vectors
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    facts = index_folder.build(tmp_path / "j", [source], "s2", metric="l2")
    assert facts.normalisation == "none"
    vectors = index_folder.load(tmp_path / "j").vectors
    np.testing.assert_array_equal(vectors, source.features("s2"))


def test_locks_do_not_stay(source, tmp_path):
    with pytest.raises(ValueError, match="exactly only"):
        index_folder.build(
            tmp_path / "i", [source], "s2", kind="int8", metric="chi_square"
        )
    assert not list(tmp_path.glob(".*"))
    with folders.alone(tmp_path / "i"), pytest.raises(OSError, match="another process"):
        index_folder.build(tmp_path / "i", [source], "s2")


def test_patches_without_a_partner_have_no_name_to_be_removed_by(tmp_path):
    source = feature_folders.write(tmp_path / "t", 5)
    names = {"s2": source.names, "s1": [""] * 5}
    (tmp_path / "t" / "names.json").write_text(json.dumps(names))
    index_folder.build(tmp_path / "i", [stored.load(tmp_path / "t")], "s2")
    with pytest.raises(ValueError, match="no patch ''"):
        index_folder.remove(tmp_path / "i", [""])
    assert index_folder.load(tmp_path / "i").facts.num_items == 5


def test_a_name_that_is_not_there_gets_a_short_answer_at_once(tmp_path):
    """By what names begin with: letter by letter it would take minutes."""
    names = feature_folders.names(50_000)
    items = stored.Items(names, [""] * len(names), np.zeros((50_000, 1)), ["a"])
    with pytest.raises(ValueError, match="did you mean") as raised:
        items.find(names[7][:-1] + "x")
    assert names[7][:-1] in str(raised.value)
    assert len(str(raised.value)) < 500
    with pytest.raises(ValueError, match="look like 'S2A_"):
        items.find("landscape")


def test_damage_is_named(source, tmp_path):
    folder = tmp_path / "i"
    facts = index_folder.build(folder, [source], "s2")
    vectors = folder / facts.content / "vectors.npy"
    vectors.write_bytes(vectors.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"vectors.npy: damaged or missing"):
        index_folder.load(folder)
    with pytest.raises(FileNotFoundError, match="index build"):
        index_folder.load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("sensor", "s3"), ("layer", "x"), ("fusion", "mean"), ("metric", "L2")),
        *(("content", "../other"), ("content", ""), ("content", "content-1/..")),
    ],
)
def test_an_index_that_says_what_none_of_ours_does(source, tmp_path, key, value):
    folder = tmp_path / "i"
    index_folder.build(folder, [source], "s2")
    path = folder / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ValueError, match=rf"index\.json: {key}: .*build it again$"):
        index_folder.load(folder)


@pytest.mark.parametrize("name", ["../../x", "p", "p_s3", "labels"])
def test_features_of_a_layer_that_there_is_not(tmp_path, name):
    feature_folders.write(tmp_path / "a", 20)
    path = tmp_path / "a" / "embeddings.json"
    facts = json.loads(path.read_text()) | {"layers": {name: 8}}
    path.write_text(json.dumps(facts))
    with pytest.raises(ValueError, match=r"embeddings\.json: layers\."):
        stored.load(tmp_path / "a")


def test_packed_features_and_indices_are_to_be_unpacked(tmp_path):
    packed = tmp_path / "a.zip"
    packed.write_bytes(b"PK\x03\x04" + bytes(40))
    for load in (stored.load, index_folder.load):
        with pytest.raises(ValueError, match=r"a\.zip: expected .*: unpack it"):
            load(packed)


def test_names_in_a_pipe_are_not_waited_for(source, tmp_path):
    folder = tmp_path / "i"
    names = folder / index_folder.build(folder, [source], "s2").content / "names.txt"
    names.unlink()
    os.mkfifo(names)
    with pytest.raises(ValueError, match=r"names\.txt: damaged or missing"):
        index_folder.load(folder)


@needs_faiss
def test_a_cut_file_of_faiss_is_named(source, tmp_path):
    folder = tmp_path / "i"
    facts = index_folder.build(folder, [source], "s2", kind="hnsw")
    path = folder / facts.content / "faiss.index"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"faiss.index: damaged or missing"):
        index_folder.load(folder)


@pytest.mark.parametrize("step", ["vectors", "names", "index"])
def test_a_change_that_fails_leaves_what_was(source, tmp_path, monkeypatch, step):
    folder = tmp_path / "i"
    index_folder.build(folder, [source], "s2")
    more = feature_folders.write(tmp_path / "val-1", 50, first=300)

    def fail(path, *content):
        if step in str(path):
            raise OSError(28, "No space left on device")
        return write(path, *content)

    place = (np, "save") if step == "vectors" else (index_folder.files, "write_text")
    write = getattr(*place)
    monkeypatch.setattr(*place, fail)
    with pytest.raises(OSError, match="No space"):
        index_folder.add(folder, more)
    with pytest.raises(OSError, match="No space"):
        index_folder.build(tmp_path / "new", [source], "s2")
    assert not (tmp_path / "new").exists()
    assert index_folder.load(folder).items.names == source.names
    assert len(list(folder.glob("content-*"))) == 1


CHANGES = """
import sys
from bigearthnet_tf.retrieval import index_folder, stored
folder, source = sys.argv[1], stored.load(sys.argv[2])
print("ready", flush=True)
while True:
    index_folder.add(folder, source)
    index_folder.remove(folder, source.names)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kills", long_tests.beyond([3], [3, 8]))
def test_killed_at_any_moment_it_is_as_before_or_as_after(source, tmp_path, kills):
    folder = tmp_path / "i"
    index_folder.build(folder, [source], "s2")
    more = feature_folders.write(tmp_path / "val-1", 50, first=300)
    rng = np.random.default_rng(0)
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", CHANGES, folder, tmp_path / "val-1"],
            stdout=subprocess.PIPE,
        )
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        found = index_folder.load(folder).items.names
        assert found in (source.names, source.names + more.names)
        if found != source.names:
            index_folder.remove(folder, more.names)
