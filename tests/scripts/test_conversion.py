"""`prep_splits.py` as a user meets it: killed, called twice, on several processes."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import long_tests
import pytest
import rasterio

from bigearthnet_tf.archive import sample
from bigearthnet_tf.records import reader
from bigearthnet_tf.records.unfinished import exclusive

ROOT = Path(__file__).parents[2]

# The script with as many workers as asked for, for however few patches.
PROGRAM = f"""
import runpy
from bigearthnet_tf.records import convert
convert.PATCHES_PER_WORKER = 1
runpy.run_path({str(ROOT / "prep_splits.py")!r}, run_name="__main__")
"""


def contents(folder) -> dict:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    out = tmp_path_factory.mktemp("many") / "archive"
    sample.write_archive(out, 150, version="v2", seed=2, workers=2)
    return [
        *("-r", out / "BigEarthNet-S2", "-s", out / "BigEarthNet-S1"),
        *("--metadata", out / "metadata.parquet", "--shard-size-mb", "2"),
    ]


@pytest.fixture(scope="module")
def undisturbed(arguments, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "records"
    assert start(arguments, out, 1).wait() == 0
    return out


def start(arguments, out, workers) -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    return subprocess.Popen(
        [*command, "-o", str(out), "--workers", str(workers)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def finished_shards(out) -> dict[str, int]:
    """When each shard was written that is known to be whole."""
    found = {}
    for note in out.glob(".*.partial/*.tfrecord.json"):
        shard = note.with_suffix("")
        if shard.exists():
            found[shard.name] = shard.stat().st_mtime_ns
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kills", long_tests.beyond([4], [4, 20]))
def test_killed_at_any_moment_it_finishes_with_the_same_bytes(
    tmp_path, arguments, undisturbed, kills
):
    random.seed(0)
    killed, attempt, written = 0, 0, {}
    while killed < kills:
        out = tmp_path / str(attempt)
        workers = 1 + killed % 2
        process = start(arguments, out, workers)
        while not (out / ".lock").exists() and process.poll() is None:
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.6 if workers == 1 else 4))
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            killed += 1
            written |= finished_shards(out)
        else:
            compare(out, undisturbed, written)
            attempt, written = attempt + 1, {}
    assert start(arguments, tmp_path / str(attempt), 2).wait() == 0
    compare(tmp_path / str(attempt), undisturbed, written)


def compare(out, undisturbed, written):
    """Same files, same bytes, and what was finished before a kill is that very file."""
    assert contents(out) == contents(undisturbed)
    times = {p.name: p.stat().st_mtime_ns for p in out.glob("*.tfrecord")}
    assert {name: times[name] for name in written} == written


@pytest.mark.long
def test_any_number_of_workers_writes_the_same_shards(tmp_path, arguments, undisturbed):
    for workers in (2, 3):
        assert start(arguments, tmp_path / str(workers), workers).wait() == 0
        assert contents(tmp_path / str(workers)) == contents(undisturbed)


@pytest.mark.long
def test_so_does_beam_with_several_workers(tmp_path, arguments, undisturbed):
    pytest.importorskip("apache_beam", reason="the extra beam is not installed")
    beam = ["--runner", "DirectRunner", "--direct_num_workers", "2"]
    beam += ["--direct_running_mode", "multi_processing"]
    process = start([*arguments, *beam], tmp_path / "beam", 1)
    assert process.wait() == 0
    assert contents(tmp_path / "beam") == contents(undisturbed)


def test_two_at_once_refuse(call, archive_v2, tmp_path):
    with exclusive(tmp_path):
        result = call(
            *("prep_splits", "-r", archive_v2 / "BigEarthNet-S2", "-o", tmp_path),
            *("--metadata", archive_v2 / "metadata.parquet"),
        )
    assert result.status == 1
    assert "another conversion writes there" in result.complaint


def test_damaged_patches_are_left_out_with_a_report(call, tmp_path):
    archive = sample.write_archive(
        tmp_path / "archive", 16, version="v2", seed=1, workers=1
    )
    folders = sorted((archive / "BigEarthNet-S2").glob("*/*"))
    next(folders[0].glob("*_B03.tif*")).write_bytes(b"II*\0")
    next(folders[1].glob("*_B8A.tif*")).unlink()
    arguments = [
        *("prep_splits", "-r", archive / "BigEarthNet-S2", "-o", tmp_path / "out"),
        *("--metadata", archive / "metadata.parquet"),
    ]
    refused = call(*arguments)
    assert refused.status == 1
    assert any(folder.name in refused.complaint for folder in folders[:2])
    assert not list((tmp_path / "out").glob("*.manifest.json"))
    assert call(*arguments, "--on-error", "skip").status == 0
    reports = [p.read_text() for p in (tmp_path / "out").glob("*.left_out.csv")]
    lines = [line for text in reports for line in text.splitlines()[1:]]
    assert len(lines) == 2
    for folder, reason in zip(folders, ("B03", "B8A"), strict=False):
        assert any(folder.name in line and reason in line for line in lines)
    manifests = [
        json.loads(p.read_text()) for p in (tmp_path / "out").glob("*.manifest.json")
    ]
    assert sum(m["num_records"] for m in manifests) == 14
    assert sum(m["left_out"] for m in manifests) == 2


def test_beam_not_installed(call, archive_v2, tmp_path, monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "apache_beam"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "bigearthnet_tf.records.beam", raising=False)
    monkeypatch.delattr("bigearthnet_tf.records.beam", raising=False)
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    result = call(
        *("prep_splits", "-r", archive_v2 / "BigEarthNet-S2", "-o", tmp_path / "out"),
        *("--metadata", archive_v2 / "metadata.parquet", "--runner", "FlinkRunner"),
    )
    assert result.status == 1
    assert "pip install '.[beam]' in the checkout" in result.complaint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-r", "a", "--lmdb", "b"], "or --lmdb alone"),
        ([], "or --lmdb alone"),
        (["--lmdb", "b", "--maps", "c"], "none with --lmdb"),
        (["-r", "a", "--maps"], "give --maps the folder"),
        (["-r", "a", "--sensors", "S1"], "give --sensors with --lmdb alone"),
        (["-r", "a", "--direct_num_workers", "2"], "unrecognized arguments"),
    ],
)
def test_wrong_calls(call, tmp_path, arguments, message):
    result = call("prep_splits", *arguments, "-o", tmp_path, "-n", "x.csv")
    assert result.status == 2
    assert message in result.complaint


@pytest.mark.slow
@pytest.mark.parametrize("kills", long_tests.beyond([2], [2, 6]))
def test_overwriting_after_kills_has_the_patches_of_today(
    tmp_path, arguments, undisturbed, kills
):
    """Killed while they overwrite records, calls never mix an archive with an older."""
    random.seed(1)
    archive, out = tmp_path / "archive", tmp_path / "records"
    shutil.copytree(arguments[1].parent, archive)
    shutil.copytree(undisturbed, out)
    moved = [
        archive / word.name if isinstance(word, Path) else word for word in arguments
    ]
    for kill in range(kills):
        process = start([*moved, "--overwrite"], out, 1)
        begun = time.monotonic()
        while not finished_shards(out) and process.poll() is None:
            time.sleep(0.005)
            assert time.monotonic() - begun < 300
        time.sleep(random.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        brighten(archive, kill)
    assert start([*moved, "--overwrite"], out, 1).wait() == 0
    assert start(moved, tmp_path / "fresh", 1).wait() == 0
    assert contents(out) == contents(tmp_path / "fresh")


def brighten(archive, number):
    """Changes a pixel of one patch in eight."""
    for path in sorted(archive.glob("BigEarthNet-S2/*/*/*_B04.tif"))[number::8]:
        with rasterio.open(path, "r+") as dataset:
            pixels = dataset.read()
            pixels[0, 0, 0] += 1
            dataset.write(pixels)


def test_overwrite_mends_damaged_records(call, archive_v2, tmp_path):
    arguments = (
        "-r", archive_v2 / "BigEarthNet-S2", "-o", tmp_path, "--workers", 1,
        "--metadata", archive_v2 / "metadata.parquet",
    )  # fmt: skip
    assert call("prep_splits", *arguments).status == 0
    shard = tmp_path / "train-00000-of-00001.tfrecord"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    (tmp_path / "val.manifest.json").write_text("{")
    assert call("prep_splits", *arguments, "--overwrite").status == 0
    assert shard.read_bytes() == whole
    assert reader.open_records(str(tmp_path / "val-*.tfrecord")).num_records == 4


def test_a_disk_that_fills_up_leaves_nothing_half_written(
    archive_v1, tmp_path, monkeypatch
):
    """The limit of a file's size stands for a full disk: writes fail half-way."""
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))\n"
        "import runpy; runpy.run_path('prep_splits.py', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "-r", archive_v1 / "BigEarthNet-v1.0", "-n",
         archive_v1 / "train.csv", "-o", tmp_path / "out", "--workers", "1"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "could not be read or written (" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
