"""`bigearthnet-tf split` as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from iterstrat.ml_stratifiers import MultilabelStratifiedKFold
from PIL import Image

from bigearthnet_tf.archive import labels, metadata, splits

ROOT = Path(__file__).parents[2]
ROOTS_V1 = ("BigEarthNet-v1.0", "BigEarthNet-S1-v1.0")
OTHERS = {"labels.png", "report.csv", "report.json", "report.md"}


def split(call, out, *arguments):
    return call("bigearthnet-tf", "split", "-o", out, *arguments)


def read_lists(folder):
    paths = [path for path in folder.glob("*.csv") if path.name != "report.csv"]
    return {path.stem: splits.read_split_csv(path) for path in paths}


def check(outcome, message, out):
    assert outcome.status == 1
    assert "Traceback" not in outcome.err
    assert outcome.complaint.startswith("error: ")
    assert message in outcome.complaint
    assert not out.exists()


@pytest.fixture(scope="module")
def label_table(tmp_path_factory):
    """A table of 300 patches with 43 labels of a long tail."""
    rng = np.random.default_rng(0)
    names = labels.label_names("original")
    drawn = rng.random((300, 43)) < np.geomspace(0.5, 0.01, 43)
    frame = pd.DataFrame(drawn.astype(int), columns=names)
    frame.insert(
        0,
        "patch",
        [f"S2A_MSIL2A_20170613T101031_{i % 90}_{i // 90}" for i in frame.index],
    )
    path = tmp_path_factory.mktemp("table") / "labels.csv"
    frame.to_csv(path)
    return path


def test_official_splits_of_v2(call, archive_v2, tmp_path):
    out = tmp_path / "out"
    outcome = split(call, out, "--metadata", archive_v2 / "metadata.parquet")
    assert outcome.status == 0, outcome.err
    assert {path.name for path in out.iterdir()} == OTHERS | {
        "train.csv",
        "val.csv",
        "test.csv",
    }
    frame = metadata.read_metadata(archive_v2 / "metadata.parquet")
    for name, entries in read_lists(out).items():
        own = frame[frame["split"] == name]
        assert [entry.name for entry in entries] == own["patch_id"].tolist()
        assert [entry.name_s1 for entry in entries] == own["s1_name"].tolist()
        assert f"{name}: {len(own)} patches" in outcome.out
    content = json.loads((out / "report.json").read_text())
    assert content["settings"]["seed"] == 0
    assert content["patches"] == len(frame)
    with Image.open(out / "labels.png") as picture:
        assert picture.format == "PNG"
    assert len(pd.read_csv(out / "report.csv")) == 19


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_stratified_lists_of_an_archive_become_records(
    call, request, version, tmp_path
):
    archive = request.getfixturevalue(f"archive_{version}")
    root = archive / {"v1": "BigEarthNet-v1.0", "v2": "BigEarthNet-S2"}[version]
    root_s1 = archive / {"v1": "BigEarthNet-S1-v1.0", "v2": "BigEarthNet-S1"}[version]
    known = ["--metadata", archive / "metadata.parquet"] if version == "v2" else []
    out = tmp_path / "out"
    source = ["-r", root, "-s", root_s1, *known]
    outcome = split(call, out, *source, "--ratios", 50, 25, 25)
    assert outcome.status == 0, outcome.err
    listed = read_lists(out)
    names = [entry.name for entries in listed.values() for entry in entries]
    assert len(names) == len(set(names)) == 16
    assert all(entry.name_s1 for entries in listed.values() for entry in entries)
    lists = [out / f"{name}.csv" for name in listed]
    outcome = call(
        "prep_splits", *source, "-o", tmp_path / "records", "-n", *lists, "--workers", 1
    )
    assert outcome.status == 0, outcome.err
    for name, entries in listed.items():
        manifest = json.loads((tmp_path / f"records/{name}.manifest.json").read_text())
        shards = manifest["shards"]
        assert sum(shard["num_records"] for shard in shards) == len(entries)


def test_folds_of_a_label_table_are_those_of_balanced_bigearthnet(
    call, label_table, tmp_path
):
    out = tmp_path / "out"
    outcome = split(call, out, "--table", label_table, "--folds", 5)
    assert outcome.status == 0, outcome.err
    assert "place not known of 300 patches" in outcome.out
    table = pd.read_csv(label_table, index_col=0)
    vectors = table.drop(columns="patch").to_numpy()
    splitter = MultilabelStratifiedKFold(n_splits=5, shuffle=True, random_state=0)
    for fold, (_, rows) in enumerate(splitter.split(vectors, vectors)):
        text = (out / f"fold_{fold}.csv").read_text()
        assert text.split("\n")[:-1] == table["patch"].iloc[rows].tolist()


def test_a_table_decides_and_the_archive_adds_partners(call, archive_v1, tmp_path):
    root, root_s1 = (archive_v1 / name for name in ROOTS_V1)
    names = sorted(path.name for path in root.iterdir())[:6]
    # Labels that the JSON files of the archive do not have.
    frame = pd.DataFrame({"patch": names, "Salines": [1] * 3 + [0] * 3, "Airports": 1})
    frame.to_csv(tmp_path / "labels.csv")
    source = ["--table", tmp_path / "labels.csv", "-r", root, "-s", root_s1]
    out = tmp_path / "out"
    outcome = split(call, out, *source, "-k", 2, "--records", "--workers", 1)
    assert outcome.status == 0, outcome.err
    assert len(pd.read_csv(out / "report.csv")) == 2
    found = {entry.name: entry for own in read_lists(out).values() for entry in own}
    assert sorted(found) == names
    partners = {path.name for path in root_s1.iterdir()}
    assert {entry.name_s1 for entry in found.values()} <= partners
    # Two folds are no training, validation and test.
    made = sorted(path.name.split("-")[0] for path in (out / "records").iterdir())
    assert made == ["fold_0", "fold_0.manifest.json", "fold_1", "fold_1.manifest.json"]


def test_form_a_on_request(call, archive_v2, tmp_path):
    source = ["--metadata", archive_v2 / "metadata.parquet"]
    assert split(call, tmp_path / "a", *source, "--s2-only").status == 0
    assert "," not in (tmp_path / "a/train.csv").read_text()


def test_names_seeds_and_other_labels(call, label_table, tmp_path):
    source = ["--table", label_table, "--ratios", 0.7, 0.3, "--names", "a", "b"]
    assert split(call, tmp_path / "one", *source).status == 0
    assert split(call, tmp_path / "two", *source, "--seed", 1).status == 0
    outcome = split(
        call, tmp_path / "nineteen", *source, "--label-type", "BigEarthNet-19"
    )
    assert outcome.status == 0, outcome.err
    one, two = (read_lists(tmp_path / name) for name in ("one", "two"))
    assert one.keys() == {"a", "b"}
    assert one != two
    content = json.loads((tmp_path / "nineteen/report.json").read_text())
    assert content["label_type"] == "BigEarthNet-19"
    assert content["settings"]["ratios"] == "0.7 0.3"


def test_filters_and_lists(call, archive_v2, tmp_path):
    source = ["--metadata", archive_v2 / "metadata.parquet"]
    frame = metadata.read_metadata(source[1])
    country = frame["country"].iloc[0]
    outcome = split(call, tmp_path / "a", *source, "--country", country.upper())
    assert outcome.status == 0, outcome.err
    own = frame[frame["country"] == country]
    assert f"{len(own)} of 16 patches are left" in outcome.out
    listed = read_lists(tmp_path / "a")
    assert sum(map(len, listed.values())) == len(own)
    gone = set(frame["split"]) - set(own["split"])
    assert gone
    for name in gone:
        assert f"split {name!r} has no patch left" in outcome.out
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(own["patch_id"]))
    outcome = split(call, tmp_path / "b", *source, "--lists", path)
    assert outcome.status == 0, outcome.err
    assert list(read_lists(tmp_path / "b")) == ["mine"]


def test_blocks_of_the_real_v1_pairs(call, shared, tmp_path):
    lists = [shared / f"data/v1/{name}.csv" for name in metadata.SPLITS]
    blocks = ["--lists", *lists, "--ratios", 50, 50, "--blocks", 1000]
    outcome = split(call, tmp_path / "out", *blocks)
    assert outcome.status == 0, outcome.err
    where = {
        entry.name_s1.split("_")[5]: name
        for name, entries in read_lists(tmp_path / "out").items()
        for entry in entries
    }
    assert len(where) == 4
    for name, entries in read_lists(tmp_path / "out").items():
        assert {where[entry.name_s1.split("_")[5]] for entry in entries} == {name}
    check(
        split(call, tmp_path / "no", "--lists", *lists, "--ratios", 50, 50),
        "stratified splits need labels",
        tmp_path / "no",
    )


def test_another_split_in_the_folder(call, label_table, tmp_path):
    source = ["--table", label_table]
    out = tmp_path / "out"
    assert split(call, out, *source, "--folds", 5).status == 0
    assert split(call, out, *source, "--folds", 5).status == 0
    outcome = split(call, out, *source, "--folds", 2)
    assert outcome.status == 1
    assert "holds another split already" in outcome.complaint
    assert len(read_lists(out)) == 5
    assert split(call, out, *source, "--folds", 2, "--overwrite").status == 0
    assert len(read_lists(out)) == 2


def test_labels_that_nobody_has(call, label_table, tmp_path):
    frame = pd.read_csv(label_table, index_col=0)
    frame["Airports"] = 0
    frame.to_csv(tmp_path / "labels.csv")
    source = ["--table", tmp_path / "labels.csv", "--folds", 3]
    outcome = split(call, tmp_path / "out", *source)
    assert outcome.status == 0, outcome.err
    assert "no patch has 1 of the 43 labels: A" in outcome.out
    assert "nan" not in (tmp_path / "out/report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no patches to divide"),
        (["--metadata", "none.parquet"], "none.parquet: no such file"),
        (["--metadata", "cut.parquet"], "cut.parquet: expected the parquet file"),
        (["--metadata", "bare.parquet"], "labels is missing"),
        (["--metadata", "labels.csv"], "labels.csv: expected the column patch_id"),
        (["--metadata", "twice.parquet"], "patch_id occurs twice"),
        (["--table", "none.csv", "--folds", "2"], "none.csv: no such label table"),
        (["--table", "labels.csv", "--folds", "301"], "301 splits, but there are 300"),
        (["--table", "labels.csv", "--folds", "1"], "two --folds or more"),
        (["--table", "labels.csv"], "300 of 300 patches are in no split yet"),
        (["--table", "labels.csv", "--blocks", "9"], "need --ratios or --folds"),
        (["--table", "labels.csv", "--folds", "2", "--blocks", "9"], "300 patches lie"),
        (["--table", "labels.csv", "--ratios", "60", "30"], "60 30 sum to 90"),
        (["--table", "labels.csv", "--ratios", "1", "1"], "but 1 1 sum to 2"),
        (["--table", "labels.csv", "--ratios", *"1111"], "but 1 1 1 1 sum to 4"),
        (["--table", "labels.csv", "--ratios", "1", "--folds", "2"], "give one"),
        (
            ["--table", "labels.csv", "--folds", "2", "--names", "a", "a"],
            "2 different --names",
        ),
        (
            ["--table", "labels.csv", "--folds", "2", "--names", "a.b", "report"],
            "'a.b' can't be the name of a split",
        ),
        (["--table", "labels.csv", "--folds", "2", "--label", "Airport"], "'Airports'"),
        (["--table", "labels.csv", "--metadata", "good.parquet"], "give one"),
        (["--metadata", "good.parquet", "--label-type", "original"], "leave --label-t"),
        (["--metadata", "good.parquet", "--exclude", "snwo"], "'snow' and 'cloud'"),
        (["-s", "."], "give both"),
    ],
)
def test_bad_input(
    call, label_table, archive_v2, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    good = (archive_v2 / "metadata.parquet").read_bytes()
    Path("good.parquet").write_bytes(good)
    Path("cut.parquet").write_bytes(good[: len(good) // 2])
    frame = pd.read_parquet("good.parquet")
    frame.drop(columns="labels").to_parquet("bare.parquet")
    pd.concat([frame, frame.head(1)]).to_parquet("twice.parquet")
    Path("labels.csv").write_bytes(label_table.read_bytes())
    check(split(call, "out", *arguments), message, tmp_path / "out")


def test_wrong_calls_have_status_2(call, tmp_path):
    for arguments in (["--foo"], ["--folds", "x"], ["--label-type", "18"]):
        assert split(call, tmp_path / "out", *arguments).status == 2
    assert call("bigearthnet-tf", "split").status == 2


def test_out_that_is_a_file(call, label_table, tmp_path):
    (tmp_path / "out").write_text("precious")
    outcome = split(call, tmp_path / "out", "--table", label_table, "--folds", 2)
    assert outcome.status == 1
    assert "out: can't be written to" in outcome.complaint
    assert (tmp_path / "out").read_text() == "precious"


# The peak of a process of its own: `getrusage` counts the parent's before `exec`.
PEAK = """
import atexit, runpy, sys
from pathlib import Path
def say():
    lines = Path("/proc/self/status").read_text().splitlines()
    print(*(line.split()[1] for line in lines if line.startswith("VmHWM")))
atexit.register(say)
runpy.run_module("bigearthnet_tf.cli", run_name="__main__")
"""


@pytest.mark.long
@pytest.mark.parametrize("ratios", [[], ["--ratios", "60", "20", "20"]])
def test_the_real_metadata_in_two_gibibytes(shared, tmp_path, ratios):
    table = shared / "data/v2/metadata.parquet"
    command = ["split", "-o", tmp_path / "out", *ratios, "--metadata", table]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, command)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    kibibytes = int(done.stdout.split()[-1])
    assert 200 << 10 < kibibytes < 2 << 20
    content = json.loads((tmp_path / "out/report.json").read_text())
    if ratios:
        assert abs(content["largest_deviation"]["value"]) < 0.005
        assert abs(content["random_largest_deviation"]["value"]) > 0.02
    else:
        assert content["splits"]["test"]["contacts"]["train"]["touching"] == 0


@pytest.mark.parametrize("ratio", ["nan", "inf", "0", "-1", "many"])
def test_ratios_are_numbers_above_0(call, tmp_path, ratio):
    outcome = call(
        "bigearthnet-tf", "split", "--table", "t.csv", "--ratios", 60, ratio,
        "-o", tmp_path / "out",
    )  # fmt: skip
    assert outcome.status == 2
    assert "above 0" in outcome.err


def test_seeds_are_those_of_numpy(call, tmp_path):
    for seed in (-1, 2**32, "1.5"):
        outcome = call(
            "bigearthnet-tf", "split", "--table", "t.csv", "--ratios", 1, 1,
            "--seed", seed, "-o", tmp_path / "out",
        )  # fmt: skip
        assert outcome.status == 2
        assert "0 to 4294967295" in outcome.err
