"""Records behind a scheme: `ram://` is a file system of TensorFlow, as `gs://` is."""

import os

import pytest
import tensorflow as tf
import toy

from bigearthnet_tf.data import pipeline
from bigearthnet_tf.records import convert, frames, manifest, reader, storage
from bigearthnet_tf.records.plan import plan_split
from bigearthnet_tf.records.record_archive import RecordArchive, plan_copy

SCHEMES = ["file", "ram"]


@pytest.fixture(params=SCHEMES)
def folder(request, tmp_path) -> str:
    return f"{request.param}://{tmp_path}/records"


def contents(folder) -> dict[str, bytes]:
    found = {}
    for name in storage.list_folder(folder):
        with storage.open_to_read(storage.join(folder, name)) as file:
            found[name] = file.read()
    return found


def test_shards_and_manifest_are_those_of_a_local_folder(tmp_path, folder):
    toy.write_records(folder, count=9, shard_size_mb=1)
    toy.write_records(tmp_path / "local", count=9, shard_size_mb=1)
    assert len(contents(folder)) == 4
    assert contents(folder) == contents(tmp_path / "local")


def test_they_are_read_like_local_ones(folder):
    toy.write_records(folder, count=9, shard_size_mb=1)
    source = reader.open_records(f"{folder}/train-*.tfrecord")
    assert source.counts == (3, 3, 3)
    dataset = pipeline.batches(source, 4, ("B02",), "original", shuffle_buffer_size=4)
    assert sum(len(labels) for _, labels in dataset) == 9
    assert sum(frames.verify(file).num_records for file in source.files) == 9


def test_they_are_converted_there_and_back(tmp_path, folder):
    toy.write_records(folder, count=4)
    archive = RecordArchive(reader.open_records(f"{folder}/*.tfrecord"))
    integers = folder.replace("records", "integers")
    convert.convert(archive, plan_copy(archive, "int64"), integers)
    middle = RecordArchive(reader.open_records(f"{integers}/*.tfrecord"))
    convert.convert(middle, plan_copy(middle, "bytes"), tmp_path / "back")
    shard = "train-00000-of-00001.tfrecord"
    assert contents(folder)[shard] == contents(tmp_path / "back")[shard]


def test_a_failed_conversion_continues_there(folder):
    class Failing(toy.Memory):
        def read(self, entry):
            if entry.name == last:
                raise ValueError("is broken")
            return super().read(entry)

    plan = plan_split(toy.Memory(), toy.entries(9), "train", shard_size_mb=1)
    last = plan.shards[-1][0].name
    with pytest.raises(ValueError, match="is broken"):
        convert.convert(Failing(), [plan], folder)
    assert not reader_finds(folder)
    convert.convert(toy.Memory(), [plan], folder)
    assert reader_finds(folder)
    assert not [n for n in storage.list_folder(folder) if n.startswith(".train")]


def reader_finds(folder) -> bool:
    return storage.exists(manifest.manifest_path(folder, "train"))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_missing_is_a_python_error(tmp_path, scheme):
    missing = f"{scheme}://{tmp_path}/missing"
    assert not storage.exists(missing)
    assert storage.list_folder(missing) == []
    storage.remove(missing)
    storage.remove_folder(missing)
    with pytest.raises(FileNotFoundError, match="missing"):
        storage.size(missing)
    with pytest.raises(FileNotFoundError, match="missing"):
        storage.read_text(missing)
    with pytest.raises(FileNotFoundError, match="missing"):
        reader.open_records(f"{missing}/*.tfrecord")


def test_a_scheme_that_nobody_knows_is_said_in_one_line():
    with pytest.raises(
        OSError, match=r"^nfs4://host/x: expected a local path or gs:// "
    ):
        storage.exists("nfs4://host/x")


def test_a_half_written_file_does_not_appear(folder):
    path = storage.join(folder, "text")
    with pytest.raises(RuntimeError), storage.write_atomically(path) as temporary:
        with tf.io.gfile.GFile(temporary, "wb") as file:
            file.write(b"half")
        raise RuntimeError
    assert storage.list_folder(folder) == []


def test_a_copy_is_the_same_bytes(tmp_path, folder):
    content = os.urandom(300_000)
    (tmp_path / "a").write_bytes(content)
    storage.copy(tmp_path / "a", storage.join(folder, "b"))
    storage.copy(storage.join(folder, "b"), tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == content


@pytest.mark.parametrize("name", ["a [1]", "a]b", "b\\c", "st*r", "wh?t", "[", "[!x]"])
@pytest.mark.parametrize("relative", [False, True])
def test_folders_that_are_there_come_before_patterns(
    tmp_path, monkeypatch, name, relative
):
    monkeypatch.chdir(tmp_path)
    for folder in (name, "a 1", "star", "what"):
        (tmp_path / folder / "sub").mkdir(parents=True)
        for file in ("x1", "x2"):
            (tmp_path / folder / "sub" / file).touch()
    start = name if relative else str(tmp_path / name)
    expected = [f"{start}/sub/x1", f"{start}/sub/x2"]

    def found(pattern):
        return [path.removeprefix("./") for path in storage.glob(pattern)]

    assert found(f"{start}/sub/x*") == expected
    assert found(f"{start}/s*/x?") == expected
    assert found(f"{start}/sub/x[1]") == expected[:1]
    assert found(f"{start}/sub/x1") == expected[:1]


def test_folders_that_are_not_there_are_patterns(tmp_path):
    for folder in ("a1", "a2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x").touch()
    assert storage.glob(tmp_path / "a[12]" / "x") == [
        f"{tmp_path}/a1/x",
        f"{tmp_path}/a2/x",
    ]
