"""Writing the v2 LMDB: killed, called twice, on a full disk."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from lmdb_patches import make_patch, read_raw, write_lmdb

from bigearthnet_tf.archive import lmdb_store, lmdb_values, lmdb_writer, metadata


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name_s2": "S2A_MSIL2A_20170613T101031_0_0"}, "is a name of v1"),
        ({"name_s2": None}, "has bands of S2 but no S2 name"),
        ({"name_s1": None}, "has bands of S1 but no S1 name"),
        ({"bands": {}}, "expected bands to write"),
        ({"bands": {"B02": np.zeros((60, 60), np.uint16)}}, "band B02: expected 120"),
        ({"bands": {"B02": np.zeros((120, 120))}}, "of float64"),
        ({"reference_map": np.zeros((120, 120), np.uint8)}, "map: .*of uint8"),
    ],
)
def test_patches_that_can_not_be_written(tmp_path, changes, message):
    with (
        pytest.raises(ValueError, match=message),
        lmdb_writer.LmdbWriter(tmp_path / "x", "plan") as writer,
    ):
        writer.write(dataclasses.replace(make_patch(), **changes))
    assert not (tmp_path / "x").exists()


def test_an_lmdb_grows_past_its_first_map(tmp_path):
    patches = [make_patch(number) for number in range(10)]
    small = write_lmdb(tmp_path / "small", patches, map_bytes=1 << 20)
    large = write_lmdb(tmp_path / "large", patches)
    assert read_raw(small) == read_raw(large)


KILLED = """
    import os, signal, sys
    sys.path.insert(0, {tests!r})
    from bigearthnet_tf.archive import lmdb_writer
    from lmdb_patches import make_patch
    lmdb_writer.COMMIT_BYTES = 600_000
    with lmdb_writer.LmdbWriter({path!r}, {plan!r}) as writer:
        for number in range(10):
            writer.write(make_patch(number))
        os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_half_way(path, plan):
    script = KILLED.format(tests=os.path.dirname(__file__), path=str(path), plan=plan)  # noqa: PTH120
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not path.exists()
    return path.with_name(f".{path.name}.partial")


def test_a_killed_writer_is_continued(tmp_path):
    out = tmp_path / "out"
    partial = kill_half_way(out, "plan")
    with pytest.raises(FileNotFoundError):
        lmdb_store.open_lmdb(out)
    written = []
    with lmdb_writer.LmdbWriter(out, "plan") as writer:
        for patch in map(make_patch, range(12)):
            if patch.name_s2 not in writer:
                written.append(patch.name_s2)
            writer.write(patch)
    assert 2 <= len(written) < 12
    assert not partial.exists()
    whole = write_lmdb(tmp_path / "whole", map(make_patch, range(12)))
    assert read_raw(out) == read_raw(whole)


def test_what_another_plan_left_is_thrown_away(tmp_path):
    out = tmp_path / "out"
    kill_half_way(out, "plan")
    write_lmdb(out, [make_patch(11)], "other plan")
    assert set(read_raw(out)) == set(lmdb_values.encode(make_patch(11)))


def test_an_exception_leaves_no_lmdb(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), lmdb_writer.LmdbWriter(out, "x") as writer:
        writer.write(make_patch())
        raise KeyboardInterrupt
    assert not out.exists()
    with pytest.raises(ValueError, match="out: expected patches to write, got none"):
        write_lmdb(out, [])
    assert not out.exists()
    write_lmdb(out, [make_patch()])
    assert len(read_raw(out)) == 2


def test_a_patch_twice_is_compared(tmp_path):
    patch = make_patch()
    write_lmdb(tmp_path / "same", [patch, patch])
    other = dataclasses.replace(
        make_patch(1), name_s2=patch.name_s2, name_s1=patch.name_s1
    )
    with pytest.raises(ValueError, match=f"{patch.name_s2} was written before with ot"):
        write_lmdb(tmp_path / "other", [patch, other])


def test_existing_outputs(tmp_path):
    out = write_lmdb(tmp_path / "out", [make_patch()])
    with pytest.raises(FileExistsError, match=r"an LMDB already.*--overwrite"):
        write_lmdb(out, [make_patch(1)])
    write_lmdb(out, [make_patch(1)], overwrite=True)
    assert set(read_raw(out)) == set(lmdb_values.encode(make_patch(1)))
    (out / "thesis.tex").touch()
    (tmp_path / "file").touch()
    for path in (out, tmp_path / "file"):
        with pytest.raises(FileExistsError, match="something else than an LMDB"):
            write_lmdb(path, [make_patch()], overwrite=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/data.mdb").write_text("notes of another kind")
    with pytest.raises(FileExistsError, match="something else than an LMDB"):
        write_lmdb(tmp_path / "other", [make_patch()], overwrite=True)
    (tmp_path / "empty").mkdir()
    assert write_lmdb(tmp_path / "empty", [make_patch()]).exists()


def test_two_writers_refuse(tmp_path):
    with lmdb_writer.LmdbWriter(tmp_path / "x", "one") as writer:
        with pytest.raises(OSError, match="x: another process writes this LMDB"):
            write_lmdb(tmp_path / "x", [make_patch()], "two")
        writer.write(make_patch())
    assert len(read_raw(tmp_path / "x")) == 2


def test_a_folder_that_can_not_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file: can't be written to \("):
        write_lmdb(tmp_path / "file" / "x", [make_patch()])


def test_a_full_disk_is_one_line_and_nothing_is_lost(tmp_path):
    """A limit on the size of files stands for the disk."""
    out = tmp_path / "out"
    script = f"""
        import resource, sys
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from bigearthnet_tf.archive import lmdb_writer
        from lmdb_patches import make_patch, write_lmdb
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))
        lmdb_writer.COMMIT_BYTES = 600_000
        try:
            write_lmdb({str(out)!r}, map(make_patch, range(12)))
        except OSError as error:
            print(error)
    """  # noqa: PTH120
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=True,
        capture_output=True,
        text=True,
    )
    (line,) = done.stdout.splitlines()
    assert "can't be written to" in line and "make room and call again" in line
    assert not out.exists()
    with lmdb_writer.LmdbWriter(out, "test") as writer:
        assert make_patch(0).name_s2 in writer
        for patch in map(make_patch, range(12)):
            writer.write(patch)
    assert len(read_raw(out)) == 24


def test_an_unfinished_lmdb_that_is_damaged(tmp_path):
    partial = kill_half_way(tmp_path / "out", "plan")
    (partial / "data.mdb").write_bytes(b"text" * 9999)
    with pytest.raises(OSError, match=r"unfinished LMDB does not open .*remove it"):
        write_lmdb(tmp_path / "out", [make_patch()], "plan")


def test_an_lmdb_and_its_metadata_go_together(tmp_path):
    """As the reBEN tools look patches up: by the columns of the parquet file."""
    patches = [make_patch(number) for number in (3, 1, 2)]
    out = write_lmdb(tmp_path / "Encoded-BigEarthNet", patches)
    metadata.write_metadata(
        tmp_path / "metadata.parquet",
        [metadata.entry_of(patch, "train") for patch in patches],
    )
    stored = read_raw(out)
    rows = pd.read_parquet(tmp_path / "metadata.parquet")
    by_name = {patch.name_s2: patch for patch in patches}
    for row in rows.itertuples():
        arrays = safetensors.numpy.load(stored[row.patch_id])
        arrays |= safetensors.numpy.load(stored[row.s1_name])
        for name, pixels in by_name[row.patch_id].bands.items():
            np.testing.assert_array_equal(arrays[name], pixels, strict=True)
