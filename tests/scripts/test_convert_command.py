"""`bigearthnet-tf convert`, and the LMDB as a source of `prep_splits.py`."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import lmdb
import pandas as pd
import pytest
import toy

from bigearthnet_tf.archive import metadata

ROOT = Path(__file__).parents[2]


def shards(folder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*.tfrecord"))}


def values(folder) -> dict[bytes, bytes]:
    """All keys and values of an LMDB."""
    with (
        lmdb.open(str(folder), readonly=True, lock=False) as environment,
        environment.begin() as transaction,
    ):
        return {bytes(k): bytes(v) for k, v in transaction.cursor()}


@pytest.fixture
def records(call, archive_v2, tmp_path) -> Path:
    out = tmp_path / "records"
    result = call(
        *("prep_splits", "-r", archive_v2 / "BigEarthNet-S2"),
        *("-s", archive_v2 / "BigEarthNet-S1", "-o", out, "--shard-size-mb", 2),
        *("--metadata", archive_v2 / "metadata.parquet"),
        *("--maps", archive_v2 / "Reference_Maps"),
    )
    assert result.status == 0, result.err
    return out


def convert(call, source, out, *options):
    records = f"{source}/*.tfrecord"
    return call("bigearthnet-tf", "convert", records, "-o", out, *options)


def test_bytes_to_int64_and_back(call, records, tmp_path):
    assert convert(call, records, tmp_path / "int64", "--to", "int64").status == 0
    assert convert(call, tmp_path / "int64", tmp_path / "back").status == 0
    assert shards(records) == shards(tmp_path / "back") != {}


def test_records_to_lmdb_and_back(call, archive_v2, records, tmp_path):
    table = archive_v2 / "metadata.parquet"
    out = tmp_path / "Encoded-BigEarthNet"
    result = convert(call, records, out, "--to", "lmdb", "--metadata", table)
    assert result.status == 0, result.err
    assert len(values(out)) == 3 * 16
    own = tmp_path / "Encoded-BigEarthNet.metadata.parquet"
    for source in (table, own):
        result = call(
            *("prep_splits", "--lmdb", out, "--maps", "--shard-size-mb", 2),
            *("--metadata", source, "-o", tmp_path / source.stem),
        )
        assert result.status == 0, result.err
    written, given = metadata.read_metadata(own), metadata.read_metadata(table)
    given = given.sort_values("patch_id").reset_index(drop=True)
    pd.testing.assert_frame_equal(written[given.columns], given)
    # The order of the records is drawn from that of the table.
    records_of = {
        f.name: sorted(reader_of(f)) for f in (records, tmp_path / table.stem)
    }
    assert records_of["records"] == records_of[table.stem]
    again = tmp_path / "again"
    result = convert(call, tmp_path / own.stem, again, "--to", "lmdb")
    assert result.status == 0, result.err
    assert values(again) == values(out)


def test_metadata_without_an_lmdb_are_not_replaced(call, archive_v2, records, tmp_path):
    own = tmp_path / "out.metadata.parquet"
    shutil.copy(archive_v2 / "metadata.parquet", own)
    before = own.read_bytes()
    result = convert(call, records, tmp_path / "out", "--to", "lmdb", "--overwrite")
    assert result.status == 1
    assert f"{own}: is there already and was not written by this" in result.err
    assert own.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {own.name, records.name}


def reader_of(folder) -> list[bytes]:
    from bigearthnet_tf.records import frames

    return [record for p in folder.glob("*.tfrecord") for record in frames.read_all(p)]


def test_real_patches_from_lmdb_to_records_and_back(call, shared, tmp_path):
    source = shared / "data" / "v2" / "Encoded-BigEarthNet"
    published = values(source)
    with_both = [
        key.decode() for key in published if f"{key.decode()}".startswith("S2")
        and not key.endswith(b"_reference_map")
    ]  # fmt: skip
    table = pd.read_parquet(shared / "data" / "v2" / "metadata.parquet")
    table = table[table["patch_id"].isin(with_both)]
    table = table[table["s1_name"].str.encode("utf-8").isin(published)]
    assert len(table) > 1
    own = tmp_path / "metadata.parquet"
    table.to_parquet(own)
    result = call(
        *("prep_splits", "--lmdb", source, "--metadata", own, "-o", tmp_path / "out")
    )
    assert result.status == 0, result.err
    again = tmp_path / "again"
    result = convert(call, tmp_path / "out", again, "--to", "lmdb", "--metadata", own)
    assert result.status == 0, result.err
    copied = values(again)
    assert len(copied) >= 2 * len(table)
    assert copied.items() <= published.items()
    int64, back = tmp_path / "int64", tmp_path / "back"
    assert convert(call, tmp_path / "out", int64, "--to", "int64").status == 0
    assert convert(call, int64, back).status == 0
    assert shards(tmp_path / "out") == shards(back) != {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "int64", "--shard-size-mb", "0.1"], "can't hold one record"),
        (["--to", "lmdb", "--metadata", "none.parquet"], "none.parquet"),
    ],
)
def test_impossible_wishes(call, tmp_path, options, message):
    toy.write_records(tmp_path / "a", count=2, version="v2")
    result = convert(call, tmp_path / "a", tmp_path / "b", *options)
    assert result.status == 1
    assert message in result.complaint
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "lmdb", "--shard-size-mb", "2"], "an LMDB is one file"),
        (["--to", "lmdb", "--on-error", "skip"], "an LMDB gets all patches or none"),
        (["--metadata", "a.parquet"], "--metadata is for --to lmdb alone"),
    ],
)
def test_options_that_would_change_nothing(call, tmp_path, options, message):
    result = convert(call, tmp_path, tmp_path / "out", *options)
    assert result.status == 2
    assert message in result.complaint
    assert not list(tmp_path.iterdir())


def test_what_can_not_become_an_lmdb(call, tmp_path):
    toy.write_records(tmp_path / "v1", count=2, version="v1")
    result = convert(call, tmp_path / "v1", tmp_path / "out", "--to", "lmdb")
    assert result.status == 1
    assert "expected records of BigEarthNet v2" in result.complaint
    toy.write_records(tmp_path / "v2", "mine", count=2, version="v2")
    result = convert(call, tmp_path / "v2", tmp_path / "out", "--to", "lmdb")
    assert result.status == 1
    assert "split 'mine'" in result.complaint


def test_an_lmdb_does_not_fit_or_is_far_away(call, tmp_path, monkeypatch):
    toy.write_records(tmp_path / "a", count=2, version="v2")
    result = convert(call, tmp_path / "a", "ram://x/lmdb", "--to", "lmdb")
    assert result.status == 1
    assert "a local folder only" in result.complaint
    (tmp_path / "b.metadata.parquet").write_text("precious")
    result = convert(call, tmp_path / "a", tmp_path / "b", "--to", "lmdb")
    assert result.status == 1
    assert (tmp_path / "b.metadata.parquet").read_text() == "precious"
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    result = convert(call, tmp_path / "a", tmp_path / "c", "--to", "lmdb")
    assert result.status == 1
    assert "needs 1 MB, but 0 MB are free" in result.complaint
    assert not (tmp_path / ".c.partial").exists()


def test_records_are_not_written_over_themselves(call, tmp_path):
    toy.write_records(tmp_path, count=2)
    result = convert(call, tmp_path, tmp_path, "--overwrite")
    assert result.status == 1
    assert "choose another output folder" in result.complaint


@pytest.mark.parametrize("content", [None, "empty folder", "text", "no parquet"])
def test_bad_lmdbs(call, tmp_path, archive_v2, content):
    path, table = tmp_path / "lmdb", archive_v2 / "metadata.parquet"
    if content is not None:
        path.mkdir()
    if content == "text":
        (path / "data.mdb").write_text("not an LMDB" * 1000)
    if content == "no parquet":
        table = tmp_path / "none.parquet"
    result = call(
        *("prep_splits", "--lmdb", path, "--metadata", table, "-o", tmp_path / "out")
    )
    assert result.status == 1
    assert "Traceback" not in result.err
    assert str(table if content == "no parquet" else path) in result.complaint
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_killed_while_writing_an_lmdb_it_goes_on(records, tmp_path):
    out = tmp_path / "lmdb"
    command = [
        *(sys.executable, "-m", "bigearthnet_tf.cli", "convert"),
        *(f"{records}/*.tfrecord", "-o", str(out), "--to", "lmdb"),
    ]
    subprocess.run(command, check=True, cwd=ROOT)
    whole = values(out)
    shutil.rmtree(out)
    for delay in (0.0, 0.02, 0.05):
        process = subprocess.Popen([*command, "--overwrite"], cwd=ROOT)
        while not list(tmp_path.glob(".lmdb.partial")) and process.poll() is None:
            time.sleep(0.002)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*command, "--overwrite"], check=True, cwd=ROOT)
    assert values(out) == whole
