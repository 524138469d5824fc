"""A user of the CBIR project comes with a folder as its README shows it."""

import contextlib
import csv
import importlib.util
import io
import json
import logging
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import toy
import v1_lmdbs

from bigearthnet_tf import cli, console
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.retrieval import stored

ROOT = Path(__file__).parents[2]
ARGS = """\
batch_size: 256
start_epoch: 0
epochs: 30
pretrain: False
type: separate
train_csv: splits/train.csv
val_csv: splits/val.csv
test_csv: splits/test.csv
loss_func: classification
fusion: concat
bigEarthPthLMDB_S2: BigEarth_Serbia_Summer_S2.lmdb
bigEarthPthLMDB_S1: BigEarth_Serbia_Summer_S1.lmdb
num_cpu: 40
name: test
n_features: 2048
projection_dim: 128
out_channels: 32
optimizer: adam
learning_rate: 1e-4
weight_decay: 0.0
scheduler: False
temperature: 0.1
logging_params:
  save_dir: logs/
  name: separate_concat
state_dict: logs/test/separate_concat/checkpoints_model_best.pth.tar
"""
RUN = "logs/test/separate_concat"
PREPARE = (
    "python prep_splits.py --lmdb BigEarth_Serbia_Summer_S2.lmdb "
    "BigEarth_Serbia_Summer_S1.lmdb -n splits/train.csv splits/val.csv "
    "splits/test.csv -o records"
)
LABELS = label_facts.LABELS["BigEarthNet-19"]
COUNTS = {"train": 9, "val": 5, "test": 20}
PRINTED_AT = (8, 16, 32, 64, 128, 1000)
# In place of hours with ResNet-50 at full size.
SMALL = (
    "--set model_name=short_cnn --set image_size=16 --set batch_size=4 "
    "--set epochs=1 --set devices=cpu --set sample_images=0"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Its config, lists of pairs and LMDBs, and the records that come of them."""
    folder = tmp_path_factory.mktemp("cbir")
    (folder / "args.yaml").write_text(ARGS)
    (folder / "splits").mkdir()
    first, of_s2, of_s1 = 0, {}, {}
    for split, count in COUNTS.items():
        patches = [toy.patch(first + i, "BigEarthNet-19") for i in range(count)]
        with (folder / "splits" / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows((p.name_s2, p.name_s1) for p in patches)
        for patch in patches:
            vector = np.array([float(name in patch.labels) for name in LABELS])
            of_s2[patch.name_s2] = v1_lmdbs.cbir_s2(patch.bands, vector)
            of_s1[patch.name_s1] = v1_lmdbs.cbir_s1(patch.bands, vector)
        first += count
    for sensor, content in (("S2", of_s2), ("S1", of_s1)):
        v1_lmdbs.write(folder / f"BigEarth_Serbia_Summer_{sensor}.lmdb", content)
    # Without records the log says how to make them, by the paths of the file.
    assert PREPARE in call(folder, f"python train.py --filepath args.yaml {SMALL}", 1)
    call(folder, f"{PREPARE} --workers 1")
    # Its code wrote the config into the folder of the run.
    (folder / RUN).mkdir(parents=True)
    (folder / RUN / "parameters.yaml").write_text(ARGS)
    (folder / RUN / "checkpoints_model_best.pth.tar").write_bytes(b"PK\3\4")
    return folder


def call(folder, line, status=0):
    """Runs a command line in the folder, in this process; returns its output."""
    program, *arguments = shlex.split(line.removeprefix("python "))
    main = cli.run
    if program.endswith(".py"):
        spec = importlib.util.spec_from_file_location(program[:-3], ROOT / program)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        main = module.main
    from bigearthnet_tf.evaluation import classification_page

    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()) as printed,
        contextlib.redirect_stderr(printed),
        pytest.raises(SystemExit) as left,
    ):
        # Pictures of labels take most of the time of a small evaluation.
        patch.setattr(classification_page, "draw", lambda *_: [])
        patch.setattr(sys, "argv", [program, *arguments])
        patch.chdir(folder)
        console.run(main)
    logging.getLogger().handlers.clear()
    assert left.value.code == status, printed.getvalue()
    return printed.getvalue()


@pytest.fixture(scope="module")
def printed(folder):
    """Trains and evaluates; returns the lines that each of both prints."""
    train = f"python train.py --filepath args.yaml {SMALL}"
    evaluate = f"python eval.py --filepath {RUN}/parameters.yaml {SMALL}"
    return {
        "train.py": call(folder, train).splitlines(),
        "eval.py": call(folder, evaluate).splitlines(),
    }


@pytest.mark.parametrize("script", ["train.py", "eval.py"])
def test_one_line_says_what_is_not_carried_over(printed, script):
    (left_out,) = (text for text in printed[script] if "not carried over" in text)
    for key in ("state_dict", "pretrain", "num_cpu", "train_csv", "bigEarthPthLMDB_S2"):
        assert key in left_out
    (assumed,) = (text for text in printed[script] if ": assumed " in text)
    for key in ("query_split", "archive_split", "retrieval_metric"):
        assert f"({key})" in assumed
    # What the user sets is not assumed.
    assert "(model_name)" not in assumed


def chi_square(query, archive):
    """Distances in float64, a pair at a time."""
    return [
        sum((u - v) ** 2 / (u + v + 1e-10) for u, v in zip(query, item, strict=True))
        / 2
        for item in archive
    ]


def share(a, b):
    return a / b if b else 0.0


def curves(query, hits):
    """Metrics as that project computes them, at each rank, for one query.

    Args:
        query: set of its labels.
        hits: sets of labels, nearest first, all that were retrieved.
    """
    shared = [len(query & hit) for hit in hits]
    found = np.cumsum([s > 0 for s in shared])
    acg = [sum(shared[:i]) / i for i in range(1, len(hits) + 1)]
    best = sorted(shared, reverse=True)
    gains = [
        np.cumsum([(2**s - 1) / np.log2(1 + i) for i, s in enumerate(order, 1)])
        for order in (shared, best)
    ]
    result = {name: [] for name in ("ndcg", "acg", "map", "wap", "precision", "recall")}
    result["f1"] = []
    for k in range(len(hits)):
        relevant = [i for i in range(k + 1) if shared[i]]
        ap = sum(found[i] / (i + 1) for i in relevant)
        wap = sum(acg[i] / (i + 1) for i in relevant)
        precision = share(shared[k], len(hits[k]))
        recall = share(shared[k], len(query))
        result["ndcg"].append(share(gains[0][k], gains[1][k]))
        result["acg"].append(acg[k])
        result["map"].append(share(ap, found[k]))
        result["wap"].append(share(wap, found[k]))
        result["precision"].append(precision)
        result["recall"].append(recall)
        result["f1"].append(share(2 * precision * recall, precision + recall))
    return result


def test_its_numbers_come_out(folder, printed):
    """Training patches search the test split, as that project measured."""
    run = folder / RUN
    splits = {}
    for split in ("train", "test"):
        (path,) = (run / "embeddings").glob(f"{split}-*")
        found = stored.load(path)
        layers = found.layers["p_s1"], found.layers["p_s2"]
        fused = np.concatenate(layers, axis=1).astype(np.float64)
        assert fused.min() == 0
        splits[split] = fused, [set(np.flatnonzero(row)) for row in found.labels]
    (asked, asked_labels), (archive, labels) = splits["train"], splits["test"]
    assert (len(asked), len(archive)) == (COUNTS["train"], COUNTS["test"])
    of_queries = []
    for query, own in zip(asked, asked_labels, strict=True):
        order = np.argsort(chi_square(query, archive), kind="stable")[:1000]
        of_queries.append(curves(own, [labels[i] for i in order]))
    result = json.loads((run / "retrieval" / "eval_result.json").read_text())
    expected = {}
    for k in PRINTED_AT:
        for name in of_queries[0]:
            at = min(k, COUNTS["test"]) - 1
            mean = np.mean([of[name][at] for of in of_queries])
            expected[f"fused_fused_{name}@{k}"] = mean
    assert len({round(value, 3) for value in expected.values()}) > 10
    found = {key: result[key] for key in expected}
    assert found == pytest.approx(expected, abs=1e-9)
    (line,) = (text for text in printed["eval.py"] if "mAP of both as one" in text)
    for k in PRINTED_AT:
        assert f"{100 * expected[f'fused_fused_map@{k}']:.2f} @{k}" in line


def test_its_tables_are_here(folder, printed):
    """In place of `query.h5`, `archive.h5`, `retrieval.h5` and their printer."""
    results = folder / RUN / "retrieval"
    with np.load(results / "eval_hits.npz") as hits:
        shape = (COUNTS["train"], COUNTS["test"])
        assert hits["fused_fused_ids"].shape == shape
        assert (np.diff(hits["fused_fused_distances"]) >= 0).all()
        assert len(hits["queries"]) == COUNTS["train"]
    with (results / "eval_retrieval.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["query"] == "fused"]
    assert {int(row["k"]) for row in rows if row["metric"] == "map"} == {*PRINTED_AT}
    # Its own files stay.
    assert (folder / RUN / "parameters.yaml").read_text() == ARGS
    assert (folder / RUN / "checkpoints_model_best.pth.tar").stat().st_size == 4


# The config of its sweep, whose script filled in what is empty, or failed to.
OPEN = (
    ARGS.replace("type: separate", 'type: ""')
    .replace("fusion: concat", 'fusion: ""')
    .replace("temperature: 0.1", "temperature: 0")
)
SWEEP = "bigearthnet-tf sweep --filepath sweep.yaml --set loss_func=contrastive"


def test_a_sweep_takes_a_config_that_leaves_open_what_is_compared(folder):
    (folder / "sweep.yaml").write_text(OPEN)
    assert "temperature: expected a number above 0" in call(folder, SWEEP, status=1)
    line = f"{SWEEP} --set temperature=0.1 --fusions mean"
    assert "got 'mean'" in call(folder, line, status=1)


@pytest.mark.long
def test_a_sweep_compares_all_encoders_and_fusions(folder):
    (folder / "sweep.yaml").write_text(OPEN)
    call(folder, f"{SWEEP} --set temperature=0.1 --set name=sweep {SMALL}")
    rows = json.loads((folder / "logs/sweep/separate_concat/sweep.json").read_text())
    pairs = {(row["encoders"], row["fusion"]) for row in rows}
    assert len(rows) == len(pairs) == 8
    # The mean and the sum differ by a factor, which leaves the ranking alone.
    for avg, other in zip(rows[1::4], rows[3::4], strict=True):
        assert avg["both map@8"] == pytest.approx(other["both map@8"])


def test_its_baseline_of_twelve_bands_is_asked_about(folder):
    text = ARGS + "scheduler_gamma: 0.9\nsuffix: ''\nreload: False\nsummaries: x\n"
    (folder / "args_bands_12.yaml").write_text(text + "epoch_num: 1\n")
    line = f"python train.py --filepath args_bands_12.yaml {SMALL}"
    *_, complaint = call(folder, line, status=1).splitlines()
    assert "scheduler_gamma, epoch_num, reload, summaries, suffix" in complaint
    assert "--set encoders=single" in complaint


def test_a_sweep_takes_its_keys_in_place_of_what_it_compares(folder):
    sweep = f"bigearthnet-tf sweep --filepath args.yaml {SMALL} --set type=joint"
    out = call(folder, f"{sweep} --set 'tr_tf_record_files=[\"gone-*\"]'", 1)
    assert "gone-*: no such records" in out.splitlines()[-1]
