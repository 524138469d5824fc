"""Curves of runs: what is read, what is drawn, and the page."""

import io
import itertools
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colors
from matplotlib.figure import Figure
from PIL import Image
from test_report import Page

from bigearthnet_tf import pictures
from bigearthnet_tf.evaluation import curves, curves_page, histories

LOSS = "sigmoid_cross_entropy_loss"


def write_run(folder, values=(0.25, 0.75, 0.5), points=60, **config):
    """A run with some training points and a validation for each value."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "split": "training",
            "iteration": 10 * i,
            LOSS: 1 / i,
            "learning_rate": 0.1,
            "images_per_second": 1500.0 + i,
        }
        for i in range(1, points + 1)
    ]
    for number, value in enumerate(values, 1):
        loss = None if value is None else 1 - value
        scores = {"macro_average_precision": value, LOSS: loss, "coverage": 2.0}
        lines.append({"split": "validation", "iteration": 200 * number, **scores})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "history.jsonl").write_text(text)
    content = {"model_name": "ResNet50", "monitor": "coverage"}
    (folder / "config.json").write_text(json.dumps(content | config))
    return folder


@pytest.fixture
def runs(tmp_path):
    folders = [
        write_run(tmp_path / "first", seed=1),
        write_run(tmp_path / "second", (0.5, 0.6), seed=2, crop=0.5),
    ]
    return histories.read_runs(folders)


def test_values_that_are_not_finite_are_left_out(tmp_path):
    folder = write_run(tmp_path / "run", values=(0.5, None, 0.25))
    (run,) = histories.read_runs([folder])
    series = run.series("validation", "macro_average_precision")
    np.testing.assert_array_equal(series, [[200, 0.5], [600, 0.25]])
    assert run.series("validation", "absent").shape == (0, 2)
    assert run.iterations == 600


def test_runs_are_told_apart_by_as_little_as_needed(tmp_path):
    folders = [write_run(tmp_path / name) for name in ("a/x", "b/x", "c/y")]
    names = [run.name for run in histories.read_runs(folders)]
    assert names == [str(folders[0]), str(folders[1]), "y"]


def test_a_run_that_is_being_written_is_read_up_to_its_last_line(tmp_path):
    path = write_run(tmp_path / "run") / "history.jsonl"
    path.write_text(path.read_text() + '{"split": "tr')
    assert len(histories.read_runs([path.parent])[0].points) == 63


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda f: None, FileNotFoundError, "no such folder; give the out_dir"),
        (lambda f: f.mkdir(), FileNotFoundError, "history.jsonl: not there"),
        (
            lambda f: (write_run(f) / "history.jsonl").write_text(""),
            ValueError,
            "no scalar of training or validation in it",
        ),
        (
            lambda f: (write_run(f) / "history.jsonl").write_text("{\n{}\n"),
            ValueError,
            "line 1 of 2 is not a point",
        ),
        (
            lambda f: (write_run(f) / "config.json").write_text("{"),
            ValueError,
            "config.json: expected JSON",
        ),
        (
            lambda f: (write_run(f) / "config.json").write_text("[]"),
            ValueError,
            "config.json: expected keys and values",
        ),
    ],
)
def test_bad_runs_are_told(tmp_path, damage, error, message):
    damage(tmp_path / "run")
    with pytest.raises(error, match=message):
        histories.read_runs([tmp_path / "run"])


def test_a_run_is_not_drawn_twice(tmp_path):
    folder = write_run(tmp_path / "run")
    with pytest.raises(ValueError, match="given twice"):
        histories.read_runs([folder, tmp_path / "x" / ".." / "run"])


def test_without_a_config_a_run_is_drawn_all_the_same(tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "config.json").unlink()
    (run,) = histories.read_runs([folder])
    assert curves.choose_metrics([run]) == ["macro_average_precision"]


def test_metrics_are_the_main_ones_and_the_monitors_or_those_asked_for(runs):
    assert curves.choose_metrics(runs) == ["macro_average_precision", "coverage"]
    assert curves.choose_metrics(runs, [LOSS, LOSS]) == [LOSS]
    with pytest.raises(ValueError, match="did you mean 'macro_average_precision'"):
        curves.choose_metrics(runs, ["macro_averageprecision"])


def test_panels_without_points_are_left_out(runs):
    found = curves.panels(runs, curves.choose_metrics(runs))
    measures = {name: [panel.measure for panel in of] for name, of in found.items()}
    assert measures == {
        "losses": [LOSS, LOSS],
        "metrics": ["macro_average_precision", "coverage"],
        "optimization": ["learning_rate"],
        "throughput": ["images_per_second"],
    }


def test_metrics_of_training_stand_beside_those_of_validation(tmp_path):
    folder, label = write_run(tmp_path / "run"), f"f1/{'long name, ' * 8}"
    with (folder / "history.jsonl").open("a") as file:
        for split, value in (("training", 0.5), ("validation", 0.25)):
            point = {"split": split, "iteration": 700, "micro_f1_score": value}
            file.write(json.dumps(point | {label: value} if value < 0.5 else point))
            file.write("\n")
    (run,) = histories.read_runs([folder])
    chosen = curves.choose_metrics([run], [label, "micro_f1_score"])
    drawn = curves.panels([run], chosen)["metrics"]
    assert [(panel.split, panel.measure) for panel in drawn] == [
        ("training", "micro_f1_score"),
        ("validation", "micro_f1_score"),
        ("validation", label),
    ]
    assert drawn[0].title == "training: micro f1 score"
    # Names of labels are longer than a panel is wide.
    assert max(map(len, drawn[2].title.split("\n"))) <= 40
    assert " ".join(drawn[2].title.split()) == label.strip()


def test_the_best_point_is_the_first_best_one():
    series = np.array([[1, 0.5], [2, 0.75], [3, 0.75], [4, 0.25]])
    assert curves.best(series, "macro_auroc").tolist() == [2, 0.75]
    assert curves.best(series, "ranking_loss").tolist() == [4, 0.25]


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=200))
def test_smoothing_is_a_mean_of_neighbours(values):
    reach = len(values) // 60
    expected = [
        np.mean(values[max(0, i - reach) : i + reach + 1]) for i in range(len(values))
    ]
    np.testing.assert_allclose(curves.smooth(np.array(values)), expected, atol=1e-8)


def curves_of(panel, runs, axis="iteration"):
    axes = Figure().subplots()
    curves.draw_panel(axes, runs, panel, axis)
    return axes


def test_a_panel_has_the_points_and_over_them_the_smooth_curve(runs):
    axes = curves_of(curves.Panel("loss", "training", LOSS, smoothed=True), runs)
    raw, smooth, *_ = axes.get_lines()
    np.testing.assert_allclose(raw.get_ydata(), 1 / np.arange(1, 61))
    np.testing.assert_allclose(smooth.get_ydata(), curves.smooth(raw.get_ydata()))
    assert raw.get_zorder() < smooth.get_zorder()
    # From 1 to 1/60: a ratio beyond 50 once it is not smoothed.
    assert curves_of(curves.Panel("loss", "training", LOSS), runs).get_yscale() == "log"


def test_few_points_have_markers(runs):
    panel = curves.Panel("AP", "validation", "macro_average_precision")
    first, second = curves_of(panel, runs).get_lines()
    assert first.get_marker() == second.get_marker() == "o"
    np.testing.assert_array_equal(
        first.get_xydata(), runs[0].series("validation", panel.measure)
    )


def test_epochs_follow_from_the_records_that_checkpoints_know(runs):
    panel = curves.Panel("AP", "validation", "macro_average_precision")
    with pytest.raises(ValueError, match="draw against iterations"):
        curves_of(panel, runs, "epoch")
    for run in runs:
        folder = run.folder / "checkpoints" / "iteration-200"
        folder.mkdir(parents=True)
        progress = {"training_records": 1600, "config": {"batch_size": 4}}
        (folder / "description.json").write_text(json.dumps({"progress": progress}))
    first, _ = curves_of(panel, runs, "epoch").get_lines()
    np.testing.assert_array_equal(first.get_xdata(), [0.5, 1.0, 1.5])


def test_training_and_validation_have_one_scale(runs):
    drawn = curves.panels(runs, [])["losses"]
    training, validation = curves.draw(runs, drawn).get_axes()
    assert training.get_ylim() == validation.get_ylim()
    assert training.get_yscale() == validation.get_yscale()


def test_many_runs_all_look_different():
    looks = [curves.style(number) for number in range(35)]
    assert len({(look["color"], str(look["linestyle"])) for look in looks}) == 35
    # Neighbours differ in both.
    for one, other in itertools.pairwise(looks):
        assert one["color"] != other["color"]
        assert one["linestyle"] != other["linestyle"]


def test_a_picture_shows_every_run_in_its_colour(runs):
    drawn = curves.panels(runs, [])["losses"]
    png = pictures.to_png(curves.draw(runs, drawn))
    assert png == pictures.to_png(curves.draw(runs, drawn))
    seen = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3)
    for number in range(2):
        colour = 255 * np.array(colors.to_rgb(curves.COLOURS[number]))
        assert (np.abs(seen - colour).max(axis=1) < 2).sum() > 500


def test_differences_of_configs(runs):
    assert curves.differences(runs) == {"seed": [1, 2], "crop": [None, 0.5]}
    assert curves.differences(runs[:1]) == {}


@pytest.fixture
def source(runs, tmp_path):
    metrics = curves.choose_metrics(runs)
    path = tmp_path / "out" / "curves.html"
    curves_page.write(path, runs, curves.panels(runs, metrics), metrics)
    return path.read_text()


def test_the_page_loads_nothing_and_runs_nothing(source):
    assert not re.search(r"<(script|link|iframe|object|embed|img|base)\b", source)
    assert not re.search(r"url\((?!#)", source)
    references = re.findall(r'(?:href|src)="([^"]*)"', source)
    assert references
    assert all(reference.startswith("#") for reference in references)


def test_the_page_has_best_and_last_values(source):
    text = re.sub(r"<svg.*?</svg>", "", source, flags=re.DOTALL)
    rows = {row[0]: row[1:] for row in Page(text).cells}
    assert rows["macro_average_precision, best"] == ["0.7500 at 400", "0.6000 at 400"]
    assert rows["macro_average_precision, last"] == ["0.5000 at 600", "0.6000 at 400"]
    assert rows[f"{LOSS}, best"] == ["0.2500 at 400", "0.4000 at 400"]
    assert rows["images_per_second, median"] == ["1,530", "1,530"]
    assert rows["seed"] == ["1", "2"]
    winner = '<td class="best">0.7500 <small>at 400</small></td>'
    assert text.count('class="best"') == 3
    assert winner in text


def test_the_page_follows_the_colours_of_the_reader(source):
    for colour in (pictures.INK, pictures.GREY, pictures.LIGHT):
        # Only where the variables get their values.
        assert source.count(colour) == source.split("</style>")[0].count(colour)


def test_the_same_runs_give_the_same_page(runs, source, tmp_path):
    metrics = curves.choose_metrics(runs)
    path = tmp_path / "again.html"
    curves_page.write(path, runs, curves.panels(runs, metrics), metrics)
    assert path.read_text() == source


def test_names_are_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    folder = write_run(tmp_path / "<b>&run", model_name=evil)
    runs = histories.read_runs([folder])
    curves_page.write(tmp_path / "x.html", runs, {}, [])
    page = (tmp_path / "x.html").read_text()
    assert evil not in page
    assert "&lt;b&gt;&amp;run" in page
