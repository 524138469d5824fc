"""Curves of event files, ours and those of other programs."""

import csv
import io

import numpy as np
import pytest
from event_folders import balanced_scalars, write_events
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from bigearthnet_tf.evaluation import curves, event_files, histories
from bigearthnet_tf.training import logs


def test_splits_come_from_the_tags_of_balanced_bigearthnet(tmp_path):
    write_events(tmp_path / "storage" / "ShortCNN_RGB", balanced_scalars(3))
    (run,) = histories.read_runs([tmp_path / "storage"])
    assert (run.name, run.unit) == ("ShortCNN_RGB", "step")
    expected = {
        ("training", "loss"): [1, 1 / 2, 1 / 3],
        ("training", "accuracy"): [80, 81, 82],
        ("validation", "loss"): [1.2, 0.6, 0.4],
        ("validation", "accuracy"): [78, 79, 80],
    }
    for (split, measure), values in expected.items():
        found = run.series(split, measure)
        np.testing.assert_array_equal(found[:, 0], [0, 1, 2])
        np.testing.assert_allclose(found[:, 1], values, rtol=1e-6)
    panels = curves.panels([run], curves.choose_metrics([run]))
    assert {name: [p.title for p in of] for name, of in panels.items()} == {
        "losses": ["training: loss", "validation: loss"],
        "metrics": ["training: accuracy", "validation: accuracy"],
    }


def test_our_event_files_say_what_our_history_says(tmp_path):
    log = logs.RunLog(tmp_path / "run")
    for step in (2, 4):
        log.write("training", step, {"focal_loss": 1 / step, "learning_rate": 0.5})
    single = {"f1": {"Pastures": 0.5, "Transitional woodland/shrub": 0.25}}
    log.write("validation", 4, {"focal_loss": 0.5, "micro_auroc": 0.75}, single)
    log.write_histograms("validation", 4, {"scores": [0.5, 0.25]})
    log.close()
    (by_history,) = histories.read_runs([tmp_path / "run"])
    (tmp_path / "run" / "history.jsonl").unlink()
    (by_events,) = histories.read_runs([tmp_path / "run"])
    # TensorFlow writes float32, in which these numbers are what they are.
    assert sorted(map(repr, by_events.points)) == sorted(
        repr({key: point[key] for key in point}) for point in by_history.points
    )
    assert by_events.name == "run"


def test_each_folder_below_is_a_run(tmp_path):
    for name in ("a/ShortCNN_RGB", "a/InceptionV3", "b/logs/validation"):
        write_events(tmp_path / name, balanced_scalars(1))
    names = [run.name for run in histories.read_runs([tmp_path])]
    assert names == ["InceptionV3", "ShortCNN_RGB", "b"]


def test_a_file_that_is_cut_off_is_read_up_to_there(tmp_path, caplog):
    path = write_events(tmp_path, balanced_scalars(3))
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    points = event_files.read([path])
    assert "after 12 events; drawn up to there" in caplog.text
    assert points[-1] == {
        "split": "validation",
        "iteration": 2,
        "loss": pytest.approx(0.4),
    }
    # A byte in the middle that is not what was written ends it, too.
    path.write_bytes(content[:-30] + b"\xff" + content[-29:])
    assert event_files.read([path]) == points


@pytest.mark.parametrize("content", [b"no events" * 20, b"\x01", b"\0" * 64])
def test_what_is_no_event_file_is_refused(tmp_path, content):
    path = tmp_path / "events.out.tfevents.1.host"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="expected a TensorBoard event file") as caught:
        event_files.read([path])
    assert str(caught.value).startswith(str(path))


def test_records_of_another_kind_are_no_events(tmp_path):
    import tensorflow as tf

    path = tmp_path / "events.out.tfevents.1.host"
    with tf.io.TFRecordWriter(str(path)) as file:
        file.write(tf.train.Example().SerializeToString())
    with pytest.raises(ValueError, match="expected a TensorBoard event file"):
        event_files.read([path])


def test_of_the_same_step_the_later_file_counts(tmp_path, caplog):
    first = write_events(tmp_path, [("loss/train", 1.0, 0), ("loss/train", 2.0, 1)])
    later = write_events(tmp_path / "later", [("loss/train", 3.0, 1)])
    points = event_files.read([first, later])
    assert [point["loss"] for point in points] == [1.0, 3.0]
    assert f"{first}: a later event file has values for the same steps" in caplog.text


def test_empty_files_and_values_that_are_not_finite(tmp_path, caplog):
    (tmp_path / "events.out.tfevents.1.empty").touch()
    scalars = [("loss/train", float("nan"), 0), ("loss/train", 0.5, 1)]
    write_events(tmp_path / "train", scalars)
    (run,) = histories.read_runs([tmp_path])
    np.testing.assert_array_equal(run.series("training", "loss"), [[1, 0.5]])
    assert "no event in it yet" in caplog.text


def test_values_that_are_no_single_number_are_passed_over(tmp_path, caplog):
    writer = EventFileWriter(str(tmp_path))
    odd = [
        tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1.0, 2.0]),
        tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1.0]),
        tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[b"a"]),
        tensor_pb2.TensorProto(dtype=99),
        tensor_pb2.TensorProto(dtype=types_pb2.DT_DOUBLE, double_val=[0.5]),
    ]
    # Four values, and 16 GiB of them.
    odd[0].tensor_shape.dim.add(size=2)
    for size in (1 << 20, 1 << 12):
        odd[1].tensor_shape.dim.add(size=size)
    for step, tensor in enumerate(odd):
        summary = summary_pb2.Summary()
        value = summary.value.add(tag="loss/train", tensor=tensor)
        value.metadata.plugin_data.plugin_name = "scalars"
        writer.add_event(event_pb2.Event(step=step, summary=summary))
    writer.close()
    found = event_files.read(sorted(tmp_path.glob("*tfevents*")))
    assert found == [{"split": "training", "iteration": 4, "loss": 0.5}]
    assert "cut off" not in caplog.text


def test_tags_that_differ_by_their_heading_alone_stay_apart(tmp_path):
    scalars = [("a/loss", 1.0, 0), ("b/loss", 7.0, 0), ("c/x", 2.0, 0)]
    path = write_events(tmp_path, scalars)
    (point,) = event_files.read([path])
    assert (point["a_loss"], point["b_loss"], point["x"]) == (1.0, 7.0, 2.0)


def test_one_file_that_is_none_does_not_stop_the_others(tmp_path, caplog):
    path = write_events(tmp_path, [("loss/train", 1.0, 0)])
    other = tmp_path / "notes.tfevents.txt"
    other.write_text("no events")
    assert len(event_files.read([path, other])) == 1
    assert f"{other}: expected a TensorBoard event file" in caplog.text
    with pytest.raises(ValueError, match="expected a TensorBoard event file"):
        event_files.read([other])


def test_table_of_all_points(tmp_path):
    write_events(tmp_path / "ShortCNN_RGB", balanced_scalars(1))
    rows = list(
        csv.DictReader(io.StringIO(histories.as_csv(histories.read_runs([tmp_path]))))
    )
    assert tuple(rows[0]) == histories.COLUMNS
    found = {(row["split"], row["measure"]): float(row["value"]) for row in rows}
    assert found == {
        ("training", "loss"): 1.0,
        ("training", "accuracy"): 80.0,
        ("validation", "loss"): pytest.approx(1.2),
        ("validation", "accuracy"): 78.0,
    }
    assert {(row["run"], row["iteration"]) for row in rows} == {("ShortCNN_RGB", "0")}
