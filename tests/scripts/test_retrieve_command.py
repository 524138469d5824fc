"""Features and searches from the command line."""

import json
import subprocess
import sys

import closeness
import numpy as np
import pytest

import bigearthnet_tf
from bigearthnet_tf.evaluation import gallery
from bigearthnet_tf.retrieval import stored

KEYS = {
    "task": "contrastive",
    "encoders": "joint",
    "modality": "MM",
    "image_size": 16,
    "nb_epoch": 1,
}


@pytest.fixture(scope="module")
def run(records, tmp_path_factory):
    """A trained and evaluated run; returns its folder and its config."""
    folder = tmp_path_factory.mktemp("retrieval")
    content = {
        **KEYS,
        "model_name": "resnet_test",
        "label_type": "BigEarthNet-19",
        "batch_size": 4,
        "devices": "cpu",
        "sample_images": 2,
        "out_dir": str(folder / "run"),
        **{
            f"{key}_tf_record_files": [str(records / f"{split}-*.tfrecord")]
            for key, split in (("tr", "train"), ("val", "val"), ("test", "test"))
        },
    }
    config = folder / "config.json"
    config.write_text(json.dumps(content))
    for script in ("train.py", "eval.py"):
        subprocess.run([sys.executable, script, config], check=True)
    return folder / "run", config


@pytest.fixture
def folder(run):
    (found,) = (run[0] / "embeddings").glob("test-*")
    return found


def test_a_report_shows_hits(run):
    page = (run[0] / "report.html").read_text()
    assert "Hits S1→S2" in page
    assert page.count("its own partner") > 0
    assert page.count("data:image/jpeg") > 20


def test_the_model_comes_back_by_itself(run, folder, call):
    """Digital numbers of a patch give the features that its record has given."""
    model = bigearthnet_tf.from_pretrained(run[0])
    features = stored.load(folder)
    data = bigearthnet_tf.load_dataset(features.facts.files, 2, bands="all")
    groups, _ = next(iter(data))
    found = model({name: groups[name] for name in model.input}, training=False)
    assert set(features.layers) == {"h_s1", "h_s2", "p_s1", "p_s2"}
    for name, values in features.layers.items():
        closeness.assert_close(found[name], values[:2], closeness.NETWORK)
    alone = ("--set", "encoders=single", "--set", "task=classification")
    other = ("--set", f"weights={run[0]}", "--set", f"out_dir={run[0].parent / 'one'}")
    result = call("train", run[1], *alone, *other)
    assert result.status == 1
    assert "weights of two encoders, but the model has one network" in result.complaint


def test_features_are_written_once(call, run, tmp_path):
    out = tmp_path / "fused"
    outcome = call("bigearthnet-tf", "embed", run[1], "--split", "test", "val")
    assert outcome.status == 0, outcome.err
    weights, *lines = outcome.out.strip().splitlines()
    assert weights.startswith("weights  ")
    assert lines[0].endswith("was there already")
    assert lines[1] == "scoring val: compiling the first step"
    assert "val records, h_s1 (" in lines[2]
    wrong = call("bigearthnet-tf", "embed", run[1], "--split", "test", "val", "-o", "x")
    assert wrong.status == 1
    assert "one split" in wrong.complaint
    fused = call("bigearthnet-tf", "embed", run[1], "--layers", "fused", "-o", out)
    assert fused.status == 0, fused.err
    assert "records, p_fused (" in fused.out


@pytest.mark.parametrize("direction", [("s1", "s2"), ("s2", "s2"), ("fused", "fused")])
def test_a_patch_finds_what_is_nearest(call, folder, tmp_path, direction):
    archive = stored.load(folder)
    path = tmp_path / "hits.geojson"
    outcome = call(
        "bigearthnet-tf", "retrieve", folder, "--name", archive.names[1],
        "--from", direction[0], "--to", direction[1], "-k", "2", "--geojson", path,
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    found = json.loads(path.read_text())["features"]
    asked, searched = (archive.features(s).astype(float) for s in direction)
    asked, searched = (
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in (asked, searched)
    )
    distances = 1 - searched @ asked[1]
    if direction[0] == direction[1]:
        distances[1] = np.inf
    nearest = np.argsort(distances, kind="stable")[:2]
    names = [f["properties"]["name"] for f in found]
    assert names == [archive.names[1], *(archive.names[i] for i in nearest)]
    assert found[1]["properties"]["distance"] == pytest.approx(
        distances[nearest[0]], abs=1e-6
    )
    assert found[1]["geometry"]["type"] == "Polygon"


def test_hits_can_be_narrowed_down(call, folder, tmp_path):
    """By a label, by kilometres from the query, and by both."""

    def search(*options):
        path = tmp_path / "hits.geojson"
        outcome = call(
            "bigearthnet-tf", "retrieve", folder, "--number", "0", "-k", "100",
            "--geojson", path, *options,
        )  # fmt: skip
        assert outcome.status == 0, outcome.err
        query, *hits = json.loads(path.read_text())["features"]
        assert f"there are no more than {len(hits)} that fit" in outcome.out
        return query, {hit["properties"]["name"]: hit for hit in hits}

    query, all_hits = search()
    assert len(all_hits) == len(stored.load(folder).names) - 1
    away = {name: kilometres(query, hit) for name, hit in all_hits.items()}
    labels = {name: set(hit["properties"]["labels"]) for name, hit in all_hits.items()}
    # Between the distances; at exactly that of a hit rounding would decide.
    limit = np.mean(sorted(away.values())[:2])
    far = [name for name in all_hits if away[name] > limit]
    label = min(set.union(*(labels[name] for name in far)))
    with_label = [name for name in all_hits if label in labels[name]]
    both = [name for name in far if label in labels[name]]
    assert 0 < len(far) < len(all_hits)
    assert 0 < len(with_label) < len(all_hits)
    assert both
    for options, expected in (
        (("--label", label), with_label),
        (("--exclude-within", limit), far),
        (("--label", label, "--exclude-within", limit), both),
    ):
        assert list(search(*options)[1]) == expected


def kilometres(query, hit):
    """Returns the distance of two polygons' first corners on a sphere."""
    (east, north), (lon, lat) = (
        np.radians(each["geometry"]["coordinates"][0][0]) for each in (query, hit)
    )
    cosine = np.sin(north) * np.sin(lat)
    cosine += np.cos(north) * np.cos(lat) * np.cos(east - lon)
    return 6371 * np.arccos(min(1, cosine))


def test_a_search_loads_no_tensorflow(folder):
    code = (
        "import sys; sys.argv = ['x', 'retrieve', sys.argv[1], '--number', '0']\n"
        "from bigearthnet_tf import cli\ncli.run()\n"
        "assert not {'tensorflow', 'keras', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, folder], check=True)


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["--name", "S2A_nowhere"], 1, "no patch 'S2A_nowhere'"),
        (["--name", ""], 2, "expected a name"),
        (["--number", "99"], 1, "counted from 0"),
        (["--number", "0", "-k", "0"], 2, "1 or more"),
        (["--number", "0", "--label", "Pasture"], 1, "Pastures"),
        (["--number", "0", "--metric", "chi_square"], 1, "not negative"),
    ],
)
def test_what_can_not_be_searched_for_is_named(call, folder, arguments, status, reason):
    outcome = call("bigearthnet-tf", "retrieve", folder, *arguments)
    assert outcome.status == status
    assert reason in outcome.complaint


def test_no_folder_of_features(call, tmp_path):
    outcome = call("bigearthnet-tf", "retrieve", tmp_path, "--number", "0")
    assert outcome.status == 1
    assert "no embeddings.json" in outcome.complaint


def test_queries_are_chosen_by_their_metric():
    chosen = gallery.choose(np.array([0.5, 0.9, 0.1, 0.9]), 2)
    assert chosen["Best"] == [1, 3]
    assert chosen["Worst"][0] == 2
    assert len(set(chosen["At random"])) == 2
    # Without labels there is nothing to find, which is not the worst.
    chosen = gallery.choose(np.array([0.5, np.nan, 0.1]), 3)
    assert (chosen["Best"], chosen["Worst"]) == ([0, 2], [2, 0])


def test_tensorboard_projects_both_views_of_a_patch(run, folder):
    """By the reader of TensorBoard's own plugin."""
    from google.protobuf import text_format
    from PIL import Image
    from tensorboard.plugins import projector

    log = run[0] / "logs" / "test"
    config = text_format.Parse(
        (log / "projector_config.pbtxt").read_text(), projector.ProjectorConfig()
    )
    (embedding,) = config.embeddings
    points = np.loadtxt(log / embedding.tensor_path, delimiter="\t")
    features = stored.load(folder)
    both = np.concatenate([features.layers["p_s1"], features.layers["p_s2"]])
    closeness.assert_close(points, both)
    rows = (log / embedding.metadata_path).read_text().splitlines()
    assert len(rows) == 1 + len(points)
    assert rows[1].endswith(f"s1\t{features.names_s1[0]}")
    assert rows[-1].endswith(f"s2\t{features.names[-1]}")
    side = embedding.sprite.single_image_dim[0]
    with Image.open(log / embedding.sprite.image_path) as sprite:
        assert (sprite.width // side) * (sprite.height // side) >= len(points)


def test_a_patch_is_searched_with_by_its_file(call, run, folder, archive_v2):
    """Its GeoTIFFs give the features that its record has given."""
    archive = stored.load(folder)
    name, name_s1 = archive.names[2], archive.names_s1[2]
    (s1,) = (archive_v2 / "BigEarthNet-S1").glob(f"*/{name_s1}")
    (s2,) = (archive_v2 / "BigEarthNet-S2").glob(f"*/{name}")
    for arguments, same in (
        (["--file-s1", s1, "--to", "s2"], ["--from", "s1", "--to", "s2"]),
        (["--file-s1", s1, "--file-s2", s2], ["--from", "fused"]),
    ):
        by_file = call("bigearthnet-tf", "retrieve", folder, *arguments, "-k", "3")
        assert by_file.status == 0, by_file.err
        by_name = call(
            "bigearthnet-tf", "retrieve", folder, "--number", "2", *same, "-k", "3"
        )
        hits = by_name.out.splitlines()[2:]
        assert by_file.out.splitlines()[2:] == hits
        assert [line.split()[0] for line in hits[:3]] == ["1", "2", "3"]
    gone = call("bigearthnet-tf", "retrieve", folder, "--file-s2", s2.parent / "x")
    assert gone.status == 1
    assert "is missing" in gone.complaint
