import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
import toy

from bigearthnet_tf.data import cache, pipeline
from bigearthnet_tf.records import reader, storage

BANDS = ("VV", "B01")


@pytest.fixture
def source(tmp_path):
    toy.write_records(tmp_path / "records", count=9, bands=BANDS, shard_size_mb=0.3)
    return reader.open_records(str(tmp_path / "records" / "*.tfrecord"))


def serialized(source) -> list[bytes]:
    return [r.numpy() for r in tf.data.TFRecordDataset(list(source.files))]


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_a_cache_holds_the_same_records_in_the_same_order(tmp_path, source, where):
    where = str(tmp_path / "cache") if where == "disk" else where
    kept = cache.keep(source, where)
    assert len(kept.files) == len(source.files) > 1
    assert not set(kept.files) & set(source.files)
    expected = serialized(source)
    for file in source.files:
        Path(file).unlink()
    assert serialized(kept) == expected
    batches = list(pipeline.batches(kept, 4, BANDS, "original", shuffle_buffer_size=5))
    assert sum(len(labels) for _, labels in batches) == 9


def test_no_cache_is_the_files_themselves(source):
    assert cache.keep(source, "") is source


def test_copies_are_made_once(tmp_path, source):
    folder = str(tmp_path / "cache")
    files = cache.keep(source, folder).files
    before = {file: Path(file).stat().st_mtime_ns for file in files}
    assert cache.keep(source, folder).files == files
    assert {file: Path(file).stat().st_mtime_ns for file in files} == before


def test_a_shard_written_anew_is_copied_anew(tmp_path, source):
    folder = str(tmp_path / "cache")
    old = cache.keep(source, folder).files
    os.utime(source.files[0], ns=(0, 0))
    new = cache.keep(source, folder).files
    assert new[0] != old[0]
    assert new[1:] == old[1:]


def test_what_a_killed_process_left_is_cleared_away(tmp_path, source):
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / ".half.tfrecord.0123.tmp").write_bytes(b"half")
    cache.keep(source, str(folder))
    left = {p.name for p in folder.iterdir()} - {".lock"}
    assert left == {storage.name_of(f) for f in cache.keep(source, str(folder)).files}


def test_too_little_memory_is_said(source, monkeypatch):
    monkeypatch.setattr(cache, "_memory_bytes", lambda: 1000)
    monkeypatch.setattr(cache, "_IN_MEMORY", "ram://empty")
    with pytest.raises(OSError, match=r"cache 'memory': the shards need 1 MB, but"):
        cache.keep(source, "memory")


def test_too_little_disk_is_said(tmp_path, source, monkeypatch):
    monkeypatch.setattr(storage, "free_bytes", lambda _: 1000)
    with pytest.raises(OSError, match=r"need 1 MB, but there are 0 MB; cache on a"):
        cache.keep(source, str(tmp_path / "cache"))


def test_a_file_in_the_place_of_the_folder(tmp_path, source):
    (tmp_path / "cache").write_text("")
    with pytest.raises(OSError, match="cache"):
        cache.keep(source, str(tmp_path / "cache"))


@pytest.mark.slow
def test_processes_that_share_a_folder_copy_once(tmp_path, source):
    program = (
        "import sys; from bigearthnet_tf.data import cache\n"
        "from bigearthnet_tf.records import reader\n"
        "source = reader.open_records(sys.argv[1])\n"
        "print(*cache.keep(source, sys.argv[2]).files, sep='\\n')"
    )
    pattern = str(tmp_path / "records" / "*.tfrecord")
    command = [sys.executable, "-c", program, pattern, str(tmp_path / "cache")]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0].split() for process in both]
    assert outputs[0] == outputs[1] == list(cache.keep(source, command[-1]).files)
