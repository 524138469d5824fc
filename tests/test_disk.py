"""Full disks, real and pretended: one error that names the file."""

import errno
import os
import resource
import shutil
import signal
import subprocess

import numpy as np
import pytest

from bigearthnet_tf import disk, files
from bigearthnet_tf.retrieval import folders


def raising(error):
    raise error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded", "elsewhere"),
        OSError(errno.EFBIG, "File too large"),
        OSError("12 requested and 5 written"),
        OSError("Can't write data (file write failed: errno = 28, error message)"),
        RuntimeError("write error in /x: 3 != 10 (No space left on device)"),
    ],
)
def test_the_file_is_named_and_what_to_do(tmp_path, error):
    with (
        pytest.raises(OSError, match=r"a/b\.json: can't be written .*make room") as at,
        disk.room_for(tmp_path / "a" / "b.json"),
    ):
        raising(error)
    assert at.value.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    assert "\n" not in str(at.value)


@pytest.mark.parametrize(
    "error", [OSError("x: is no map"), RuntimeError("no"), FileNotFoundError(2, "no")]
)
def test_other_errors_stay_as_they_are(tmp_path, error):
    with pytest.raises(type(error)) as at, disk.room_for(tmp_path / "a"):
        raising(error)
    assert at.value is error


def test_no_room_for_an_array(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"a\.npy: needs 4\.0 MB \(No space left"):
        folders.make_array(tmp_path / "a.npy", (1000, 1000), np.float32)


def test_an_array_has_its_room(tmp_path):
    array = folders.make_array(tmp_path / "a.npy", (1000, 100), np.float32)
    facts = (tmp_path / "a.npy").stat()
    assert facts.st_blocks * 512 >= facts.st_size > 400_000
    array[:] = 1
    array.flush()
    assert np.load(tmp_path / "a.npy").sum() == 100_000


@pytest.fixture
def small_files():
    """Files may have 100 kB at most, which stands for a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_writers_leave_nothing_where_files_end(tmp_path, small_files):
    path = tmp_path / "new" / "file.json"
    with pytest.raises(OSError, match=r"file\.json: can't be written"):
        files.write_text(path, "x" * 200_000)
    with (
        pytest.raises(OSError, match=r"file\.json: can't be written"),
        files.write_atomically(path) as temporary,
        temporary.open("wb") as file,
    ):
        np.save(file, np.ones(50_000))
    with pytest.raises(OSError, match="can't be written"):
        files.write_together({path: b"1", tmp_path / "b" / "c": b"x" * 200_000})
    with (
        pytest.raises(OSError, match=r"file\.json: can't be written"),
        files.temporary_beside(path) as folder,
    ):
        (folder / "made").write_bytes(b"x" * 200_000)
    with pytest.raises(OSError, match=r"a\.npy: can't be written"):
        folders.make_array(tmp_path / "a.npy", (1000, 100), np.float64)
    (tmp_path / "a.npy").unlink(missing_ok=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not shutil.which("mount") or os.geteuid() != 0, reason="root only")
def test_a_full_disk_does_not_end_the_process(tmp_path):
    """A real one, of 64 kB: a memory map of a file with holes would raise SIGBUS."""
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(where)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        with pytest.raises(OSError, match=r"a\.npy: needs 0\.4 MB"):
            folders.make_array(where / "a.npy", (1000, 100), np.float32)
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)
