"""Figures: what they show, that all of it is on the page, and reproducible files."""

import base64
import io

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from sklearn.metrics import average_precision_score

from bigearthnet_tf import pictures
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.evaluation import plots

NAMES = label_facts.LABELS["BigEarthNet-19"]
COLOURS = ["#e6004d"] * 18 + ["#e6f2ff"]


def predictions(num_labels, samples=500):
    random = np.random.default_rng(3)
    labels = random.random((samples, num_labels)) < 0.2
    scores = np.clip(random.normal(0.3 + 0.3 * labels, 0.2), 0, 1).round(2)
    return labels, scores


def bars(names=NAMES):
    random = np.random.default_rng(4)
    values = random.random((3, len(names)))
    values[1, 0], values[2, 0] = 0, 1
    counts = (10 ** random.uniform(0, 5, len(names))).astype(int)
    baselines = {"label frequency": values[1], "logistic regression": values[2]}
    return plots.per_label_bars(
        names, values[0], counts, baselines, COLOURS[: len(names)]
    ), (values, counts)


def curves():
    labels, scores = predictions(len(NAMES))
    return plots.precision_recall_curves(labels, scores, NAMES)


HISTORY = {
    "training/loss": [(step, 1 / (1 + step)) for step in range(100)],
    "validation/loss": [(step, 1.2 / (1 + step)) for step in range(0, 100, 10)],
    "training/learning_rate": [(0, 1e-3), (99, 1e-4)],
    "validation/macro_average_precision": [(0, 0.1), (50, 0.5), (99, 0.6)],
    "training/micro_f1_score": [(0, 0.2), (99, 0.8)],
    "validation/coverage": [(0, 12.0), (99, 5.0)],
    "test/empty": [],
}


def history():
    return plots.history_curves(HISTORY, "resnet50, s2")


FIGURES = {
    "bars of 19": lambda: bars()[0],
    "bars of 1": lambda: bars(NAMES[:1])[0],
    "curves": curves,
    "history": history,
}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_nothing_is_cut_off(draw):
    figure = draw()
    figure.savefig(io.BytesIO(), format="png")
    drawn = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())  # inches
    width, height = figure.get_size_inches()
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= width
    assert drawn.y1 <= height


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_same_figure_gives_the_same_bytes(draw, tmp_path):
    figure = draw()
    for name, each in {"a": figure, "again": figure, "rebuilt": draw()}.items():
        pictures.save_png(each, tmp_path / f"{name}.png")
    first = (tmp_path / "a.png").read_bytes()
    assert (tmp_path / "again.png").read_bytes() == first
    assert (tmp_path / "rebuilt.png").read_bytes() == first
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["Software"] == "bigearthnet_tf"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.png",
        "again.png",
        "rebuilt.png",
    ]


def test_data_uri_holds_the_png_of_the_file(tmp_path):
    figure = history()
    pictures.save_png(figure, tmp_path / "a.png")
    head, _, data = plots.to_data_uri(pictures.to_png(figure)).partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == (tmp_path / "a.png").read_bytes()


def test_no_global_state_is_touched():
    before = dict(matplotlib.rcParams)
    figure = bars()[0]
    pictures.to_png(figure)
    assert dict(matplotlib.rcParams) == before
    assert figure.canvas.manager is None  # unknown to pyplot: nothing to close


def test_bars_show_the_numbers_in_the_given_order():
    figure, (values, counts) = bars()
    axes, table = figure.axes
    lengths = [bar.get_width() for bar in axes.patches]
    assert lengths == pytest.approx(values[0])
    shown = [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]
    assert shown == list(NAMES)
    top, bottom = axes.get_ylim()[::-1]
    assert top < 0 < len(NAMES) - 1 < bottom  # the first label is on top
    texts = [text.get_text() for text in table.texts]
    for value, count in zip(values[0], counts, strict=True):
        assert f"{value:.3f}" in texts
        assert f"{count:,}" in texts
    mean, *markers = axes.lines
    assert mean.get_xdata()[0] == pytest.approx(values[0].mean())
    for line, expected in zip(markers, values[1:], strict=True):
        assert line.get_xdata() == pytest.approx(expected)
    assert len({line.get_marker() for line in markers}) == 2
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert entries[1:] == ["label frequency", "logistic regression"]
    assert f"{values[0].mean():.3f}" in entries[0]


def test_bars_without_baselines():
    figure = plots.per_label_bars(NAMES[:2], [0.5, 1], [3, 4], None, COLOURS[:2])
    assert len(figure.axes[0].lines) == 1


def test_area_under_a_drawn_curve_is_the_average_precision():
    # Also with far more points than are drawn.
    random = np.random.default_rng(5)
    labels = random.random((20_000, 2)) < [0.3, 0.02]
    scores = random.normal(labels * 1.5, 1)
    figure = plots.precision_recall_curves(labels, scores, NAMES[:2])
    for axes, truth, ranked in zip(figure.axes, labels.T, scores.T, strict=True):
        curve, chance = axes.lines
        recall, precision = curve.get_data()
        assert len(recall) <= 401
        expected = average_precision_score(truth, ranked)
        assert (np.diff(recall) * precision[1:]).sum() == pytest.approx(
            expected, abs=0.01
        )
        assert curve.get_drawstyle() == "steps-pre"
        assert chance.get_ydata()[0] == pytest.approx(truth.mean())
        note = axes.texts[0].get_text()
        assert note == f"AP {expected:.3f}\nn = {truth.sum():,}"


def test_a_label_without_positives_says_so():
    labels, scores = predictions(3)
    labels[:, 1] = False
    figure = plots.precision_recall_curves(labels, scores, NAMES[:3])
    notes = [axes.texts[0].get_text() for axes in figure.axes]
    assert notes[1] == "no positives"
    assert "no positives" not in (notes[0], notes[2])


def test_panels_beyond_the_labels_stay_empty():
    labels, scores = predictions(7)
    figure = plots.precision_recall_curves(labels, scores, NAMES[:7])
    assert [axes.axison for axes in figure.axes] == [True] * 7 + [False] * 3


def test_history_has_a_panel_for_each_scale():
    figure = history()
    panels = {axes.get_title(): axes for axes in figure.axes if axes.axison}
    assert set(panels) == {"loss", "learning rate", "metrics", "coverage"}
    assert len(panels["loss"].lines) == 2
    assert panels["metrics"].get_ylim() == (0, 1)
    solid, dashed = panels["metrics"].lines
    assert (solid.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
    iterations, values = solid.get_data()
    assert (
        list(zip(iterations, values, strict=True))
        == HISTORY["validation/macro_average_precision"]
    )
    names = [text.get_text() for text in panels["metrics"].get_legend().get_texts()]
    assert names == ["validation macro average precision", "training micro f1 score"]
    assert figure.get_suptitle() == "resnet50, s2"


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.history_curves({}, "empty"), "at least one point"),
        (
            lambda: plots.history_curves({"training/loss": []}, "e"),
            "at least one point",
        ),
        (
            lambda: plots.per_label_bars(NAMES, [0.5], [1] * 19, None, COLOURS),
            "19 average_precision, one per label name, got 1",
        ),
        (
            lambda: plots.per_label_bars(["a"], [1], [1], {"priors": []}, ["red"]),
            "1 priors, .* got 0",
        ),
        (lambda: plots.per_label_bars([], [], [], None, []), "at least one label"),
        (
            lambda: plots.precision_recall_curves(*predictions(3), NAMES),
            "19 labels, .* got 3",
        ),
        (
            lambda: plots.precision_recall_curves(np.eye(3), np.eye(2), NAMES[:3]),
            r"one shape \(samples, labels\), got \(3, 3\) and \(2, 2\)",
        ),
    ],
)
def test_bad_input_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
