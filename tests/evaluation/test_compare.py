"""Runs side by side: differences by hand, who is marked, what the files hold."""

import csv
import json

import numpy as np
import outcomes
import pytest
from test_report import Page

from bigearthnet_tf import metrics
from bigearthnet_tf.evaluation import compare, compare_page, predictions, thresholds
from bigearthnet_tf.training import stopping

ROUNDS = 60


def write_run(folder, seed, skill=1.0, **changes):
    """A folder as `eval.py` leaves it, as far as a comparison reads it."""
    folder.mkdir(parents=True)
    one = outcomes.predictions(seed=seed, skill=skill, **changes)
    predictions.save(folder / predictions.FILE, one)
    config = {"model_name": f"model {seed}", "modality": "S2", "out_dir": str(folder)}
    (folder / "config.json").write_text(json.dumps(config))
    thresholds.save(
        folder / thresholds.FILE, thresholds.tune(one, {"model_name": f"model {seed}"})
    )
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return [
        write_run(root / "one", 1),
        write_run(root / "better", 1, skill=2.5),
        write_run(root / "other", 3),
    ]


@pytest.fixture(scope="module")
def found(folders):
    return compare.compare(compare.read(folders), rounds=ROUNDS)


def test_values_and_differences_are_those_of_the_drawn_patches(folders, found):
    runs = [predictions.load(folder) for folder in folders]
    rng = np.random.default_rng(42)
    draws = [rng.integers(0, 60, 60) for _ in range(ROUNDS)]
    for key in ("macro_average_precision", "micro_f1_score", "macro_f1_score_class1"):
        own = [
            [metrics.multi_label_report(r.labels[d], r.scores[d])[key] for d in draws]
            for r in (runs[0], runs[2])
        ]
        sampled = np.subtract(own[1], own[0])
        whole = [
            metrics.multi_label_report(r.labels, r.scores)[key]
            for r in (runs[0], runs[2])
        ]
        of = found.differences[1][key]
        assert of.value == pytest.approx(whole[1] - whole[0])
        low, high = np.quantile(sampled, [0.025, 0.975])
        assert (of.low, of.high) == pytest.approx((low, high))
        share = (sampled > 0).mean() + (sampled == 0).mean() / 2
        assert of.share_higher == pytest.approx(share)


def test_pairing_is_narrower_than_two_intervals(found):
    """Of a run and itself with better scores: what is alike drops out."""
    key = "macro_average_precision"
    of = found.differences[0][key]
    assert of.is_clear
    assert of.low > 0
    (low, high), (low_2, high_2) = (found.intervals[n][key] for n in (0, 1))
    assert of.high - of.low < np.hypot(high - low, high_2 - low_2)


def test_a_run_and_its_copy_differ_by_nothing(tmp_path):
    runs = compare.read([write_run(tmp_path / name, 1) for name in ("a", "b")])
    differences = compare.compare(runs, rounds=9).differences[0]
    assert set(compare.MEASURES) <= set(differences)
    for of in differences.values():
        assert (of.value, of.low, of.high, of.share_higher) == (0, 0, 0, 0.5)
        assert not of.is_clear


def test_the_order_of_the_patches_does_not_matter(folders, found, tmp_path):
    mixed = predictions.load(folders[2]).take(np.arange(60)[::-1])
    predictions.save(tmp_path / "mixed.npz", mixed)
    again = compare.compare(
        compare.read([folders[0], tmp_path / "mixed.npz"]), rounds=ROUNDS
    )
    assert again.differences[0] == found.differences[1]


def test_tuned_thresholds_are_those_of_each_run(folders):
    runs = compare.read(folders, tuned=True)
    for run, folder in zip(runs, folders, strict=True):
        expected = thresholds.load(folder).values
        np.testing.assert_array_equal(run.thresholds, expected)
    assert (runs[0].thresholds != runs[1].thresholds).any()


def test_runs_are_called_by_what_tells_them_apart(tmp_path):
    paths = [write_run(tmp_path / name / "run", n) for n, name in enumerate("ab")]
    assert [run.name for run in compare.read(paths)] == ["a/run", "b/run"]
    files = [path / predictions.FILE for path in paths]
    assert [run.name for run in compare.read(files)] == ["a/run", "b/run"]


def test_what_cannot_be_compared_is_refused(folders, tmp_path):
    with pytest.raises(ValueError, match="at least two runs"):
        compare.read(folders[:1])
    with pytest.raises(ValueError, match="named twice"):
        compare.read([folders[0], folders[0] / ".." / "one"])
    with pytest.raises(FileNotFoundError, match=r"python eval\.py CONFIG"):
        compare.read([folders[0], tmp_path])
    val = write_run(tmp_path / "val", 5, split="val", samples=70)
    with pytest.raises(ValueError, match=r"different patches .* of split val"):
        compare.read([folders[0], val])
    alone = tmp_path / "alone.npz"
    predictions.save(alone, outcomes.predictions(seed=8))
    with pytest.raises(FileNotFoundError, match="--thresholds tuned"):
        compare.read([folders[0], alone], tuned=True)
    foreign = write_run(tmp_path / "foreign", 6)
    thresholds.save(foreign / thresholds.FILE, thresholds.load(folders[0]))
    with pytest.raises(ValueError, match="thresholds of other weights"):
        compare.read([folders[0], foreign], tuned=True)


def test_files_hold_every_number(found, tmp_path):
    paths = compare_page.write(tmp_path / "new" / "folder", found)
    assert [path.suffix for path in paths] == [".html", ".md", ".csv", ".json"]
    page, text, table, content = (path.read_text() for path in paths)
    content = json.loads(content)
    assert content["reference"] == "one"
    assert [run["name"] for run in content["runs"]] == ["one", "better", "other"]
    assert (content["patches"], content["rounds"]) == (60, ROUNDS)
    rows = list(csv.DictReader(table.splitlines()))
    assert len(rows) == len(content["results"]) == 3 * (len(compare.MEASURES) + 2 * 4)
    for row, stored in zip(rows, content["results"], strict=True):
        assert row["run"] == stored["run"]
        assert float(row["value"]) == stored["value"]
        assert (row["difference"] == "") == (stored["run"] == "one")
    read = Page(page)
    lines = {cells[0]: cells[1:] for cells in read.cells}
    # The table of average precision, and the last one of that label: F1.
    of = found.differences[0]["macro_f1_score_class0"]
    cells = lines[f"Urban fabric ({found.positives[0]})"]
    assert cells[2].startswith(f"{of.value:+.4f}")
    assert lines["model_name"] == ['"model 1"', '"model 1"', '"model 3"']
    assert "http" not in page.replace("base64,", "").split("<img")[0]
    assert "Pastures &amp; &lt;fields&gt;" in text
    assert "<fields>" not in page


def test_better_is_by_the_measure():
    up, down, open_ = (
        compare.Difference(*of, 0.5)
        for of in ((0.2, 0.1, 0.3), (-0.2, -0.3, -0.1), (0.1, -0.1, 0.3))
    )
    assert compare_page._kind("micro_f1_score", up) == "better"
    assert compare_page._kind("micro_f1_score", down) == "worse"
    assert compare_page._kind("hamming_loss", up) == "worse"
    assert compare_page._kind("hamming_loss", down) == "better"
    assert compare_page._kind("hamming_loss", open_) == ""
    assert set(filter(stopping.lower_is_better, compare.MEASURES)) == {
        *("ranking_loss", "coverage", "one_error", "hamming_loss", "brier_score")
    }


def test_forest_has_a_line_for_each_label(found):
    figure = compare_page.forest(found)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == [
        "macro mean",
        *(f"{n}  ({c})" for n, c in zip(outcomes.LABELS, found.positives, strict=True)),
    ]
