"""Runs that are killed, stopped, changed or damaged, and continued."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import long_tests
import numpy as np
import pytest
import toy
from run_files import ROOT, newest, tensors

from bigearthnet_tf import signals
from bigearthnet_tf.records import reader
from bigearthnet_tf.training import logs

SIGNALS = long_tests.beyond([signal.SIGINT], [signal.SIGTERM, signal.SIGINT])
EVERYTHING_RANDOM = {
    "nb_epoch": 150,
    "image_size": 32,
    "drop_rate": 0.3,
    "augmentation": ["flips", "quarter_turns", "crops", "band_drop", "noise"],
    "mixup_alpha": 0.4,
    "cutmix_alpha": 1.0,
    "ema_momentum": 0.9,
    "learning_rate_schedule": "one_cycle",
    "shuffle_buffer_size": 5,
    "log_per_iteration": 3,
    "save_checkpoint_per_iteration": 3,
    "validate_per_iteration": 40,
    "deterministic": True,
}


@pytest.fixture(autouse=True)
def handlers():
    """Puts back what answers signals: a watch that got one stays until the end."""
    before = {number: signal.getsignal(number) for number in signals.WATCHED}
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


def assert_equal_runs(a: Path, b: Path) -> None:
    """Same bits in every tensor of the last checkpoint, same points in the logs."""
    left, right = tensors(a), tensors(b)
    assert list(left) == list(right)
    for name, value in left.items():
        np.testing.assert_array_equal(value, right[name], err_msg=name)
    assert points(a) == points(b)


def points(run: Path) -> list[dict]:
    timed = ("images_per_second", "input_wait_share", "memory_gb")
    return [
        {key: value for key, value in point.items() if key not in timed}
        for point in logs.read_history(run)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kills", long_tests.beyond([3], [3, 4, 20]))
def test_killed_again_and_again_a_run_ends_bit_for_bit_the_same(
    records, write_config, tmp_path, kills
):
    whole = write_config(records, **EVERYTHING_RANDOM, out_dir=str(tmp_path / "whole"))
    command = [sys.executable, ROOT / "train.py"]
    subprocess.run([*command, whole], check=True, cwd=ROOT, capture_output=True)
    config = write_config(
        records, **EVERYTHING_RANDOM, out_dir=str(tmp_path / "killed")
    )
    killer = Path(__file__).with_name("killer.py")
    done = subprocess.run(
        [sys.executable, killer, config, str(kills)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["status"] == 0, done.stdout + done.stderr
    assert told["random"] + told["writing"] == kills
    assert told["writing"] >= kills // 3
    assert done.stdout.count("continuing from") >= kills // 2
    assert_equal_runs(tmp_path / "whole", tmp_path / "killed")


def start(config: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, ROOT / "train.py", config],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_saves_and_ends_the_run(call, records, write_config, tmp_path, number):
    keys = {
        "nb_epoch": 80,
        "image_size": 32,
        "drop_rate": 0.3,
        "log_per_iteration": 4,
        "validate_per_iteration": 60,
    }
    whole = write_config(records, **keys, out_dir=str(tmp_path / "whole"))
    assert call("train", whole).status == 0
    config = write_config(records, **keys)
    process = start(config)
    run = tmp_path / "run"
    wait_for(lambda: len(logs.read_history(run)) > 3, process)
    process.send_signal(number)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    line = complaint.strip().splitlines()[-1]
    iteration = newest(run)
    assert line == (
        f"{number.name} at iteration {iteration}: saved "
        f"{run}/checkpoints/iteration-{iteration}; the same command continues there"
    )
    assert 0 < iteration < 160
    assert not (run / ".lock").exists()
    assert call("train", config).status == 0
    assert_equal_runs(tmp_path / "whole", run)


@pytest.mark.long
@pytest.mark.parametrize(
    ("monitor", "which"),
    [("macro_average_precision", 1), ("label_cardinality", 2)],
)
def test_a_signal_in_a_validation_has_it_done_once_on_continuing(
    call, records, write_config, tmp_path, monkeypatch, monitor, which
):
    """In the first, which is the best so far, and in the last, which is not."""
    from bigearthnet_tf.training import scoring

    keys = {"validate_per_iteration": 2, "nb_epoch": 2, "monitor": monitor}
    whole = write_config(records, **keys, out_dir=str(tmp_path / "whole"))
    assert call("train", whole).status == 0
    config = write_config(records, **keys)
    score, asked = scoring.Scorer.score, []

    def interrupted(self, *arguments):
        asked.append(True)
        if len(asked) == which:
            signal.raise_signal(signal.SIGTERM)
        return score(self, *arguments)

    monkeypatch.setattr(scoring.Scorer, "score", interrupted)
    stopped = call("train", config)
    assert (stopped.status, newest(tmp_path / "run")) == (143, 2 * which)
    assert call("train", config).status == 0
    assert call("train", config).status == 0
    assert_equal_runs(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_in_a_step_ends_the_run_before_the_validation_that_is_due(
    call, records, write_config, tmp_path, monkeypatch, number
):
    from bigearthnet_tf.training import validation

    keys = {"validate_per_iteration": 1, "nb_epoch": 1}
    whole = write_config(records, **keys, out_dir=str(tmp_path / "whole"))
    assert call("train", whole).status == 0
    config = write_config(records, **keys)
    check = validation.check_losses

    def interrupted(losses, iteration):
        signal.raise_signal(number)
        check(losses, iteration)

    with monkeypatch.context() as patch:
        patch.setattr(validation, "check_losses", interrupted)
        stopped = call("train", config)
    assert (stopped.status, newest(tmp_path / "run")) == (128 + number, 1)
    first, *_, last = [x for x in stopped.err.splitlines() if x.startswith(number.name)]
    assert first == (
        f"{number.name}: finishing the step, then saving a checkpoint; "
        "once more ends at once"
    )
    assert last.startswith(f"{number.name} at iteration 1: saved ")
    assert not [p for p in points(tmp_path / "run") if p["split"] == "validation"]
    assert call("train", config).status == 0
    assert_equal_runs(tmp_path / "whole", tmp_path / "run")


def test_a_damaged_newest_checkpoint_is_named_and_passed_over(
    call, records, write_config, tmp_path
):
    whole = write_config(records, out_dir=str(tmp_path / "whole"))
    assert call("train", whole).status == 0
    config = write_config(records, save_checkpoint_per_iteration=1)
    assert call("train", config).status == 0
    folder = tmp_path / "run" / "checkpoints"
    last = folder / f"iteration-{newest(tmp_path / 'run')}"
    data = next(last.glob("state.data*"))
    data.write_bytes(data.read_bytes()[:1000])
    again = call("train", config)
    assert again.status == 0
    assert f"{last}: the checkpoint is damaged or incomplete" in again.out
    assert f"continuing from {folder / f'iteration-{newest(folder.parent) - 1}'}" in (
        again.out
    )
    assert_equal_runs(tmp_path / "whole", tmp_path / "run")


OTHERS = [
    ({"batch_size": 2}, "batch_size 2 (was 4)"),
    ({"seed": 7}, "seed 7 (was 42)"),
    ({"loss": "focal"}, "loss 'focal' (was 'sigmoid_cross_entropy')"),
    ({"optimizer": "sgd", "clip_norm": 1.0}, "optimizer 'sgd' (was 'adam'), "),
    ({"freeze": ["stem*"]}, "freeze ['stem*'] (was [])"),
    ({"ema_momentum": 0.9}, "ema_momentum 0.9 (was 0.0)"),
    ({"drop_rate": 0.5}, "drop_rate 0.5 (was 0.0)"),
    ({"head_dims": [8]}, "head_dims [8] (was [])"),
]


def test_another_config_is_no_continuation(call, records, write_config, tmp_path):
    assert call("train", write_config(records, nb_epoch=1)).status == 0
    before = (tmp_path / "run" / "config.json").read_bytes()
    for keys, told in OTHERS:
        outcome = call("train", write_config(records, **keys))
        assert outcome.status == 1, keys
        assert f"can't be continued with {told}" in outcome.complaint
        assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_other_records_are_no_continuation_but_another_place_is(
    call, records, write_config, tmp_path
):
    moved = shutil.copytree(records, tmp_path / "moved")
    other = shutil.copytree(records, tmp_path / "other")
    for path in other.glob("train*"):
        path.unlink()
    count = reader.open_records(f"{records}/train-*.tfrecord").num_records
    toy.write_records(other, count=count, version="v2")
    assert call("train", write_config(records, nb_epoch=1)).status == 0
    assert call("train", write_config(moved, nb_epoch=2)).status == 0
    outcome = call("train", write_config(other, nb_epoch=3))
    assert outcome.status == 1
    assert "other training records (tr_tf_record_files)" in outcome.complaint


def test_what_may_change(call, records, write_config, tmp_path):
    assert call("train", write_config(records, nb_epoch=1)).status == 0
    config = write_config(
        records, nb_epoch=2, log_per_iteration=1, monitor="micro_f1_score",
        keep_checkpoints=1, learning_rate=1e-4, iterations_per_call=1,
    )  # fmt: skip
    assert call("train", config).status == 0
    # The length of the run is part of a schedule that follows from it.
    other = {"learning_rate_schedule": "polynomial", "out_dir": str(tmp_path / "b")}
    assert call("train", write_config(records, nb_epoch=1, **other)).status == 0
    outcome = call("train", write_config(records, nb_epoch=2, **other))
    assert "can't be continued with nb_epoch 2 (was 1)" in outcome.complaint


def test_only_one_process_trains_in_a_folder(call, records, write_config, tmp_path):
    from bigearthnet_tf import runs

    with runs.held(tmp_path / "run"):
        outcome = call("train", write_config(records))
    assert outcome.status == 1
    assert "another train.py is at work there" in outcome.complaint
    assert call("train", write_config(records)).status == 0


def test_early_stopping_and_called_again(call, records, write_config, tmp_path):
    keys = {
        "nb_epoch": 50,
        "validate_per_iteration": 1,
        "early_stopping_patience": 2,
        "early_stopping_metric": "label_cardinality",
        "early_stopping_min_delta": 1000.0,
    }
    outcome = call("train", write_config(records, **keys))
    assert outcome.status == 0
    assert "no better label_cardinality in 2 validations" in outcome.out
    assert newest(tmp_path / "run") == 3
    again = call("train", write_config(records, **keys))
    assert "the run ended early at iteration 3" in again.out
    patient = call(
        "train", write_config(records, **keys | {"early_stopping_patience": 4})
    )
    assert patient.status == 0
    assert newest(tmp_path / "run") == 5


@pytest.mark.parametrize("key", ["monitor", "early_stopping_metric"])
def test_metrics_that_do_not_exist_are_told_before_anything_begins(
    call, records, write_config, tmp_path, key
):
    outcome = call("train", write_config(records, **{key: "macro_map"}))
    assert outcome.status == 1
    assert f"{key}: no validation metric 'macro_map'; choose one of" in (
        outcome.complaint
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not shutil.which("mount"), reason="needs mount")
def test_a_full_disk_while_saving(call, records, write_config, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        config = write_config(
            records, out_dir=str(disk / "run"), save_checkpoint_per_iteration=1,
            keep_checkpoints=0, nb_epoch=10,
        )  # fmt: skip
        outcome = call("train", config)
        assert outcome.status == 1
        assert "could not be written" in outcome.complaint
        assert "make room and call again" in outcome.complaint
        saved = newest(disk / "run")
        assert saved >= 1
        for path in (disk / "run" / "checkpoints").glob("iteration-*"):
            if path.name != f"iteration-{saved}":
                shutil.rmtree(path)
        again = call(
            "train", write_config(records, out_dir=str(disk / "run"), nb_epoch=10,
                                  keep_checkpoints=1),
        )  # fmt: skip
        assert f"continuing from {disk}/run/checkpoints/iteration-{saved}" in again.out
        assert again.status == 0
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.long
def test_a_profile_on_demand(call, records, write_config, tmp_path):
    config = write_config(records, nb_epoch=20)
    outcome = call("train", config, "--profile", 3)
    assert outcome.status == 0
    assert "profile of 3 iterations" in outcome.out
    assert list((tmp_path / "run" / "logs" / "training").rglob("*.xplane.pb"))
    short = write_config(records, nb_epoch=1, out_dir=str(tmp_path / "short"))
    assert "no profile: it begins after 10" in call("train", short, "--profile", 3).out
    assert call("train", config, "--profile", -3).status == 2
