"""Reports against counts by hand, and the picture that goes with them."""

import io
import json
import math

import numpy as np
import pandas as pd
import pytest

from bigearthnet_tf import pictures
from bigearthnet_tf.archive import (
    division,
    labels,
    patch_set,
    split_picture,
    split_report,
    stratification,
)

ALL_LABELS = labels.label_names("BigEarthNet-19")


def make_patches(folder, count=60, columns=ALL_LABELS[:4], tile="33UUP", seed=0):
    """Patches in a row of land whose last label nobody has."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"patch": [name(index, tile) for index in range(count)]})
    for label in columns[:-1]:
        frame[label] = rng.integers(0, 2, count)
    frame[columns[-1]] = 0
    path = folder / "labels.csv"
    frame.to_csv(path)
    return patch_set.from_label_table(path)


def name(index, tile):
    where = f"_N9999_R022_T{tile}_{index:02}_00" if tile else f"_{index}_0"
    return f"S2A_MSIL2A_20170613T101031{where}"


def assign(patches, sizes):
    assigned = np.repeat(np.arange(len(sizes)), sizes)
    splits = ("train", "val", "test")[: len(sizes)]
    return division.Division("by hand", splits, assigned, (0.5, 0.3, 0.2))


@pytest.fixture
def report(tmp_path):
    patches = make_patches(tmp_path)
    divided = assign(patches, [30, 20, 10])
    return split_report.describe(patches, divided, 5, {"seed": 5})


def test_counts_and_deviations_by_hand(tmp_path, report):
    table = pd.read_csv(tmp_path / "labels.csv", index_col=0)
    whole = table.iloc[:, 1:]
    ranges = {"train": slice(0, 30), "val": slice(30, 50), "test": slice(50, 60)}
    content = split_report.as_json(report)
    largest = 0.0
    for split, rows in ranges.items():
        own, written = whole.iloc[rows], content["splits"][split]
        assert written["patches"] == len(own)
        assert written["share"] == len(own) / 60
        deviations = []
        for label in whole:
            found = written["labels"][label]
            assert found["patches"] == own[label].sum()
            assert found["frequency"] == pytest.approx(own[label].mean())
            if whole[label].any():
                deviations.append(own[label].mean() / whole[label].mean() - 1)
                assert found["deviation"] == pytest.approx(deviations[-1])
            else:
                assert found["deviation"] is None
        extreme = max(deviations, key=abs)
        assert written["deviation"]["largest"] == pytest.approx(extreme)
        assert written["deviation"]["mean_absolute"] == pytest.approx(
            np.abs(deviations).mean()
        )
        shares = own.sum() / own.sum().sum() - whole.sum() / whole.sum().sum()
        assert written["deviation"]["total_variation"] == pytest.approx(
            shares.abs().sum() / 2
        )
        largest = max(largest, extreme, key=abs)
    assert content["largest_deviation"]["value"] == pytest.approx(largest)
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_the_random_split_has_the_same_sizes(tmp_path, report):
    multi_hot = make_patches(tmp_path).multi_hot
    random = stratification.shuffle([30, 20, 10], 5)
    expected = [multi_hot[random == split].sum(axis=0) for split in range(3)]
    np.testing.assert_array_equal(report.random.counts, expected)
    assert (report.random.counts != report.balance.counts).any()


def test_contacts_of_a_row_of_patches(report):
    contacts = split_report.as_json(report)["splits"]
    # In a row of patches, each border has one patch on either side.
    assert contacts["train"]["contacts"]["val"]["touching"] == 1
    assert contacts["train"]["contacts"]["test"]["touching"] == 0
    assert contacts["test"]["contacts"]["val"] == {
        "touching": 1,
        "overlapping": 0,
        "same_place": 0,
    }


def test_the_table(report):
    frame = split_report.as_frame(report)
    assert frame["acronym"].tolist() == ["UF", "ICU", "AL", "PC"]
    assert frame["patches"].tolist() == report.balance.counts.sum(axis=0).tolist()
    columns = [f"{split}_patches" for split in report.division.splits]
    assert (frame[columns].sum(axis=1) == frame["patches"]).all()
    assert math.isnan(frame["val_deviation"].iloc[-1])


def test_the_text(report):
    text = split_report.as_markdown(report)
    assert "60 patches, by hand" in text
    assert "| seed | 5 |" in text
    assert "No patch has Permanent crops." in text
    assert "| train | 30 | 50.00% | 50.00% |" in text
    assert "nan" not in text
    tables = [
        block.splitlines() for block in text.split("\n\n") if block.startswith("|")
    ]
    assert len(tables) == 4
    for rows in tables:
        assert len({row.count("|") for row in rows}) == 1


def test_what_is_not_known_is_said(tmp_path):
    patches = make_patches(tmp_path, tile="")
    divided = assign(patches, [30, 20, 10])
    report = split_report.describe(patches, divided, 0, {})
    assert "Not known: v1 names do not say" in split_report.as_markdown(report)
    assert split_report.as_json(report)["patches_of_unknown_place"] == 60
    bare = patch_set.PatchSet(
        patches.table, np.empty((60, 0), np.uint8), (), "original"
    )
    report = split_report.describe(bare, divided, 0, {})
    assert "The source has no labels" in split_report.as_markdown(report)
    content = split_report.as_json(report)
    assert content["largest_deviation"] is content["label_type"] is None
    with pytest.raises(ValueError, match="at least one patch with a label"):
        split_picture.label_figure(report)


def test_a_split_whose_patches_have_no_label(tmp_path):
    patches = make_patches(tmp_path)
    patches.multi_hot[50:] = 0
    report = split_report.describe(patches, assign(patches, [30, 20, 10]), 0, {})
    content = split_report.as_json(report)["splits"]["test"]["deviation"]
    assert content["largest"] == -1
    assert content["total_variation"] is None
    assert "nan" not in split_report.as_markdown(report)


def test_the_picture_shows_what_was_counted(report):
    figure = split_picture.label_figure(report)
    above, below = figure.axes
    order = np.argsort(-report.balance.counts.sum(axis=0), kind="stable")[:3]
    ticks = [tick.get_text() for tick in below.get_xticklabels()]
    assert ticks == [report.acronyms[index] for index in order]
    bars = [bar.get_height() for bar in above.patches]
    assert bars == report.balance.counts.sum(axis=0)[order].tolist()
    shown = [line.get_ydata().tolist() for line in above.lines]
    assert shown == report.balance.counts[:, order].tolist()
    deviations = [line.get_ydata() for line in below.lines[1::2]]
    np.testing.assert_allclose(deviations, 100 * report.balance.deviation[:, order])


@pytest.mark.parametrize(("splits", "columns"), [(2, 19), (5, 19), (5, 43), (12, 43)])
def test_pictures_of_any_size_hold_their_legend(tmp_path, splits, columns):
    from PIL import Image

    kind = "original" if columns == 43 else "BigEarthNet-19"
    patches = make_patches(tmp_path, columns=labels.label_names(kind))
    names = tuple(f"fold_{index}" for index in range(splits))
    divided = division.Division("by hand", names, np.arange(60) % splits)
    report = split_report.describe(patches, divided, 0, {})
    figure = split_picture.label_figure(report)
    data = pictures.to_png(figure)
    assert data == pictures.to_png(split_picture.label_figure(report))
    assert Image.open(io.BytesIO(data)).width >= 1900
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
