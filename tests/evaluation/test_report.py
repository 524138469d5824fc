"""The page and the table of a run."""

import csv
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure

from bigearthnet_tf import files, metrics
from bigearthnet_tf.evaluation import report

NAMES = ("Urban fabric", 'Beaches, dunes & "sands"', "<Marine waters>")
EVIL = "<script>alert('1')</script> & \"$title\""


@pytest.fixture(scope="module")
def results():
    random = np.random.default_rng(0)
    labels = random.random((40, 3)) < 0.4
    model = metrics.multi_label_report(labels, random.random((40, 3)))
    priors = metrics.multi_label_report(labels, random.random((40, 3)))
    return model, priors, labels.sum(axis=0)


@pytest.fixture
def picture():
    figure = Figure(figsize=(2, 1))
    figure.add_subplot().plot([0, 1], [1, 0])
    return report.rendered([("Course of the training", figure)])[0]


class Page(HTMLParser):
    """Text, attributes, and tables of a page; refuses tags that don't match."""

    VOID = ("meta", "img", "wbr")

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.attributes, self.cells = [], [], [], []
        self.text = ""
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.text += " "

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self.open):
            self.cells[-1][-1] += data


def write(path, results, **changes):
    model, priors, counts = results
    arguments = {
        "title": "resnet50, test split",
        "run": {"model": "resnet50", "bands": ("B04", "B03"), "seed": 42},
        "metrics": model,
        "per_class": report.per_class_table(model, NAMES, counts),
        "baselines": {"class priors": priors},
        "config": {"batch_size": 128, "augmentation": ["flips"], "stop": None},
    }
    report.write_report(path, **(arguments | changes))
    source = path.read_text(encoding="utf-8")
    return source, Page(source)


def test_page_has_every_number_passed(tmp_path, results, picture):
    figures = [picture]
    _, page = write(tmp_path / "report.html", results, figures=figures)
    model, priors, counts = results
    lines = {cells[0]: cells[1:] for cells in page.cells}
    for key in model:
        assert lines[key] == [f"{model[key]:.6g}", f"{priors[key]:.6g}"]
    assert lines["Average precision, macro\N{NO-BREAK SPACE}↑"] == [
        f"{model['macro_average_precision']:.4f}",
        f"{priors['macro_average_precision']:.4f}",
    ]
    for j, name in enumerate(NAMES):
        stems = ("macro_precision", "macro_recall", "macro_f1_score")
        keys = [f"{s}_class{j}" for s in (*stems, "average_precision", "auroc")]
        assert lines[name] == [str(counts[j]), *(f"{model[key]:.4f}" for key in keys)]
    assert lines["batch_size"] == ["128"]
    assert lines["augmentation"] == ['["flips"]']
    assert lines["stop"] == ["null"]
    for text in (
        "resnet50",
        "B04, B03",
        "42",
        "class priors",
        "Course of the training",
    ):
        assert text in page.text


def test_every_text_is_escaped(tmp_path, results, picture):
    source, page = write(
        tmp_path / "report.html",
        results,
        title=EVIL,
        run={EVIL: EVIL},
        per_class=[{"label": EVIL, "count": 1, EVIL: EVIL}],
        baselines={EVIL: {EVIL: 0.5}},
        figures=[(EVIL, picture[1])],
        config={EVIL: EVIL},
    )
    assert "script" not in page.tags
    assert "<script" not in source
    # Title, heading, run (twice), label (three times), baseline's heads (twice) and
    # key, caption, config's key and (as JSON, quotes escaped) value.
    assert page.text.count("<script>alert('1')</script> &") == 13
    assert ("img", "alt", EVIL) in page.attributes


def test_page_loads_nothing_from_elsewhere(tmp_path, results, picture):
    source, page = write(tmp_path / "report.html", results, figures=[picture])
    assert not re.search(
        r"https?:|//|url\(|@import", re.sub(r"base64,[^\"]*", "", source)
    )
    links = [v for _, name, v in page.attributes if name in ("src", "href", "srcset")]
    assert len(links) == 1
    assert links[0].startswith("data:image/png;base64,")
    assert not {"script", "link", "iframe", "object"} & set(page.tags)


def test_page_says_nothing_that_was_not_passed(tmp_path, results):
    _, page = write(
        tmp_path / "report.html",
        results,
        run={},
        metrics={"micro_f1_score": 0.25},
        per_class=(),
        baselines=None,
        config=None,
    )
    words = re.sub(r":root.*\}", "", page.text, flags=re.DOTALL).split()
    expected = (
        "resnet50, test split resnet50, test split "
        "Results Measure model F1, micro ↑ 0.2500 "
        "All measures Measure model micro_f1_score 0.25"
    )
    assert words == expected.split()


def test_a_baseline_may_lack_a_measure(tmp_path, results):
    _, page = write(
        tmp_path / "report.html",
        results,
        metrics={"micro_f1_score": 0.25},
        baselines={"other": {"hamming_loss": 0.125}},
    )
    lines = {cells[0]: cells[1:] for cells in page.cells}
    assert lines["micro_f1_score"] == ["0.25", "–"]
    assert lines["hamming_loss"] == ["–", "0.125"]


def test_same_results_give_the_same_page(tmp_path, results, picture):
    first, _ = write(tmp_path / "a.html", results, figures=[picture])
    second, _ = write(tmp_path / "b.html", results, figures=[picture])
    assert first == second


def test_files_appear_whole_or_not_at_all(tmp_path, results, monkeypatch):
    page, table = tmp_path / "report.html", tmp_path / "eval_per_class.csv"
    page.write_text("old")
    table.write_text("old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(files.Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write(page, results)
    with pytest.raises(OSError, match="disk full"):
        report.write_per_class_csv(table, [{"label": "a"}])
    assert (page.read_text(), table.read_text()) == ("old", "old")
    assert sorted(path.name for path in tmp_path.iterdir()) == [table.name, page.name]


def test_csv_keeps_names_and_all_digits(tmp_path, results):
    model, _, counts = results
    rows = report.per_class_table(model, NAMES, counts)
    path = tmp_path / "eval_per_class.csv"
    report.write_per_class_csv(path, rows)
    with path.open(encoding="utf-8", newline="") as stream:
        read = list(csv.DictReader(stream))
    assert (
        ",".join(read[0]) == "label,count,precision,recall,f1,average_precision,auroc"
    )
    assert [row["label"] for row in read] == list(NAMES)
    for j, row in enumerate(read):
        assert int(row["count"]) == model[f"num_positives_class{j}"]
        assert float(row["f1"]) == model[f"macro_f1_score_class{j}"]
        assert float(row["auroc"]) == model[f"auroc_class{j}"]


def test_csv_without_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one row"):
        report.write_per_class_csv(tmp_path / "a.csv", [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("names", "counts"),
    [(NAMES[:2], [1, 2]), (NAMES, [1, 2]), ((*NAMES, "d"), [1] * 4)],
)
def test_table_of_other_labels_is_refused(results, names, counts):
    with pytest.raises(ValueError, match="metrics of 3 labels"):
        report.per_class_table(results[0], names, counts)
